"""Stands in for the platform's runs (there called tests), their progress and their results."""

from __future__ import annotations

import secrets
import string
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from database import Base, DeclEnum, EnumSymbol, foreign_key, member
from sqlalchemy import DateTime, String, Text
from sqlalchemy.orm import Mapped, mapped_column, reconstructor, relationship
from sqlalchemy.orm.attributes import set_committed_value

if TYPE_CHECKING:
    from mod_customized.models import CustomizedTest
    from mod_regression.models import RegressionTest, RegressionTestOutput

TOKEN_LENGTH = 64


class TestPlatform(DeclEnum):
    """The platform on which a run executes."""

    linux = member("linux", "Linux")
    windows = member("windows", "Windows")


class TestType(DeclEnum):
    """Whether a run tests a commit or a pull request."""

    commit = member("commit", "Commit")
    pull_request = member("pr", "Pull Request")


class TestStatus(DeclEnum):
    """The stage of a run."""

    preparation = member("preparation", "Preparation")
    testing = member("testing", "Testing")
    completed = member("completed", "Completed")
    canceled = member("canceled", "Canceled/Error")

    @staticmethod
    def stages() -> list[EnumSymbol]:
        """List the stages of a successful run, in order."""
        return [TestStatus.preparation, TestStatus.testing, TestStatus.completed]

    @staticmethod
    def progress_step(status: EnumSymbol) -> int:
        """Number a stage from 0; a canceled run is at -1."""
        stages = TestStatus.stages()
        return stages.index(status) if status in stages else -1


class Fork(Base):
    """A GitHub repository, given as https://github.com/owner/name.git."""

    __tablename__ = "fork"
    __table_args__ = {"mysql_engine": "InnoDB"}

    id: Mapped[int] = mapped_column(primary_key=True)
    github: Mapped[str | None] = mapped_column(String(256), unique=True)
    tests: Mapped[list[Test]] = relationship(back_populates="fork")

    def __init__(self, github: str) -> None:
        self.github = github

    @property
    def github_url(self) -> str:
        """The URL without `.git`, wherever that occurs."""
        return f"{self.github}".replace(".git", "")

    @property
    def github_name(self) -> str:
        """The repository as owner/name."""
        return self.github_url.replace("https://github.com/", "")


class Test(Base):
    """A run of regression tests on one platform; the token is its worker's credential."""

    __tablename__ = "test"
    __table_args__ = {"mysql_engine": "InnoDB"}

    id: Mapped[int] = mapped_column(primary_key=True)
    platform: Mapped[EnumSymbol] = mapped_column(TestPlatform.db_type())
    test_type: Mapped[EnumSymbol] = mapped_column(TestType.db_type())
    token: Mapped[str | None] = mapped_column(String(TOKEN_LENGTH), unique=True)
    fork_id: Mapped[int | None] = mapped_column(foreign_key("fork.id", "RESTRICT"))
    branch: Mapped[str] = mapped_column(Text)
    commit: Mapped[str] = mapped_column(String(64))
    pr_nr: Mapped[int] = mapped_column(default=0)
    fork: Mapped[Fork | None] = relationship(back_populates="tests")
    customized_tests: Mapped[list[CustomizedTest]] = relationship(back_populates="test")
    progress: Mapped[list[TestProgress]] = relationship(back_populates="test", order_by="TestProgress.id")
    results: Mapped[list[TestResult]] = relationship(back_populates="test")

    def __init__(
        self,
        platform: EnumSymbol,
        test_type: EnumSymbol,
        fork_id: int | None,
        branch: str,
        commit: str,
        pr_nr: int = 0,
        token: str | None = None,
    ) -> None:
        self.platform = platform
        self.test_type = test_type
        self.fork_id = fork_id
        self.branch = branch
        self.commit = commit
        self.pr_nr = pr_nr
        self.token = token or self.create_token()

    @staticmethod
    def create_token() -> str:
        """Generate a random token of letters and digits."""
        alphabet = string.ascii_letters + string.digits
        return "".join(secrets.choice(alphabet) for _ in range(TOKEN_LENGTH))

    @property
    def finished(self) -> bool:
        """Whether the last progress row ends the run."""
        return bool(self.progress) and self.progress[-1].status in (
            TestStatus.completed,
            TestStatus.canceled,
        )

    @property
    def failed(self) -> bool:
        """Whether the last progress row cancels the run (says nothing about its results)."""
        return bool(self.progress) and self.progress[-1].status == TestStatus.canceled


class TestProgress(Base):
    """A step of a run, with the UTC time at which it was reported."""

    __tablename__ = "test_progress"
    __table_args__ = {"mysql_engine": "InnoDB"}

    id: Mapped[int] = mapped_column(primary_key=True)
    test_id: Mapped[int | None] = mapped_column(foreign_key("test.id", "CASCADE"))
    status: Mapped[EnumSymbol] = mapped_column(TestStatus.db_type())
    timestamp: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    message: Mapped[str] = mapped_column(Text)
    test: Mapped[Test | None] = relationship(back_populates="progress")

    def __init__(
        self,
        test_id: int | None,
        status: EnumSymbol,
        message: str,
        timestamp: datetime | None = None,
    ) -> None:
        """Use the current time if none is given, and treat a naive time as UTC, as the platform does."""
        self.test_id = test_id
        self.status = status
        self.message = message
        self.timestamp = _labelled_utc(timestamp or datetime.now(timezone.utc))

    @reconstructor
    def _label_loaded_timestamp(self) -> None:
        """Add the time zone after the first load; after a later refresh the time is naive."""
        set_committed_value(self, "timestamp", _labelled_utc(self.timestamp))


def _labelled_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


class TestResult(Base):
    """The result of one regression test of a run; the run time is in milliseconds."""

    __tablename__ = "test_result"
    __table_args__ = {"mysql_engine": "InnoDB"}

    test_id: Mapped[int] = mapped_column(foreign_key("test.id", "CASCADE"), primary_key=True)
    regression_test_id: Mapped[int] = mapped_column(foreign_key("regression_test.id", "CASCADE"), primary_key=True)
    runtime: Mapped[int | None]
    exit_code: Mapped[int | None]
    expected_rc: Mapped[int | None]
    test: Mapped[Test] = relationship(back_populates="results")
    regression_test: Mapped[RegressionTest] = relationship()

    def __init__(
        self,
        test_id: int,
        regression_test_id: int,
        runtime: int | None,
        exit_code: int | None,
        expected_rc: int | None,
    ) -> None:
        self.test_id = test_id
        self.regression_test_id = regression_test_id
        self.runtime = runtime
        self.exit_code = exit_code
        self.expected_rc = expected_rc


class TestResultFile(Base):
    """One output of one regression test of a run; without `got` it was as expected."""

    __tablename__ = "test_result_file"
    __table_args__ = {"mysql_engine": "InnoDB"}

    test_id: Mapped[int] = mapped_column(foreign_key("test.id", "CASCADE"), primary_key=True)
    regression_test_id: Mapped[int] = mapped_column(foreign_key("regression_test.id", "CASCADE"), primary_key=True)
    regression_test_output_id: Mapped[int] = mapped_column(
        foreign_key("regression_test_output.id", "CASCADE"), primary_key=True
    )
    expected: Mapped[str] = mapped_column(Text)
    got: Mapped[str | None] = mapped_column(Text)
    test: Mapped[Test] = relationship()
    regression_test: Mapped[RegressionTest] = relationship()
    regression_test_output: Mapped[RegressionTestOutput] = relationship()

    def __init__(
        self,
        test_id: int,
        regression_test_id: int,
        regression_test_output_id: int,
        expected: str,
        got: str | None = None,
    ) -> None:
        self.test_id = test_id
        self.regression_test_id = regression_test_id
        self.regression_test_output_id = regression_test_output_id
        self.expected = expected
        self.got = got
