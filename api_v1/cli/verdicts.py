"""`flask api-v1 verdicts`: derive and store the states of runs."""

from __future__ import annotations

import click
from flask.cli import AppGroup

from api_v1.database.session import db
from api_v1.verdicts import refresher

group = AppGroup("verdicts", help="The stored state of runs.")


@group.command()
@click.option("--all", "everything", is_flag=True, help="Derive every run anew, not only what changed.")
def rebuild(everything: bool) -> None:
    """Derive the state of runs ahead of the first request that needs it.

    It may be stopped and started again: what was stored stays.
    """
    fill(everything=everything)


def fill(*, everything: bool = False) -> None:
    """Derive and store the states of runs, with a progress bar."""
    with click.progressbar(length=1, label="Runs") as bar:

        def show(known: int, runs: int) -> None:
            bar.length = max(runs, 1)
            bar.update(known - bar.pos)

        refresher.rebuild(db.engine, everything=everything, progress=show)
        bar.update((bar.length or 1) - bar.pos)
