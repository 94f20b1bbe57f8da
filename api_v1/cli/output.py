"""What commands print: tables and fields for people, JSON for programs, progress on standard error."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click

#: Seconds between two lines of progress where there is no terminal.
SECONDS_BETWEEN_LINES = 2.0

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def show_json(value: Any) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=1, ensure_ascii=False))


def show_list(
    records: Sequence[Mapping[str, Any]],
    columns: Mapping[str, str],
    *,
    as_json: bool,
    nothing: str,
    total: int | None = None,
) -> None:
    """Print records, as a table with headers or as a JSON array.

    Args:
        columns: the header of each field that the table has, in order.
        nothing: what to say where there are none.
        total: the number of all records, where there may be more than these.
    """
    if as_json:
        show_json([dict(record) for record in records])
    elif records:
        show_table([[record[name] for name in columns] for record in records], list(columns.values()))
    else:
        click.echo(nothing, err=True)
    if total is not None and total > len(records):
        click.echo(f"{len(records)} of {total}; --limit shows more.", err=True)


def show_table(rows: Sequence[Sequence[Any]], headers: Sequence[str]) -> None:
    """Print rows below headers, in aligned columns."""
    cells = [list(headers), *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def show_fields(fields: Mapping[str, Any]) -> None:
    """Print fields, one a line."""
    for name, value in fields.items():
        click.echo(f"{name}: {_cell(value)}")


def _cell(value: Any) -> str:
    """Return a value on one line; what would steer a terminal is left out, because others wrote it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "".join(character if character.isprintable() else " " for character in str(value))


@contextmanager
def progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """Show how far a long command is: a bar on a terminal, else a line now and then.

    Yields:
        A function to call with what is done and all there is to do.
    """
    if sys.stderr.isatty():
        with click.progressbar(length=1, label=label, show_pos=True, file=sys.stderr) as bar:

            def move(done: int, total: int) -> None:
                bar.length = max(total, 1)
                bar.update(done - bar.pos)

            yield move
        return
    lines = _Lines(label)
    yield lines.count
    lines.end()


class _Lines:
    """Lines of progress."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._shown_at = float("-inf")
        self._waiting: str | None = None
        self._last: str | None = None

    def count(self, done: int, total: int) -> None:
        """Print what is done, unless a line or just this was printed a moment ago."""
        line = f"{self._label}: {done} of {total}"
        self._waiting = None if line == self._last else line
        if time.monotonic() - self._shown_at >= SECONDS_BETWEEN_LINES:
            self.end()
            self._shown_at = time.monotonic()

    def end(self) -> None:
        """Print the last numbers that were not."""
        if self._waiting is not None:
            click.echo(self._waiting, err=True)
            self._last = self._waiting
        self._waiting = None
