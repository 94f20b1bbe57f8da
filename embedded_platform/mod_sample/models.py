"""Stands in for the platform's samples and their descriptions."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from database import Base, foreign_key
from sqlalchemy import Column, ForeignKey, Index, String, Table, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

if TYPE_CHECKING:
    from mod_regression.models import RegressionTest
    from mod_upload.models import Upload

sample_tag_association = Table(
    "sample_tag_association",
    Base.metadata,
    Column("sample_id", ForeignKey("sample.id"), primary_key=True),
    Column("tag_id", ForeignKey("tag.id"), primary_key=True),
)


def _with_extension(stem: str, extension: str) -> str:
    return f"{stem}.{extension}" if extension else stem


class Sample(Base):
    """A media file, named by its SHA-256; the extension has no dot."""

    __tablename__ = "sample"
    __table_args__ = {"mysql_engine": "InnoDB"}

    id: Mapped[int] = mapped_column(primary_key=True)
    sha: Mapped[str | None] = mapped_column(String(128), unique=True)
    extension: Mapped[str] = mapped_column(String(64))
    original_name: Mapped[str] = mapped_column(Text)
    extra_files: Mapped[list[ExtraFile]] = relationship(back_populates="sample")
    tests: Mapped[list[RegressionTest]] = relationship(back_populates="sample")
    upload: Mapped[Upload | None] = relationship(back_populates="sample")
    tags: Mapped[list[Tag]] = relationship(secondary=sample_tag_association, back_populates="samples")

    def __init__(self, sha: str, extension: str, original_name: str) -> None:
        self.sha = sha
        self.extension = extension
        self.original_name = original_name

    @property
    def filename(self) -> str:
        """The name of the file in the repository."""
        return _with_extension(f"{self.sha}", self.extension)


class Tag(Base):
    """A label on samples."""

    __tablename__ = "tag"
    __table_args__ = (Index("tag_name_index", "name"), {"mysql_engine": "InnoDB"})

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    description: Mapped[str | None] = mapped_column(String(1024))
    samples: Mapped[list[Sample]] = relationship(secondary=sample_tag_association, back_populates="tags")

    def __init__(self, name: str, description: str = "") -> None:
        self.name = name
        self.description = description


class ExtraFile(Base):
    """A file that accompanies a sample; the extension has no dot."""

    __tablename__ = "sample_extra"
    __table_args__ = {"mysql_engine": "InnoDB"}

    id: Mapped[int] = mapped_column(primary_key=True)
    sample_id: Mapped[int | None] = mapped_column(foreign_key("sample.id", "CASCADE"))
    original_name: Mapped[str] = mapped_column(Text)
    extension: Mapped[str] = mapped_column(String(64))
    sample: Mapped[Sample] = relationship(back_populates="extra_files")

    def __init__(self, sample_id: int, extension: str, original_name: str) -> None:
        self.sample_id = sample_id
        self.extension = extension
        self.original_name = original_name

    @property
    def filename(self) -> str:
        """The name of the file in the repository."""
        return _with_extension(f"{self.sample.sha}_{self.id}", self.extension)


class Issue(Base):
    """A GitHub issue about a sample."""

    __tablename__ = "sample_issue"
    __table_args__ = {"mysql_engine": "InnoDB"}

    id: Mapped[int] = mapped_column(primary_key=True)
    sample_id: Mapped[int | None] = mapped_column(foreign_key("sample.id", "CASCADE"))
    issue_id: Mapped[int]
    title: Mapped[str] = mapped_column(Text)
    user: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
    status: Mapped[str] = mapped_column(Text)
    sample: Mapped[Sample | None] = relationship()

    def __init__(self, sample_id: int, issue_id: int, date: str, title: str, user: str, status: str) -> None:
        """Read `date` as a UTC time stamp such as 2024-01-31T12:00:00Z."""
        self.sample_id = sample_id
        self.issue_id = issue_id
        self.created_at = datetime.strptime(date, "%Y-%m-%dT%H:%M:%SZ")
        self.title = title
        self.user = user
        self.status = status


class ForbiddenExtension(Base):
    """A file extension that may not be uploaded."""

    __tablename__ = "extension_forbidden"
    __table_args__ = {"mysql_engine": "InnoDB"}

    extension: Mapped[str] = mapped_column(String(32), primary_key=True)

    def __init__(self, extension: str) -> None:
        self.extension = extension


class ForbiddenMimeType(Base):
    """A media type that may not be uploaded."""

    __tablename__ = "mimetype_forbidden"
    __table_args__ = {"mysql_engine": "InnoDB"}

    mimetype: Mapped[str] = mapped_column(String(64), primary_key=True)

    def __init__(self, mimetype: str) -> None:
        self.mimetype = mimetype
