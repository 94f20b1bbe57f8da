"""`Idempotency-Key`: a request that is sent twice is executed once and gets the same response twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from api_v1.database import platform
from api_v1.database.session import db
from api_v1.database.tables import IdempotentRequest, Token, now
from api_v1.web.operation import REGISTRY
from tests.support import factories
from tests.support.client import Api
from tests.support.fixtures import on_one_database
from tests.support.reviews import ReviewScenario, review_scenario
from tests.support.writing import BODY, accepted, added, contents, refused

#: Path, body, and another body.
Request = tuple[str, dict[str, Any], dict[str, Any]]


def create(scenario: ReviewScenario) -> Request:
    return "/runs", BODY, BODY | {"platform": "windows"}


def cancel(scenario: ReviewScenario) -> Request:
    with scenario.api.rows() as session:
        run_id = factories.run(session).id
    return f"/runs/{run_id}/cancel", {}, {"reason": "wrong branch"}


def retry(scenario: ReviewScenario) -> Request:
    return f"/runs/{scenario.mismatch.run_id}/retry", {"failed_only": True}, {"failed_only": False}


def approve(scenario: ReviewScenario) -> Request:
    return scenario.mismatch.path, scenario.mismatch.body(), scenario.mismatch.body(apply_to_variants=True)


each_operation = pytest.mark.parametrize("request_of", [create, cancel, retry, approve], ids=lambda made: made.__name__)
RequestOf = Callable[[ReviewScenario], Request]


def send(api: Api, key: str | None, path: str, body: Any, who: Mapping[str, str]) -> Any:
    """Send a request with a key."""
    return api.post(path, json=body, headers={**who, **({} if key is None else {"Idempotency-Key": key})})


def answer(response: Any) -> tuple[int, bytes, str | None]:
    """Return what two equal responses have in common."""
    return response.status_code, response.data, response.content_type


def located(api: Api, response: Any) -> str:
    """Return the path below the prefix to which a response leads."""
    before, prefix, path = response.headers["Location"].partition(api.prefix)
    assert (before, prefix) == ("http://localhost", api.prefix)
    return str(path)


@each_operation
def test_what_was_accepted_leads_to_what_to_poll(scenario: ReviewScenario, request_of: RequestOf) -> None:
    path, body, _ = request_of(scenario)
    response = send(scenario.api, None, path, body, scenario.admin)
    result = accepted(response)
    expected = f"/runs/{result.get('new_run_id') or result['run_id']}"
    if "approval_id" in result:
        expected = f"/baseline-approvals/{result['approval_id']}"
    assert located(scenario.api, response) == expected


def test_everything_that_is_accepted_says_where_to_poll() -> None:
    accepting = {name: declared.responses[202] for name, declared in REGISTRY.items() if 202 in declared.responses}
    assert [name for name, spec in accepting.items() if spec.location is None] == []
    assert {name for name, declared in REGISTRY.items() if declared.idempotent} == set(accepting)


@each_operation
def test_a_repeated_request_gets_the_first_response_again(each_api: Api, request_of: RequestOf) -> None:
    scenario = review_scenario(each_api)
    path, body, _ = request_of(scenario)
    with each_api.rows() as session:
        empty = contents(session)

    first = send(each_api, "one", path, body, scenario.admin)

    assert accepted(first) and "Idempotency-Replayed" not in first.headers
    with each_api.rows() as session:
        after = contents(session)
        assert added(empty, after)["api_v1_idempotency"] == added(empty, after)["api_v1_audit"] == 1
    polled = each_api.get(located(each_api, first), headers=scenario.admin)
    assert polled.status_code == 200
    for _ in range(2):
        again = send(each_api, "one", path, body, scenario.admin)
        assert answer(again) == answer(first)
        assert again.headers["Location"] == first.headers["Location"]
        assert again.headers["Idempotency-Replayed"] == "true"
        assert again.headers["X-Request-ID"] != first.headers["X-Request-ID"]
    with each_api.rows() as session:
        assert contents(session) == after


@each_operation
def test_a_key_with_another_body_or_path_is_refused(scenario: ReviewScenario, request_of: RequestOf) -> None:
    path, body, other = request_of(scenario)
    accepted(send(scenario.api, "one", path, body, scenario.admin))
    with scenario.api.rows() as session:
        elsewhere = f"/runs/{factories.run(session).id}/cancel"
        after = contents(session)
    for target, sent in ((path, other), (elsewhere, {})):
        response = send(scenario.api, "one", target, sent, scenario.admin)
        assert refused(response, 422, "unprocessable") == {"idempotency_key": "one"}
        assert "Idempotency-Replayed" not in response.headers
    with scenario.api.rows() as session:
        assert contents(session) == after


@each_operation
def test_a_request_without_a_key_is_done_again(scenario: ReviewScenario, request_of: RequestOf) -> None:
    path, body, _ = request_of(scenario)
    accepted(send(scenario.api, "one", path, body, scenario.admin))
    assert "Idempotency-Replayed" not in send(scenario.api, None, path, body, scenario.admin).headers
    with scenario.api.rows() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(IdempotentRequest)) == 1


def test_the_spelling_of_the_json_body_does_not_matter(scenario: ReviewScenario) -> None:
    path = f"/runs/{scenario.mismatch.run_id}/retry"
    headers = scenario.admin | {"Idempotency-Key": "one"}
    first = scenario.api.post(path, headers=headers)
    for spelled in (b"", b"{}", b' {"failed_only" : false}\n'):
        again = scenario.api.post(path, headers=headers, data=spelled, content_type="application/json")
        assert answer(again) == answer(first)
    body = scenario.mismatch.body()
    backwards = dict(reversed(body.items()))
    answers = [send(scenario.api, "two", scenario.mismatch.path, each, scenario.admin) for each in (body, backwards)]
    assert answer(answers[0]) == answer(answers[1])


@on_one_database
@pytest.mark.parametrize("key", ["", " ", "two words", "k" * 256, "größe", "tab\there", "\x7f", "\xa0", "a,b", ","])
def test_a_malformed_key_is_refused(scenario: ReviewScenario, key: str) -> None:
    response = send(scenario.api, key, "/runs", BODY, scenario.admin)
    assert list(refused(response, 400, "validation_error")["fields"]) == ["Idempotency-Key"]


@pytest.mark.parametrize("key", ["k" * 255, "!", "~", '"9f6d-2c"', "a;b=c"])
def test_a_key_of_visible_ascii_is_accepted(scenario: ReviewScenario, key: str) -> None:
    answers = [send(scenario.api, key, "/runs", BODY, scenario.admin) for _ in range(2)]
    assert answer(answers[0]) == answer(answers[1])


def test_keys_are_compared_exactly(scenario: ReviewScenario) -> None:
    runs = {
        accepted(send(scenario.api, key, "/runs", BODY, scenario.admin))["run_id"] for key in ("key", "KEY", "key.")
    }
    assert len(runs) == 3


def test_each_token_has_its_own_keys(scenario: ReviewScenario) -> None:
    with scenario.api.rows() as session:
        owner = factories.user(session)
        two_of_one = [factories.bearer(session, owner) for _ in range(2)]
    runs = {accepted(send(scenario.api, "one", "/runs", BODY, who))["run_id"] for who in (*two_of_one, scenario.admin)}
    assert len(runs) == 3


def test_a_refused_request_does_not_use_up_its_key(scenario: ReviewScenario) -> None:
    """The cause of the refusal may have been removed meanwhile."""

    def set_active(active: bool) -> None:
        with scenario.api.rows() as session:
            session.execute(sa.update(platform.RegressionTest).values(active=active))

    set_active(False)
    path = f"/runs/{scenario.mismatch.run_id}/retry"
    for _ in range(2):
        refused(send(scenario.api, "one", path, {}, scenario.admin), 422, "unprocessable")
        refused(send(scenario.api, "two", "/runs/4711/cancel", {}, scenario.admin), 404, "not_found")
    set_active(True)
    accepted(send(scenario.api, "one", path, {}, scenario.admin))
    with scenario.api.rows() as session:
        assert session.scalars(sa.select(IdempotentRequest.idempotency_key)).all() == ["one"]


def test_the_first_response_is_repeated_after_the_state_has_changed(scenario: ReviewScenario) -> None:
    approval = send(scenario.api, "one", scenario.mismatch.path, scenario.mismatch.body(), scenario.contributor)
    assert scenario.review(approval.json).status_code == 200
    again = send(scenario.api, "one", scenario.mismatch.path, scenario.mismatch.body(), scenario.contributor)
    assert answer(again) == answer(approval)
    assert again.json["status"] == "pending_review"
    refused(
        send(scenario.api, None, scenario.mismatch.path, scenario.mismatch.body(), scenario.contributor),
        409,
        "conflict",
    )


def age(scenario: ReviewScenario, by: timedelta) -> None:
    """Let all keys have been used so long ago."""
    with scenario.api.rows() as session:
        session.execute(sa.update(IdempotentRequest).values(created_at=now() - by))


def test_a_key_expires_after_a_day(scenario: ReviewScenario) -> None:
    runs = [accepted(send(scenario.api, key, "/runs", BODY, scenario.admin))["run_id"] for key in ("one", "two")]
    age(scenario, timedelta(hours=23, minutes=59))
    assert accepted(send(scenario.api, "one", "/runs", BODY, scenario.admin))["run_id"] == runs[0]
    age(scenario, timedelta(hours=24))
    again = send(scenario.api, "one", "/runs", BODY | {"platform": "windows"}, scenario.admin)
    assert accepted(again)["run_id"] not in runs
    assert "Idempotency-Replayed" not in again.headers
    with scenario.api.rows() as session:
        # The other old key went with it.
        assert session.scalars(sa.select(IdempotentRequest.idempotency_key)).all() == ["one"]


def test_old_keys_of_others_are_left_alone(scenario: ReviewScenario) -> None:
    accepted(send(scenario.api, "one", "/runs", BODY, scenario.other))
    age(scenario, timedelta(hours=24))
    accepted(send(scenario.api, "two", "/runs", BODY, scenario.admin))
    with scenario.api.rows() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(IdempotentRequest)) == 2


def test_a_repeated_answer_needs_the_same_rights(scenario: ReviewScenario) -> None:
    with scenario.api.rows() as session:
        owner = factories.user(session, "tester")
        headers, owner_id = factories.bearer(session, owner), owner.id
    accepted(send(scenario.api, "one", "/runs", BODY, headers))
    with scenario.api.rows() as session:
        session.get_one(platform.User, owner_id).role = platform.Role.user
    refused(send(scenario.api, "one", "/runs", BODY, headers), 403, "forbidden")
    with scenario.api.rows() as session:
        session.execute(sa.update(Token).where(Token.user_id == owner_id).values(revoked_at=now()))
    refused(send(scenario.api, "one", "/runs", BODY, headers), 401, "unauthorized")


def test_a_key_without_a_stored_response_is_in_progress(scenario: ReviewScenario) -> None:
    with scenario.api.rows() as session:
        token_id = session.scalars(sa.select(Token.id).order_by(Token.id)).first()
        session.add(IdempotentRequest(token_id=token_id, idempotency_key="one", fingerprint="f" * 64))
    refused(send(scenario.api, "one", "/runs", BODY, scenario.admin), 409, "conflict")


@contextmanager
def short_waits(engine: sa.Engine) -> Iterator[None]:
    """Let connections wait a second for a lock, not fifty."""

    def shorten(connection: sa.Connection) -> None:
        connection.exec_driver_sql("SET SESSION innodb_lock_wait_timeout = 1")

    sa.event.listen(engine, "begin", shorten)
    try:
        yield
    finally:
        sa.event.remove(engine, "begin", shorten)
        # The pool's connections keep the setting.
        engine.dispose()


@pytest.mark.parametrize("database_uri", ["mariadb"], indirect=True)
def test_a_second_request_is_refused_while_the_first_is_in_progress(scenario: ReviewScenario) -> None:
    with scenario.api.app.app_context():
        engine = db.engine
    with short_waits(engine), engine.connect() as first:
        token_id = first.scalar(sa.select(sa.func.min(Token.id)))
        values = {"token_id": token_id, "idempotency_key": "one", "fingerprint": "f" * 64}
        first.execute(sa.insert(IdempotentRequest).values(values))
        refused(send(scenario.api, "one", "/runs", BODY, scenario.admin), 409, "conflict")
        accepted(send(scenario.api, "two", "/runs", BODY, scenario.admin))
        first.rollback()
        accepted(send(scenario.api, "one", "/runs", BODY, scenario.admin))


def test_other_operations_ignore_the_header(scenario: ReviewScenario) -> None:
    approval = scenario.request()
    body = {"decision": "reject", "reason": "It cuts the last line."}
    path = f"/baseline-approvals/{approval['approval_id']}/review"
    assert send(scenario.api, "one", path, body, scenario.admin).status_code == 200
    refused(send(scenario.api, "one", path, body, scenario.admin), 409, "conflict")
