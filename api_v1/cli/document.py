"""`flask api-v1 openapi` and `operations`: the document, and the table of scopes and roles."""

from __future__ import annotations

import json

import click

from api_v1.web import openapi, operation_table


@click.command("openapi")
def print_document() -> None:
    """Print the OpenAPI document."""
    click.echo(json.dumps(openapi.document(), indent=1, ensure_ascii=False))


@click.command("operations")
def print_operations() -> None:
    """Print the table of operations, scopes and roles: docs/operations.md."""
    click.echo(operation_table.page(), nl=False)
