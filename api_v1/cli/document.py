"""`flask api-v1 openapi` and `operations`: print the document, and the table of scopes and roles."""

from __future__ import annotations

import json

import click
from flask import current_app
from flask.cli import with_appcontext

from api_v1.web import operation_table


@click.command("openapi")
@with_appcontext
def print_document() -> None:
    """Print the OpenAPI document."""
    click.echo(json.dumps(current_app.extensions["api_v1"].document, indent=1, ensure_ascii=False))


@click.command("operations")
def print_operations() -> None:
    """Print the table of operations, scopes and roles: docs/operations.md."""
    click.echo(operation_table.page(), nl=False)
