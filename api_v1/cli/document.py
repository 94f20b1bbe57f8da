"""`flask api-v1 openapi`, `operations` and `reference`: print the document, and the pages that are made of it."""

from __future__ import annotations

import json

import click
from flask import current_app
from flask.cli import with_appcontext

from api_v1.settings import Settings
from api_v1.web import openapi, operation_table, reference


@click.command("openapi")
@with_appcontext
def print_document() -> None:
    """Print the OpenAPI document."""
    click.echo(json.dumps(current_app.extensions["api_v1"].document, indent=1, ensure_ascii=False))


@click.command("operations")
def print_operations() -> None:
    """Print the table of operations, scopes and roles: docs/operations.md."""
    click.echo(operation_table.page(), nl=False)


@click.command("reference")
def print_reference() -> None:
    """Print every operation with its parameters, errors and examples: docs/reference.md."""
    click.echo(reference.page(openapi.document(Settings())), nl=False)
