"""Stands in for the platform's uploads, their queue and the FTP accounts."""

from __future__ import annotations

from database import Base, DeclEnum, EnumSymbol, foreign_key, member
from mod_auth.models import User
from mod_home.models import CCExtractorVersion
from mod_sample.models import Sample
from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship


class Platform(DeclEnum):
    """The operating system of the uploader (not the platform of a run)."""

    linux = member("linux", "Linux")
    windows = member("windows", "Windows")
    mac = member("mac", "Mac")
    bsd = member("bsd", "BSD")


class FTPActive(DeclEnum):
    """Whether an FTP account may be used."""

    disabled = member("0", "Disabled")
    enabled = member("1", "Enabled")


class Upload(Base):
    """The upload of a sample: uploader and notes."""

    __tablename__ = "upload"
    __table_args__ = {"mysql_engine": "InnoDB"}

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int | None] = mapped_column(foreign_key("user.id", "RESTRICT"))
    sample_id: Mapped[int | None] = mapped_column(foreign_key("sample.id", "CASCADE"))
    version_id: Mapped[int | None] = mapped_column(foreign_key("ccextractor_version.id", "RESTRICT"))
    platform: Mapped[EnumSymbol] = mapped_column(Platform.db_type())
    parameters: Mapped[str] = mapped_column(Text)
    notes: Mapped[str] = mapped_column(Text)
    user: Mapped[User | None] = relationship()
    sample: Mapped[Sample | None] = relationship(back_populates="upload")
    version: Mapped[CCExtractorVersion | None] = relationship()

    def __init__(
        self,
        user_id: int | None,
        sample_id: int | None,
        version_id: int | None,
        platform: EnumSymbol,
        parameters: str = "",
        notes: str = "",
    ) -> None:
        self.user_id = user_id
        self.sample_id = sample_id
        self.version_id = version_id
        self.platform = platform
        self.parameters = parameters
        self.notes = notes


class QueuedSample(Base):
    """An uploaded file without a description yet; the extension has its dot."""

    __tablename__ = "upload_queue"
    __table_args__ = {"mysql_engine": "InnoDB"}

    id: Mapped[int] = mapped_column(primary_key=True)
    sha: Mapped[str | None] = mapped_column(String(128), unique=True)
    extension: Mapped[str] = mapped_column(String(64))
    original_name: Mapped[str] = mapped_column(Text)
    user_id: Mapped[int | None] = mapped_column(foreign_key("user.id", "RESTRICT"))
    user: Mapped[User | None] = relationship()


class UploadLog(Base):
    """A message to a user about an upload."""

    __tablename__ = "upload_log"
    __table_args__ = {"mysql_engine": "InnoDB"}

    id: Mapped[int] = mapped_column(primary_key=True)
    message: Mapped[str] = mapped_column(Text)
    user_id: Mapped[int | None] = mapped_column(foreign_key("user.id", "RESTRICT"))
    user: Mapped[User | None] = relationship()


class FTPCredentials(Base):
    """The FTP account of a user; its password is plain text."""

    __tablename__ = "ftpd"
    __table_args__ = {"mysql_engine": "InnoDB"}

    user_id: Mapped[int] = mapped_column(foreign_key("user.id", "RESTRICT"), primary_key=True)
    user_name: Mapped[str] = mapped_column(String(32))
    status: Mapped[EnumSymbol] = mapped_column(FTPActive.db_type())
    password: Mapped[str] = mapped_column(String(64))
    dir: Mapped[str] = mapped_column(String(128))
    ip_access: Mapped[str] = mapped_column(String(16))
    quota_files: Mapped[int]
    uid: Mapped[int] = mapped_column(default=2015)
    gid: Mapped[int] = mapped_column(default=2015)
    user: Mapped[User] = relationship()
