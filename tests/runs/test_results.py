"""The results of a run: a page of them, and that of one media sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from api_v1.database import platform
from api_v1.database.platform import DbSession
from tests.support import factories
from tests.support.bucket import put_result
from tests.support.client import Api
from tests.support.factories import hash_of
from tests.support.reading import ELLIPSIS, FINISHED, get, reader
from tests.support.result_states import SEVERITY, with_state

BAD, WORSE, ACCEPTED = (hash_of(word) for word in ("bad", "worse", "accepted"))


def results(api: Api, run_id: int) -> list[dict[str, Any]]:
    """The results of a run, which fit one page."""
    page = get(api, f"/runs/{run_id}/samples")
    found: list[dict[str, Any]] = page["data"]
    assert page["pagination"]["total"] == len(found)
    return found


# --- What a result says ----------------------------------------------------------------------


def test_a_result_has_all_fields(each_api: Api) -> None:
    with each_api.rows() as session:
        sample = factories.sample(session, tags=["teletext", "DVB"])
        test = factories.regression_test(session, sample, categories=("DVB", "Broken"), command="-out=srt -latin1")
        output = factories.output(session, test)
        run = factories.run(session, *FINISHED, tests=[test])
        factories.result(session, run, test, (output, BAD), exit_code=10, expected_rc=0, runtime=2500)
        run_id, expected = run.id, {"sample_id": sample.id, "regression_id": test.id}
        output_id, correct = output.id, output.correct
    assert results(each_api, run_id) == [
        expected
        | {
            "run_id": run_id,
            "category": "Broken",
            "command": "-out=srt -latin1",
            "status": "fail",
            "runtime_ms": 2500,
            "exit_code": 10,
            "expected_exit_code": 0,
            "result_message": "Exit code 10 (no captions found), expected 0. "
            f"Output {output_id} differs from the expected file.",
            "tags": ["DVB", "teletext"],
            "outputs": [
                {"output_id": output_id, "status": "diff_mismatch", "expected_hash": correct, "actual_hash": BAD}
            ],
        }
    ]


def test_a_sample_alone_is_the_same_as_in_the_list(api: Api) -> None:
    with api.rows() as session:
        run = factories.run(session, *FINISHED)
        for status in SEVERITY[FINISHED]:
            with_state(session, run, factories.sample(session, tags=[status]), status)
        run_id = run.id
    listed = results(api, run_id)
    assert len(listed) == 4
    for result in listed:
        alone = get(api, f"/runs/{run_id}/samples/{result['sample_id']}")
        assert alone == result | {"other_regression_ids": []}


def test_a_test_without_a_result_has_its_expectations(api: Api) -> None:
    with api.rows() as session:
        test = factories.regression_test(session, expected_rc=10)
        factories.output(session, test)
        runs = {name: factories.run(session, *progress, tests=[test]).id for name, progress in ABSENT.items()}
        expected = {"sample_id": test.sample_id, "regression_id": test.id, "command": test.command}
    for status, run_id in runs.items():
        assert results(api, run_id) == [
            expected
            | {
                "run_id": run_id,
                "status": status,
                "runtime_ms": None,
                "exit_code": None,
                "expected_exit_code": 10,
                "result_message": None,
                "category": "General",
                "tags": [],
                "outputs": [],
            }
        ]


#: The progress of a run in which a test without anything has this state.
ABSENT: dict[str, tuple[str, ...]] = {
    "not_started": ("preparation", "testing"),
    "skipped": FINISHED,
}


def test_a_test_with_files_and_no_result_shows_its_outputs(api: Api) -> None:
    with api.rows() as session:
        test = factories.regression_test(session)
        output = factories.output(session, test)
        file = (test.id, output.id, output.correct, None)
        ids = {}
        for status, progress in {"not_started": (), "running": ("testing",), "skipped": FINISHED}.items():
            run = factories.run(session, *progress, tests=[test])
            session.add(platform.TestResultFile(run.id, *file))
            ids[status] = run.id
    for status, run_id in ids.items():
        (result,) = results(api, run_id)
        assert (result["status"], result["result_message"]) == (status, None)
        assert [one["status"] for one in result["outputs"]] == ["match"]


#: The exit code, the expected one, and the verdict with the message.
EXIT_CODES: list[tuple[int | None, int | None, str, str | None]] = [
    (0, 0, "pass", None),
    (10, 10, "pass", None),
    (None, None, "pass", None),
    (-1, 0, "fail", "Exit code -1, expected 0."),
    (None, 0, "fail", "Exit code none, expected 0."),
    (0, None, "fail", "Exit code 0, expected none."),
]


def test_exit_codes_decide_the_status(api: Api) -> None:
    with api.rows() as session:
        tests = [factories.regression_test(session, expected_rc=77) for _ in EXIT_CODES]
        run = factories.run(session, *FINISHED, tests=tests)
        for test, (exit_code, expected_rc, *_) in zip(tests, EXIT_CODES, strict=True):
            factories.result(session, run, test, exit_code=exit_code, expected_rc=expected_rc)
        run_id = run.id
    names = ("exit_code", "expected_exit_code", "status", "result_message")
    assert [tuple(result[name] for name in names) for result in results(api, run_id)] == EXIT_CODES


def test_a_negative_runtime_is_zero(api: Api) -> None:
    runtimes = (-5, 0, None, 2**31 - 1)
    with api.rows() as session:
        tests = [factories.regression_test(session) for _ in runtimes]
        run = factories.run(session, *FINISHED, tests=tests)
        for test, runtime in zip(tests, runtimes, strict=True):
            factories.result(session, run, test, runtime=runtime)
        run_id = run.id
    assert [result["runtime_ms"] for result in results(api, run_id)] == [0, 0, None, 2**31 - 1]


def test_long_texts_of_a_result_are_cut(api: Api) -> None:
    with api.rows() as session:
        tags = [f"{number:02}{'t' * 60}" for number in range(51)]
        sample = factories.sample(session, tags=tags)
        test = factories.regression_test(session, sample, command="c" * 501)
        outputs = [factories.output(session, test) for _ in range(21)]
        run = factories.run(session, *FINISHED, tests=[test])
        factories.result(session, run, test, *((output, BAD) for output in outputs))
        run_id, ids = run.id, [output.id for output in outputs]
    (result,) = results(api, run_id)
    assert result["command"] == "c" * 499 + ELLIPSIS
    assert result["tags"] == [tag[:49] + ELLIPSIS for tag in tags[:50]]
    assert [output["output_id"] for output in result["outputs"]] == ids[:20]
    assert (len(result["result_message"]), result["result_message"][-1]) == (500, ELLIPSIS)


# --- Outputs ---------------------------------------------------------------------------------


def test_each_output_has_its_status(api: Api) -> None:
    """One entry per output that is to be compared, and per file of one that is not."""
    with api.rows() as session:
        test = factories.regression_test(session)

        def output(**more: Any) -> Any:
            return factories.output(session, test, **more)

        equal, variant, different, missing = output(), output(variants=[ACCEPTED]), output(), output()
        ignored_file = output(ignore=True)
        for ignore in (True, None):
            output().ignore = ignore
        unrecorded, unrecorded_file = output(), output()
        unrecorded.correct = unrecorded_file.correct = None
        session.flush()
        run = factories.run(session, *FINISHED, tests=[test])
        files = [(equal, None), (variant, ACCEPTED), (different, BAD), (ignored_file, BAD), (unrecorded_file, WORSE)]
        factories.result(session, run, test, *files)
        run_id = run.id
        entries = [
            (equal, "match", equal.correct, None),
            (variant, "match", variant.correct, ACCEPTED),
            (different, "diff_mismatch", different.correct, BAD),
            (missing, "missing_output", missing.correct, None),
            (ignored_file, "diff_mismatch", ignored_file.correct, BAD),
            (unrecorded, "missing_expected", None, None),
            (unrecorded_file, "missing_expected", None, WORSE),
        ]
        names = ("output_id", "status", "expected_hash", "actual_hash")
        expected = [dict(zip(names, (output.id, *rest), strict=True)) for output, *rest in entries]
        ids = [entry["output_id"] for entry in expected]
    (result,) = results(api, run_id)
    assert result["outputs"] == expected
    assert result["status"] == "fail"
    assert result["result_message"] == " ".join(
        [
            f"Output {ids[2]} differs from the expected file.",
            f"Output {ids[3]} was not produced.",
            f"Output {ids[4]} differs from the expected file.",
            f"Output {ids[5]} has no recorded baseline.",
            f"Output {ids[6]} has no recorded baseline.",
        ]
    )


def test_a_file_of_another_tests_output_is_shown_where_it_fails_a_test(api: Api, repository: Path) -> None:
    with api.rows() as session:
        test, other = (factories.regression_test(session) for _ in range(2))
        own, foreign = factories.output(session, test), factories.output(session, other)
        run = factories.run(session, *FINISHED, tests=[test, other])
        bad = put_result(repository, b"bad")
        factories.result(session, run, test, (own, None), (foreign, bad))
        factories.result(session, run, other, (foreign, None))
        ids = {"regression_id": test.id, "output_id": foreign.id}
        run_id, sample_id, own_output = run.id, test.sample_id, (own.id, own.correct)
        correct = foreign.correct
    result, of_other = results(api, run_id)
    assert (result["status"], of_other["status"]) == ("fail", "pass")
    assert result["outputs"] == [
        {"output_id": own_output[0], "status": "match", "expected_hash": own_output[1], "actual_hash": None},
        {"output_id": ids["output_id"], "status": "diff_mismatch", "expected_hash": correct, "actual_hash": bad},
    ]
    assert result["result_message"] == f"Output {ids['output_id']} differs from the expected file."
    assert [output["status"] for output in of_other["outputs"]] == ["match"]
    (error,) = get(api, f"/runs/{run_id}/errors")["data"]
    assert (error["type"], error["location"]) == ("diff_mismatch", ids)
    query = f"regression_id={ids['regression_id']}&output_id={ids['output_id']}&format=text"
    assert get(api, f"/runs/{run_id}/samples/{sample_id}/actual", query)["content"] == "bad"


def test_the_expected_file_is_the_one_the_run_was_compared_with(api: Api) -> None:
    """A baseline that changed since is not what the run was held to, and what is accepted now counts."""
    with api.rows() as session:
        test = factories.regression_test(session)
        moved, since_accepted = (factories.output(session, test, correct=hash_of(name)) for name in ("old", "other"))
        run = factories.run(session, *FINISHED, tests=[test])
        factories.result(session, run, test, (moved, hash_of("new")), (since_accepted, ACCEPTED))
        moved.correct = hash_of("new")
        session.add(platform.RegressionTestOutputFiles(ACCEPTED, since_accepted.id))
        run_id = run.id
    (result,) = results(api, run_id)
    assert [output["status"] for output in result["outputs"]] == ["diff_mismatch", "match"]
    assert [output["expected_hash"] for output in result["outputs"]] == [hash_of("old"), hash_of("other")]


def test_a_partly_missing_output_passes_and_is_reported(api: Api) -> None:
    with api.rows() as session:
        test = factories.regression_test(session)
        there, missing = (factories.output(session, test) for _ in range(2))
        run = factories.run(session, *FINISHED, tests=[test])
        factories.result(session, run, test, (there, None))
        run_id, missing_id = run.id, missing.id
    (result,) = results(api, run_id)
    assert [output["status"] for output in result["outputs"]] == ["match", "missing_output"]
    assert (result["status"], result["result_message"]) == ("pass", f"Output {missing_id} was not produced.")
    assert get(api, f"/runs/{run_id}")["status"] == "pass"
    assert get(api, f"/runs/{run_id}/summary")["error_count"] == 1


def test_values_that_are_no_hashes_are_null(api: Api) -> None:
    hashes = ("", "error", "../../etc/passwd", "g" * 64, "a" * 63, "a" * 65, "A" * 64)
    with api.rows() as session:
        test = factories.regression_test(session)
        outputs = [factories.output(session, test, correct=text or None) for text in hashes]
        run = factories.run(session, *FINISHED, tests=[test])
        factories.result(session, run, test, *zip(outputs, hashes, strict=True))
        run_id = run.id
    (result,) = results(api, run_id)
    assert [output["actual_hash"] for output in result["outputs"]] == [None] * 6 + ["A" * 64]
    assert [output["expected_hash"] for output in result["outputs"]][1:] == [None] * 5 + ["A" * 64]


def test_sentinel_rows_are_no_files(api: Api) -> None:
    """Neither the rows that the platform's pages make up (ids of -1) nor "error" instead of a hash."""
    with api.rows() as session:
        test = factories.regression_test(session)
        marked, made_up = (factories.output(session, test) for _ in range(2))
        run = factories.run(session, *FINISHED, tests=[test])
        factories.result(session, run, test)
        session.add(platform.TestResultFile(run.id, test.id, marked.id, "", "error"))
        session.flush()
        run_id, ids = run.id, [marked.id, made_up.id]
        made_up_keys = [(-1, -1, -1), (run.id, test.id, -1), (run.id, -1, made_up.id), (-1, test.id, marked.id)]
        without_checks(session, made_up_keys)
    (result,) = results(api, run_id)
    assert result["status"] == "missing_output"
    assert [(output["output_id"], output["status"]) for output in result["outputs"]] == [
        (output_id, "missing_output") for output_id in ids
    ]
    assert get(api, f"/runs/{run_id}/summary")["missing_output_count"] == 1
    response = api.get(f"/runs/{run_id}/samples", headers=reader(api))
    assert "-1" not in response.text and '"error"' not in response.text


def without_checks(session: DbSession, keys: list[tuple[int, int, int]]) -> None:
    """Store result files whose run, test or output does not exist."""
    mysql = session.get_bind().dialect.name != "sqlite"
    if mysql:
        session.execute(sa.text("SET foreign_key_checks = 0"))
    session.add_all(platform.TestResultFile(*key, "", "error") for key in keys)
    session.flush()
    if mysql:
        session.execute(sa.text("SET foreign_key_checks = 1"))
