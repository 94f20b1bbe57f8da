"""`api-v1 …`, or `flask api-v1 …`: the command line, one module per group of commands."""

from __future__ import annotations

from typing import Any

import click
from flask.cli import AppGroup

from api_v1.cli import approvals, audit, cursors, database, demo, doctor, document, tokens, verdicts
from api_v1.database import outages

__all__ = ["group"]


class Commands(AppGroup):
    """Commands that say in one line what is wrong with the database."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except outages.DATABASE_ERRORS as error:
            explained = outages.explain(error)
            if explained is None:
                raise
            raise click.ClickException(explained.message) from None


group = Commands("api-v1", help="The REST API: database, tokens, document, demo data.")
for _module in (database, tokens, cursors, approvals, verdicts, demo):
    group.add_command(_module.group)
group.add_command(audit.show_audit)
group.add_command(doctor.examine)
group.add_command(document.print_document)
group.add_command(document.print_operations)
group.add_command(document.print_reference)
