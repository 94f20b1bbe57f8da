"""The verdict rule, as functions and as SQL, against the tables of the decisions and the platform's own page."""

from __future__ import annotations

import importlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from hypothesis import given
from sqlalchemy.orm import Session

from api_v1.database import platform, sql
from api_v1.database.tables import RunFailure, RunFailureOutput, RunState
from api_v1.findings import failures
from api_v1.runs import results
from api_v1.verdicts import derivation, refresher, rule
from api_v1.verdicts.derivation import Failure
from api_v1.verdicts.observed import NOTHING, Observed, digest, hash_key
from api_v1.verdicts.rule import Deviation, FileFacts, RunStatus, Verdict
from tests.support import scenarios
from tests.support.factories import hash_of
from tests.support.scenarios import File, RegressionTest, Run, World, examples

needs_platform = pytest.mark.skipif(
    not os.environ.get("SAMPLE_PLATFORM"), reason="compares with the platform's own page; SAMPLE_PLATFORM is not set"
)

EQUAL = FileFacts(None)
VARIANT = FileFacts("a", frozenset({"a", "b"}))
WRONG = FileFacts("c", frozenset({"a", "b"}))


@pytest.mark.parametrize(
    ("files", "needs_output", "codes", "verdict"),
    [
        # None, and the test has at least one output with ignore = false.
        ([], True, (0, 0), "missing_output"),
        ([], True, (1, 0), "missing_output"),
        # Otherwise; the exit code differs from what is expected.
        ([], False, (1, 0), "fail"),
        ([EQUAL], True, (1, 0), "fail"),
        ([EQUAL], True, (None, 0), "fail"),
        ([EQUAL], True, (0, None), "fail"),
        ([EQUAL], True, (0, -1), "fail"),
        ([WRONG], True, (1, 0), "fail"),
        # Every file is equal or an accepted variant; codes are equal.
        ([], False, (0, 0), "pass"),
        ([EQUAL], True, (0, 0), "pass"),
        ([EQUAL, VARIANT], True, (0, 0), "pass"),
        ([EQUAL], True, (7, 7), "pass"),
        ([EQUAL], True, (None, None), "pass"),
        # Any other.
        ([WRONG], True, (0, 0), "fail"),
        ([EQUAL, WRONG], True, (0, 0), "fail"),
        ([WRONG], False, (0, 0), "fail"),
        ([FileFacts("")], True, (0, 0), "fail"),
        ([FileFacts("A", frozenset({"a"}))], True, (0, 0), "fail"),
        ([FileFacts("a ", frozenset({"a"}))], True, (0, 0), "fail"),
    ],
)
def test_verdict_of_a_result(
    files: list[FileFacts], needs_output: bool, codes: tuple[int | None, int | None], verdict: str
) -> None:
    assert rule.result_verdict(*codes, files, needs_output=needs_output) == verdict


@pytest.mark.parametrize(
    ("status", "without_files", "with_files"),
    [
        ("queued", "not_started", "not_started"),
        ("running", "not_started", "running"),
        *((status, "skipped", "skipped") for status in ("pass", "fail", "canceled", "error", "incomplete")),
    ],
)
def test_verdict_without_a_result(status: str, without_files: str, with_files: str) -> None:
    found = [rule.absent_verdict(RunStatus(status), has_files=has_files) for has_files in (False, True)]
    assert found == [without_files, with_files]


@pytest.mark.parametrize(
    ("last", "results", "failing", "missing", "status", "errors"),
    [
        (None, 0, 0, 0, "queued", "unknown"),
        (None, 1, 1, 0, "queued", "true"),
        ("preparation", 0, 0, 3, "running", "unknown"),
        ("testing", 2, 0, 1, "running", "unknown"),
        ("testing", 2, 1, 1, "running", "true"),
        ("canceled", 0, 0, 3, "canceled", "unknown"),
        ("canceled", 3, 1, 0, "canceled", "true"),
        ("completed", 0, 0, 3, "error", "true"),
        ("completed", 0, 0, 0, "error", "true"),
        ("completed", 3, 1, 0, "fail", "true"),
        ("completed", 3, 1, 1, "fail", "true"),
        ("completed", 2, 0, 1, "incomplete", "true"),
        ("completed", 3, 0, 0, "pass", "false"),
    ],
)
def test_state_of_a_run(last: str | None, results: int, failing: int, missing: int, status: str, errors: str) -> None:
    assert rule.run_status(last, results=results, failing=failing, missing=missing) == status
    assert rule.run_errors(status, failing=failing, missing=missing) == errors


def facts(world: World, files: list[File]) -> list[FileFacts]:
    """Files as the rule takes them."""
    accepted = [world.output(file.output).variants for file in files]
    return [
        FileFacts(file.got, frozenset(variant for variant in variants if variant is not None))
        for file, variants in zip(files, accepted, strict=True)
    ]


def judged(world: World, run: Run, test: RegressionTest) -> Verdict:
    """The verdict of a test in a run, by the functions."""
    files, result = world.files(run, test), run.results.get(test.id)
    if result is None:
        return rule.absent_verdict(RunStatus(world.status(run)), has_files=bool(files))
    needs_output = any(output.ignore is False for output in test.outputs)
    codes = result.exit_code, result.expected_rc
    return rule.result_verdict(*codes, facts(world, files), needs_output=needs_output)


@examples()
@given(scenarios.worlds())
def test_functions_say_what_the_tables_say(world: World) -> None:
    for run in world.runs:
        assert {test.id: judged(world, run, test) for test in world.tests} == {
            test.id: world.verdict(run, test) for test in world.tests
        }
        failing = sum(judged(world, run, test) in rule.FAILING for test in world.members(run))
        missing = len(world.absent(run))
        status = rule.run_status(run.last, results=len(run.results), failing=failing, missing=missing)
        errors = rule.run_errors(status, failing=failing, missing=missing)
        assert (status, errors) == (world.status(run), world.run_errors(run))


@pytest.fixture
def session(app: Flask, engine: sa.Engine) -> Iterator[Session]:
    """A session on an empty database, for worlds that are rolled back."""
    with Session(engine) as made:
        yield made


def whole(_run: Any, _test: Any) -> sa.ColumnElement[bool]:
    """Narrow nothing."""
    return sa.true()


@examples()
@given(world=scenarios.worlds())
def test_sql_says_what_the_tables_say(session: Session, world: World) -> None:
    world.insert(session)
    try:
        check_results(session, world)
        check_states(session, world)
        for run in world.runs:
            check_members(session, world, run)
    finally:
        session.rollback()


def check_results(session: Session, world: World) -> None:
    """The results that fail, and only they, are failing results; each is there once."""
    every = {(run.id, id_): run for run in world.runs for id_ in run.results}
    expected = {(run_id, id_): world.verdict(run, world.test(id_)) for (run_id, id_), run in every.items()}
    failing = session.execute(rule.failing_results(whole)).tuples().all()
    assert {(run, test): verdict for run, test, verdict in failing} == {
        key: verdict for key, verdict in expected.items() if verdict in scenarios.FAILING
    }
    assert len(failing) == len(set(failing))


def expected_state(world: World, run: Run, branch_key: Any) -> dict[str, Any]:
    """What the columns of `RunState` have to be, but for the newest progress row's id."""
    judged = Counter(world.verdict(run, test) for test in world.members(run))
    return {
        "test_id": run.id,
        "status": world.status(run),
        "results": len(run.results),
        "recorded": bool(run.chosen),
        "total": len(world.members(run)),
        "passed": judged["pass"],
        "failed": judged["fail"],
        "missing_output": judged["missing_output"],
        "absent": len(world.absent(run)),
        "errors": len(world.faults(run)),
        "created_at": world.created_at(run),
        "created_known": run.known_time is not None,
        "started_at": run.started_at,
        "completed_at": run.completed_at,
        "commit_key": hash_of(run.id)[:40],
        "fork_id": 1,
        "of_pull_request": False,
        "branch_key": branch_key,
    }


def check_states(session: Session, world: World) -> None:
    """The states of runs and their failures, derived all at once, some, and each alone, and without their results."""
    branch_key = session.scalar(sa.select(sql.identity("master")))
    newest = dict(session.execute(newest_progress()).tuples().all())
    expected = [expected_state(world, run, branch_key) | {"last_progress_id": newest.get(run.id)} for run in world.runs]
    ids = [run.id for run in world.runs]
    for chosen in (slice(None), slice(0, None, 2), *(slice(n, n + 1) for n in range(len(ids)))):
        states = sorted(derivation.derive(session, ids[chosen]), key=lambda state: state.test_id)
        assert [state.columns() for state in states] == expected[chosen]
        assert [state.failures for state in states] == [failures_of(world, run) for run in world.runs[chosen]]
    assert derivation.derive(session, [*ids, max(ids) + 1000]) == derivation.derive(session, ids)
    check_what_needs_no_results(session, expected)


def failures_of(world: World, run: Run) -> dict[int, Failure]:
    """The tests that did not plainly pass in a run, and what was observed of those with a result."""
    return {
        id_: Failure(
            verdict, errors, observed_of(world, run, id_) if verdict in (*scenarios.FAILING, "pass") else NOTHING
        )
        for id_, (verdict, errors) in world.failures(run).items()
    }


def observed_of(world: World, run: Run, test_id: int) -> Observed:
    """What is kept of a result."""
    test, result = world.test(test_id), run.results[test_id]
    wrong = {file.output: file.got for file in world.files(run, test) if world.wrong(file)}
    outputs = tuple((output, hash_key(got)) for output, got in sorted(wrong.items()) if got is not None)
    digest_ = digest(*world.observed(run, test))
    return Observed(result.exit_code, result.exit_code != result.expected_rc, digest_, outputs)


def newest_progress() -> sa.Select[Any]:
    """Select the id of the newest progress row of each run."""
    progress = platform.TestProgress
    return sa.select(progress.test_id, sa.func.max(progress.id)).group_by(progress.test_id)


def check_what_needs_no_results(session: Session, expected: list[dict[str, Any]]) -> None:
    """The columns of the states that are known without a look at the results."""
    rows = session.execute(derivation.facts_of_all().order_by("test_id")).mappings().all()
    of_results = ("pass", "fail", "error", "incomplete")
    completed = [state | ({"status": None} if state["status"] in of_results else {}) for state in expected]
    assert [dict(row) for row in rows] == [
        {name: state[name] for name in row} for row, state in zip(rows, completed, strict=True)
    ]


def check_members(session: Session, world: World, run: Run) -> None:
    """The tests of a run's set, with what each shows, and the run's faults."""
    phase = results.head(session, run.id).phase
    assert phase == run.phase
    expected = [member(world, run, test) for test in world.members(run)]
    rows = session.execute(results.members(phase).order_by("regression_id"), {"run_id": run.id}).mappings()
    assert [dict(row) for row in rows] == expected
    tests = session.execute(results.tests(phase).order_by("regression_id"), {"run_id": run.id}).mappings()
    assert [dict(row) for row in tests] == [
        {name: value for name, value in row.items() if name != "status"} for row in expected
    ]
    if phase == "running":
        assert results.count_running(session, run.id) == sum(row["status"] == "running" for row in expected)
    faults = session.execute(failures.faults(phase), {"run_id": run.id}).all()
    found = [(fault.type, fault.severity, fault.regression_id, fault.output_id) for fault in faults]
    assert sorted(found) == world.faults(run)


def member(world: World, run: Run, test: RegressionTest) -> dict[str, Any]:
    """A test of a run's set, as `results.members` shows it."""
    result = run.results.get(test.id)
    return {
        "regression_id": test.id,
        "sample_id": test.sample_id,
        "command": f"-out=srt --test{test.id}",
        "status": world.verdict(run, test),
        "runtime": result and result.runtime,
        "exit_code": result and result.exit_code,
        "expected_rc": result.expected_rc if result else test.expected_rc,
        "has_result": result is not None,
    }


@examples(0.4)
@given(world=scenarios.worlds())
def test_what_is_stored_is_what_the_tables_say(session: Session, world: World) -> None:
    scenarios.clear(session)
    world.insert(session)
    session.commit()
    refresher.rebuild(session.get_bind().engine)
    branch_key = session.scalar(sa.select(sql.identity("master")))
    newest = dict(session.execute(newest_progress()).tuples().all())
    state = RunState.__table__
    stored = session.execute(sa.select(state).where(state.c.test_id != 0).order_by(state.c.test_id)).mappings().all()
    expected = [expected_state(world, run, branch_key) | {"last_progress_id": newest.get(run.id)} for run in world.runs]
    assert [{name: row[name] for name in row if name != "generation"} for row in stored] == expected
    assert len({row["generation"] for row in stored}) == 1
    failures = {run.id: failures_of(world, run) for run in world.runs}
    check_stored_failures(session, failures)
    with session.get_bind().engine.connect() as connection:
        kept = refresher.kept_failures(connection, lambda row: row.test_id != 0)
    assert kept == {run: found for run, found in failures.items() if found}


def check_stored_failures(session: Session, failures: dict[int, dict[int, Failure]]) -> None:
    """Both tables hold these failures, and no other rows."""
    failure, output = RunFailure.__table__, RunFailureOutput.__table__
    every = [(run, id_, found) for run in failures for id_, found in failures[run].items()]
    rows = session.execute(sa.select(failure).where(failure.c.test_id != 0)).tuples().all()
    assert sorted(rows, key=lambda row: row[:2]) == [
        (run, id_, found.verdict, found.errors, *found.observed[:3]) for run, id_, found in sorted(every)
    ]
    rows = session.execute(sa.select(output).where(output.c.test_id != 0)).tuples().all()
    assert sorted(rows) == [(run, id_, *one) for run, id_, found in sorted(every) for one in found.observed.outputs]


@pytest.mark.parametrize(
    ("deviating", "failure"),
    [
        ([], None),
        ([("exit_code", 0, True)], ("fail", 1)),
        ([("difference", 1, True)], ("fail", 1)),
        ([("difference", 1, False)], ("fail", 0)),
        ([("difference", 1, True), ("no_output", 2, True)], ("fail", 2)),
        ([("no_output", 2, True)], ("pass", 1)),
        ([("no_output", 2, False)], None),
        ([("no_file", 1, True), ("no_file", 2, False)], ("missing_output", 1)),
        ([("exit_code", 0, True), ("no_file", 1, True)], ("missing_output", 2)),
        ([("no_file", 1, True), ("exit_code", 0, True)], ("missing_output", 2)),
    ],
)
def test_failure_follows_from_deviations(
    deviating: list[tuple[str, int, bool]], failure: tuple[str, int] | None
) -> None:
    rows = [
        SimpleNamespace(regression_id=7, kind=Deviation(kind), output_id=output_id, baseline=baseline)
        for kind, output_id, baseline in deviating
    ]
    assert derivation.failures_of(rows) == ({} if failure is None else {7: Failure(*failure)})


@needs_platform
@examples()
@given(world=scenarios.worlds(sentinels=False))
def test_pass_is_where_the_platforms_page_shows_no_error(mounted: Flask, database_uri: str, world: World) -> None:
    get_test_results: Callable[[Any], Any] = importlib.import_module("mod_test.controllers").get_test_results
    # The page asks through `Model.query`, which belongs to the session that was made last.
    session = importlib.import_module("database").create_session(database_uri)
    try:
        world.insert(session)
        failing = session.execute(rule.failing_results(whole))
        found = {(row.test_id, row.regression_id): row.verdict for row in failing}
        for run in world.runs:
            categories = get_test_results(session.get(platform.Test, run.id))
            shown = [entry for category in categories for entry in category["tests"] if entry["result"] is not None]
            expected_shown = [test for test in world.tests if test.id in run.results and on_page(run, test)]
            assert {entry["test"].id for entry in shown} == {test.id for test in expected_shown}
            for entry in shown:
                verdict = found.get((run.id, entry["test"].id), Verdict.PASS)
                assert (verdict == Verdict.PASS) is not entry["error"]
                assert verdict == world.verdict(run, world.test(entry["test"].id))
    finally:
        session.rollback()
        session.remove()


def on_page(run: Run, test: RegressionTest) -> bool:
    """Whether the platform's page shows a test: one of a category, and of the run's rows if there are any."""
    return bool(test.categories) and (not run.custom or test.id in run.custom)
