"""An empty folder of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from api_v1.files.storage import Storage


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of results and logs."""
    return tmp_path


@pytest.fixture
def storage(folder: Path) -> Storage:
    """A store without a bucket."""
    return Storage({"SAMPLE_REPOSITORY": str(folder)})
