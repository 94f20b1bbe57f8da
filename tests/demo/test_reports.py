"""The reports of the demo's failing runs: what is wrong in words, and the end of each test in the log."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.client import Api


@pytest.fixture(scope="module")
def headers(api: Api) -> dict[str, str]:
    """The header of somebody who may read everything."""
    return api.bearer()


def report(api: Api, headers: dict[str, str], run_id: int, **query: Any) -> dict[str, Any]:
    """The report of a run."""
    response = api.get(f"/runs/{run_id}/failure-report", query=query, headers=headers)
    assert response.status_code == 200, response.json
    assert len(response.data) <= query.get("max_bytes", 24 * 1024)
    body: dict[str, Any] = response.json or {}
    return body


def failing(api: Api, headers: dict[str, str]) -> list[int]:
    """The newest runs that failed."""
    runs = (api.get("/runs?status=fail&limit=100", headers=headers).json or {})["data"]
    return [run["run_id"] for run in runs]


def test_a_shift_is_said_in_words_with_the_first_lines_that_differ(api: Api, headers: dict[str, str]) -> None:
    body = report(api, headers, 59)
    test = body["tests"][0]
    assert (body["verdict"], test["code"], test["cause"]) == ("broken_here", "OUTPUT_DIFF", "broken_here")
    assert test["output"]["sentence"] == "134 captions from 67 on are 734 ms late; the rest is equal."
    removed, added = test["output"]["first_difference"]["lines"][1:3]
    assert (removed, added) == ("-00:05:18,485 --> 00:05:22,085", "+00:05:19,219 --> 00:05:22,819")


def test_crashes_time_outs_and_missing_outputs_have_their_codes(api: Api, headers: dict[str, str]) -> None:
    tests = [test for run in failing(api, headers) for test in report(api, headers, run)["tests"]]
    codes = {test["code"]: test for test in tests}
    assert {"SEGFAULT", "TIMEOUT", "MISSING_OUTPUT", "EXIT_CODE_MISMATCH", "OUTPUT_DIFF"} <= codes.keys()
    assert codes["SEGFAULT"]["exit_code"] in (139, -1073741819)
    assert codes["TIMEOUT"]["exit_code"] == -1


def test_the_log_tells_how_each_test_ended(api: Api, headers: dict[str, str]) -> None:
    for run in failing(api, headers):
        body = report(api, headers, run, max_bytes=256 * 1024)
        if (body["evidence"]["log"] or {}).get("status") != "read":
            continue
        for test in body["tests"]:
            if test["log"]["status"] == "ambiguous":
                assert test["log"]["entry_count"] and not test["log"]["lines"]
                continue
            assert test["log"]["status"] == "read"
            ended = [line for line in test["log"]["lines"] if "Finished entry" in line]
            assert [line.rstrip().endswith(f"with exit code: {test['exit_code']}") for line in ended] == [True]


def test_the_log_of_a_late_test_is_not_that_of_another_test_of_its_sample(api: Api, headers: dict[str, str]) -> None:
    logs = {test["regression_id"]: test["log"] for test in report(api, headers, 59)["tests"]}
    assert "[ERROR] Reference clock jumped by 734 ms, continuing with the new one" in logs[17]["lines"]
    assert logs[17]["lines"][-1] == "[INFO] Finished entry 5 with exit code: 0"


def messages(api: Api, headers: dict[str, str], run_id: int, **query: Any) -> list[str]:
    """Lines of the log of a run."""
    body = api.get(f"/runs/{run_id}/logs", query={"limit": 100, **query}, headers=headers).json or {}
    return [line["message"].rstrip() for line in body["data"]]


def test_a_log_ends_where_the_results_end(api: Api, headers: dict[str, str]) -> None:
    runs = (api.get("/runs?status=incomplete&limit=100", headers=headers).json or {})["data"]
    assert len(runs) >= 2
    for run in (run["run_id"] for run in runs):
        stored = (api.get(f"/runs/{run}/summary", headers=headers).json or {})["pass_count"]
        began, ended = (
            len(messages(api, headers, run, contains=words)) for words in ("Starting with", "Finished entry")
        )
        # A test of two categories is run twice, and has one result.
        assert began == ended + 1 and stored <= ended <= stored + 1
        assert messages(api, headers, run, tail=2)[0].startswith("[ERROR] The remote server returned an error")


def test_a_small_report_has_the_worst_test(api: Api, headers: dict[str, str]) -> None:
    for run in failing(api, headers):
        whole, small = (report(api, headers, run, max_bytes=most) for most in (256 * 1024, 4096))
        assert small["tests"][0]["regression_id"] == whole["tests"][0]["regression_id"]
        assert small["cut"]["tests"] == len(whole["tests"]) - len(small["tests"])
