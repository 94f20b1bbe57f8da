"""The demo in a folder of the test's own, and an app that serves it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import database
import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

import api_v1
from api_v1 import demo
from api_v1.database.platform import Base
from tests.support.fixtures import platform_config


def config_in(folder: Path, **more: Any) -> dict[str, Any]:
    """The configuration of the demo that is in a folder, with its database unless another one is named."""
    uri = more.pop("DATABASE_URI", f"sqlite:///{folder / 'platform.sqlite'}")
    return platform_config(uri, folder / "repository", **more)


def seed(folder: Path, **more: Any) -> None:
    """Insert the demo's rows into its database, and write its files into a folder."""
    engine = sa.create_engine(config_in(folder, **more)["DATABASE_URI"])
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        demo.seed(session, folder / "repository")
        session.commit()
    engine.dispose()


@contextmanager
def serving(folder: Path, **more: Any) -> Iterator[Flask]:
    """The API over the demo in a folder; the platform keeps one engine a process, which is put back afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "db_engine", None)
        yield api_v1.create_app(config_in(folder, **more))
        made: sa.Engine | None = database.db_engine
        assert made is not None
        made.dispose()
