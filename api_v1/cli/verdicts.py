"""`flask api-v1 verdicts`: derive and store the states of runs."""

from __future__ import annotations

import click
from flask.cli import AppGroup

from api_v1.cli.output import json_option, progress, show_json
from api_v1.database.session import db
from api_v1.verdicts import refresher

group = AppGroup("verdicts", help="The stored state of runs.")


@group.command()
@click.option("--all", "everything", is_flag=True, help="Derive every run anew, not only what changed.")
@json_option
def rebuild(everything: bool, as_json: bool) -> None:
    """Derive the state of runs ahead of the first request that needs it.

    It may be stopped and started again: what was stored stays.
    """
    runs = fill(everything=everything)
    if as_json:
        show_json({"runs": runs})


def fill(*, everything: bool = False) -> int:
    """Derive and store the states of runs, and show the progress; return the number of runs."""
    runs = 0
    with progress("Runs") as show:

        def count(known: int, total: int) -> None:
            nonlocal runs
            runs = total
            show(known, total)

        refresher.rebuild(db.engine, everything=everything, progress=count)
        show(runs, runs)
    return runs
