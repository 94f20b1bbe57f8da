"""The demo."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.client import Api
from tests.support.demo import client_in


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A client of the demo, whose states are stored."""
    with client_in(tmp_path_factory.mktemp("demo")) as client:
        yield client
