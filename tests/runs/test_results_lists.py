"""Results of a run in lists, and one sample of them: filters, pages, choices."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from api_v1.database import platform
from api_v1.database.platform import DbSession
from tests.support import factories
from tests.support.client import Api
from tests.support.reading import FINISHED, get, reader, refused
from tests.support.result_states import SEVERITY, with_state


def results(api: Api, run_id: int) -> list[dict[str, Any]]:
    """The results of a run, which fit one page."""
    page = get(api, f"/runs/{run_id}/samples")
    found: list[dict[str, Any]] = page["data"]
    assert page["pagination"]["total"] == len(found)
    return found


def without_checks(session: DbSession, keys: list[tuple[int, int, int]]) -> None:
    """Store result files whose run, test or output does not exist."""
    mysql = session.get_bind().dialect.name != "sqlite"
    if mysql:
        session.execute(sa.text("SET foreign_key_checks = 0"))
    session.add_all(platform.TestResultFile(*key, "", "error") for key in keys)
    session.flush()
    if mysql:
        session.execute(sa.text("SET foreign_key_checks = 1"))


# --- Filters and pages -----------------------------------------------------------------------


def filterable(session: DbSession) -> tuple[int, dict[int, str]]:
    """A run, and the names of its results by the ids of the tests."""

    def test(name: str, tags: tuple[str, ...] = (), categories: tuple[str, ...] = ("General",)) -> Any:
        return factories.regression_test(session, factories.sample(session, name, tags=tags), categories)

    tests = {
        "pass": test("plain", tags=("DVB",)),
        "fail": test("PLAIN", tags=("dvb-t", "dvb"), categories=("General", "Broken")),
        "missing_output": test("100%"),
        "skipped": test("under_score", categories=("general things",)),
        "other": test("back\\slash", categories=()),
        "umlaut": test("Größe"),
    }
    output = factories.output(session, tests["missing_output"])
    assert output.ignore is False
    run = factories.run(session, *FINISHED, tests=tests.values())
    for name in tests.keys() - {"skipped"}:
        factories.result(session, run, tests[name], exit_code=int(name == "fail"))
    return run.id, {row.id: name for name, row in tests.items()}


FILTERS: dict[str, set[str]] = {
    "status=pass": {"pass", "other", "umlaut"},
    "status=fail": {"fail"},
    "status=missing_output": {"missing_output"},
    "status=skipped": {"skipped"},
    "status=running": set(),
    "status=not_started": set(),
    "name=plain": {"pass", "fail"},
    "name=LAI": {"pass", "fail"},
    "name=%25": {"missing_output"},
    "name=_": {"skipped"},
    "name=%5C": {"other"},
    "name=p%25n": set(),
    "name=gr%C3%B6%C3%9Fe": {"umlaut"},
    "name=%F0%9F%8E%AC": set(),
    "tag=dvb": {"pass", "fail"},
    "tag=DVB-T": {"fail"},
    "tag=dv": set(),
    "tag=dvb%20": set(),
    "tag=dv_": set(),
    "category=general": {"pass", "fail", "missing_output", "umlaut"},
    "category=BROKEN": {"fail"},
    "category=gene%25": set(),
    "category=general%20": set(),
    "name=plain&tag=dvb&category=general&status=pass": {"pass"},
    "name=plain&category=broken&status=pass": set(),
}


def test_results_are_filtered(api: Api) -> None:
    with api.rows() as session:
        run_id, names = filterable(session)
    found = {query: get(api, f"/runs/{run_id}/samples", query) for query in FILTERS}
    assert {query: {names[one["regression_id"]] for one in page["data"]} for query, page in found.items()} == FILTERS
    totals = {query: page["pagination"]["total"] for query, page in found.items()}
    assert totals == {query: len(expected) for query, expected in FILTERS.items()}


def test_an_invalid_filter_of_results_is_refused(api: Api) -> None:
    with api.rows() as session:
        run_id = factories.run(session).id
    wrong = {
        "status=incomplete": "status",
        f"name={'n' * 101}": "name",
        f"tag={'t' * 51}": "tag",
        f"category={'c' * 51}": "category",
        "platform=linux": "platform",
        "name=a%00": "name",
    }
    for query, field in wrong.items():
        status, code, details = refused(api, f"/runs/{run_id}/samples", query)
        assert (status, code, list(details["fields"])) == (400, "validation_error", [field]), query


def test_results_are_paged_in_the_order_of_the_tests(api: Api) -> None:
    with api.rows() as session:
        tests = [factories.regression_test(session) for _ in range(5)]
        run = factories.run(session, *FINISHED, tests=reversed(tests))
        run_id, ids = run.id, [test.id for test in tests]
    path = f"/runs/{run_id}/samples"
    pages = [get(api, path, f"status=skipped&limit=2&offset={offset}") for offset in (0, 2, 4, 6)]
    found = [[result["regression_id"] for result in page["data"]] for page in pages]
    assert found == [ids[:2], ids[2:4], ids[4:], []]
    assert [page["pagination"]["next_offset"] for page in pages] == [2, 4, None, None]
    assert {page["pagination"]["total"] for page in pages} == {5}


def test_only_the_tests_of_the_run_are_its_results(api: Api) -> None:
    """A recorded set is the whole truth: a result outside it, or of another run, is not the run's."""
    with api.rows() as session:
        chosen, other, deactivated = (factories.regression_test(session) for _ in range(3))
        deactivated.active = False
        run = factories.run(session, *FINISHED, tests=[chosen, deactivated])
        for test in (chosen, other):
            factories.result(session, run, test)
        factories.result(session, factories.run(session, *FINISHED), deactivated)
        run_id, ids = run.id, [chosen.id, deactivated.id]
    assert [(one["regression_id"], one["status"]) for one in results(api, run_id)] == [
        (ids[0], "pass"),
        (ids[1], "skipped"),
    ]


# --- One sample ------------------------------------------------------------------------------


def test_the_most_severe_of_several_results_is_shown(api: Api) -> None:
    asked = {}
    with api.rows() as session:
        for progress, states in SEVERITY.items():
            run = factories.run(session, *progress)
            for start, status in enumerate(states):
                sample = factories.sample(session)
                # The least severe has the lowest id, so that it is not the ids that decide.
                for other in reversed(states[start:]):
                    with_state(session, run, sample, other)
                asked[f"/runs/{run.id}/samples/{sample.id}"] = (status, len(states) - start - 1)
    told = {path: get(api, path) for path in asked}
    assert {path: (body["status"], len(body["other_regression_ids"])) for path, body in told.items()} == asked


def test_one_of_several_results_can_be_picked(each_api: Api) -> None:
    with each_api.rows() as session:
        sample = factories.sample(session)
        tests = [factories.regression_test(session, sample) for _ in range(3)]
        run = factories.run(session, *FINISHED, tests=tests)
        for test in tests:
            factories.result(session, run, test)
        path, ids = f"/runs/{run.id}/samples/{sample.id}", [test.id for test in tests]
    default = get(each_api, path)
    assert (default["regression_id"], default["other_regression_ids"]) == (ids[0], ids[1:])
    picked = get(each_api, path, f"regression_id={ids[1]}")
    assert (picked["regression_id"], picked["other_regression_ids"]) == (ids[1], [ids[0], ids[2]])


def test_a_sample_or_test_outside_the_run_is_not_found(api: Api) -> None:
    with api.rows() as session:
        sample, other = (factories.sample(session) for _ in range(2))
        test, elsewhere, of_other = (factories.regression_test(session, of) for of in (sample, sample, other))
        run_id = factories.run(session, *FINISHED, tests=[test, of_other]).id
        unused_id = factories.sample(session).id
        factories.run(session, *FINISHED, tests=[elsewhere])
        sample_id, elsewhere_id, of_other_id = sample.id, elsewhere.id, of_other.id
    not_in_run = f"Sample {unused_id} is not in run {run_id}: none of its regression tests is."
    test_not_in_run = f"Regression test {elsewhere_id} of sample {sample_id} is not in run {run_id}."
    cases = {
        f"{run_id}/samples/4711": ("sample", 4711, "Sample 4711 not found."),
        f"{run_id}/samples/{unused_id}": ("sample", unused_id, not_in_run),
        f"4711/samples/{sample_id}": ("run", 4711, "Run 4711 not found."),
        f"{run_id}/samples/{sample_id}?regression_id={elsewhere_id}": (
            "regression_test",
            elsewhere_id,
            test_not_in_run,
        ),
        **{
            f"{run_id}/samples/{sample_id}?regression_id={missing}": (
                "regression_test",
                missing,
                f"Sample {sample_id} has no regression test {missing}.",
            )
            for missing in (of_other_id, 4711)
        },
    }
    for target, (resource, missing, message) in cases.items():
        path, _, query = target.partition("?")
        body = api.get(f"/runs/{path}", query=query, headers=reader(api)).json
        assert body == {"code": "not_found", "message": message, "details": {"resource": resource, "id": missing}}
    assert refused(api, f"/runs/{run_id}/samples/{sample_id}", "regression_id=0")[0] == 400


# --- What the contract has no place for ------------------------------------------------------


def test_a_result_of_a_deleted_sample_stays_in_the_list(api: Api) -> None:
    with api.rows() as session:
        gone, there = (factories.regression_test(session) for _ in range(2))
        run = factories.run(session, *FINISHED, tests=[gone, there])
        factories.result(session, run, gone, exit_code=1)
        gone.sample_id = None
        run_id, ids = run.id, [gone.id, there.id]
    path = f"{api.prefix}/runs/{run_id}/samples"
    page = api.app.test_client(use_cookies=False).get(path, headers=reader(api)).json or {}
    assert [(one["regression_id"], one["status"]) for one in page["data"]] == [(ids[0], "fail"), (ids[1], "skipped")]
    assert [one["sample_id"] is None for one in page["data"]] == [True, False]
    assert get(api, f"/runs/{run_id}")["status"] == "fail"
    assert get(api, f"/runs/{run_id}/summary")["total_samples"] == 2
