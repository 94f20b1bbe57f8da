"""`flask api-v1 openapi`: print the OpenAPI document."""

from __future__ import annotations

import json

import click
from flask import current_app
from flask.cli import with_appcontext


@click.command("openapi")
@with_appcontext
def print_document() -> None:
    """Print the OpenAPI document."""
    click.echo(json.dumps(current_app.extensions["api_v1"].document, indent=1, ensure_ascii=False))
