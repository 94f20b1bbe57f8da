"""`flask api-v1 verdicts`: the stored state of runs."""

from __future__ import annotations

import click
import sqlalchemy as sa
from flask.cli import AppGroup

from api_v1.platform import db
from api_v1.services import run_states, triggers
from api_v1.tables import RunState

group = AppGroup("verdicts", help="The stored state of runs.")


@group.command()
@click.option("--all", "everything", is_flag=True, help="Derive every run anew, not only what changed.")
def rebuild(everything: bool) -> None:
    """Derive the state of runs ahead of the first request that needs it.

    It may be stopped and started again: what was stored stays.
    """
    if everything:
        run_states.mark_all(db.session)
    run_states.prepare(db.session)
    count = sa.select(sa.func.count()).select_from(RunState).where(RunState.stale.is_(True))
    with click.progressbar(length=db.session.scalar(count) or 0, label="Runs") as bar:
        complete = run_states.refresh(db.session, bar.update)
    if triggers.missing(db.session):
        raise click.ClickException(f"Run states cannot be kept. {triggers.REMEDY}")
    if not complete:
        left = db.session.scalar(count) or 0
        click.echo(f"{left} runs are being changed; requests will derive them.", err=True)
