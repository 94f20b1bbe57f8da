"""Stands in for the platform's virtual machines, maintenance mode and blocked users."""

from __future__ import annotations

from datetime import datetime

from database import Base, EnumSymbol, foreign_key
from mod_test.models import Test, TestPlatform
from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship


class BlockedUsers(Base):
    """A GitHub user (by GitHub's own id) whose pull requests are not run."""

    __tablename__ = "blocked_users"
    __table_args__ = {"mysql_engine": "InnoDB"}

    user_id: Mapped[int] = mapped_column(primary_key=True)
    comment: Mapped[str | None] = mapped_column(Text)

    def __init__(self, user_id: int, comment: str | None) -> None:
        self.user_id = user_id
        self.comment = comment


class GcpInstance(Base):
    """The virtual machine of a run; its times are naive, in the server's time zone."""

    __tablename__ = "gcp_instance"
    __table_args__ = {"mysql_engine": "InnoDB"}

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    test_id: Mapped[int | None] = mapped_column(foreign_key("test.id", "RESTRICT"))
    timestamp: Mapped[datetime]
    timestamp_prep_finished: Mapped[datetime | None]
    test: Mapped[Test | None] = relationship()

    def __init__(self, name: str, test_id: int, timestamp: datetime | None = None) -> None:
        self.name = name
        self.test_id = test_id
        self.timestamp = timestamp or datetime.now()


class MaintenanceMode(Base):
    """Whether a platform is closed to new runs at present."""

    __tablename__ = "maintenance_mode"
    __table_args__ = {"mysql_engine": "InnoDB"}

    id: Mapped[int] = mapped_column(primary_key=True)
    platform: Mapped[EnumSymbol] = mapped_column(TestPlatform.db_type())
    disabled: Mapped[bool] = mapped_column(default=False)

    def __init__(self, platform: EnumSymbol, mode: bool) -> None:
        self.platform = platform
        self.disabled = mode


class PendingDeletion(Base):
    """A virtual machine whose deletion was requested; its time is local and naive."""

    __tablename__ = "pending_deletion"
    __table_args__ = {"mysql_engine": "InnoDB"}

    vm_name: Mapped[str] = mapped_column(String(64), primary_key=True)
    operation_name: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[datetime]
    retry_count: Mapped[int] = mapped_column(default=0)
