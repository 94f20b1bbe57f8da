"""A run compared with another one, test by test: against brute force, and as an operation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given

from api_v1.database import platform
from api_v1.database.platform import DbSession
from api_v1.database.session import db
from api_v1.database.tables import Refresh
from api_v1.runs import comparison
from api_v1.runs.changes import Change
from api_v1.runs.comparison import Comparison, Row
from tests.support import factories, oracle, triage_scenarios
from tests.support.client import Api
from tests.support.factories import MAIN_REPOSITORY
from tests.support.oracle import Run, Scenario
from tests.support.scenarios import examples
from tests.support.triage_scenarios import MACHINE_MINUTES, Judged

DONE = ("preparation", "testing", "completed")


@pytest.fixture
def session(api: Api) -> Iterator[DbSession]:
    """A session on an empty database; what it commits can be seen by all."""
    with api.app.app_context():
        yield db.session


def compare(session: DbSession, run_id: int, base: str) -> Comparison:
    """Compare a run."""
    return comparison.compare(
        session, run_id, main_repository=MAIN_REPOSITORY, machine_minutes=MACHINE_MINUTES, base=base
    )


# --- Brute force ----------------------------------------------------------------------------------


@examples(2)
@given(scenario=triage_scenarios.scenarios(most_runs=8))
def test_comparisons_say_what_brute_force_finds(session: DbSession, scenario: Scenario) -> None:
    oracle.clear(session)
    scenario.insert(session)
    session.commit()
    for run in scenario.runs:
        bases_of_run: dict[str, Run | None] = {
            "master": next(iter(triage_scenarios.masters_before(scenario, run.id, run.host)), None),
            "previous": triage_scenarios.previous(scenario, run),
        }
        bases_of_run |= {str(one.id): one for one in scenario.runs if one.host == run.host and one is not run}
        for asked, base in bases_of_run.items():
            whole = compare(session, run.id, asked)
            assert (whole.base.run and whole.base.run.run_id) == (base and base.id)
            check(session, scenario, run, base, whole)


def check(session: DbSession, scenario: Scenario, run: Run, base: Run | None, whole: Comparison) -> None:
    """Each test of either run has one row, which says what the facts say."""
    here, there = (
        triage_scenarios.judged(scenario, run),
        {} if base is None else triage_scenarios.judged(scenario, base),
    )
    sets = [{test.id for test in scenario.members(one)} for one in (run, base) if one is not None]
    tests = sorted(set().union(*sets))
    rows = {row.regression_id: row for row in comparison.rows(session, whole, tests)}
    assert list(whole.changes) == tests == list(rows)
    assert whole.counts == {change.value: list(whole.changes.values()).count(change) for change in Change}
    for test_id in tests:
        of_here: list[Judged | None] = [*here.get(test_id, [])] or [None]
        of_base: list[Judged | None] = [*there.get(test_id, [])] or [None]
        recorded = triage_scenarios.change(of_here[0], of_base[0])
        row = rows[test_id]
        assert row.change == recorded
        every = {triage_scenarios.change(one, other) for one in of_here for other in of_base}
        assert row.certain is (every == {recorded})
        assert row.status == (scenario.verdict(run, scenario.test(test_id)) if test_id in sets[0] else None)
        in_base = base is not None and test_id in sets[-1]
        assert row.base_status == (scenario.verdict(base, scenario.test(test_id)) if base and in_base else None)
        assert row.exit_code == (of_here[0].exit_code if of_here[0] else None)
        assert row.base_exit_code == (of_base[0].exit_code if of_base[0] else None)
        older = None
        if recorded == "broken_here" and base is not None and of_here[0] is not None:
            older = triage_scenarios.failed_before(scenario, base, test_id, of_here[0])
        assert row.older_master_run_id == older
        assert row.failed_on_older_master is (older is not None)
        check_outputs(scenario, run, base, row, of_here[0], of_base[0])


def check_outputs(
    scenario: Scenario, run: Run, base: Run | None, row: Row, here: Judged | None, there: Judged | None
) -> None:
    """The outputs that differ between the runs or from what was expected are listed, and those that are missing now."""
    test = scenario.test(row.regression_id)
    ours = {file.output: file for file in scenario.files(run, test)} if here else {}
    theirs = {file.output: file for file in scenario.files(base, test)} if base and there else {}
    seen = [dict(judged.hashes) if judged else {} for judged in (here, there)]
    expected = []
    for output in sorted({*ours, *theirs}):
        wrong = any(output in files and scenario.wrong(files[output]) for files in (ours, theirs))
        if wrong or (here and there and seen[0].get(output) != seen[1].get(output)):
            baseline = ours[output].expected if output in ours else None
            expected.append((output, baseline, seen[0].get(output), seen[1].get(output)))
    found = [(one.output_id, one.expected_hash, one.actual_hash, one.base_hash) for one in row.outputs]
    assert found == expected
    missing = [output for output in theirs if output not in ours and scenario.output(output).ignore is False]
    assert row.newly_missing_output_ids == (sorted(missing) if here and there else [])


def test_failures_on_older_masters_are_found_up_to_twenty_runs_back(session: DbSession) -> None:
    test = factories.regression_test(session)
    runs = [factories.run(session, *DONE, tests=[test]) for _ in range(23)]
    branch = factories.run(session, *DONE, tests=[test], pull_request=5)
    for number, run in enumerate([*runs, branch]):
        # The newest of master is run 22, and 2 to 21 are the twenty before it.
        factories.result(session, run, test, exit_code=3 if run is branch or number == 1 else 0)
    session.commit()
    [row] = comparison.rows(session, compare(session, branch.id, "master"), [test.id])
    assert (row.change, row.failed_on_older_master) == ("broken_here", False)
    session.execute(factories.update_result(runs[2].id, test.id, exit_code=3))
    session.commit()
    [row] = comparison.rows(session, compare(session, branch.id, "master"), [test.id])
    assert (row.failed_on_older_master, row.older_master_run_id) == (True, runs[2].id)


# --- The operation --------------------------------------------------------------------------------


@pytest.fixture
def two_runs(api: Api) -> dict[str, int]:
    """A run of a pull request and one of master before it, with three tests; ids by name."""
    with api.rows() as session:
        tests = [factories.regression_test(session) for _ in range(3)]
        output = factories.output(session, tests[0])
        master = factories.run(session, *DONE, tests=tests)
        here = factories.run(session, *DONE, tests=tests, pull_request=7)
        factories.result(session, master, tests[0], (output, None))
        factories.result(session, here, tests[0], (output, factories.hash_of("different")))
        for run in (master, here):
            factories.result(session, run, tests[1])
            factories.result(session, run, tests[2], exit_code=139)
        ids = {name: row.id for name, row in zip(("broken", "passing", "failing"), tests, strict=True)}
        return ids | {"here": here.id, "master": master.id, "output": output.id}


def get(api: Api, run_id: int, **query: Any) -> dict[str, Any]:
    """The body of an answer."""
    response = api.get(f"/runs/{run_id}/comparison", query=query, headers=api.bearer(scopes=["results:read"]))
    assert response.status_code == 200, response.json
    body: dict[str, Any] = response.json or {}
    return body


def test_a_comparison_says_what_with_and_why_and_counts(api: Api, two_runs: dict[str, int]) -> None:
    body = get(api, two_runs["here"])
    assert body["run"]["run_id"] == two_runs["here"]
    assert (body["run"]["pull_request"], body["run"]["complete"], body["run"]["status"]) == (7, True, "fail")
    assert body["base"]["requested"] == "master"
    assert body["base"]["run"]["run_id"] == two_runs["master"]
    assert body["base"]["reason"].startswith("The newest complete run of CCExtractor/ccextractor master on linux")
    counted = Counter({"broken_here": 1, "unchanged_pass": 1, "failing_identically": 1})
    assert body["counts"] == {change.value: counted[change.value] for change in Change}
    assert (body["uncertain_count"], body["failed_on_older_master_count"]) == (0, 0)
    assert body["pagination"]["total"] == 3


def test_a_broken_test_comes_with_both_hashes(api: Api, two_runs: dict[str, int]) -> None:
    [row] = get(api, two_runs["here"], change="broken_here")["data"]
    assert row["regression_id"] == two_runs["broken"]
    assert (row["status"], row["base_status"], row["certain"]) == ("fail", "pass", True)
    [output] = row["outputs"]
    assert output["output_id"] == two_runs["output"]
    assert output["actual_hash"] == factories.hash_of("different")
    assert output["base_hash"] == output["expected_hash"] != output["actual_hash"]


def test_pages_of_a_comparison_hold_every_test_once(api: Api, two_runs: dict[str, int]) -> None:
    pages = [get(api, two_runs["here"], limit=1, offset=offset) for offset in range(4)]
    assert [[row["regression_id"] for row in page["data"]] for page in pages] == [
        [two_runs["broken"]],
        [two_runs["passing"]],
        [two_runs["failing"]],
        [],
    ]
    assert {page["pagination"]["total"] for page in pages} == {3}


def test_a_filter_of_changes_leaves_the_counts(api: Api, two_runs: dict[str, int]) -> None:
    body = get(api, two_runs["here"], change="failing_identically")
    assert [row["regression_id"] for row in body["data"]] == [two_runs["failing"]]
    assert (body["pagination"]["total"], body["counts"]["broken_here"]) == (1, 1)


def test_without_a_base_nothing_is_known(api: Api, two_runs: dict[str, int]) -> None:
    body = get(api, two_runs["master"])
    assert body["base"]["run"] is None
    assert body["base"]["reason"].startswith("There is no complete run")
    assert {row["change"] for row in body["data"]} == {"no_reference"}


@pytest.mark.parametrize("base", ["Master", "-1", "abc", "a" * 41, "123456-8", "previous "])
def test_a_base_that_names_nothing_is_refused(base: str, api: Api, two_runs: dict[str, int]) -> None:
    path = f"/runs/{two_runs['here']}/comparison"
    response = api.get(path, query={"base": base}, headers=api.bearer())
    assert (response.status_code, (response.json or {})["details"]["fields"].keys()) == (400, {"base"})


def test_bases_that_do_not_fit_are_refused(api: Api, two_runs: dict[str, int]) -> None:
    with api.rows() as session:
        windows = factories.run(session, *DONE, host="windows").id
    for base, status in ((windows, 422), (two_runs["here"], 422), (windows + 1, 404)):
        response = api.get(f"/runs/{two_runs['here']}/comparison", query={"base": base}, headers=api.bearer())
        assert response.status_code == status, response.json


def test_a_comparison_with_a_canceled_run_says_so(api: Api, two_runs: dict[str, int]) -> None:
    with api.rows() as session:
        canceled = factories.run(session, "preparation", "testing", "canceled").id
    body = get(api, two_runs["here"], base=canceled)
    assert body["base"]["run"]["complete"] is False
    assert body["base"]["reason"] == "The run that was asked for; it was canceled."
    assert {row["change"] for row in body["data"]} == {"no_reference"}


def test_commits_and_previous_runs_are_bases(api: Api, two_runs: dict[str, int]) -> None:
    commit = get(api, two_runs["here"])["base"]["run"]["commit_sha"]
    for base in (commit, commit[:10], str(two_runs["master"])):
        body = get(api, two_runs["here"], base=base)
        assert (body["base"]["requested"], body["base"]["run"]["run_id"]) == (base, two_runs["master"])
    assert get(api, two_runs["here"], base="previous")["base"]["run"] is None


def test_what_could_not_be_stored_is_compared_as_it_is_now(
    api: Api, two_runs: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = get(api, two_runs["here"])
    with api.rows() as session:
        factories.advance(session, session.get_one(platform.Test, two_runs["master"]), "completed")
    monkeypatch.setattr("api_v1.verdicts.refresher.refresh", lambda *_, **__: False)
    assert get(api, two_runs["here"]) == expected


@pytest.mark.parametrize("path", ["/runs/{here}/comparison", "/regression-tests/{broken}/health", "/failure-clusters"])
def test_what_needs_states_that_are_not_known_is_worth_another_try(
    path: str, api: Api, two_runs: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    get(api, two_runs["here"])
    with api.rows() as session:
        session.execute(sa.delete(Refresh))
    monkeypatch.setattr("api_v1.verdicts.refresher.refresh", lambda *_, **__: False)
    response = api.get(path.format(**two_runs), headers=api.bearer())
    assert (response.status_code, (response.json or {})["code"]) == (503, "verdicts_rebuilding")
    assert int(response.headers["Retry-After"]) > 0


@pytest.mark.parametrize("path", ["/runs/{here}/comparison", "/regression-tests/{broken}/health", "/failure-clusters"])
def test_failures_that_cannot_be_stored_are_answered_all_the_same(
    path: str, api: Api, two_runs: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = path.format(**two_runs)
    get(api, two_runs["here"])
    with api.rows() as session:
        factories.advance(session, session.get_one(platform.Test, two_runs["here"]), "completed")
    with monkeypatch.context() as patched:
        patched.setattr("api_v1.verdicts.refresher.refresh", lambda *_, **__: False)
        derived = api.get(path, headers=api.bearer())
    assert derived.status_code == 200
    assert derived.json == api.get(path, headers=api.bearer()).json
