"""Stands in for the platform's regression tests, their categories and expected outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from database import Base, DeclEnum, EnumSymbol, foreign_key, member
from sqlalchemy import Column, String, Table, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

if TYPE_CHECKING:
    from mod_sample.models import Sample

regressionTestLinkTable = Table(
    "regression_test_category",
    Base.metadata,
    Column("regression_id", foreign_key("regression_test.id", "RESTRICT")),
    Column("category_id", foreign_key("category.id", "RESTRICT")),
)


class InputType(DeclEnum):
    """The way in which CCExtractor receives the sample."""

    file = member("file", "File")
    stdin = member("stdin", "Stdin")
    udp = member("udp", "UDP")


class OutputType(DeclEnum):
    """The destination of CCExtractor's output."""

    file = member("file", "File")
    null = member("null", "Null")
    tcp = member("tcp", "TCP")
    cea708 = member("cea708", "CEA-708")
    multi_program = member("multiprogram", "Multi-program")
    stdout = member("stdout", "Stdout")
    report = member("report", "Report")


class Category(Base):
    """A group of regression tests."""

    __tablename__ = "category"
    __table_args__ = {"mysql_engine": "InnoDB"}

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None] = mapped_column(String(64), unique=True)
    description: Mapped[str] = mapped_column(Text)
    regression_tests: Mapped[list[RegressionTest]] = relationship(
        secondary=regressionTestLinkTable, back_populates="categories"
    )

    def __init__(self, name: str, description: str) -> None:
        self.name = name
        self.description = description


class RegressionTest(Base):
    """A command line to run on a sample."""

    __tablename__ = "regression_test"
    __table_args__ = {"mysql_engine": "InnoDB"}

    id: Mapped[int] = mapped_column(primary_key=True)
    sample_id: Mapped[int | None] = mapped_column(foreign_key("sample.id", "CASCADE"))
    command: Mapped[str] = mapped_column(Text)
    input_type: Mapped[EnumSymbol | None] = mapped_column(InputType.db_type())
    output_type: Mapped[EnumSymbol | None] = mapped_column(OutputType.db_type())
    expected_rc: Mapped[int | None]
    active: Mapped[bool | None] = mapped_column(default=True)
    last_passed_on_windows: Mapped[int | None] = mapped_column(foreign_key("test.id", "SET NULL"))
    last_passed_on_linux: Mapped[int | None] = mapped_column(foreign_key("test.id", "SET NULL"))
    description: Mapped[str | None] = mapped_column(String(1024))
    sample: Mapped[Sample | None] = relationship(back_populates="tests")
    categories: Mapped[list[Category]] = relationship(
        secondary=regressionTestLinkTable, back_populates="regression_tests"
    )
    output_files: Mapped[list[RegressionTestOutput]] = relationship(back_populates="regression_test")

    def __init__(
        self,
        sample_id: int | None,
        command: str,
        input_type: EnumSymbol | None,
        output_type: EnumSymbol | None,
        category_id: int | None,
        expected_rc: int | None,
        active: bool | None = True,
        description: str | None = "",
    ) -> None:
        """Ignore `category_id`, as the platform does: append to the category instead."""
        self.sample_id = sample_id
        self.command = command
        self.input_type = input_type
        self.output_type = output_type
        self.expected_rc = expected_rc
        self.active = active
        self.description = description


class RegressionTestOutput(Base):
    """An expected output file of a regression test; the extension has its dot."""

    __tablename__ = "regression_test_output"
    __table_args__ = {"mysql_engine": "InnoDB"}

    id: Mapped[int] = mapped_column(primary_key=True)
    regression_id: Mapped[int | None] = mapped_column(foreign_key("regression_test.id", "RESTRICT"))
    correct: Mapped[str | None] = mapped_column(Text)
    correct_extension: Mapped[str] = mapped_column(String(64))
    expected_filename: Mapped[str | None] = mapped_column(Text)
    ignore: Mapped[bool | None] = mapped_column(default=False)
    regression_test: Mapped[RegressionTest | None] = relationship(back_populates="output_files")
    multiple_files: Mapped[list[RegressionTestOutputFiles]] = relationship(back_populates="output")

    def __init__(
        self,
        regression_id: int | None,
        correct: str | None,
        correct_extension: str,
        expected_filename: str | None,
        ignore: bool | None = False,
    ) -> None:
        self.regression_id = regression_id
        self.correct = correct
        self.correct_extension = correct_extension
        self.expected_filename = expected_filename
        self.ignore = ignore

    @property
    def filename_correct(self) -> str:
        """The name of the approved file (`None.srt` if there is none)."""
        return self.create_correct_filename(f"{self.correct}")

    def filename_expected(self, sample_sha: str) -> str:
        """The name that CCExtractor gives the output for this sample."""
        return self.create_correct_filename(f"{sample_sha}{self.expected_filename}")

    def create_correct_filename(self, name: str) -> str:
        """Append the extension to a name."""
        return f"{name}{self.correct_extension}"


class RegressionTestOutputFiles(Base):
    """The hash of an accepted variant of an output."""

    __tablename__ = "regression_test_output_files"
    __table_args__ = {"mysql_engine": "InnoDB"}

    id: Mapped[int] = mapped_column(primary_key=True)
    file_hashes: Mapped[str | None] = mapped_column(Text)
    regression_test_output_id: Mapped[int | None] = mapped_column(foreign_key("regression_test_output.id", "RESTRICT"))
    output: Mapped[RegressionTestOutput | None] = relationship(back_populates="multiple_files")

    def __init__(self, file_hashes: str, regression_test_output_id: int) -> None:
        self.file_hashes = file_hashes
        self.regression_test_output_id = regression_test_output_id
