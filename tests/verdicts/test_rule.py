"""The verdict rule, as functions and as SQL, against the platform's page and docs/decisions.md, "Verdict of a test"."""

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
from api_v1.findings import error_items
from api_v1.runs import results
from api_v1.verdicts import derivation, refresher, rule, run_sets, state_tables
from api_v1.verdicts.observed import NOTHING, Observed, digest, hash_key
from api_v1.verdicts.rule import Deviation, Failure, Verdict
from tests.support import oracle, scenarios
from tests.support.factories import hash_of
from tests.support.oracle import RegressionTest, Run, Scenario
from tests.support.scenarios import examples

needs_platform = pytest.mark.skipif(
    not os.environ.get("SAMPLE_PLATFORM"), reason="compares with the platform's own page; SAMPLE_PLATFORM is not set"
)


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


@examples()
@given(scenarios.scenarios())
def test_functions_agree_with_the_oracle(scenario: Scenario) -> None:
    for run in scenario.runs:
        counts = {"failing": scenario.failing(run), "missing": len(scenario.absent(run))}
        status = rule.run_status(run.last, results=len(run.results), **counts)
        assert (status, rule.run_errors(status, **counts)) == (scenario.status(run), scenario.run_errors(run))


@pytest.fixture
def session(app: Flask, engine: sa.Engine) -> Iterator[Session]:
    """A session on an empty database, for scenarios that are rolled back."""
    with Session(engine) as made:
        yield made


def whole(_run: Any, _test: Any) -> sa.ColumnElement[bool]:
    """Narrow nothing."""
    return sa.true()


@examples()
@given(scenario=scenarios.scenarios())
def test_sql_agrees_with_the_oracle(session: Session, scenario: Scenario) -> None:
    scenario.insert(session)
    try:
        check_results(session, scenario)
        check_states(session, scenario)
        for run in scenario.runs:
            check_members(session, scenario, run)
    finally:
        session.rollback()


def check_results(session: Session, scenario: Scenario) -> None:
    """The results that fail, and only they, are failing results; each is there once."""
    every = {(run.id, id_): run for run in scenario.runs for id_ in run.results}
    expected = {(run_id, id_): scenario.verdict(run, scenario.test(id_)) for (run_id, id_), run in every.items()}
    failing = session.execute(rule.failing_results(whole)).tuples().all()
    assert {(run, test): verdict for run, test, verdict in failing} == {
        key: verdict for key, verdict in expected.items() if verdict in oracle.FAILING
    }
    assert len(failing) == len(set(failing))


def expected_state(scenario: Scenario, run: Run, branch_key: Any) -> dict[str, Any]:
    """Return the expected columns of `RunState`, except the newest progress row's id."""
    judged = Counter(scenario.verdict(run, test) for test in scenario.members(run))
    return {
        "test_id": run.id,
        "status": scenario.status(run),
        "results": len(run.results),
        "recorded": bool(run.chosen),
        "total": len(scenario.members(run)),
        "passed": judged["pass"],
        "failed": judged["fail"],
        "missing_output": judged["missing_output"],
        "absent": len(scenario.absent(run)),
        "errors": len(scenario.faults(run)),
        "created_at": scenario.created_at(run),
        "created_known": run.known_time is not None,
        "started_at": run.started_at,
        "completed_at": run.completed_at,
        "commit_key": hash_of(run.id)[:40],
        "fork_id": 1,
        "of_pull_request": bool(run.pull_request),
        "pull_request": run.pull_request or None,
        "branch_key": branch_key,
    }


def check_states(session: Session, scenario: Scenario) -> None:
    """The states of runs and their failures, derived all at once, some, and each alone, and without their results."""
    branch_key = session.scalar(sa.select(sql.group_key("master")))
    newest = dict(session.execute(newest_progress()).tuples().all())
    expected = [
        expected_state(scenario, run, branch_key) | {"last_progress_id": newest.get(run.id)} for run in scenario.runs
    ]
    ids = [run.id for run in scenario.runs]
    for chosen in (slice(None), slice(0, None, 2), *(slice(n, n + 1) for n in range(len(ids)))):
        states = sorted(derivation.derive(session, ids[chosen]), key=lambda state: state.test_id)
        assert [state.columns() for state in states] == expected[chosen]
        assert [state.failures for state in states] == [failures_of(scenario, run) for run in scenario.runs[chosen]]
    assert derivation.derive(session, [*ids, max(ids) + 1000]) == derivation.derive(session, ids)
    check_what_needs_no_results(session, expected)


def failures_of(scenario: Scenario, run: Run) -> dict[int, Failure]:
    """The tests that did not plainly pass in a run, and what was observed of those with a result in its set."""
    found = {}
    for id_, (verdict, errors) in scenario.failures(run).items():
        judged = verdict in ("pass", *oracle.FAILING)
        found[id_] = Failure(verdict, errors, observed_of(scenario, run, id_) if judged else NOTHING)
    return found


def observed_of(scenario: Scenario, run: Run, test_id: int) -> Observed:
    """What is stored of a result."""
    test, result = scenario.test(test_id), run.results[test_id]
    wrong = {file.output: file.got for file in scenario.files(run, test) if scenario.wrong(file)}
    outputs = tuple((output, hash_key(got)) for output, got in sorted(wrong.items()) if got is not None)
    wrong_exit_code = result.exit_code != result.expected_rc
    return Observed(result.exit_code, wrong_exit_code, digest(*scenario.observed(run, test)), outputs)


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


def check_members(session: Session, scenario: Scenario, run: Run) -> None:
    """The tests of a run's set, with what each shows, and the run's faults."""
    phase = results.header(session, run.id).phase
    assert phase == run.phase
    expected = [member(scenario, run, test) for test in scenario.members(run)]
    rows = session.execute(results.members(phase).order_by("regression_id"), {"run_id": run.id}).mappings()
    assert [dict(row) for row in rows] == expected
    tests = session.execute(run_sets.tests(phase).order_by("regression_id"), {"run_id": run.id}).mappings()
    assert [dict(row) for row in tests] == [
        {name: value for name, value in row.items() if name != "status"} for row in expected
    ]
    if phase == "running":
        assert results.count_running(session, run.id) == sum(row["status"] == "running" for row in expected)
    faults = session.execute(error_items.error_items(phase), {"run_id": run.id}).all()
    found = [(fault.type, fault.severity, fault.regression_id, fault.output_id) for fault in faults]
    assert sorted(found) == scenario.faults(run)


def member(scenario: Scenario, run: Run, test: RegressionTest) -> dict[str, Any]:
    """A test of a run's set, as `results.members` shows it."""
    result = run.results.get(test.id)
    return {
        "regression_id": test.id,
        "sample_id": test.sample_id,
        "command": f"-out=srt --test{test.id}",
        "status": scenario.verdict(run, test),
        "runtime": result and result.runtime,
        "exit_code": result and result.exit_code,
        "expected_rc": result.expected_rc if result else test.expected_rc,
        "has_result": result is not None,
    }


@examples(0.4)
@given(scenario=scenarios.scenarios())
def test_stored_states_agree_with_the_oracle(session: Session, scenario: Scenario) -> None:
    oracle.clear(session)
    scenario.insert(session)
    session.commit()
    refresher.rebuild(session.get_bind().engine)
    branch_key = session.scalar(sa.select(sql.group_key("master")))
    newest = dict(session.execute(newest_progress()).tuples().all())
    state = RunState.__table__
    stored = session.execute(sa.select(state).where(state.c.test_id != 0).order_by(state.c.test_id)).mappings().all()
    expected = [
        expected_state(scenario, run, branch_key) | {"last_progress_id": newest.get(run.id)} for run in scenario.runs
    ]
    assert [{name: row[name] for name in row if name != "generation"} for row in stored] == expected
    assert len({row["generation"] for row in stored}) == 1
    check_stored_failures(session, {run.id: failures_of(scenario, run) for run in scenario.runs})


def check_stored_failures(session: Session, failures: dict[int, dict[int, Failure]]) -> None:
    """Both tables hold these failures, and no other rows."""
    failure, output = RunFailure.__table__, RunFailureOutput.__table__
    every = sorted((run, id_, found) for run in failures for id_, found in failures[run].items())
    columns = ("test_id", "regression_id", "verdict", "errors", "exit_code", "wrong_exit_code", "observed")
    rows = session.execute(sa.select(*(failure.c[name] for name in columns)).where(failure.c.test_id != 0))
    assert sorted(rows.tuples(), key=lambda row: row[:2]) == [
        (run, id_, found.verdict, found.errors, *found.observed[:3]) for run, id_, found in every
    ]
    rows = session.execute(sa.select(output).where(output.c.test_id != 0))
    assert sorted(rows.tuples()) == [(run, id_, *one) for run, id_, found in every for one in found.observed.outputs]
    with session.get_bind().engine.connect() as connection:
        stored = state_tables.stored_failures(connection, lambda row: row.test_id != 0)
    assert stored == {run: found for run, found in failures.items() if found}


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
    assert rule.failures_of(rows) == ({} if failure is None else {7: Failure(*failure)})


@needs_platform
@examples()
@given(scenario=scenarios.scenarios(sentinels=False))
def test_pass_is_where_the_platforms_page_shows_no_error(mounted: Flask, database_uri: str, scenario: Scenario) -> None:
    get_test_results: Callable[[Any], Any] = importlib.import_module("mod_test.controllers").get_test_results
    # The page asks through `Model.query`, which belongs to the session that was made last.
    session = importlib.import_module("database").create_session(database_uri)
    try:
        scenario.insert(session)
        failing = session.execute(rule.failing_results(whole))
        found = {(row.test_id, row.regression_id): row.verdict for row in failing}
        for run in scenario.runs:
            categories = get_test_results(session.get(platform.Test, run.id))
            shown = [entry for category in categories for entry in category["tests"] if entry["result"] is not None]
            expected_shown = [test for test in scenario.tests if test.id in run.results and on_page(run, test)]
            assert {entry["test"].id for entry in shown} == {test.id for test in expected_shown}
            for entry in shown:
                verdict = found.get((run.id, entry["test"].id), Verdict.PASS)
                assert (verdict == Verdict.PASS) is not entry["error"]
                assert verdict == scenario.verdict(run, scenario.test(entry["test"].id))
    finally:
        session.rollback()
        session.remove()


def on_page(run: Run, test: RegressionTest) -> bool:
    """Whether the platform's page shows a test: one of a category, and of the run's rows if there are any."""
    return bool(test.categories) and (not run.custom or test.id in run.custom)
