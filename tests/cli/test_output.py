"""Tables, fields and progress."""

from __future__ import annotations

import json
import sys
import time

import pytest

from api_v1.cli import output

COLUMNS = {"name": "NAME", "size": "SIZE"}


def test_a_table_has_headers_and_aligned_columns(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_table([["long name", 7], ["x", None], ["y", True]], ["NAME", "SIZE"])
    assert capsys.readouterr().out == "NAME       SIZE\nlong name  7\nx          -\ny          yes\n"


def test_what_would_steer_a_terminal_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Reasons and names were written by others."""
    output.show_fields({"reason": "red \x1b[31m\nnext\rline\u202e"})
    assert capsys.readouterr().out == "reason: red  [31m next line \n"


def test_json_has_every_field_of_the_records(capsys: pytest.CaptureFixture[str]) -> None:
    records = [{"name": "a\x1b", "size": 1, "more": [1]}]
    output.show_list(records, COLUMNS, as_json=True, nothing="None.")
    assert json.loads(capsys.readouterr().out) == records


def test_a_list_that_was_cut_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_list([{"name": "a", "size": 1}], COLUMNS, as_json=False, nothing="None.", total=30)
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("NAME  SIZE\na     1\n", "1 of 30; --limit shows more.\n")


def test_progress_without_a_terminal_counts_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 0.0, 1.0, 2.5, 2.5, 3.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with output.progress("Runs") as show:
        for done in (100, 200, 300, 400):
            show(done, 400)
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "Runs: 100 of 400\nRuns: 300 of 400\nRuns: 400 of 400\n")


def test_progress_on_a_terminal_is_a_bar_with_counts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with output.progress("Runs") as show:
        show(3, 4)
        show(4, 4)
    assert "4/4" in capsys.readouterr().err


def test_the_same_progress_is_told_once(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "SECONDS_BETWEEN_LINES", 0.0)
    with output.progress("Runs") as show:
        for done in (1, 2, 2):
            show(done, 2)
    assert capsys.readouterr().err.splitlines() == ["Runs: 1 of 2", "Runs: 2 of 2"]


def test_nothing_to_do_is_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with output.progress("Runs"):
        pass
    assert capsys.readouterr().err == ""
