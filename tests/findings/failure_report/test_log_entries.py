"""Which entry of the log is that of a test: by sample, category and exit code, or none if others may be meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from api_v1.database import platform
from api_v1.database.platform import DbSession
from api_v1.files.storage import Storage
from api_v1.findings.failure_report.evidence import LogEvidence, Status
from tests.support import factories
from tests.support.bucket import put_local
from tests.support.failure_reports import report

PASSED, FAILED = 0, 139
WEIRD = "Déjà vu: 50% & <more> 'x'"


def entry(number: int, of: int, sample: Any, code: int | None = 0, said: str = "") -> list[str]:
    """The lines of an entry; no code for one that never ends, no sample for one that does not name it."""
    lines = [f"[INFO] Starting with entry {number} of {of}"]
    if sample is not None:
        lines.append(f"[ERROR] Opening file: repository/TestFiles/{sample.filename}")
    lines.append(f"[ERROR] {said or number}")
    return [*lines, *([] if code is None else [f"[INFO] Finished entry {number} with exit code: {code}"])]


def one_file(*entries: tuple[Any, int | None, str], name: str = "") -> list[str]:
    """The lines of the file of a category."""
    lines = [f"[INFO] Running provided file {name}"] if name else []
    for number, (sample, code, said) in enumerate(entries, 1):
        lines += entry(number, len(entries), sample, code, said)
    return [*lines, "[INFO] Runtime: 00:00:01.0000000"]


HEAD = ["[INFO] Running provided file", "[INFO] Multitest, overriding report folder to: reports"]


@dataclass
class Case:
    """Tests of one sample, and a run of them with a log."""

    session: DbSession
    folder: Path
    storage: Storage

    def __post_init__(self) -> None:
        self.sample = factories.sample(self.session)
        self.other = factories.sample(self.session)

    def test(self, *categories: str, of: Any = None) -> Any:
        """A test of the sample; its categories get their ids in the order in which they are named first."""
        return factories.regression_test(self.session, of or self.sample, categories)

    def logs(
        self,
        results: Sequence[tuple[Any, int | None]],
        lines: Sequence[str],
        *,
        host: str = "linux",
        recorded: bool = True,
        line_end: str = "\n",
    ) -> dict[int, LogEvidence]:
        """What the report shows of each failing test.

        Args:
            results: tests with their exit codes; None for a test without a result.
        """
        run = factories.run(
            self.session,
            *("preparation", "testing", "completed"),
            host=host,
            tests=[test for test, _ in results] if recorded else (),
        )
        for test, code in results:
            if code is not None:
                factories.result(self.session, run, test, exit_code=code, expected_rc=1)
        self.session.commit()
        put_local(self.folder, f"LogFiles/{run.id}.txt", "".join(f"{line}{line_end}" for line in lines).encode())
        found = report(self.session, self.storage, run.id)
        return {test.regression_id: test.log for test in found.tests if test.log is not None}


@pytest.fixture
def case(session: DbSession, folder: Path, storage: Storage) -> Case:
    """Two samples without tests."""
    return Case(session, folder, storage)


def shown(log: LogEvidence) -> tuple[Status, list[str], int]:
    """The status, what the entry said, and how many entries may be meant."""
    words = [line.removeprefix("[ERROR] ").rstrip() for line in log.lines if line.startswith("[ERROR] ")]
    return log.status, [said for said in words if not said.startswith("Opening")], log.entries


NOTHING: tuple[Status, list[str], int] = (Status.NOT_FOUND, [], 0)


@pytest.mark.parametrize(("host", "line_end"), [("linux", "\n"), ("windows", " \r\n")])
def test_two_categories_with_equal_exit_codes_have_an_entry_each(case: Case, host: str, line_end: str) -> None:
    first, second, filler = case.test("Old"), case.test("New"), case.test("New", of=case.other)
    # The newest category comes first, and no line names it.
    lines = [*HEAD, *one_file((case.sample, 0, "new"), (None, 0, "")), *one_file((case.sample, 0, "old"))]
    logs = case.logs([(first, 0), (second, 0), (filler, 0)], lines, host=host, line_end=line_end)
    assert shown(logs[first.id]) == (Status.READ, ["old"], 1)
    assert shown(logs[second.id]) == (Status.READ, ["new"], 1)


def test_the_entry_of_another_test_is_not_shown_for_a_silent_one(case: Case) -> None:
    silent, loud = case.test("Old"), case.test("New")
    logs = case.logs([(silent, 0), (loud, 0)], [*one_file((case.sample, 0, "loud")), *one_file((None, 0, ""))])
    assert shown(logs[silent.id]) == NOTHING
    assert shown(logs[loud.id]) == (Status.READ, ["loud"], 1)


@pytest.mark.parametrize("loud", [(True, True), (True, False)])
def test_one_category_with_equal_exit_codes_is_ambiguous(case: Case, loud: tuple[bool, bool]) -> None:
    tests = [case.test("One"), case.test("One")]
    lines = one_file(*((case.sample if one else None, 0, "x") for one in loud))
    logs = case.logs([(test, 0) for test in tests], lines)
    assert [shown(logs[test.id]) for test in tests] == [(Status.AMBIGUOUS, [], sum(loud))] * 2


def test_one_category_with_different_exit_codes_is_certain(case: Case) -> None:
    tests = [case.test("One"), case.test("One")]
    # The order of the tests in a file is not known.
    lines = one_file((case.sample, FAILED, "boom"), (case.sample, PASSED, "fine"))
    logs = case.logs([(tests[0], PASSED), (tests[1], FAILED)], lines)
    assert [shown(logs[test.id]) for test in tests] == [(Status.READ, ["fine"], 1), (Status.READ, ["boom"], 1)]


def test_a_test_of_several_categories_has_the_last_of_its_entries(case: Case) -> None:
    test = case.test("Old", "New")
    lines = [*one_file((case.sample, FAILED, "first")), *one_file((case.sample, FAILED, "second"))]
    assert shown(case.logs([(test, FAILED)], lines)[test.id]) == (Status.READ, ["second"], 2)


def test_a_test_of_several_categories_may_have_ended_otherwise_in_one(case: Case) -> None:
    flips, other = case.test("Old", "New"), case.test("New")
    lines = [*one_file((case.sample, PASSED, "?"), (None, 0, "")), *one_file((case.sample, FAILED, "boom"))]
    logs = case.logs([(flips, FAILED), (other, PASSED)], lines)
    assert shown(logs[flips.id]) == (Status.READ, ["boom"], 1)
    assert shown(logs[other.id]) == (Status.AMBIGUOUS, [], 1)


def test_without_known_categories_an_exit_code_is_enough_if_no_other_test_has_it(case: Case) -> None:
    first, second, third = case.test("Old"), case.test("New"), case.test("Newer")
    entries = [*entry(1, 3, case.sample, FAILED, "boom"), *entry(2, 3, case.sample), *entry(3, 3, case.sample)]
    logs = case.logs([(first, FAILED), (second, PASSED), (third, PASSED)], entries)
    assert shown(logs[first.id]) == (Status.READ, ["boom"], 1)
    assert shown(logs[second.id]) == shown(logs[third.id]) == (Status.AMBIGUOUS, [], 2)


def test_tests_that_changed_their_category_since_are_told_apart_by_exit_code_alone(case: Case) -> None:
    first, second = case.test("Old"), case.test("New")
    lines = one_file((case.sample, 0, "a"), (case.sample, 0, "b"))
    logs = case.logs([(first, 0), (second, 0)], lines)
    assert [shown(logs[test.id]) for test in (first, second)] == [(Status.AMBIGUOUS, [], 2)] * 2


@pytest.mark.parametrize("path", ["{}.xml", "/repository/ci-tests/{}.xml", "C:\\repository\\ci-tests\\{}.xml"])
def test_a_file_that_the_log_names_is_that_of_the_category(case: Case, path: str) -> None:
    first, second = case.test("Old"), case.test(WEIRD)
    # Not in the order of the platform.
    lines = [
        *one_file((case.sample, 0, "old"), name=path.format("Old")),
        *one_file((case.sample, 0, "weird"), name=path.format(WEIRD)),
    ]
    logs = case.logs([(first, 0), (second, 0)], lines)
    assert shown(logs[first.id]) == (Status.READ, ["old"], 1)
    assert shown(logs[second.id]) == (Status.READ, ["weird"], 1)


def test_a_chosen_set_leaves_out_the_other_tests_of_the_sample(case: Case) -> None:
    test, _ = case.test("One"), case.test("One")
    logs = case.logs([(test, 0)], one_file((case.sample, 0, "mine")))
    assert shown(logs[test.id]) == (Status.READ, ["mine"], 1)


@pytest.mark.parametrize("recorded", [True, False])
def test_a_test_without_a_result_may_have_any_entry(case: Case, recorded: bool) -> None:
    failed, absent = case.test("One"), case.test("One")
    lines = one_file((case.sample, FAILED, "?"), (None, None, ""))
    logs = case.logs([(failed, FAILED), (absent, None)], lines, recorded=recorded)
    assert shown(logs[failed.id]) == (Status.AMBIGUOUS, [], 1)


def test_a_test_that_lost_its_category_may_be_in_any_file(case: Case) -> None:
    kept, lost = case.test("One"), case.test("Two")
    lines = [*one_file((case.sample, 0, "?")), *one_file((case.sample, 0, "?"))]
    lost.categories = []
    logs = case.logs([(kept, 0), (lost, 0)], lines)
    assert [shown(logs[test.id])[0] for test in (kept, lost)] == [Status.AMBIGUOUS] * 2


def test_a_link_that_is_stored_twice_counts_once(case: Case) -> None:
    first, second = case.test("Old"), case.test("New")
    links = platform.regression_test_category
    old = sa.select(links.c.regression_id, links.c.category_id).where(links.c.regression_id == first.id)
    case.session.execute(sa.insert(links).from_select(["regression_id", "category_id"], old))
    lines = [*one_file((case.sample, 0, "new")), *one_file((case.sample, 0, "old"))]
    logs = case.logs([(first, 0), (second, 0)], lines)
    assert shown(logs[first.id]) == (Status.READ, ["old"], 1)


def test_the_files_at_the_end_of_a_long_log_are_known_where_their_sizes_are_unique(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api_v1.findings.failure_report.evidence.LOG_BYTES", 2500)
    others = [case.test("Old", of=case.other) for _ in range(2)]
    first, second = case.test("Old"), case.test("New")
    new = one_file((case.sample, 0, "new"))
    old = one_file((None, 0, "noise\n" * 1000), (None, 0, ""), (case.sample, 0, "old"))
    results = [(test, 0) for test in (first, second, *others)]
    logs = case.logs(results, [*new, *old])
    assert shown(logs[first.id]) == (Status.READ, ["old"], 1)
    assert shown(logs[second.id]) == NOTHING


def test_the_files_of_a_tester_that_stopped_are_the_first_ones(case: Case) -> None:
    first, second = case.test("Old"), case.test("New")
    filler = case.test("New", of=case.other)
    lines = entry(1, 2, case.sample, 0, "new")
    logs = case.logs([(first, 0), (second, 0), (filler, None)], lines)
    assert shown(logs[second.id]) == (Status.READ, ["new"], 1)
    assert shown(logs[first.id]) == NOTHING
