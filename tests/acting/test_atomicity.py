"""Platform rows, our rows and the audit record are written in one transaction, wherever it is interrupted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from api_v1.access import tokens
from api_v1.database import platform
from api_v1.database.platform import Base
from api_v1.database.session import db
from tests.support import factories
from tests.support.client import Api
from tests.support.people import PASSWORD, QUICK_HASH
from tests.support.reviews import ReviewScenario, review_mode, review_scenario
from tests.support.thorough import sampled
from tests.support.writing import BODY, Contents, contents

#: Rows that are new and rows that are gone, by table; a changed row is both.
Difference = dict[str, tuple[int, int]]


def difference(before: Contents, after: Contents) -> Difference:
    """What happened to the tables in between."""
    return {
        name: ((after[name] - rows).total(), (rows - after[name]).total())
        for name, rows in before.items()
        if after[name] != rows
    }


def created(number: int) -> tuple[int, int]:
    return number, 0


CHANGED = (1, 1)
NEW_RUN = dict.fromkeys(("test", "customized_test", "test_fork", "api_v1_run_creation", "api_v1_audit"), created(1))
Case = tuple[str, str, Any, dict[str, str]]


def create(scenario: ReviewScenario) -> tuple[Case, Difference]:
    body = BODY | {"repository": "somebody/new"}
    return ("POST", "/runs", body, scenario.contributor), NEW_RUN | {"fork": created(1)}


def retry(scenario: ReviewScenario) -> tuple[Case, Difference]:
    return ("POST", f"/runs/{scenario.mismatch.run_id}/retry", {}, scenario.contributor), NEW_RUN


def cancel(scenario: ReviewScenario) -> tuple[Case, Difference]:
    with scenario.api.rows() as session:
        run_id = factories.run(session).id
    written = {"test_progress": created(1), "api_v1_audit": created(1)}
    return ("POST", f"/runs/{run_id}/cancel", {}, scenario.contributor), written


def request(scenario: ReviewScenario) -> tuple[Case, Difference]:
    written = {"api_v1_baseline_approval": created(1), "api_v1_audit": created(1)}
    return ("POST", scenario.mismatch.path, scenario.mismatch.body(), scenario.contributor), written


def request_and_approve(scenario: ReviewScenario) -> tuple[Case, Difference]:
    """Both in one, with API_V1_BASELINE_REVIEW = auto."""
    (method, path, body, _), _ = request(scenario)
    written = {
        "api_v1_baseline_approval": created(1),
        "api_v1_audit": created(2),
        "api_v1_baseline_change": created(1),
        "regression_test_output": CHANGED,
    }
    return (method, path, body, scenario.admin), written


def _with_twin(scenario: ReviewScenario) -> str:
    """Request approval for two outputs; return where the approval is."""
    with scenario.api.rows() as session:
        test = factories.regression_test(session, session.get_one(platform.Sample, scenario.mismatch.sample_id))
        factories.output(session, test, scenario.mismatch.old)
    return f"/baseline-approvals/{scenario.request(apply_to_variants=True)['approval_id']}"


def approve(scenario: ReviewScenario) -> tuple[Case, Difference]:
    body = {"decision": "approve", "reason": "I compared both files."}
    written = {
        "api_v1_baseline_approval": CHANGED,
        "api_v1_audit": created(1),
        "api_v1_baseline_change": created(2),
        "regression_test_output": (2, 2),
    }
    return ("POST", f"{_with_twin(scenario)}/review", body, scenario.admin), written


def reject(scenario: ReviewScenario) -> tuple[Case, Difference]:
    body = {"decision": "reject", "reason": "It cuts the last line."}
    written = {"api_v1_baseline_approval": CHANGED, "api_v1_audit": created(1)}
    return ("POST", f"{_with_twin(scenario)}/review", body, scenario.admin), written


def revert(scenario: ReviewScenario) -> tuple[Case, Difference]:
    (_, path, body, _), _ = approve(scenario)
    assert scenario.api.post(path, json=body, headers=scenario.other).status_code == 200
    written = {
        "api_v1_baseline_approval": CHANGED,
        "api_v1_audit": created(1),
        "regression_test_output": (2, 2),
    }
    return ("POST", path.replace("review", "revert"), {"reason": "It was wrong."}, scenario.admin), written


def log_in(scenario: ReviewScenario) -> tuple[Case, Difference]:
    with scenario.api.rows() as session:
        email = factories.user(session, password=QUICK_HASH).email
    body = {"email": email, "password": PASSWORD, "token_name": "laptop"}
    return ("POST", "/auth/tokens", body, {}), {"api_v1_token": created(1), "api_v1_audit": created(1)}


def log_out(scenario: ReviewScenario) -> tuple[Case, Difference]:
    return ("DELETE", "/auth/tokens/current", None, scenario.other), {
        "api_v1_token": CHANGED,
        "api_v1_audit": created(1),
    }


def revoke(scenario: ReviewScenario) -> tuple[Case, Difference]:
    with scenario.api.rows() as session:
        owner = factories.user(session)
        who = factories.bearer(session, owner)
        tokens.create(session, owner.id, "lost", [], 30)
    return ("DELETE", "/auth/tokens/lost", None, who), {"api_v1_token": CHANGED, "api_v1_audit": created(1)}


WITH_KEY = [create, retry, cancel, request, request_and_approve]
WITHOUT_KEY = [*WITH_KEY, approve, reject, revert, log_in, log_out, revoke]


@contextmanager
def stopping(engine: sa.Engine, at: int, stop: Callable[[], None], *events: str) -> Iterator[None]:
    """Stop just before the n-th statement, or other event, that is sent to the database."""
    left = at

    def count(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            stop()

    for event in ("before_cursor_execute", *events):
        sa.event.listen(engine, event, count)
    try:
        yield
    finally:
        for event in ("before_cursor_execute", *events):
            sa.event.remove(engine, event, count)


def counts(engine: sa.Engine, names: Iterable[str]) -> dict[str, int]:
    """Return the number of rows of each of some tables."""
    tables = [Base.metadata.tables[name] for name in names]
    with engine.connect() as connection:
        selects = [sa.select(sa.func.count()).select_from(table).scalar_subquery() for table in tables]
        return dict(zip(names, connection.execute(sa.select(*selects)).one(), strict=True))


def fail() -> None:
    raise RuntimeError("stopped on purpose")


def send(api: Api, case: Case, more: Mapping[str, str]) -> Any:
    """Send a case's request."""
    method, path, body, who = case
    return api.request(method, path, headers={**who, **more}, **({} if body is None else {"json": body}))


@pytest.fixture
def scenario(api: Api, monkeypatch: pytest.MonkeyPatch) -> ReviewScenario:
    monkeypatch.setattr(tokens, "_NOBODY", QUICK_HASH)
    return review_scenario(api)


@pytest.mark.parametrize(
    ("make", "key"),
    [
        *(pytest.param(make, {}, id=make.__name__) for make in WITHOUT_KEY),
        *(pytest.param(make, {"Idempotency-Key": "one"}, id=f"{make.__name__} with a key") for make in WITH_KEY),
    ],
)
def test_an_interrupted_change_leaves_nothing(
    scenario: ReviewScenario, make: Callable[[ReviewScenario], tuple[Case, Difference]], key: dict[str, str]
) -> None:
    """Stopped at its first statement, then at its second, and so on; what is there at last was done once."""
    case, written = make(scenario)
    api = scenario.api
    with api.app.app_context():
        engine = db.engine
    with api.rows() as session:
        before = contents(session)
    stops = 0
    with review_mode(api, "auto" if make is request_and_approve else "required"):
        while True:
            with stopping(engine, stops + 1, fail):
                response = send(api, case, key)
            if response.status_code < 500:
                break
            stops += 1
            assert counts(engine, written) == {name: before[name].total() for name in written}, stops
    assert response.status_code in (200, 201, 202, 204)
    assert "Idempotency-Replayed" not in response.headers
    assert stops > 3
    with api.rows() as session:
        assert difference(before, contents(session)) == written | ({"api_v1_idempotency": created(1)} if key else {})


# --- Processes that die ----------------------------------------------------------------------


def in_a_process(api: Api, case: Case, key: Mapping[str, str], at: int | None) -> int:
    """Send a request in another process, which dies just before its n-th statement, or before it can answer."""
    child = os.fork()
    if child == 0:
        try:
            with api.app.app_context():
                engine = db.engine
            # The connections are the parent's.
            engine.dispose(close=False)
            with stopping(engine, at or -1, lambda: os._exit(9), "commit"):
                status = send(api, case, key).status_code
            os._exit(0 if status < 300 else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


on_mariadb = pytest.mark.parametrize("database_uri", ["mariadb"], indirect=True)


@on_mariadb
@pytest.mark.parametrize("make", sampled([create, retry, cancel, request], 4), ids=lambda make: make.__name__)
def test_a_dying_process_leaves_nothing_and_its_key_works(
    scenario: ReviewScenario, make: Callable[[ReviewScenario], tuple[Case, Difference]]
) -> None:
    deaths = 0
    while True:
        if make in (retry, request):
            # What was retried or requested once is not new.
            scenario = review_scenario(scenario.api)
        (case, written), key = make(scenario), {"Idempotency-Key": f"key{deaths}"}
        if make is create:
            case[2]["repository"] = f"somebody/new{deaths}"
        with scenario.api.rows() as session:
            before = contents(session)
        code = in_a_process(scenario.api, case, key, deaths + 1)
        if code != 9:
            break
        deaths += 1
        with scenario.api.rows() as session:
            assert difference(before, contents(session)) == {}, deaths
        response = send(scenario.api, case, key)
        assert (response.status_code, response.headers.get("Idempotency-Replayed")) == (202, None)
        with scenario.api.rows() as session:
            assert difference(before, contents(session)) == written | {"api_v1_idempotency": created(1)}
    assert code == 0
    assert deaths > 4


@on_mariadb
def test_a_lost_response_is_given_again(scenario: ReviewScenario) -> None:
    case, written = create(scenario)
    with scenario.api.rows() as session:
        before = contents(session)
    assert in_a_process(scenario.api, case, {"Idempotency-Key": "one"}, at=None) == 0
    response = send(scenario.api, case, {"Idempotency-Key": "one"})
    assert (response.status_code, response.headers["Idempotency-Replayed"]) == (202, "true")
    with scenario.api.rows() as session:
        assert difference(before, contents(session)) == written | {"api_v1_idempotency": created(1)}
        assert response.json["run_id"] == session.scalar(sa.select(sa.func.max(platform.Test.id)))
