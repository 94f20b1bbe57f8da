"""An empty database, one pull request in it, and an empty folder of files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from api_v1.database.platform import DbSession
from api_v1.database.session import db
from api_v1.files.storage import Storage
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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of results and logs."""
    return tmp_path


@pytest.fixture
def storage(folder: Path) -> Storage:
    """A store without a bucket."""
    return Storage({"SAMPLE_REPOSITORY": str(folder)})
