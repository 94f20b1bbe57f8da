"""The API gives the same responses inside the platform and in a process of its own, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from api_v1 import demo
from api_v1.database import platform
from api_v1.database.session import db
from api_v1.web.operation import REGISTRY
from tests.support import factories
from tests.support.client import Api
from tests.support.demo import END
from tests.support.thorough import thorough

#: What tells of the process or of the moment of the request itself.
OF_THE_PROCESS = {"/system/health", "/auth/tokens", "/auth/tokens/current"}


@pytest.fixture
def files(repository: Path) -> Iterator[Path]:
    """The platform's folder, afterwards as it was before."""
    before = set(repository.rglob("*"))
    yield repository
    for path in sorted(set(repository.rglob("*")) - before, reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def ids(api: Api) -> Iterator[dict[str, Any]]:
    """The ids of each run, and of a test that has a result there."""
    result = platform.TestResult
    with api.rows() as session:
        any_test = session.scalars(sa.select(sa.func.min(platform.RegressionTest.id))).one()
        tests = sa.select(sa.func.min(result.regression_test_id)).where(result.test_id == platform.Test.id)
        for run_id, regression_id in session.execute(sa.select(platform.Test.id, tests.scalar_subquery())).all():
            test = session.get_one(platform.RegressionTest, regression_id or any_test)
            output = sa.select(sa.func.min(platform.RegressionTestOutput.id)).where(
                platform.RegressionTestOutput.regression_id == test.id
            )
            yield {
                "run_id": run_id,
                "sample_id": test.sample_id,
                "regression_id": test.id,
                "output_id": session.scalar(output),
                "approval_id": 1,
                "number": 1725,
            }


def query(path: str, of: dict[str, Any]) -> dict[str, Any]:
    """The parameters that an operation requires."""
    if path.endswith(("/expected", "/actual", "/diff")):
        return {name: of[name] for name in ("regression_id", "output_id")}
    return {}


@pytest.mark.parametrize("database_uri", ["sqlite", pytest.param("mariadb", marks=thorough)], indirect=True)
def test_responses_are_the_same_in_both_hosts(api: Api, mounted_api: Api, files: Path) -> None:
    with api.rows() as session:
        demo.seed(db.session(), files, END)
        headers = factories.bearer(session)
    paths = {operation.path for operation in REGISTRY.values() if operation.method == "GET"} - OF_THE_PROCESS
    urls = {(path.format(**of), tuple(query(path, of).items())) for of in list(ids(api))[::3] for path in paths}
    assert len(urls) > 200
    statuses = set()
    for path, parameters in sorted(urls):
        here, there = (host.get(path, query=dict(parameters), headers=headers) for host in (api, mounted_api))
        assert (here.status_code, here.data) == (there.status_code, there.data), path
        for name in ("ETag", "Link", "Content-Type", "Cache-Control"):
            assert here.headers.get(name) == there.headers.get(name), (path, name)
        statuses.add(here.status_code)
    assert statuses == {200, 204, 404}
