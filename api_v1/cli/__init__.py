"""`flask api-v1 …`: the command line, one module per group of commands."""

from __future__ import annotations

from flask.cli import AppGroup

from api_v1.cli import approvals, audit, cursors, database, demo, document, tokens, verdicts

__all__ = ["group"]

group = AppGroup("api-v1", help="The REST API: database, tokens, document, demo data.")
for _module in (database, tokens, cursors, approvals, verdicts, demo):
    group.add_command(_module.group)
group.add_command(audit.show_audit)
group.add_command(document.print_document)
group.add_command(document.print_operations)
