"""Rows of every kind that an operation reads, and the URLs that read them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mod_upload.models import Platform

from api_v1.database import platform
from api_v1.database.platform import DbSession
from api_v1.web.operation import REGISTRY
from tests.support import factories
from tests.support.reading import FINISHED

GOT = factories.hash_of("got")


def seed(session: DbSession) -> dict[str, Any]:
    """Add rows of every kind that an operation reads; return the ids that URLs need."""
    sample = factories.sample(session, tags=["dvb"])
    test = factories.regression_test(session, of=sample)
    outputs = [factories.output(session, test, variants=[GOT]), factories.output(session, test)]
    owner = factories.user(session, "tester")
    runs = [
        factories.run(session, *FINISHED, tests=[test], owner=owner),
        factories.run(session, *FINISHED, created_at=None),
        factories.run(session, "testing", pull_request=7),
        factories.run(session, "testing", "canceled", tests=[test]),
        factories.run(session, tests=[test]),
    ]
    for run in runs[:3]:
        factories.result(session, run, test, (outputs[0], GOT), (outputs[1], factories.hash_of("other")), exit_code=1)
    session.add(platform.GcpInstance("machine", runs[4].id, factories.START))
    session.add(platform.Upload(owner.id, sample.id, None, Platform.linux))
    for key in ("average_time_linux", "fetch_commit_linux"):
        session.add(platform.GeneralData(key, "5"))
    session.flush()
    return {
        "run_ids": [run.id for run in runs],
        "sample_id": sample.id,
        "regression_id": test.id,
        "output_id": outputs[1].id,
        "approval_id": 1,
        "token_name": "x",
        "number": 7,
    }


def urls(ids: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The path and query of each operation that reads, for each run."""
    for run_id in ids["run_ids"]:
        for operation in REGISTRY.values():
            if operation.method == "GET" and (run_id == ids["run_ids"][0] or "{run_id}" in operation.path):
                path = operation.path.format(run_id=run_id, **ids)
                wanted = ("regression_id", "output_id")
                selects = path.endswith(("/expected", "/actual", "/diff"))
                yield path, "&".join(f"{name}={ids[name]}" for name in wanted) if selects else ""
