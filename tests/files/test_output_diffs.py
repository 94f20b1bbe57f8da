"""The diff of an output through HTTP: each kind of difference, as hunks and as unified text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from api_v1.files import diff
from tests.support.bucket import Bucket, Case, make_case, put_local, put_result
from tests.support.client import Api
from tests.support.factories import hash_of
from tests.support.fixtures import on_one_database

pytestmark = on_one_database

LINES = [f"line {number}" for number in range(200)]


def text(lines: list[str], ending: str = "\n") -> bytes:
    return "".join(line + ending for line in lines).encode()


def changed(*numbers: int) -> list[str]:
    """The lines, some of them others."""
    return [f"{line} changed" if number in numbers else line for number, line in enumerate(LINES)]


def mismatch(api: Api, repository: Path, expected: bytes, actual: bytes, **more: Any) -> Case:
    with api.rows() as session:
        return make_case(session, put_result(repository, expected), put_result(repository, actual), **more)


def get(api: Api, case: Case, status: int = 200, **query: Any) -> Any:
    response = api.get(f"{case.path}/diff", query=case.ids | query, headers=api.bearer())
    assert response.status_code == status, response.text
    return response.json


NOTHING = {"added_lines": 0, "removed_lines": 0, "changed_hunks": 0}


def test_a_difference_is_shown_as_hunks(each_api: Api, repository: Path) -> None:
    case = mismatch(each_api, repository, b"a\nb\nc\n", b"a\nB\nc\n")
    body = get(each_api, case, context_lines=1)
    assert {name: body[name] for name in ("run_id", "sample_id", "regression_id", "output_id")} == vars(case)
    assert (body["status"], body["differences"], body["truncated"]) == ("different", ["content"], False)
    assert body["summary"] == {"added_lines": 1, "removed_lines": 1, "changed_hunks": 1}
    (hunk,) = body["hunks"]
    assert (hunk["expected_start"], hunk["actual_start"]) == (1, 1)
    found = [(line["kind"], line["expected_line"], line["actual_line"], line["text"]) for line in hunk["lines"]]
    assert found == [("context", 1, 1, "a"), ("removed", 2, None, "b"), ("added", None, 2, "B"), ("context", 3, 3, "c")]


def test_a_difference_is_shown_as_unified_text(api: Api, repository: Path) -> None:
    case = mismatch(api, repository, b"a\nb\nc\n", b"a\nB\nc")
    body = get(api, case, format="unified", context_lines=0)
    assert body["hunks"] == []
    assert body["unified"].splitlines() == [
        *("--- expected", "+++ actual", "@@ -2,2 +2,2 @@", "-b", "-c", "+B", "+c", "\\ No newline at end of file")
    ]
    assert body["summary"] == {"added_lines": 2, "removed_lines": 2, "changed_hunks": 1}


@pytest.mark.parametrize("format", ["structured", "unified"])
@pytest.mark.parametrize("same_file", [False, True])
def test_equal_files_are_identical(api: Api, repository: Path, same_file: bool, format: str) -> None:
    """The worker said "equal", or uploaded the very file that was expected."""
    digest = put_result(repository, b"same\n")
    with api.rows() as session:
        case = make_case(session, digest, digest if same_file else None)
    body = get(api, case, format=format)
    assert (body["status"], body["summary"], body["hunks"]) == ("identical", NOTHING, [])


def test_a_match_needs_no_file(api: Api) -> None:
    with api.rows() as session:
        case = make_case(session, hash_of("lost"), None)
    assert get(api, case)["status"] == "identical"


def test_a_missing_output_has_the_status_missing_actual(api: Api, repository: Path) -> None:
    with api.rows() as session:
        case = make_case(session, None, None, correct=put_result(repository, b"today\n"), reported=False)
    body = get(api, case)
    assert (body["status"], body["summary"], body["hunks"]) == ("missing_actual", NOTHING, [])


def test_an_output_without_baseline_has_the_status_missing_expected(api: Api, repository: Path) -> None:
    with api.rows() as session:
        case = make_case(session, "", put_result(repository, b"new\n"))
    assert get(api, case)["status"] == "missing_expected"


def test_an_accepted_variant_is_different(api: Api, repository: Path) -> None:
    variant = put_result(repository, b"variant\n")
    case = mismatch(api, repository, b"baseline\n", b"variant\n", variants=[variant])
    assert get(api, case)["status"] == "different"


@pytest.mark.parametrize(
    ("expected", "actual", "differences"),
    [
        (b"a\nb\n", b"a\r\nb\r\n", ["line_endings"]),
        (b"a\nb\n", b"a\nb", ["final_newline"]),
        (b"a\n", b"\xef\xbb\xbfa\n", ["byte_order_mark"]),
        ("é\n".encode(), "é\n".encode("cp1252"), ["encoding"]),
        (b"a\0\n", b"b\0\n", ["binary"]),
        (b"", b"a\n", ["content"]),
        (b"a\n", b"", ["content"]),
    ],
)
def test_each_kind_of_difference_is_named(
    api: Api, repository: Path, expected: bytes, actual: bytes, differences: list[str]
) -> None:
    body = get(api, mismatch(api, repository, expected, actual))
    assert (body["status"], body["differences"]) == ("different", differences)


@pytest.mark.parametrize("context", [0, 1, 3, 50])
def test_context_has_as_many_lines_as_asked_for(api: Api, repository: Path, context: int) -> None:
    body = get(api, mismatch(api, repository, text(LINES), text(changed(100))), context_lines=context)
    (hunk,) = body["hunks"]
    assert [line["kind"] for line in hunk["lines"]].count("context") == 2 * context
    assert hunk["expected_start"] == 101 - context


def test_context_has_three_lines_by_default(api: Api, repository: Path) -> None:
    case = mismatch(api, repository, text(LINES), text(changed(100)))
    assert get(api, case) == get(api, case, context_lines=3)


@pytest.mark.parametrize(
    "query", [{"context_lines": 51}, {"context_lines": -1}, {"context_lines": "x"}, {"format": "html"}, {"page": 1}]
)
def test_an_invalid_query_is_refused(api: Api, repository: Path, query: dict[str, Any]) -> None:
    body = get(api, mismatch(api, repository, b"a", b"b"), 400, **query)
    assert list(body["details"]["fields"]) == list(query)


def test_the_output_must_be_named(api: Api, repository: Path) -> None:
    case = mismatch(api, repository, b"a", b"b")
    response = api.get(f"{case.path}/diff", headers=api.bearer())
    assert response.status_code == 400
    assert set(response.json["details"]["fields"]) == {"regression_id", "output_id"}


def test_mismatched_ids_are_not_found(api: Api, repository: Path) -> None:
    case, other = mismatch(api, repository, b"a", b"b"), mismatch(api, repository, b"c", b"d")
    wrong = Case(case.run_id, case.sample_id, case.regression_id, other.output_id)
    assert get(api, wrong, 404)["details"]["resource"] == "output"


def test_a_diff_is_cut_at_the_contracts_limits_and_the_summary_counts_all(api: Api, repository: Path) -> None:
    many = [f"line {number}" for number in range(6000)]
    other = [f"{line} changed" if number % 10 == 0 else line for number, line in enumerate(many)]
    body = get(api, mismatch(api, repository, text(many), text(other)), context_lines=0)
    assert (len(body["hunks"]), body["truncated"]) == (500, True)
    assert body["summary"] == {"added_lines": 600, "removed_lines": 600, "changed_hunks": 600}


def test_long_lines_are_cut_and_marked(api: Api, repository: Path) -> None:
    body = get(api, mismatch(api, repository, b"x" * 5000 + b"\n", b"y" * 999 + b"\n"))
    removed, added = body["hunks"][0]["lines"]
    assert (len(removed["text"]), removed["truncated"]) == (1000, True)
    assert (len(added["text"]), added["truncated"]) == (999, False)
    assert body["truncated"] is True


def test_files_equal_in_the_compared_part_only_are_different(
    api: Api, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diff.limits, "MAX_BYTES", 8)
    body = get(api, mismatch(api, repository, b"same\nsame\none\n", b"same\nsame\nother\n"))
    assert (body["status"], body["truncated"]) == ("different", True)


def test_one_file_may_be_in_the_folder_and_the_other_in_the_bucket(api: Api, repository: Path, bucket: Bucket) -> None:
    case = mismatch(api, repository, b"here\n", b"there\n")
    (path,) = [path for path in (repository / "TestResults").iterdir() if path.read_bytes() == b"there\n"]
    bucket.put(f"TestResults/{path.name}", path.read_bytes())
    path.unlink()
    assert get(api, case)["summary"] == {"added_lines": 1, "removed_lines": 1, "changed_hunks": 1}
    put_local(repository, f"TestResults/{path.name}", b"there\n")


def test_files_of_the_bucket_are_looked_up_together(api: Api, bucket: Bucket) -> None:
    one, other = hash_of("only there"), hash_of("only there as well")
    for digest in (one, other):
        bucket.put(f"TestResults/{digest}.srt", digest.encode())
    with api.rows() as session:
        case = make_case(session, one, other)
    headers = api.bearer()
    with bucket.recorder.in_rounds():
        response = api.get(f"{case.path}/diff", query=case.ids, headers=headers)
    assert response.json["status"] == "different"
    assert bucket.recorder.rounds <= 1 + 2 * 2  # one to look both up, then each up to its end


def srt(*, late_from: int = 10**9, without: int = 0) -> bytes:
    """Captions of which those from a number on are 734 ms late, and one is missing."""
    cues = []
    for number in range(1, 121):
        start = number * 2000 + (734 if number >= late_from else 0)
        times = " --> ".join(f"00:{at // 60000:02}:{at // 1000 % 60:02},{at % 1000:03}" for at in (start, start + 1500))
        cues += [] if number == without else [f"{number}\n{times}\nwords of caption {number}\n\n"]
    return "".join(cues).encode()


def test_a_diff_says_in_words_what_differs(each_api: Api, repository: Path) -> None:
    body = get(each_api, mismatch(each_api, repository, srt(), srt(late_from=41)))
    assert body["sentence"] == "80 captions from 41 on are 734 ms late; the rest is equal."
    assert "captions" not in body


def test_captions_are_listed_where_they_are_asked_for(api: Api, repository: Path) -> None:
    body = get(api, mismatch(api, repository, srt(), srt(without=61)), captions="true")["captions"]
    assert (body["unit"], body["expected_count"], body["actual_count"]) == ("caption", 120, 119)
    assert (body["counts"], body["renumbered"], body["truncated"]) == ({"missing_cue": 1}, 0, False)
    (change,) = body["changes"]
    assert (change["kind"], change["expected"]["first"], change["expected"]["start"]) == ("missing_cue", 61, 122_000)
    assert "actual" not in change


def test_a_binary_file_has_no_sentence(api: Api, repository: Path) -> None:
    body = get(api, mismatch(api, repository, b"a\0", b"b\0"), captions="true")
    assert body["status"] == "different"
    assert {"sentence", "captions"}.isdisjoint(body)
