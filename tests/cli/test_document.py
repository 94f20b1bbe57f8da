"""`flask api-v1 document`."""

from __future__ import annotations

import json

from flask import Flask

from tests.support.cli import Cli


def test_document_is_printed_as_it_is_served(app: Flask, cli: Cli) -> None:
    assert json.loads(cli("openapi").stdout) == app.extensions["api_v1"].document
