"""Diffs of any two files, applied again: by hand and by the system's `patch`."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from api_v1.files.diff import Change, Kind, Status, Summary, changes, diff
from tests.support.diffs import UTF_8_TEXTS, apply, contexts, kinds, limits, pairs, patched, split

# --- for all files --------------------------------------------------------------------------------


@given(pairs(), contexts)
@example((b"", b"a"), 0)
@example((b"a", b""), 3)
@example((b"\n", b""), 3)
@example((b"a\na\n", b"a\na\na\n"), 0)
@example((b"a\na\na\n", b"a\na\n"), 0)
@example((b"a\r\nb\r\n", b"a\nb\n"), 3)
@example(("é\n".encode(), "é\n".encode("cp1252")), 3)
def test_applying_the_hunks_gives_the_actual_file(pair: tuple[bytes, bytes], context: int) -> None:
    expected, actual = pair
    found = diff(expected, actual, context)
    assert apply(expected, found) == actual
    assert not found.truncated
    assert found.unified is None


@given(pairs(UTF_8_TEXTS), contexts)
@settings(max_examples=100)
@example((b"", b"a"), 0)
@example((b"a\n", b"a"), 0)
@example((b"a", b"a\nb"), 3)
@example((b"-- a\n++ b\n", b"++ b\n@@ -1 +1 @@\n"), 0)
@example((b"a\r\nb\r\n", b"a\nb\n"), 3)
def test_patch_gives_the_actual_file(pair: tuple[bytes, bytes], context: int) -> None:
    expected, actual = pair
    assume(expected != actual)
    found = diff(expected, actual, context, "unified")
    assert found.hunks == ()
    assert patched(expected, (found.unified or "").encode()) == actual


def test_patch_gives_the_actual_file_in_cp1252() -> None:
    expected, actual = b"caf\xe9\n\x80 1\n", b"caf\xe9s\n\x80 1\n"
    found = diff(expected, actual, format="unified")
    assert found.unified is not None and "+cafés\n" in found.unified
    assert patched(expected, found.unified.encode("cp1252")) == actual


@given(pairs(), contexts)
def test_the_summary_counts_what_both_forms_show(pair: tuple[bytes, bytes], context: int) -> None:
    structured, unified = diff(*pair, context), diff(*pair, context, "unified")
    shown = kinds(structured)
    assert structured.summary == Summary(shown[Kind.ADDED], shown[Kind.REMOVED], len(structured.hunks))
    assert unified.summary == structured.summary
    signs = Counter(line[0] for line in (unified.unified or "").split("\n")[2:-1])
    hunks = len(re.findall(r"^@@ -[\d,]+ \+[\d,]+ @@$", unified.unified or "", re.MULTILINE))
    assert hunks >= len(structured.hunks)
    assert [signs[sign] for sign in "+- "] == [shown[kind] for kind in (Kind.ADDED, Kind.REMOVED, Kind.CONTEXT)]


@given(pairs(), contexts)
def test_context_is_as_wide_as_asked_for(pair: tuple[bytes, bytes], context: int) -> None:
    total = len(split(pair[0]))
    for hunk in diff(*pair, context).hunks:
        shown = "".join(line.kind[0] for line in hunk.lines)
        before, after = (len(part) for part in re.split(r"[ar](?:.*[ar])?", shown))
        # Without a line of the expected file a hunk starts after the line it names.
        last = hunk.expected_start + max(sum(line.kind is not Kind.ADDED for line in hunk.lines) - 1, 0)
        assert before == context or (before < context and hunk.lines[0].expected_line == 1) or hunk.expected_start <= 1
        assert after == context or (after < context and last >= total)
        assert max(map(len, re.findall("c*", shown))) <= max(2 * context, before, after)


@given(pairs())
def test_files_are_identical_if_and_only_if_their_bytes_are(pair: tuple[bytes, bytes]) -> None:
    found = diff(*pair)
    assert (found.status is Status.IDENTICAL) == (pair[0] == pair[1])
    assert bool(found.differences) == (pair[0] != pair[1])
    assert bool(found.hunks) == (pair[0] != pair[1])


@given(st.binary(max_size=400), st.binary(max_size=400), st.integers(0, 50))
def test_any_bytes_can_be_compared(expected: bytes, actual: bytes, context: int) -> None:
    for format in ("structured", "unified"):
        found = diff(expected, actual, context, "unified" if format == "unified" else "structured")
        assert found.status == ("identical" if expected == actual else "different")
        assert bool(found.differences) == (expected != actual)


@given(pairs(), st.booleans())
def test_the_hunks_are_exact_also_where_tables_are_cut_into_pieces(pair: tuple[bytes, bytes], deep: bool) -> None:
    with limits(MAX_CELLS=9, MAX_DEPTH=4 if deep else 0):
        found = diff(*pair)
    assert apply(pair[0], found) == pair[1]


# --- which lines differ ---------------------------------------------------------------------------


def longest_common(a: list[int], b: list[int]) -> int:
    """The length of the longest common subsequence, from its definition."""
    row = [0] * (len(b) + 1)
    for x in a:
        above = row[:]
        for j, y in enumerate(b):
            row[j + 1] = above[j] + 1 if x == y else max(above[j + 1], row[j])
    return row[-1]


@given(st.lists(st.integers(0, 2), max_size=40), st.lists(st.integers(0, 2), max_size=40))
def test_as_many_lines_as_possible_stay_without_unique_lines(a: list[int], b: list[int]) -> None:
    assume(not [line for line in {*a, *b} if a.count(line) == b.count(line) == 1])
    # Ends that differ, or the lines between could become unique.
    found = changes([8, *a, 8], [9, *b, 9])
    assert len(a) + 2 - sum(change.i2 - change.i1 for change in found) == longest_common(a, b)


@given(st.lists(st.integers(0, 9), max_size=40), st.lists(st.integers(0, 9), max_size=40))
def test_changes_are_in_order_and_apart(a: list[int], b: list[int]) -> None:
    i = j = 0
    for number, change in enumerate(changes(a, b)):
        assert change.i1 - i == change.j1 - j >= (number > 0)
        assert a[i : change.i1] == b[j : change.j1]
        assert change.i2 > change.i1 or change.j2 > change.j1
        i, j = change.i2, change.j2
    assert a[i:] == b[j:]


@pytest.mark.parametrize(
    ("a", "b", "found"),
    [
        ("", "", []),
        ("abc", "abc", []),
        ("", "ab", [Change(0, 0, 0, 2)]),
        ("ab", "", [Change(0, 2, 0, 0)]),
        ("abc", "axc", [Change(1, 2, 1, 2)]),
        ("ab", "ba", [Change(0, 1, 0, 0), Change(2, 2, 1, 2)]),
        # A new paragraph is one change, whose lines are not matched with those of its neighbours.
        ("1.2.", "1.x.2.", [Change(2, 2, 2, 4)]),
        # The line that is unique is matched, and not the more of those that are not.
        ("Uaa", "aaU", [Change(0, 0, 0, 2), Change(1, 3, 3, 3)]),
        # Between such lines as many are matched as can, whether or not they are unique there.
        ("CpUpxxA", "DpUxxpB", [Change(0, 1, 0, 1), Change(3, 4, 3, 3), Change(6, 7, 5, 7)]),
    ],
)
def test_changes_are_found(a: str, b: str, found: list[Change]) -> None:
    assert changes(a, b) == found
