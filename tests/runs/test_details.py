"""Summary, progress and configuration of a run."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from api_v1.access.redaction import Redactor
from api_v1.access.tokens import new_secret
from api_v1.database import platform
from api_v1.database.platform import DbSession
from api_v1.runs.details import common_options
from tests.support import factories
from tests.support.client import Api
from tests.support.factories import START, hash_of
from tests.support.reading import ELLIPSIS, FINISHED, at, counts, get, reader, refused

# --- Summary --------------------------------------------------------------------------------------


def with_results(session: DbSession, *progress: str, recorded: bool = True) -> int:
    """A run with a test in each state that its progress allows, and an inactive test."""
    tests = [factories.regression_test(session) for _ in range(6)]
    outputs = [factories.output(session, test) for test in tests]
    inactive = factories.regression_test(session, active=False)
    run = factories.run(session, *progress, tests=tests if recorded else ())
    factories.result(session, run, tests[0], (outputs[0], None))
    factories.result(session, run, tests[1], (outputs[1], hash_of("other")))
    factories.result(session, run, tests[2], (outputs[2], hash_of("other")), exit_code=3)
    factories.result(session, run, tests[3])
    session.add(platform.TestResultFile(run.id, tests[4].id, outputs[4].id, outputs[4].correct))
    assert not inactive.active
    run_id: int = run.id
    return run_id


#: The progress of a run, whether it has a recorded set, the counts of its tests, and of its errors.
SUMMARIES: dict[str, tuple[tuple[str, ...], bool, dict[str, int], int]] = {
    "running": (
        ("testing",),
        True,
        {"pass": 1, "fail": 2, "missing_output": 1, "running": 1, "not_started": 1},
        4,
    ),
    "completed": (FINISHED, True, {"pass": 1, "fail": 2, "missing_output": 1, "skipped": 2}, 6),
    "canceled": (("testing", "canceled"), True, {"pass": 1, "fail": 2, "missing_output": 1, "skipped": 2}, 4),
    "running without a set": (
        ("testing",),
        False,
        {"pass": 1, "fail": 2, "missing_output": 1, "running": 1, "not_started": 1},
        4,
    ),
    "queued": ((), True, {"pass": 1, "fail": 2, "missing_output": 1, "not_started": 2}, 4),
    "completed without a set": (FINISHED, False, {"pass": 1, "fail": 2, "missing_output": 1}, 4),
}


@pytest.mark.parametrize("case", SUMMARIES)
def test_the_counts_of_a_summary_add_up(case: str, api: Api) -> None:
    progress, recorded, expected, errors = SUMMARIES[case]
    with api.rows() as session:
        run_id = with_results(session, *progress, recorded=recorded)
    body = get(api, f"/runs/{run_id}/summary")
    assert (body["run_id"], counts(body), body["error_count"]) == (run_id, expected, errors)
    listed = get(api, f"/runs/{run_id}/samples")["data"]
    assert {name: sum(one["status"] == name for one in listed) for name in expected} == expected


def test_a_queued_run_has_not_started_the_active_tests(api: Api) -> None:
    with api.rows() as session:
        active = [factories.regression_test(session).id for _ in range(2)]
        for value in (False, None):
            factories.regression_test(session).active = value
        run_id = factories.run(session).id
    body = get(api, f"/runs/{run_id}/summary")
    assert (counts(body), body["error_count"], body["duration_ms"]) == ({"not_started": 2}, 0, None)
    assert get(api, f"/runs/{run_id}/config")["regression_test_ids"] == active


def test_a_test_that_was_chosen_twice_counts_once(api: Api) -> None:
    with api.rows() as session:
        test = factories.regression_test(session, categories=("One", "Two"))
        run = factories.run(session, *FINISHED, tests=[test, test])
        factories.result(session, run, test)
        run_id = run.id
    assert counts(get(api, f"/runs/{run_id}/summary")) == {"pass": 1}
    assert len(get(api, f"/runs/{run_id}/samples")["data"]) == 1


# --- Progress -------------------------------------------------------------------------------------


def test_progress_is_listed_in_order_of_insertion(each_api: Api) -> None:
    events = [("preparation", 3), ("testing", 1), ("canceled", 2), ("completed", 2)]
    with each_api.rows() as session:
        run = factories.run(session)
        for status, minute in events:
            factories.advance(session, run, status, f"now {status}", at=START + timedelta(minutes=minute))
        factories.run(session, *FINISHED)
        run_id = run.id
    assert get(each_api, f"/runs/{run_id}/progress")["data"] == [
        {"timestamp": at(minute), "status": status, "message": f"now {status}", "step": step}
        for (status, minute), step in zip(events, (0, 1, None, 2), strict=True)
    ]


def test_progress_is_filtered_by_status(api: Api) -> None:
    statuses = ("preparation", "preparation", "testing", "canceled", "completed")
    with api.rows() as session:
        run_id = factories.run(session, *statuses).id

    def found(status: str) -> tuple[list[str], int]:
        page = get(api, f"/runs/{run_id}/progress", f"status={status}")
        return [event["status"] for event in page["data"]], page["pagination"]["total"]

    for status in set(statuses):
        assert found(status) == ([status] * statuses.count(status), statuses.count(status))
    # The platform stores neither.
    assert found("queued") == found("error") == ([], 0)
    assert refused(api, f"/runs/{run_id}/progress", "status=pass")[0] == 400


def test_a_queued_run_has_no_progress(api: Api) -> None:
    with api.rows() as session:
        run_id = factories.run(session).id
    assert get(api, f"/runs/{run_id}/progress")["data"] == []
    assert refused(api, "/runs/4711/progress", "status=queued")[0] == 404


def test_progress_is_paged(api: Api) -> None:
    with api.rows() as session:
        path = f"/runs/{factories.run(session, *FINISHED).id}/progress"
    whole = get(api, path)
    assert whole["pagination"] == {"limit": 50, "offset": 0, "total": 3, "next_offset": None}
    pages = [get(api, path, f"limit=2&offset={offset}") for offset in (0, 2, 4)]
    assert [page["data"] for page in pages] == [whole["data"][:2], whole["data"][2:], []]
    assert [page["pagination"]["next_offset"] for page in pages] == [2, None, None]
    assert {page["pagination"]["total"] for page in pages} == {3}


def test_a_message_is_cut_to_500_characters_and_keeps_no_token(api: Api) -> None:
    token = "T0ken" * 12
    url = f"https://ci.example.org/progress-reporter/17/{token}"
    with api.rows() as session:
        run = factories.run(session)
        messages = ["ä" * 500, "ä" * 501, f"--url {url} failed", "x" * 440 + url]
        for message in messages:
            factories.advance(session, run, "preparation", message)
        run_id = run.id
    response = api.get(f"/runs/{run_id}/progress", headers=reader(api))
    assert [event["message"] for event in (response.json or {})["data"]] == [
        "ä" * 500,
        "ä" * 499 + ELLIPSIS,
        "--url https://ci.example.org/progress-reporter/17/[redacted] failed",
        ("x" * 440 + "https://ci.example.org/progress-reporter/17/[redacted]"),
    ]
    assert token[:10] not in response.text


def test_a_message_keeps_neither_the_runs_token_nor_one_of_ours(api: Api) -> None:
    secret = new_secret()
    with api.rows() as session:
        run = factories.run(session)
        run_id, token = run.id, run.token
        for message in (f"a {token} b", f"{secret}", f"url=%2Fprogress-reporter%2F17%2F{token}", "x" * 480 + token):
            factories.advance(session, run, "preparation", message)
    assert [event["message"] for event in get(api, f"/runs/{run_id}/progress")["data"]] == [
        "a [redacted] b",
        "[redacted]",
        "url=%2Fprogress-reporter%2F17%2F[redacted]",
        "x" * 480 + "[redacted]",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nothing of the kind", "nothing of the kind"),
        ("/progress-reporter/1/abc", "/progress-reporter/1/[redacted]"),
        ("a /progress-reporter/1/abc b", "a /progress-reporter/1/[redacted] b"),
        ("'/progress-reporter/1/abc'", "'/progress-reporter/1/[redacted]'"),
        ('"/progress-reporter/1/abc"', '"/progress-reporter/1/[redacted]"'),
        ("/progress-reporter/1/abc?a=b", "/progress-reporter/1/[redacted]?a=b"),
        (
            "/progress-reporter/1/abc\n/progress-reporter/1/d",
            "/progress-reporter/1/[redacted]\n/progress-reporter/1/[redacted]",
        ),
        ("/progress-reporter/1/", "/progress-reporter/1/"),
        ("/PROGRESS-REPORTER/1/abc", "/PROGRESS-REPORTER/1/[redacted]"),
        ("//progress-reporter//1//abc", "//progress-reporter//1//[redacted]"),
    ],
)
def test_the_token_of_a_reporting_url_is_redacted(text: str, expected: str) -> None:
    assert Redactor().redact(text) == expected


# --- Configuration --------------------------------------------------------------------------------


def test_the_configuration_has_all_fields(each_api: Api) -> None:
    with each_api.rows() as session:
        session.add(platform.GeneralData("average_time_windows", "90"))
        tests = [
            factories.regression_test(session, categories=("B", "A"), command="-autoprogram -out=srt -latin1"),
            factories.regression_test(session, categories=(), command='-out=srt "in put" -autoprogram -utf8'),
            factories.regression_test(session, categories=("B",), command="-utf8 -out=srt -autoprogram"),
            factories.regression_test(session, categories=("B",), active=False, command="-autoprogram -out=srt"),
        ]
        factories.regression_test(session, categories=("C",))
        # The platform's links have no key, so that one may be there twice.
        link = {"regression_id": tests[2].id, "category_id": factories.category(session, "B").id}
        session.execute(sa.insert(platform.regression_test_category).values(link))
        # Nobody is told of a test without a category and without a result.
        unknown = factories.regression_test(session, categories=())
        run = factories.run(session, host="windows", tests=[*tests, unknown])
        factories.result(session, run, tests[1])
        run_id, ids = run.id, [test.id for test in tests]
    assert get(each_api, f"/runs/{run_id}/config") == {
        "run_id": run_id,
        "environment": {
            "environment_id": "windows-latest",
            "platform": "windows",
            "active": True,
            "runner_label": None,
            "average_duration_ms": 90_000,
        },
        "matrix": [
            {"category": "A", "regression_test_ids": [ids[0]]},
            {"category": "B", "regression_test_ids": [ids[0], ids[2], ids[3]]},
            {"category": None, "regression_test_ids": [ids[1]]},
        ],
        "regression_test_ids": ids,
        "command_defaults": ["-autoprogram", "-out=srt"],
    }


def test_a_finished_run_without_a_recorded_set_ran_the_tests_with_a_result(api: Api) -> None:
    with api.rows() as session:
        ran, _, inactive = (factories.regression_test(session, active=active) for active in (True, True, False))
        run = factories.run(session, *FINISHED)
        for test in (ran, inactive):
            factories.result(session, run, test)
        run_id, ids = run.id, [ran.id, inactive.id]
    assert get(api, f"/runs/{run_id}/config")["regression_test_ids"] == ids


def test_a_run_without_tests_has_an_empty_configuration(api: Api) -> None:
    with api.rows() as session:
        run_id = factories.run(session, *FINISHED).id
    body = get(api, f"/runs/{run_id}/config")
    assert [body[name] for name in ("matrix", "regression_test_ids", "command_defaults")] == [[], [], []]


def test_a_configuration_is_cut_to_what_the_contract_allows(api: Api) -> None:
    options = [f"--option-{number:02}" for number in range(51)]
    command = " ".join(["--long=" + "x" * 200, *options])
    with api.rows() as session:
        first = factories.regression_test(session, command=command)
        columns = {name: getattr(first, name) for name in ("input_type", "output_type", "command", "expected_rc")}
        rows = [{**columns, "sample_id": first.sample_id, "active": True} for _ in range(500)]
        session.execute(sa.insert(platform.RegressionTest), rows)
        made = session.scalars(sa.select(platform.RegressionTest.id).where(platform.RegressionTest.id != first.id))
        links = [{"regression_id": test, "category_id": first.categories[0].id} for test in made]
        session.execute(sa.insert(platform.regression_test_category), links)
        run_id, first_id = factories.run(session).id, first.id
    body = get(api, f"/runs/{run_id}/config")
    assert body["regression_test_ids"][:1] == [first_id]
    assert (len(set(body["regression_test_ids"])), len(body["matrix"])) == (500, 1)
    assert body["command_defaults"] == ["--long=" + "x" * 92 + ELLIPSIS, *options[:49]]
    assert get(api, f"/runs/{run_id}/summary")["total_samples"] == 501


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        ([], []),
        (["-a -b -a"], ["-a", "-b"]),
        (["-a -b", "-b -a -c"], ["-a", "-b"]),
        (["-a", "-b"], []),
        (["-a=1", "-a=2"], []),
        (["-a value", "-a other"], ["-a"]),
        (["", "-a"], []),
        (["-a 'b", "-a"], ["-a"]),
        (['-a "it\'s -b"', "-a -b"], ["-a"]),
        (["-a\\", "-a"], []),
        (["in.ts -a", "-a"], ["-a"]),
    ],
)
def test_common_options_are_those_of_all_commands(commands: list[str], expected: list[str]) -> None:
    assert common_options(commands) == expected


def test_common_options_survive_an_unbalanced_quotation_mark(api: Api) -> None:
    with api.rows() as session:
        tests = [factories.regression_test(session, command=command) for command in ('-a -b "x', "-b -c")]
        run_id = factories.run(session, tests=tests).id
    assert get(api, f"/runs/{run_id}/config")["command_defaults"] == ["-b"]
