"""Which entry of a run's log is that of a test.

The log has no ids of tests (docs/platform.md, "The run log"). An entry is a test's where no other test of the run can
be meant: none of the same sample, in the same category and with the same exit code (docs/decisions.md, "The entry of a
test in the log").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from api_v1.files.logs.ends import EntryEnd, EntryFile


@dataclass(frozen=True)
class SentTest:
    """A test of a run.

    Attributes:
        exit_code: the one of its result; None without one.
        categories: those that it is in, by id; without any it was in one that is not known any more.
    """

    sample_id: int | None
    exit_code: int | None
    categories: frozenset[int]

    def may_be(self, entry: EntryEnd, category: int | None) -> bool:
        """Tell whether an entry of the test's sample may be the test's; None for a category that is not known."""
        if category is not None and self.categories and category not in self.categories:
            return False
        # A test of several categories is run several times, and has the result of one of them.
        return len(self.categories) > 1 or self.has_code_of(entry)

    def has_code_of(self, entry: EntryEnd) -> bool:
        """Tell whether an entry ended with the exit code of the result, as far as both are known."""
        return None in (entry.exit_code, self.exit_code) or entry.exit_code == self.exit_code


@dataclass(frozen=True)
class CategoryFile:
    """The file of tests that the platform makes of a category for a worker.

    Attributes:
        size: how many tests of the run are in it.
    """

    category_id: int
    name: str
    size: int

    def is_called(self, name: str) -> bool:
        """Tell whether a name, perhaps with a path, is that of the file; the platform changes no character of it."""
        own = f"{self.name}.xml"
        return name == own or name.endswith((f"/{own}", f"\\{own}"))


@dataclass(frozen=True)
class SentTests:
    """The tests that the platform had a worker run.

    Attributes:
        tests: by id.
        files: in the order in which the tester reads them.
    """

    tests: Mapping[int, SentTest] = field(default_factory=dict)
    files: Sequence[CategoryFile] = ()

    def categories_of(self, files: Sequence[EntryFile], *, whole: bool) -> list[int | None]:
        """Return the category of each file that a log tells of, None where it is not certain.

        Args:
            whole: whether the log has the first file.
        """
        by_order = self._by_order([file.size for file in files], whole=whole)
        return [self._by_name(file) or ordered for file, ordered in zip(files, by_order, strict=True)]

    def _by_name(self, file: EntryFile) -> int | None:
        called = [one.category_id for one in self.files if file.name is not None and one.is_called(file.name)]
        return called[0] if len(called) == 1 else None

    def _by_order(self, sizes: Sequence[int], *, whole: bool) -> Sequence[int | None]:
        """Return the categories of files that follow one another: those whose numbers of tests are the same.

        They are not known if these numbers occur nowhere in the run, or at several places.
        """
        own = [file.size for file in self.files]
        starts = range(1 if whole else len(own))
        fitting = [start for start in starts if own[start : start + len(sizes)] == list(sizes)]
        if len(fitting) != 1:
            return [None] * len(sizes)
        return [file.category_id for file in self.files[fitting[0] :][: len(sizes)]]

    def of_test(
        self, regression_id: int, entries: Sequence[EntryEnd], categories: Sequence[int | None]
    ) -> tuple[Sequence[EntryEnd], EntryEnd | None]:
        """Return the entries that may be a test's, and the last one that certainly is.

        Args:
            entries: those that name its sample.
            categories: those of the files of the log.
        """
        test = self.tests.get(regression_id)
        if test is None:
            return [], None
        others = [
            other for key, other in self.tests.items() if other.sample_id == test.sample_id and key != regression_id
        ]
        possible, certain = [], []
        for entry in entries:
            category = None if entry.file is None else categories[entry.file]
            if test.may_be(entry, category) and test.has_code_of(entry):
                possible.append(entry)
                if not any(other.may_be(entry, category) for other in others):
                    certain.append(entry)
        # A file has each test once: two entries of one file contradict what is known of the tests.
        is_consistent = len({entry.file for entry in certain}) == len(certain)
        return possible, certain[-1] if certain and is_consistent else None
