"""What became of each regression test between a base run and another one.

Everything comes from stored rows: the platform's results and files of both runs, and the stored verdicts; no file is
read. The number of statements does not depend on the size of the runs.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from api_v1.database.platform import (
    DbSession,
    RegressionTest,
)
from api_v1.hashes import stored_hash
from api_v1.paging import Page
from api_v1.runs import bases, changes, outcomes
from api_v1.runs.bases import MASTER, Base, MasterRun, Run, Subject
from api_v1.runs.changes import Change, Outcome
from api_v1.runs.outcomes import NOT_NARROWED, Narrowing, Outcomes
from api_v1.runs.references import RunReference
from api_v1.verdicts import observed


@dataclass(frozen=True)
class ComparedOutput:
    """An output that differs between the runs or from what was expected.

    Hashes are None where there is no file, or where none of 64 hex digits is stored.
    """

    output_id: int
    expected_hash: str | None
    actual_hash: str | None
    base_hash: str | None


@dataclass(frozen=True)
class Row:
    """What became of a test.

    Attributes:
        status: its verdict in the run; None where it is not in the run's set. `base_status` is that in the base.
        certain: whether the change is the same in every reading of the platform's rows (`changes`).
        older_master_run_id: for a test that is broken against the base: the newest of master's runs before the base
            in which it failed with the same observed result.
    """

    regression_id: int
    sample_id: int | None
    command: str
    change: Change
    certain: bool
    status: str | None
    base_status: str | None
    exit_code: int | None
    base_exit_code: int | None
    expected_exit_code: int | None
    outputs: Sequence[ComparedOutput]
    newly_missing_output_ids: Sequence[int]
    older_master_run_id: int | None

    @property
    def failed_on_older_master(self) -> bool:
        """Whether it failed in the same way on master, before the base: probably a branch that is behind."""
        return self.older_master_run_id is not None


class Comparison:
    """Two runs, test by test.

    Attributes:
        subject: the run that is compared.
        base: what with, and why.
        here: its tests.
        there: the base's tests; empty without a base.
        changes: what became of each test, in the order of their ids.
        older: of the tests that are broken against the base, the newest of master's last runs before it in which they
            failed with the same observed result.
    """

    older: Mapping[int, RunReference]

    def __init__(self, subject: Subject, base: Base, here: Outcomes, there: Outcomes) -> None:
        self.subject = subject
        self.base = base
        self.here = here
        self.there = there
        self.older = {}
        self.changes = {test: changes.change(here.get(test), there.get(test)) for test in sorted({*here, *there})}

    @property
    def run(self) -> Run:
        """The run that is compared."""
        return self.subject.run

    @functools.cached_property
    def counts(self) -> dict[str, int]:
        """How many tests there are of each change."""
        found = Counter(self.changes.values())
        return {change.value: found[change] for change in Change}

    @functools.cached_property
    def uncertain(self) -> set[int]:
        """The tests of which another reading of the rows gives another change."""
        return {test for test in self.changes if not self.is_certain(test)}

    def is_certain(self, test: int) -> bool:
        """Tell whether every reading of the rows gives the same change of a test."""
        return changes.is_certain(self.here.get(test), self.there.get(test))

    def of(self, *wanted: Change) -> list[int]:
        """Return the tests of some changes, in the order of their ids."""
        return [test for test, change in self.changes.items() if change in wanted]


def compare(
    session: DbSession, run_id: int, *, main_repository: str, machine_minutes: int, base: str = MASTER
) -> Comparison:
    """Compare a run.

    Args:
        main_repository: owner/name of the repository that the platform tests.
        machine_minutes: for how long the platform lets a worker's machine live.
        base: what with; see `bases.choose`.

    Raises:
        NotFound: there is no such run, or no such base.
        Unprocessable: the runs cannot be compared.
        VerdictsRebuilding: the states of runs are not known at the moment.
    """
    subject = bases.subject(session, run_id, main_repository=main_repository)
    whole = against(session, subject, bases.choose(session, subject, base), machine_minutes=machine_minutes)
    broken, run = whole.of(Change.BROKEN_HERE), whole.base.run
    if broken and run is not None:
        masters = bases.masters(session, subject.context, platform=run.platform, before=run.run_id, tests=broken)
        whole.older = failed_alike(whole, masters)
    return whole


def against(
    session: DbSession, subject: Subject, base: Base, *, machine_minutes: int, narrowing: Narrowing | None = None
) -> Comparison:
    """Compare a run with its base, in two statements; older runs of master are not looked at.

    Args:
        narrowing: which results to leave out.
    """
    runs = [subject.run] if base.run is None else [subject.run, base.run]
    narrowing = narrowing or NOT_NARROWED
    found = outcomes.of_runs(session, subject.context, runs, machine_minutes=machine_minutes, narrowing=narrowing)
    there = {} if base.run is None else found[base.run.run_id]
    return Comparison(subject, base, found[subject.run.run_id], there)


def failed_alike(whole: Comparison, masters: Sequence[MasterRun]) -> dict[int, RunReference]:
    """Return the broken tests that failed alike on master before the base, each with the newest such run.

    Args:
        masters: master's last runs before the base, newest first, with their failures of the broken tests.
    """
    found = {}
    for test in whole.of(Change.BROKEN_HERE):
        seen = observed.digest(whole.here[test].exit_code, whole.here[test].hashes)
        same = next((one.run for one in masters if one.digests.get(test) == seen), None)
        if same is not None:
            found[test] = same
    return found


def page(
    session: DbSession,
    run_id: int,
    *,
    main_repository: str,
    machine_minutes: int,
    limit: int,
    offset: int = 0,
    base: str = MASTER,
    change: str | None = None,
) -> Page[Row]:
    """Return a page of the tests of a run and its base, by id; its extra fields say what there is of the whole.

    A run has at most as many tests as the catalogue; they are all compared, to count them.

    Args:
        change: only tests of this change; the counts are of all.
    """
    whole = compare(session, run_id, main_repository=main_repository, machine_minutes=machine_minutes, base=base)
    tests = list(whole.changes) if change is None else whole.of(Change(change))
    extra = {
        "run": whole.run,
        "base": {"requested": base, "reason": whole.base.reason, "run": whole.base.run},
        "counts": whole.counts,
        "uncertain_count": len(whole.uncertain),
        "failed_on_older_master_count": len(whole.older),
    }
    return Page(rows(session, whole, tests[offset : offset + limit]), len(tests), extra)


def rows(session: DbSession, whole: Comparison, tests: Sequence[int]) -> list[Row]:
    """Return what became of some tests, in the order given; one statement."""
    asked = {"tests": list(tests)}
    definitions = {row.id: row for row in session.execute(_DEFINITIONS, asked)}
    # One that is not there was deleted since.
    return [_row(whole, definitions[test]) for test in tests if test in definitions]


_DEFINITIONS = sa.select(RegressionTest.id, RegressionTest.sample_id, RegressionTest.command).where(
    RegressionTest.id.in_(sa.bindparam("tests", expanding=True, type_=sa.Integer))
)


def _row(whole: Comparison, definition: Any) -> Row:
    test = definition.id
    here, base = whole.here.get(test), whole.there.get(test)
    older = whole.older.get(test)
    return Row(
        regression_id=test,
        sample_id=definition.sample_id,
        command=definition.command,
        change=whole.changes[test],
        certain=whole.is_certain(test),
        status=None if here is None else here.verdict,
        base_status=None if base is None else base.verdict,
        exit_code=None if here is None else here.exit_code,
        base_exit_code=None if base is None else base.exit_code,
        expected_exit_code=None if here is None else here.expected_exit_code,
        outputs=_differing(here, base),
        newly_missing_output_ids=changes.newly_missing(here, base),
        older_master_run_id=None if older is None else older.run_id,
    )


def _differing(here: Outcome | None, base: Outcome | None) -> list[ComparedOutput]:
    """Return the outputs that differ between the runs, or in one of them from what was expected."""
    ours, theirs = (outcome.files if outcome and outcome.has_result else {} for outcome in (here, base))
    both = bool(here and here.has_result and base and base.has_result)
    found = []
    for output in sorted({*ours, *theirs}):
        one, other = ours.get(output), theirs.get(output)
        wrong = any(file is not None and not file.accepted for file in (one, other))
        hashes = [None if file is None else file.observed for file in (one, other)]
        if wrong or (both and hashes[0] != hashes[1]):
            expected = one.expected if one is not None else None
            found.append(ComparedOutput(output, *map(stored_hash, (expected, *hashes))))
    return found
