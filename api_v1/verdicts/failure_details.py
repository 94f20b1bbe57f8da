"""Read what was observed of the tests that did not plainly pass, for the few results that need it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from api_v1.database.platform import DbSession, TestResult, TestResultFile
from api_v1.verdicts.observed import NOTHING, Observed, digest, hash_key
from api_v1.verdicts.rule import Failure, mismatch, stored_file

#: Results read by one statement.
AT_ONCE = 5000

#: Tests of a run beyond which all of its results are read: to name each one would take longer.
NAMED = 50

#: A run and a regression test.
Key = tuple[int, int]


def observe(
    session: DbSession | sa.Connection, failures: Mapping[int, Mapping[int, Failure]]
) -> dict[int, dict[int, Failure]]:
    """Return failures with what was observed of them, in one statement for some thousands.

    Args:
        failures: by run and test; each has a result.
    """
    found: defaultdict[Key, list[Any]] = defaultdict(list)
    wanted = {(run, test) for run, of_run in failures.items() for test in of_run}
    for some in _portions(wanted):
        for row in session.execute(_results(some), execution_options={"compiled_cache": None}):
            if (row.test_id, row.regression_id) in wanted:
                found[row.test_id, row.regression_id].append(row)
    return {
        run: {test: failure._replace(observed=_observed(found[run, test])) for test, failure in of_run.items()}
        for run, of_run in failures.items()
    }


def _observed(rows: Sequence[Any]) -> Observed:
    if not rows:
        # It was deleted since, which makes the run one that changed.
        return NOTHING
    first = rows[0]
    files = [row for row in rows if row.output_id is not None]
    hashes = {row.output_id: row.expected if row.got is None else row.got for row in files}
    outputs = sorted((row.output_id, hash_key(row.got)) for row in files if row.wrong)
    wrong = first.exit_code != first.expected_rc
    return Observed(first.exit_code, wrong, digest(first.exit_code, hashes), tuple(outputs))


#: Results by the runs that have the same ones of them: the tests, or None for all tests.
Group = tuple[list[int], list[int] | None]


def _portions(keys: Iterable[Key]) -> Iterator[list[Group]]:
    """Part results into what one statement reads each."""
    tests: defaultdict[int, list[int]] = defaultdict(list)
    for run, test in sorted(keys):
        tests[run].append(test)
    runs: defaultdict[tuple[int, ...] | None, list[int]] = defaultdict(list)
    for run, own in tests.items():
        runs[tuple(own) if len(own) <= NAMED else None].append(run)
    portion: list[Group] = []
    size = 0
    for wanted, of_runs in runs.items():
        width = NAMED if wanted is None else len(wanted)
        step = max(1, AT_ONCE // width)
        for start in range(0, len(of_runs), step):
            some = of_runs[start : start + step]
            if portion and size + width * len(some) > AT_ONCE:
                yield portion
                portion, size = [], 0
            portion.append((some, None if wanted is None else list(wanted)))
            size += width * len(some)
    if portion:
        yield portion


def _results(groups: Sequence[Group]) -> sa.Select[Any]:
    """Select results with their files: test_id, regression_id, exit_code, expected_rc, output_id, expected, got, wrong.

    Built for its values, because how many there are decides on its text; it is not worth remembering.
    """
    result, file = TestResult, TestResultFile
    own = sa.and_(
        file.test_id == result.test_id, file.regression_test_id == result.regression_test_id, stored_file(file)
    )
    wanted = (
        result.test_id.in_(runs) if tests is None else result.test_id.in_(runs) & result.regression_test_id.in_(tests)
        for runs, tests in groups
    )
    return (
        sa.select(
            result.test_id,
            result.regression_test_id.label("regression_id"),
            *(result.exit_code, result.expected_rc),
            file.regression_test_output_id.label("output_id"),
            *(file.expected, file.got),
            mismatch(file).label("wrong"),
        )
        .outerjoin(file, own)
        .where(sa.or_(*wanted))
    )
