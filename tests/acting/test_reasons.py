"""A token that somebody pastes into a reason is neither stored nor shown."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from api_v1.access.tokens import new_secret
from api_v1.database import platform
from api_v1.database.tables import AuditRecord, BaselineApproval
from tests.support import factories
from tests.support.client import Api
from tests.support.fixtures import on_one_database
from tests.support.reviews import ReviewScenario
from tests.support.writing import accepted

pytestmark = on_one_database

SECRET = new_secret()
WORKERS = f"/progress-reporter/17/{'5f' * 20}"
REASON = f"It was called with {SECRET} and {WORKERS} today."
SHOWN = "It was called with [redacted] and /progress-reporter/17/[redacted] today."


def stored(api: Api) -> str:
    """Every text that an action stores."""
    columns: tuple[Any, ...] = (
        AuditRecord.reason,
        BaselineApproval.reason,
        BaselineApproval.review_reason,
        platform.TestProgress.message,
    )
    with api.rows() as session:
        return str([session.scalars(sa.select(column)).all() for column in columns])


def assert_hidden(api: Api, times: int) -> None:
    found = stored(api)
    assert found.count(SHOWN) == times
    assert SECRET not in found and WORKERS not in found
    records = api.get("/audit-log", headers=api.bearer()).json["data"]
    assert SHOWN in [record["reason"] for record in records]


def test_the_reason_of_a_cancellation(api: Api) -> None:
    with api.rows() as session:
        run_id = factories.run(session, "testing").id
    accepted(api.post(f"/runs/{run_id}/cancel", json={"reason": REASON}, headers=api.bearer()))
    assert_hidden(api, times=2)


def test_the_reason_of_a_retry(api: Api) -> None:
    with api.rows() as session:
        run_id = factories.run(session, "testing", "canceled", tests=[factories.regression_test(session)]).id
    accepted(api.post(f"/runs/{run_id}/retry", json={"reason": REASON}, headers=api.bearer()))
    assert_hidden(api, times=1)


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_the_reasons_of_an_approval(scenario: ReviewScenario, decision: str) -> None:
    approval = scenario.request(reason=REASON)
    assert scenario.review(approval, decision, reason=REASON).status_code == 200
    assert_hidden(scenario.api, times=4)
    if decision == "approve":
        assert scenario.revert(approval, reason=REASON).status_code == 200
        assert_hidden(scenario.api, times=5)
