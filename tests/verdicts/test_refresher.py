"""What a refresh derives anew, and what it costs."""

from __future__ import annotations

import inspect
import time
import types
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from api_v1.database import platform
from api_v1.database.platform import Base
from api_v1.database.tables import Refresh, RunState
from api_v1.verdicts import change_log, derivation, refresher, rejudging, stored
from api_v1.verdicts.change_log import ChangeKey, Kind
from tests.support import factories, oracle, scenarios
from tests.support.client import Api
from tests.support.verdict_changes import CHANGES, by_query, by_sql
from tests.support.verdict_scenarios import STATUSES, VerdictScenario, asked, forget_everything

# --- What a request may cost ----------------------------------------------------------------------


def test_a_status_filter_over_too_many_unknown_runs_reports_its_progress(
    scenario: VerdictScenario, monkeypatch: pytest.MonkeyPatch, restored_budget: None
) -> None:
    """Each request does one budget's work; one that needs no unknown state is answered."""
    monkeypatch.setattr(refresher, "CHUNK", 3)
    forget_everything(scenario)
    steps = []
    step = refresher.step

    def spy(connection: sa.Connection) -> refresher.Step | None:
        # One step uses up the budget of its request.
        refresher_end.append(True)
        steps.append(step(connection))
        return steps[-1]

    refresher_end: list[bool] = []
    clock = time.monotonic

    def monotonic() -> float:
        return clock() + 3600 * len(refresher_end)

    monkeypatch.setattr(refresher, "step", spy)
    # Only the refresher's: the time of a request ends by the true one.
    monkeypatch.setattr(refresher, "time", types.SimpleNamespace(monotonic=monotonic, sleep=time.sleep))
    known = []
    for _ in range(30):
        before = len(steps)
        answer = asked(scenario, "pass")
        assert len(steps) <= before + 1
        if answer.status_code == 200:
            break
        assert answer.status_code == 503
        body = answer.json or {}
        assert body["code"] == "verdicts_rebuilding"
        assert answer.headers["Retry-After"] == "1"
        assert body["details"]["runs"] == len(STATUSES)
        known.append(body["details"]["known"])
        for status in ("queued", "running", "canceled"):
            wanted = {scenario[name] for name in STATUSES if STATUSES[name] == status}
            found = asked(scenario, status)
            assert found.status_code == 200
            assert {run["run_id"] for run in (found.json or {})["data"]} == wanted
        scenario.check_lists(dict(STATUSES), set(), scenario.now())
        scenario.check_history(scenario.now())
        for name in STATUSES:
            scenario.check_run(name, scenario.now())
    else:
        pytest.fail("it never came to an end")
    assert known == sorted(known)
    assert len(steps) > len(STATUSES) // 3
    scenario.check({})


def test_responses_are_right_without_a_budget_and_nothing_is_stored(
    scenario: VerdictScenario, restored_budget: None
) -> None:
    with scenario.session() as session:
        for write in CHANGES["a late result fails"].writes:
            by_query(session, scenario, write)
    refresher.set_budget(0)
    noted = scenario.changes()
    derived = scenario.now()
    every = dict(STATUSES) | {"passing": "fail"}
    scenario.check_lists(every, {"fail", "pass"}, derived)
    scenario.check_history(derived)
    scenario.check_run("passing", derived)
    assert scenario.changes() == noted != set()


def test_a_status_filter_is_refused_with_more_changes_than_a_request_derives(
    scenario: VerdictScenario, monkeypatch: pytest.MonkeyPatch, restored_budget: None
) -> None:
    monkeypatch.setattr(stored, "DERIVED_AT_MOST", 1)
    monkeypatch.setattr(stored, "_pending", inspect.unwrap(stored._pending))
    with scenario.session() as session:
        session.query(platform.TestResult).filter(platform.TestResult.exit_code == 0).update({"exit_code": 1})
    refresher.set_budget(0)
    assert asked(scenario, "fail").status_code == 503
    scenario.check_lists({}, set(), scenario.now())
    refresher.set_budget(60_000)
    assert asked(scenario, "fail").status_code == 200
    every = dict.fromkeys(("passing", "varied", "hollow", "sentinel", "partial", "lonely"), "fail")
    scenario.check({**every})


# --- What it costs --------------------------------------------------------------------------------


def count_derived(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The runs that are derived one after the other."""
    derived: list[int] = []
    derive = derivation.derive

    def spy(session: Any, ids: Any) -> Any:
        derived.extend(ids)
        return derive(session, ids)

    monkeypatch.setattr(derivation, "derive", spy)
    return derived


FEW = {
    "restarted with a set": {"partial"},
    "a late result completes the set": {"partial"},
    "progress loses its run": {"passing"},
    "a variant changes": set(),
    "an output is added": set(),
    "a regression test becomes inactive": {"testing"},
    "a neighbour's first progress changes": {"resultless", "old", "ancient"},
}


@pytest.mark.parametrize("name", FEW)
def test_only_what_changed_is_derived_anew(
    name: str, scenario: VerdictScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scenario.session() as session:
        for write in CHANGES[name].writes:
            by_query(session, scenario, write)
    derived = count_derived(monkeypatch)
    refresher.refresh(scenario.engine)
    assert {run for run in STATUSES if scenario[run] in derived} <= FEW[name]
    assert scenario.differing() == set()


def test_nothing_is_derived_where_nothing_changed(scenario: VerdictScenario, monkeypatch: pytest.MonkeyPatch) -> None:
    derived = count_derived(monkeypatch)
    for status in ("pass", "fail", "running"):
        assert asked(scenario, status).status_code == 200
    scenario.get(f"/runs/{scenario['passing']}")
    scenario.get(f"/samples/{scenario['sample']}/history")
    assert derived == []


def test_many_changed_tests_are_handled_as_everything(
    scenario: VerdictScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One test in all runs takes as long as a tenth of all tests in all runs."""
    monkeypatch.setattr(refresher, "ONE_BY_ONE", 2)
    judged = []
    monkeypatch.setattr(rejudging, "judge_test", lambda *arguments: judged.append(arguments))
    with scenario.session() as session:
        session.query(platform.RegressionTest).update({"active": False})
        for output in session.scalars(sa.select(platform.RegressionTestOutput)):
            output.ignore = not output.ignore
    refresher.refresh(scenario.engine)
    assert judged == []
    assert scenario.differing() == set()


# --- Random changes -------------------------------------------------------------------------------


@st.composite
def disturbances(draw: st.DrawFn) -> tuple[int, list[tuple[str, int, int]]]:
    kinds = st.sampled_from(("ignore", "variant", "active", "category"))
    return draw(st.integers(0, 3)), draw(
        st.lists(st.tuples(kinds, st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=4)
    )


def disturb(connection: sa.Connection, kind: str, which: int, value: int) -> ChangeKey | None:
    """Change an output, its variants, a test or its categories behind our back, and say what an observer would."""
    output, test = platform.RegressionTestOutput, platform.RegressionTest
    link = platform.regression_test_category
    outputs = connection.execute(sa.select(output.id, output.regression_id).order_by(output.id)).all()
    tests = connection.scalars(sa.select(test.id).order_by(test.id)).all()
    one = tests[which % len(tests)]
    if kind == "active":
        connection.execute(sa.update(test).where(test.id == one).values(active=bool(value % 2)))
        return ChangeKey(Kind.CATALOGUE, one)
    if kind == "category":
        connection.execute(sa.delete(link).where(link.c.regression_id == one))
        if value % 2:
            connection.execute(sa.insert(link).values(regression_id=one, category_id=81))
        return ChangeKey(Kind.CATALOGUE, one)
    if not outputs:
        return None
    chosen = outputs[which % len(outputs)]
    if kind == "ignore":
        ignore = (True, False, None, False)[value]
        connection.execute(sa.update(output).where(output.id == chosen.id).values(ignore=ignore))
        return ChangeKey(Kind.TEST, chosen.regression_id)
    variants = platform.RegressionTestOutputFiles
    connection.execute(sa.delete(variants).where(variants.regression_test_output_id == chosen.id))
    hashes = {
        "regression_test_output_id": chosen.id,
        "file_hashes": factories.hash_of(("one", "two", "three", "other")[value]),
    }
    connection.execute(sa.insert(variants).values(hashes))
    return ChangeKey(Kind.OUTPUT, chosen.id)


@scenarios.examples()
@given(drawn=scenarios.scenarios(), disturbance=disturbances())
def test_partial_refreshes_give_the_same_states_as_rebuilding(
    drawn: oracle.Scenario, disturbance: tuple[int, list[tuple[str, int, int]]], api: Api
) -> None:
    _, steps = disturbance
    scenario = VerdictScenario(api, {}, {})
    with scenario.engine.begin() as connection:
        enforce = connection.dialect.name != "sqlite"
        if enforce:
            connection.exec_driver_sql("SET foreign_key_checks = 0")
        for table in reversed(Base.metadata.sorted_tables):
            if table.name not in ("user", "api_v1_token"):
                connection.execute(table.delete())
        if enforce:
            connection.exec_driver_sql("SET foreign_key_checks = 1")
    with Session(scenario.engine) as session:
        drawn.insert(session)
        session.commit()
    refresher.rebuild(scenario.engine, everything=True)
    assert scenario.differing() == set()
    for kind, which, value in steps:
        with scenario.engine.begin() as connection:
            named = disturb(connection, kind, which, value)
        if named is None:
            continue
        with scenario.engine.connect() as connection:
            change_log.add(connection, [named])
            connection.commit()
        with pytest.MonkeyPatch.context() as patch:
            derived = count_derived(patch)
            refresher.refresh(scenario.engine)
        assert scenario.changes() == set()
        unfinished = {run.id for run in drawn.runs if run.phase != "finished"}
        assert set(derived) <= unfinished, "this must not be derived run by run"
        assert scenario.differing() == set(), (kind, which, value)


def test_a_rebuild_reports_its_progress_and_its_end(scenario: VerdictScenario, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refresher, "CHUNK", 4)
    told: list[tuple[int, int]] = []
    refresher.rebuild(scenario.engine, everything=True, progress=lambda known, runs: told.append((known, runs)))
    assert told[-1] == (len(STATUSES), len(STATUSES))
    assert told == sorted(told)
    with scenario.engine.connect() as connection:
        row = connection.execute(sa.select(Refresh)).one()
        generations = set(connection.scalars(sa.select(RunState.generation)))
    assert (row.complete, row.position, generations) == (True, 0, {row.generation})
    by_sql(scenario, CHANGES["restarted with a set"].writes)
    told.clear()
    refresher.rebuild(scenario.engine, progress=lambda known, runs: told.append((known, runs)))
    assert len(told) == 1, "nothing was noted, so there is nothing to do"


def test_readers_are_answered_while_every_run_is_derived_anew(
    scenario: VerdictScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is stored of a run is answered until its turn; the states of runs that are gone are deleted."""
    monkeypatch.setattr(refresher, "CHUNK", 4)
    with scenario.engine.begin() as connection:
        generation = connection.scalar(sa.select(Refresh.generation))
        connection.execute(sa.insert(RunState).values(test_id=10**6, generation=generation, status="pass"))
    answers = []

    def read(known: int, runs: int) -> None:
        answers.append(asked(scenario, "pass").status_code)

    by_sql(scenario, CHANGES["a variant changes"].writes)
    refresher.rebuild(scenario.engine, everything=True, progress=read)
    assert len(answers) > 2
    assert set(answers) == {200}
    assert scenario.differing() == set()
    with scenario.engine.connect() as connection:
        assert connection.scalar(sa.select(RunState.test_id).where(RunState.test_id == 10**6)) is None
