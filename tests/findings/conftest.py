"""An empty database, and a pull request in it for tests that want one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from api_v1.database.platform import DbSession
from api_v1.database.session import db
from tests.support.client import Api
from tests.support.pull_request_story import Story


@pytest.fixture
def session(api: Api) -> Iterator[DbSession]:
    """A session on an empty database; what it commits can be seen by all."""
    with api.app.app_context():
        yield db.session


@pytest.fixture
def story(session: DbSession) -> Story:
    """Nothing but tests."""
    return Story(session)
