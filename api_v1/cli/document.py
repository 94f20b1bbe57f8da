"""`flask api-v1 openapi`: the document."""

from __future__ import annotations

import json

import click

from api_v1.web import openapi


@click.command("openapi")
def print_document() -> None:
    """Print the OpenAPI document."""
    click.echo(json.dumps(openapi.document(), indent=1, ensure_ascii=False))
