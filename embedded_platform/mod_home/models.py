"""Stands in for the platform's table of releases and its key-value table."""

from datetime import date, datetime

from database import Base
from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column


class CCExtractorVersion(Base):
    """A release of CCExtractor."""

    __tablename__ = "ccextractor_version"
    __table_args__ = {"mysql_engine": "InnoDB"}

    id: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[str | None] = mapped_column(String(10), unique=True)
    released: Mapped[date | None] = mapped_column(unique=True)
    commit: Mapped[str | None] = mapped_column(String(64), unique=True)

    def __init__(self, version: str, released: str, commit: str) -> None:
        """Read `released` as the date of a UTC time stamp such as 2024-01-31T12:00:00Z."""
        self.version = version
        self.released = datetime.strptime(released, "%Y-%m-%dT%H:%M:%SZ").date()
        self.commit = commit


class GeneralData(Base):
    """A named value, such as the last commit or an average run time."""

    __tablename__ = "general_data"
    __table_args__ = {"mysql_engine": "InnoDB"}

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str | None] = mapped_column(String(64), unique=True)
    value: Mapped[str] = mapped_column(Text)

    def __init__(self, key: str, value: str) -> None:
        self.key = key
        self.value = value
