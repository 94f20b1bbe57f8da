"""The history of a sample: verdicts of its regression tests, run by run."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from api_v1.database import platform
from api_v1.database.platform import DbSession
from tests.support import factories
from tests.support.client import Api
from tests.support.factories import START, hash_of
from tests.support.reading import ELLIPSIS, FINISHED, get, reader

BAD, WORSE, ACCEPTED = (hash_of(word) for word in ("bad", "worse", "accepted"))


def history(api: Api, sample_id: int, query: str = "") -> list[dict[str, Any]]:
    """The entries of a sample, which fit one page."""
    page = get(api, f"/samples/{sample_id}/history", query)
    entries: list[dict[str, Any]] = page["data"]
    assert page["pagination"]["total"] == len(entries)
    return entries


# --- Entries ---------------------------------------------------------------------------------


def test_an_entry_has_all_fields(each_api: Api) -> None:
    commit = "0123456789abcdef0123456789ABCDEF01234567"
    with each_api.rows() as session:
        test = factories.regression_test(session)
        output = factories.output(session, test)
        run = factories.run(session, *FINISHED, host="windows", branch="devel", commit=commit, tests=[test])
        factories.result(session, run, test, (output, BAD), runtime=2500)
        sample_id, output_id = test.sample_id, output.id
        expected = {"run_id": run.id, "sample_id": sample_id, "regression_id": test.id}
    assert history(each_api, sample_id) == [
        expected
        | {
            "run_created_at": "2026-01-01T12:00:00Z",
            "repository": "CCExtractor/ccextractor",
            "pull_request": None,
            "commit_sha": commit,
            "branch": "devel",
            "platform": "windows",
            "status": "fail",
            "runtime_ms": 2500,
            "failure_signature": f"diff_mismatch:{output_id}",
            "outputs": [{"output_id": output_id, "actual_hash": BAD}],
        }
    ]


def test_a_skipped_entry_has_neither_runtime_nor_signature(api: Api) -> None:
    with api.rows() as session:
        test = factories.regression_test(session)
        factories.run(session, *FINISHED, commit="abc1234", tests=[test, test])
        sample_id = test.sample_id
    (entry,) = history(api, sample_id)
    names = ("status", "runtime_ms", "failure_signature", "commit_sha")
    assert [entry[name] for name in names] == ["skipped", None, None, "abc1234"]


def test_an_entry_describes_its_run(api: Api) -> None:
    hour = timedelta(hours=1)
    with api.rows() as session:
        test = factories.regression_test(session)
        runs = [
            factories.run(session, created_at=START + hour),
            factories.run(session, "testing", created_at=None, started=START - hour),
            factories.run(session, created_at=None, branch="b" * 101),
            factories.run(session, pull_request=5),
        ]
        for run, runtime in zip(runs, (-1, 0, None, 7), strict=True):
            factories.result(session, run, test, runtime=runtime)
        sample_id = test.sample_id
    entries = history(api, sample_id)[::-1]
    times = [f"2026-01-01T{hour}:00:00Z" for hour in (13, 11, 11, 12)]
    assert [entry["run_created_at"] for entry in entries] == times
    assert [entry["run_created_at"] for entry in entries] == [
        get(api, f"/runs/{entry['run_id']}")["created_at"] for entry in entries
    ]
    assert [entry["branch"] for entry in entries] == ["master", "master", "b" * 99 + ELLIPSIS, "pull_request"]
    assert [entry["runtime_ms"] for entry in entries] == [0, 0, None, 7]


def test_the_newest_run_comes_first_whenever_it_was_created(api: Api) -> None:
    with api.rows() as session:
        sample = factories.sample(session)
        tests = [factories.regression_test(session, sample) for _ in range(2)]
        factories.result(session, factories.run(session, *FINISHED), factories.regression_test(session))
        runs = [
            factories.run(session, *FINISHED, created_at=START - timedelta(days=day), tests=tests) for day in range(3)
        ]
        # Some have a result of one test, some of the other, and the rest is skipped.
        for run, test in ((runs[0], tests[0]), (runs[2], tests[1])):
            factories.result(session, run, test)
        sample_id, ids = sample.id, [test.id for test in tests]
        expected = [
            (runs[2].id, ids[0], "skipped"),
            (runs[2].id, ids[1], "pass"),
            (runs[1].id, ids[0], "skipped"),
            (runs[1].id, ids[1], "skipped"),
            (runs[0].id, ids[0], "pass"),
            (runs[0].id, ids[1], "skipped"),
        ]

    def told(page: dict[str, Any]) -> list[tuple[int, int, str]]:
        return [(entry["run_id"], entry["regression_id"], entry["status"]) for entry in page["data"]]

    path = f"/samples/{sample_id}/history"
    assert told(get(api, path)) == expected
    pages = [get(api, path, f"limit=3&offset={offset}") for offset in (0, 3, 6)]
    assert [told(page) for page in pages] == [expected[:3], expected[3:], []]
    assert [page["pagination"]["next_offset"] for page in pages] == [3, None, None]
    assert {page["pagination"]["total"] for page in pages} == {6}
    first = api.get(path, query="limit=3", headers=reader(api))
    assert f'{path}?limit=3&offset=3>; rel="next"' in first.headers["Link"]


def test_only_tests_in_the_runs_set_have_entries(api: Api) -> None:
    with api.rows() as session:
        test, other = (factories.regression_test(session) for _ in range(2))
        uncategorized = factories.regression_test(session, of=test.sample, categories=())
        runs = [factories.run(session, *FINISHED, tests=tests) for tests in ([other], [], [test], [uncategorized])]
        for run, exit_code in zip(runs[:3], (1, 0, 1), strict=True):
            factories.result(session, run, test, exit_code=exit_code)
        sample_id, ids = test.sample_id, [run.id for run in runs]
    found = {
        status: [(entry["run_id"], entry["status"]) for entry in history(api, sample_id, status)]
        for status in ("", "status=pass", "status=fail")
    }
    assert found == {
        "": [(ids[2], "fail"), (ids[1], "pass")],
        "status=pass": [(ids[1], "pass")],
        "status=fail": [(ids[2], "fail")],
    }


def test_tests_that_a_finished_run_did_not_execute_are_skipped(api: Api) -> None:
    with api.rows() as session:
        test = factories.regression_test(session)
        other = factories.regression_test(session)
        factories.run(session, tests=[test])
        factories.run(session, "preparation", "testing", tests=[test])
        factories.run(session, *FINISHED)
        factories.run(session, *FINISHED, tests=[other])
        factories.run(session, "canceled", "testing", tests=[test])
        expected = [
            factories.run(session, "canceled", tests=[test]).id,
            factories.run(session, *FINISHED, tests=[test, other]).id,
        ]
        outside = factories.run(session, *FINISHED, tests=[other])
        factories.result(session, outside, test)
        sample_id = test.sample_id
    entries = [(entry["run_id"], entry["status"]) for entry in history(api, sample_id)]
    assert entries == [(expected[1], "skipped"), (expected[0], "skipped")]


def test_a_late_result_replaces_its_skipped_entry(api: Api) -> None:
    with api.rows() as session:
        test = factories.regression_test(session)
        run_id = factories.run(session, *FINISHED, tests=[test]).id
        sample_id, test_id = test.sample_id, test.id
    assert [entry["status"] for entry in history(api, sample_id)] == ["skipped"]
    with api.rows() as session:
        session.add(platform.TestResult(run_id, test_id, 1, 0, 0))
    assert [entry["status"] for entry in history(api, sample_id)] == ["pass"]


def test_a_sample_without_history_has_an_empty_page(api: Api) -> None:
    with api.rows() as session:
        ids = [factories.sample(session).id, factories.regression_test(session).sample_id]
    for sample_id in ids:
        for query in ("", "status=pass", "status=incomplete"):
            assert history(api, sample_id, query) == []
    missing = api.get("/samples/4711/history", headers=reader(api))
    assert missing.status_code == 404
    assert missing.json["details"] == {"resource": "sample", "id": 4711}


# --- Signatures ------------------------------------------------------------------------------


def test_equal_failures_have_equal_signatures(api: Api) -> None:
    """Equal for the same kind in any run, and different for different kinds."""
    with api.rows() as session:
        test = factories.regression_test(session)
        first, second = (factories.output(session, test, variants=[ACCEPTED]) for _ in range(2))
        cases: dict[str, tuple[list[tuple[Any, str | None]], int]] = {
            "equal": ([(first, None), (second, None)], 0),
            "accepted": ([(first, ACCEPTED), (second, None)], 0),
            "partly missing": ([(first, None)], 0),
            "first": ([(first, BAD), (second, None)], 0),
            "first again": ([(first, WORSE), (second, ACCEPTED)], 0),
            "second": ([(first, None), (second, BAD)], 0),
            "both": ([(second, BAD), (first, BAD)], 0),
            "exit code": ([(first, None), (second, None)], 3),
            "another exit code": ([(first, None)], -1),
            "both ways": ([(first, BAD)], 3),
            "nothing": ([], 0),
            "nothing and exit code": ([], 1),
        }
        ids = {}
        for name, (files, exit_code) in cases.items():
            run = factories.run(session, *FINISHED, tests=[test])
            factories.result(session, run, test, *files, exit_code=exit_code)
            ids[run.id] = name
        sample_id, one, two = test.sample_id, first.id, second.id
    found = {ids[entry["run_id"]]: (entry["status"], entry["failure_signature"]) for entry in history(api, sample_id)}
    assert found == {
        "equal": ("pass", None),
        "accepted": ("pass", None),
        "partly missing": ("pass", None),
        "first": ("fail", f"diff_mismatch:{one}"),
        "first again": ("fail", f"diff_mismatch:{one}"),
        "second": ("fail", f"diff_mismatch:{two}"),
        "both": ("fail", f"diff_mismatch:{one},{two}"),
        "exit code": ("fail", "exit_code_mismatch"),
        "another exit code": ("fail", "exit_code_mismatch"),
        "both ways": ("fail", f"exit_code_mismatch;diff_mismatch:{one}"),
        "nothing": ("missing_output", f"missing_output:{one},{two}"),
        "nothing and exit code": ("missing_output", f"missing_output:{one},{two};exit_code_mismatch"),
    }


def test_an_entry_names_what_differed(api: Api) -> None:
    with api.rows() as session:
        test = factories.regression_test(session)
        first, second = (factories.output(session, test, variants=[ACCEPTED]) for _ in range(2))
        files: list[list[tuple[Any, str | None]]] = [
            [(first, None), (second, ACCEPTED)],
            [(first, BAD), (second, ACCEPTED)],
            [(second, "no hash"), (first, WORSE)],
            [],
        ]
        for each in files:
            factories.result(session, factories.run(session, *FINISHED, tests=[test]), test, *each)
        factories.run(session, *FINISHED, tests=[test])
        sample_id, one, two = test.sample_id, first.id, second.id
    found = [[tuple(output.values()) for output in entry["outputs"]] for entry in history(api, sample_id)[::-1]]
    assert found == [[], [(one, BAD)], [(one, WORSE), (two, None)], [], []]


def test_a_signature_of_many_outputs_is_cut_the_same_way_each_time(api: Api) -> None:
    with api.rows() as session:
        test = factories.regression_test(session)
        outputs = [factories.output(session, test) for _ in range(100)]
        for got in (BAD, WORSE):
            run = factories.run(session, *FINISHED, tests=[test])
            factories.result(session, run, test, *((output, got) for output in outputs))
        sample_id = test.sample_id
    first, second = (entry["failure_signature"] for entry in history(api, sample_id))
    assert first == second
    assert len(first) == 255


# --- Filters ---------------------------------------------------------------------------------


def in_each_state(session: DbSession) -> tuple[int, dict[int, str]]:
    """Entries of one sample in runs of each state, named by run and verdict, and the sample's id."""
    test, other = (factories.regression_test(session) for _ in range(2))
    factories.output(session, test)
    output = factories.output(session, test)
    names: dict[int, str] = {}

    def run(name: str, *progress: str, result: int | None = None, of_other: int | None = None) -> Any:
        made = factories.run(session, *progress, tests=[test, other])
        if result is not None:
            factories.result(session, made, test, (output, None), exit_code=result)
        if of_other is not None:
            factories.result(session, made, other, exit_code=of_other)
        names[made.id] = name
        return made

    run("queued: pass", result=0)
    run("running: pass", "testing", result=0)
    run("running: fail", "testing", result=1)
    run("pass: pass", *FINISHED, result=0, of_other=0)
    run("fail: fail", *FINISHED, result=1, of_other=0)
    run("fail: pass", *FINISHED, result=0, of_other=1)
    run("fail: skipped", *FINISHED, of_other=1)
    factories.result(session, run("fail: missing_output", *FINISHED), test)
    run("canceled: pass", "testing", "canceled", result=0)
    run("canceled: skipped", "testing", "canceled")
    run("error: skipped", *FINISHED)
    run("incomplete: pass", *FINISHED, result=0)
    run("incomplete: skipped", *FINISHED, of_other=0)
    run("queued", of_other=0)
    return test.sample_id, names


def test_status_selects_by_verdict_or_by_the_state_of_the_run(api: Api) -> None:
    with api.rows() as session:
        sample_id, names = in_each_state(session)
    every = {names[entry["run_id"]]: entry["status"] for entry in history(api, sample_id)}
    assert every == {name: name.partition(": ")[2] for name in names.values() if name != "queued"}

    def of_verdict(*verdicts: str) -> set[str]:
        return {name for name, verdict in every.items() if verdict in verdicts}

    def of_run(state: str) -> set[str]:
        return {name for name in every if name.startswith(f"{state}: ")}

    expected = {
        "pass": of_verdict("pass"),
        "fail": of_verdict("fail", "missing_output"),
        **{state: of_run(state) for state in ("queued", "running", "canceled", "error", "incomplete")},
    }
    found = {status: history(api, sample_id, f"status={status}") for status in expected}
    assert {status: {names[entry["run_id"]] for entry in entries} for status, entries in found.items()} == expected
    for own in ("pass", "fail", "skipped", "missing_output"):
        for status, names_of_status in {"": set(every), **expected}.items():
            query = f"sample_status={own}" + (f"&status={status}" if status else "")
            chosen = {names[entry["run_id"]] for entry in history(api, sample_id, query)}
            assert chosen == names_of_status & of_verdict(own), query


def filterable(session: DbSession) -> tuple[int, dict[int, str]]:
    """Entries that differ in one thing each, by run, and the sample's id."""
    test = factories.regression_test(session)
    runs = {
        "plain": factories.run(session, *FINISHED, tests=[test]),
        "failed": factories.run(session, *FINISHED, tests=[test]),
        "skipped": factories.run(session, *FINISHED, tests=[test]),
        "windows": factories.run(session, *FINISHED, host="windows", tests=[test]),
        "Master": factories.run(session, *FINISHED, branch="Master", tests=[test]),
        "blank": factories.run(session, *FINISHED, branch="master ", tests=[test]),
        "late": factories.run(session, *FINISHED, created_at=START + timedelta(hours=1), tests=[test]),
    }
    runs |= {
        "fork": factories.run(session, *FINISHED, github="https://github.com/Some-One/ccextractor", tests=[test]),
        "pull": factories.run(session, *FINISHED, pull_request=7, tests=[test]),
        "pull of fork": factories.run(
            session, *FINISHED, pull_request=7, github="https://github.com/Some-One/ccextractor.git", tests=[test]
        ),
        # A number that the platform does not mean: the run is one of a commit.
        "numbered": factories.run(session, *FINISHED, tests=[test]),
    }
    runs["numbered"].pr_nr = 7
    for name in runs.keys() - {"skipped"}:
        factories.result(session, runs[name], test, exit_code=int(name == "failed"))
    return test.sample_id, {run.id: name for name, run in runs.items()}


FORK = {"fork", "pull of fork"}
PULL = {"pull", "pull of fork"}
EVERY = {"plain", "failed", "skipped", "windows", "Master", "blank", "late", "numbered"} | FORK | PULL

FILTERS: dict[str, set[str]] = {
    "": EVERY,
    "branch=master": EVERY - {"Master", "blank"} - PULL,
    "branch=Master": {"Master"},
    "branch=MASTER": set(),
    "branch=master%20": {"blank"},
    "branch=mast%25": set(),
    "platform=windows": {"windows"},
    "platform=linux": EVERY - {"windows"},
    "created_after=2026-01-01T12:00:00Z": {"late"},
    "created_after=2026-01-01T11:59:59Z": EVERY,
    "created_before=2026-01-01T13:00:00Z": EVERY - {"late"},
    "created_before=2026-01-01T13:00:01Z": EVERY,
    "created_before=2026-01-01T12:00:00Z": set(),
    "status=pass&branch=master&platform=linux&created_before=2026-01-01T13:00:00Z": {"plain", "numbered", "fork"},
    "status=fail&branch=master&platform=linux&created_before=2026-01-01T13:00:00Z": {"failed"},
    "status=error&branch=master&platform=linux&created_before=2026-01-01T13:00:00Z": {"skipped"},
    "status=fail&branch=Master": set(),
    "repository=ccextractor/CCEXTRACTOR": EVERY - FORK,
    "repository=some-one/ccextractor": FORK,
    "repository=some-one/else": set(),
    "pull_request=7": PULL,
    "pull_request=8": set(),
    "pull_request=4294967303": set(),
    "pull_request=7&repository=some-one/ccextractor": {"pull of fork"},
    "branch=master&repository=some-one/ccextractor": {"fork"},
    "sample_status=fail": {"failed"},
    "sample_status=skipped&repository=CCExtractor/ccextractor": {"skipped"},
    "sample_status=pass&pull_request=7&platform=linux": PULL,
    "sample_status=pass&status=fail": set(),
    "sample_status=missing_output": set(),
    "status=pass&created_after=2026-01-01T12:00:00Z": {"late"},
}


def test_history_is_filtered(api: Api) -> None:
    with api.rows() as session:
        sample_id, names = filterable(session)
    found = {query: history(api, sample_id, query) for query in FILTERS}
    assert {query: {names[entry["run_id"]] for entry in entries} for query, entries in found.items()} == FILTERS


def test_history_is_narrowed_to_one_regression_test(api: Api) -> None:
    with api.rows() as session:
        sample = factories.sample(session)
        tests = [factories.regression_test(session, sample) for _ in range(3)]
        other = factories.regression_test(session)
        runs = [factories.run(session, *FINISHED, tests=[*tests, other]) for _ in range(2)]
        for run in runs:
            factories.result(session, run, tests[0], exit_code=1)
            factories.result(session, run, tests[1])
            factories.result(session, run, other)
        sample_id, ids, other_id = sample.id, [test.id for test in tests], other.id
    for test_id, status in zip(ids, ("fail", "pass", "skipped"), strict=True):
        entries = history(api, sample_id, f"regression_id={test_id}")
        assert [(entry["regression_id"], entry["status"]) for entry in entries] == [(test_id, status)] * 2
    for query in (f"regression_id={other_id}", "regression_id=4294967296", f"regression_id={ids[0]}&status=pass"):
        assert history(api, sample_id, query) == []


def test_an_entry_names_its_repository_and_pull_request(api: Api) -> None:
    with api.rows() as session:
        sample_id, names = filterable(session)
    found = {names[entry["run_id"]]: entry for entry in history(api, sample_id)}
    assert {name for name, entry in found.items() if entry["repository"] == "Some-One/ccextractor"} == FORK
    assert {entry["repository"] for entry in found.values()} == {"CCExtractor/ccextractor", "Some-One/ccextractor"}
    assert {name: entry["pull_request"] for name, entry in found.items()} == {
        name: 7 if name in PULL else None for name in EVERY
    }


def test_an_invalid_query_is_refused(api: Api) -> None:
    with api.rows() as session:
        path = f"/samples/{factories.sample(session).id}/history"
    wrong = {
        "created_after=2026-01-01T00:00:00Z&created_before=2026-01-01T00:00:00Z": "created_after",
        "status=missing_output": "status",
        "status=skipped": "status",
        "platform=mac": "platform",
        f"branch={'b' * 101}": "branch",
        "repository=ccextractor": "repository",
        "regression_id=0": "regression_id",
        "pull_request=x": "pull_request",
        "sample_status=running": "sample_status",
    }
    for query, name in wrong.items():
        response = api.get(path, query=query, headers=reader(api))
        assert (response.status_code, list(response.json["details"]["fields"])) == (400, [name]), query
