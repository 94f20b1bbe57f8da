"""Stands in for the platform's custom runs: their tests and owners."""

from __future__ import annotations

from database import Base, foreign_key
from mod_auth.models import User
from mod_regression.models import RegressionTest
from mod_test.models import Test
from sqlalchemy.orm import Mapped, mapped_column, relationship


class TestFork(Base):
    """The owner of a custom run."""

    __tablename__ = "test_fork"
    __table_args__ = {"mysql_engine": "InnoDB"}

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int | None] = mapped_column(foreign_key("user.id", "RESTRICT"))
    test_id: Mapped[int | None] = mapped_column(foreign_key("test.id", "RESTRICT"))
    user: Mapped[User | None] = relationship()
    test: Mapped[Test | None] = relationship()

    def __init__(self, user_id: int, test_id: int) -> None:
        self.user_id = user_id
        self.test_id = test_id


class CustomizedTest(Base):
    """A regression test in a run's set; the same pair may occur twice."""

    __tablename__ = "customized_test"
    __table_args__ = {"mysql_engine": "InnoDB"}

    id: Mapped[int] = mapped_column(primary_key=True)
    test_id: Mapped[int | None] = mapped_column(foreign_key("test.id", "RESTRICT"))
    regression_id: Mapped[int | None] = mapped_column(foreign_key("regression_test.id", "CASCADE"))
    test: Mapped[Test | None] = relationship(back_populates="customized_tests")
    regression_test: Mapped[RegressionTest | None] = relationship()

    def __init__(self, test_id: int, regression_id: int) -> None:
        self.test_id = test_id
        self.regression_id = regression_id
