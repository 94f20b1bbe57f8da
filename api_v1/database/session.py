"""The session of a request or a command: Flask-SQLAlchemy on the platform's models and database."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from api_v1.database.platform import ApiBase, create_engine, platform_engine


class Db(SQLAlchemy):
    """Flask-SQLAlchemy on the platform's database.

    On a database server the API has an engine of its own, so that its time-outs never reach the platform's pages. For
    SQLite it shares the platform's: in memory a second engine would be a second database.
    """

    def _make_engine(self, bind_key: str | None, options: dict[str, Any], app: Flask) -> sa.Engine:
        uri = app.config["DATABASE_URI"]
        is_server = sa.make_url(uri).get_backend_name() != "sqlite"
        return create_engine(uri) if is_server else platform_engine(uri)

    def _apply_driver_defaults(self, options: dict[str, Any], app: Flask) -> None:
        """Keep the URL: Flask-SQLAlchemy would look for relative SQLite files in another folder than the platform."""


db = Db(model_class=ApiBase)
