"""The API in an app of its own and mounted, over any database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import database
import pytest
from flask import Flask

import api_v1
from api_v1.web.operation import REGISTRY
from tests.support.client import Api
from tests.support.fixtures import import_platform, platform_config
from tests.support.request_path import DEAD, MakeApi


@pytest.fixture
def bare_platform(
    repository: Path, real_platform_config: dict[str, Any], fresh_platform_import: None
) -> Callable[[str], Flask]:
    """Imports the platform once more, without the API."""
    return lambda uri: import_platform(platform_config(uri, repository, **real_platform_config))


@pytest.fixture(params=["standalone", "mounted"])
def make_api(
    request: pytest.FixtureRequest, repository: Path, bare_platform: Callable[[str], Flask]
) -> Iterator[MakeApi]:
    """Makes one more app with the API on the database of a URI."""

    def make(uri: str) -> Api:
        if request.param == "standalone":
            return Api(api_v1.create_app(platform_config(uri, repository)))
        app = bare_platform(uri)
        api_v1.init_app(app)
        return Api(app)

    registered = dict(REGISTRY)
    yield make
    REGISTRY.clear()
    REGISTRY.update(registered)


@pytest.fixture
def dead_api(make_api: MakeApi, monkeypatch: pytest.MonkeyPatch) -> Api:
    """The API over a database that does not answer."""
    monkeypatch.setattr(database, "db_engine", None)
    return make_api(DEAD)
