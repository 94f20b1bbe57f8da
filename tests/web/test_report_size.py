"""A report fits into every number of bytes that can be asked for, and says what was cut."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_v1.schemas.failure_report import DEFAULT_BYTES, LEAST_BYTES, MOST_BYTES
from api_v1.web import report_size
from api_v1.web.handlers import encode
from tests.support.scenarios import examples

Body = dict[str, Any]

LONG_HOST = f"https://{'a' * 60}.{'b' * 60}.{'c' * 60}.{'d' * 60}.example.org/api/v1"

#: Texts that take more bytes in JSON than they have characters, and one that UTF-8 cannot encode.
TEXTS = st.one_of(
    st.text(alphabet='a\0\x1f"\\é😀', max_size=80), st.sampled_from(("", "\0" * 500, "\ud800" * 500, "😀" * 500, "ok"))
)


def link_set(*names: str) -> Body:
    """Links of the longest host."""
    return {name: f"{LONG_HOST}/runs/2147483647/{name}" for name in names}


@st.composite
def failing_tests(draw: st.DrawFn) -> Body:
    """A failing test of a report."""
    read = st.sampled_from(("read", "read", "missing", "not_read"))
    lines = st.lists(TEXTS, max_size=6)
    output = {"output_id": 2**31, "hash": "a" * 64, "sentence": draw(TEXTS), "status": draw(read)}
    is_read = output["status"] == "read"
    output["first_difference"] = {"expected_start": 1, "lines": draw(lines)} if is_read else None
    log = {"status": draw(read), "entry_count": 1}
    log["lines"] = draw(lines) if log["status"] == "read" else []
    run = {"run_id": 2**31, "commit_sha": "a" * 40, "created_at": "2026-01-01T12:00:00Z", "on_master": False}
    return {
        **{"regression_id": draw(st.integers(1, 2**31)), "command": draw(TEXTS), "because": draw(TEXTS)},
        **{"last_pass": run, "first_failure": run, "links": link_set("result", "diff", "health")},
        **{"output": draw(st.sampled_from((output, None))), "log": draw(st.sampled_from((log, None)))},
    }


@st.composite
def reports(draw: st.DrawFn) -> Body:
    """A report."""
    tests = draw(st.lists(failing_tests(), max_size=6))
    run = {"run_id": 2**31, "repository": draw(TEXTS)[:100], "branch": draw(TEXTS)[:100], "commit_sha": "a" * 40}
    counts = {f"a count of the tests {number}": 2**31 for number in range(30)}
    body = {
        **{"run": run, "because": draw(TEXTS), "status_reason": {"code": "canceled", "message": draw(TEXTS)}},
        **{"comparison": {"base": run, "reason": draw(TEXTS), "counts": counts}},
        **{"infrastructure_error": {"type": "worker", "message": draw(TEXTS)}, "test_count": len(tests) * 3},
        **{"tests": tests * draw(st.integers(0, 3)), "links": link_set("run", "comparison", "errors", "logs", "pr")},
    }
    return report_size.uncut(body)


def size(body: Body) -> int:
    """The bytes of the answer."""
    return len(encode(body))


@examples(4)
@given(body=reports(), most=st.integers(LEAST_BYTES, MOST_BYTES) | st.integers(LEAST_BYTES, 3 * LEAST_BYTES))
def test_a_report_never_has_more_bytes(body: Body, most: int) -> None:
    fitted = report_size.fit(body, most)
    assert size(fitted) <= most
    check_what_was_cut(body, fitted)


def check_what_was_cut(body: Body, fitted: Body) -> None:
    """The tests that are left are the first ones, and what they lack is counted."""
    cut, shown = fitted["cut"], fitted["tests"]
    assert cut["tests"] == body["test_count"] - len(shown)
    for name, counted in (("output", cut["outputs"]), ("log", cut["logs"])):
        omitted = [test for test in shown if test[name] is not None and test[name]["status"] == "omitted"]
        assert len(omitted) == counted
        assert not any(test[name]["lines"] for test in omitted if "lines" in test[name])
    same = [whole["regression_id"] == left["regression_id"] for whole, left in zip(body["tests"], shown, strict=False)]
    assert all(same)
    if not cut["texts"]:
        assert [test["because"] for test in shown] == [test["because"] for test in body["tests"][: len(shown)]]
        assert fitted["because"] == body["because"]


def plain(tests: int, lines: int = 10) -> Body:
    """A report of tests that all have evidence."""
    output = {"status": "read", "sentence": "They differ.", "first_difference": {"lines": ["-" + "a" * 60] * lines}}
    log = {"status": "read", "lines": ["b" * 60] * lines}
    test = {"command": "-out=srt", "because": "It passed.", "output": output, "log": log}
    numbered = [test | {"regression_id": number} for number in range(tests)]
    return report_size.uncut({"because": "It broke.", "links": {}, "test_count": tests, "tests": numbered})


def test_what_fits_is_left_as_it_is() -> None:
    body = plain(3)
    assert report_size.fit(body, size(body)) is body
    assert report_size.fit(body, size(body) - 1)["cut"] != body["cut"]


def test_many_tests_are_named_and_the_worst_have_evidence() -> None:
    fitted = report_size.fit(plain(80), DEFAULT_BYTES)
    shown = [(test["output"]["status"], test["log"]["status"]) for test in fitted["tests"]]
    assert len(shown) > 40 and shown[0] == ("read", "read") and shown[-1] == ("omitted", "omitted")
    assert size(fitted) > 0.9 * DEFAULT_BYTES
    assert all(test["output"]["sentence"] == "They differ." for test in fitted["tests"])


@pytest.mark.parametrize("text", ["a" * 400, "é" * 400, "\0" * 400, '"' * 400, "\ud800" * 400])
def test_a_text_is_cut_at_bytes_and_says_so(text: str) -> None:
    body = plain(0) | {"because": text * 30}
    fitted = report_size.fit(body, LEAST_BYTES)
    assert fitted["cut"]["texts"] is True
    assert fitted["because"].endswith("…") and text.startswith(fitted["because"][:-1])
    assert size(fitted) <= LEAST_BYTES
