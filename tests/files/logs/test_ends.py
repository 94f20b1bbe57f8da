"""The ends of a log's entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_v1.files.logs.ends import BEFORE, BEHIND, EntryEnd, EntryFile, ends
from tests.support.logs import OTHER, REDACTOR, SAMPLE, TOKEN, URL


def entry(number: int, *lines: str, exit_code: int = 0, behind: tuple[str, ...] = ()) -> str:
    """The lines of an entry as the tester writes them."""
    end = f"[INFO] Finished entry {number} with exit code: {exit_code}"
    return "\n".join((f"[INFO] Starting with entry {number} of 9", *lines, end, *behind)) + "\n"


def names(sample: object, number: int = 0) -> str:
    """A line that names the sample."""
    return f"[ERROR] Opening file: /repository/{SAMPLE.file_names[0] if sample is SAMPLE else OTHER.sha}" + " " * number


def found(log: str, *, whole: bool = True) -> Mapping[int, Sequence[EntryEnd]]:
    """The ends of both samples."""
    return ends(log.encode(), [SAMPLE, OTHER], whole=whole, redactor=REDACTOR).of_sample


def entries(of: int, *numbers: int) -> str:
    """Entries of a file, each of which names the sample."""
    return "".join(entry(number, names(SAMPLE)).replace("of 9", f"of {of}") for number in numbers or range(1, of + 1))


RUNTIME = "[INFO] Runtime: 00:00:01.5\n"


def test_an_entry_has_its_last_lines_and_those_behind_its_end() -> None:
    many = [f"[ERROR] line {number}" for number in range(30)]
    log = entry(1, names(SAMPLE), *many, exit_code=139, behind=tuple("abcde"))
    [end] = found(log)[SAMPLE.sample_id]
    assert end.exit_code == 139
    assert end.lines[:BEFORE] == [*many[-BEFORE + 1 :], "[INFO] Finished entry 1 with exit code: 139"]
    assert end.lines[BEFORE:] == list("abcde")[:BEHIND]


def test_each_entry_of_a_sample_is_one() -> None:
    log = (
        entry(1, names(SAMPLE)) + entry(2, names(OTHER), exit_code=1) + entry(3) + entry(4, names(SAMPLE), exit_code=2)
    )
    codes = {sample: [end.exit_code for end in of] for sample, of in found(log).items()}
    assert codes == {SAMPLE.sample_id: [0, 2], OTHER.sample_id: [1]}


def test_an_entry_that_never_ends_has_its_last_lines() -> None:
    [end] = found("[INFO] Starting with entry 1 of 9\n" + names(SAMPLE) + "\nlast")[SAMPLE.sample_id]
    assert (end.exit_code, end.lines[-1]) == (None, "last")


def test_credentials_are_left_out() -> None:
    [end] = found(entry(1, names(SAMPLE), f"posting to {URL}", "a known-secret"))[SAMPLE.sample_id]
    assert not [line for line in end.lines if TOKEN in line or "known-secret" in line]
    assert any("[redacted]" in line for line in end.lines)


def test_a_line_that_was_cut_is_left_out() -> None:
    log = f"the end of {URL} {names(SAMPLE)}\n" + entry(1, names(OTHER))
    assert set(found(log, whole=False)) == {OTHER.sample_id}


def test_nothing_more_is_read_when_it_is_late() -> None:
    log = entry(1, names(SAMPLE)).encode()
    assert ends(log, [SAMPLE], whole=True, redactor=REDACTOR, is_late=lambda: True).of_sample == {}


@pytest.mark.parametrize("line_end", ["\n", " \r\n"])
@pytest.mark.parametrize(
    ("log", "files", "places"),
    [
        (entries(2) + RUNTIME + entries(3), [(None, 2), (None, 3)], [0, 0, 1, 1, 1]),
        # Two files of one size, with and without the line between them.
        (entries(2) + RUNTIME + entries(2), [(None, 2), (None, 2)], [0, 0, 1, 1]),
        (entries(1) + entries(1), [(None, 1), (None, 1)], [0, 1]),
        # The tester stopped, and the log begins in the middle of a file.
        (entries(9, 1, 2), [(None, 9)], [0, 0]),
        (entries(4, 3, 4) + RUNTIME + entries(1), [(None, 4), (None, 1)], [0, 0, 1]),
        ("[INFO] Running provided file\n" + entries(1), [(None, 1)], [0]),
        (
            "[INFO] Running provided file D\u00e9j\u00e0: vu & more.xml\n" + entries(1) + RUNTIME + entries(1),
            [("D\u00e9j\u00e0: vu & more.xml", 1), (None, 1)],
            [0, 1],
        ),
        # What CCExtractor writes begins no file.
        (entry(1, names(SAMPLE), "Starting with entry 7 of 8", "[ERROR] Runtime", exit_code=0), [(None, 9)], [0]),
    ],
)
def test_the_files_of_categories_are_told_apart(
    log: str, files: list[tuple[str | None, int]], places: list[int], line_end: str
) -> None:
    read = ends(log.replace("\n", line_end).encode(), [SAMPLE], whole=True, redactor=REDACTOR)
    assert read.files == [EntryFile(*file) for file in files]
    assert [end.file for end in read.of_sample[SAMPLE.sample_id]] == places
    assert {end.exit_code for end in read.of_sample[SAMPLE.sample_id]} == {0}


def test_the_rest_of_an_entry_is_in_no_known_file() -> None:
    log = "cut\n" + names(SAMPLE) + "\n[INFO] Finished entry 3 with exit code: 1\n" + entries(9, 4)
    read = ends(log.encode(), [SAMPLE], whole=False, redactor=REDACTOR)
    assert [(end.file, end.exit_code) for end in read.of_sample[SAMPLE.sample_id]] == [(None, 1), (0, 0)]


def test_an_entry_ends_with_its_own_number() -> None:
    log = entry(2, names(SAMPLE), "[INFO] Finished entry 1 with exit code: 139", exit_code=3)
    assert [end.exit_code for end in found(log)[SAMPLE.sample_id]] == [3]


@given(
    st.lists(
        st.tuples(
            st.sampled_from((SAMPLE, OTHER, None)),
            st.lists(st.sampled_from(("[ERROR] noise", "noise", "[INFO] ", "é\x00\x1b[1m")), max_size=20),
            st.integers(-11, 139),
        ),
        max_size=6,
    )
)
def test_every_entry_that_names_a_sample_is_found(entries: list[tuple[object, list[str], int]]) -> None:
    log = "".join(
        entry(number, *([names(sample)] if sample else []), *lines, exit_code=code)
        for number, (sample, lines, code) in enumerate(entries, 1)
    )
    for sample in (SAMPLE, OTHER):
        of = found(log).get(sample.sample_id, [])
        assert [end.exit_code for end in of] == [code for one, _, code in entries if one is sample]
        assert all(len(end.lines) <= BEFORE + BEHIND for end in of)
