"""The ends of a log's entries."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from api_v1.files.logs.ends import BEFORE, BEHIND, EntryEnd, ends
from tests.support.logs import OTHER, REDACTOR, SAMPLE, TOKEN, URL


def entry(number: int, *lines: str, exit_code: int = 0, behind: tuple[str, ...] = ()) -> str:
    """The lines of an entry as the tester writes them."""
    end = f"[INFO] Finished entry {number} with exit code: {exit_code}"
    return "\n".join((f"[INFO] Starting with entry {number} of 9", *lines, end, *behind)) + "\n"


def names(sample: object, number: int = 0) -> str:
    """A line that names the sample."""
    return f"[ERROR] Opening file: /repository/{SAMPLE.file_names[0] if sample is SAMPLE else OTHER.sha}" + " " * number


def found(log: str, *, whole: bool = True) -> dict[int, list[EntryEnd]]:
    """The ends of both samples."""
    return ends(log.encode(), [SAMPLE, OTHER], whole=whole, redactor=REDACTOR)


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
    assert ends(log, [SAMPLE], whole=True, redactor=REDACTOR, is_late=lambda: True) == {}


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
