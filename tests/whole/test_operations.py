"""Rules that hold for every registered operation, including later ones."""

from __future__ import annotations

import io
from collections.abc import Iterable
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
import sqlalchemy as sa
from flask import session as browser_session

from api_v1.access import tokens
from api_v1.access.policy import RoleName, Scope
from api_v1.database.tables import Token, now
from api_v1.web.operation import REGISTRY, RESOURCES, Operation
from api_v1.web.validation import MAX_BODY, MAX_ID
from tests.support import factories
from tests.support.client import Api
from tests.support.fixtures import on_one_database
from tests.support.operations import call, url
from tests.support.writing import refused

#: Ids that nothing can have.
IMPOSSIBLE_IDS = ("0", "-1", "5x", "1.5", str(MAX_ID + 1), "9" * 20, "%00", "１", "1%0A", "%201", "ä", "1" * 300)


OPERATIONS = list(REGISTRY.values())


def each(operations: Iterable[Operation]) -> pytest.MarkDecorator:
    """Run a test for each of some operations."""
    return pytest.mark.parametrize("operation", operations, ids=lambda operation: operation.endpoint)


GUARDED = [operation for operation in OPERATIONS if not operation.access.public]


WITH_SCOPE = [operation for operation in OPERATIONS if operation.access.scope]


WITH_ROLES = [operation for operation in OPERATIONS if operation.access.roles]


WITH_IDS = [operation for operation in OPERATIONS if operation.path_parameters]


WITH_BODY = [operation for operation in OPERATIONS if operation.body is not None]


# --- A request that an operation understands ------------------------------------------------------


# --- Who calls ------------------------------------------------------------------------------------


def useless_credentials(api: Api) -> dict[str, dict[str, str]]:
    """Headers of callers that are nobody, by what is wrong with them."""
    with api.rows() as session:
        good = factories.bearer(session)["Authorization"]
        secret = good.removeprefix("Bearer ")
        values = {
            "the scheme alone": "Bearer",
            "the scheme and a blank": "Bearer ",
            "another scheme": f"Basic {secret}",
            "no scheme": secret,
            "noise": "Bearer noise",
            "not ASCII": "Bearer \xe4\xf6\xfc",
            "a quoted token": f'Bearer "{secret}"',
            "two tokens": f"{good}, {good}",
            "a wrong checksum": good[:-1] + ("a" if good[-1] != "a" else "b"),
            "another prefix": good.replace(tokens.PREFIX, "ccx2_"),
            "a token that nobody has": f"Bearer {tokens.new_secret()}",
            "its digest": f"Bearer {tokens.digest(secret)}",
            "an expired token": _expired(session),
            "a revoked token": _revoked(session),
            "a token of a deactivated account": _deactivated(session),
        }
    return {"nothing": {}} | {name: {"Authorization": value} for name, value in values.items()}


def _last_token(session: Any) -> Any:
    return session.scalars(sa.select(Token).order_by(Token.id.desc()).limit(1)).one()


def _expired(session: Any) -> str:
    value = factories.bearer(session)["Authorization"]
    _last_token(session).expires_at = now() - timedelta(seconds=1)
    return value


def _revoked(session: Any) -> str:
    value = factories.bearer(session)["Authorization"]
    tokens.revoke(session, _last_token(session).id)
    return value


def _deactivated(session: Any) -> str:
    owner = factories.user(session)
    value = factories.bearer(session, owner)["Authorization"]
    owner.name, owner.email = f"Anonymous {owner.id}", f"unknown{owner.id}@ccextractor.org"
    return value


def check_useless_credentials(api: Api) -> None:
    nothing = {"code": "unauthorized", "message": "Bearer token is missing, expired, or invalid.", "details": {}}
    for (name, headers), operation in product(useless_credentials(api).items(), GUARDED):
        response = call(api, operation, headers)
        assert (response.status_code, response.json) == (401, nothing), (name, operation.endpoint)
        challenge = response.headers["WWW-Authenticate"]
        # It depends on the form of what was sent, and not on what became of a token.
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        assert ('error="invalid_token"' in challenge) == (scheme == "Bearer" and bool(token)), name
        assert ('error="invalid_request"' in challenge) == (
            bool(scheme) and 'error="invalid_token"' not in challenge
        ), name


def test_useless_credentials_are_refused_alike(api: Api) -> None:
    check_useless_credentials(api)


@on_one_database
def test_useless_credentials_are_refused_alike_inside_the_platform(mounted_api: Api) -> None:
    check_useless_credentials(mounted_api)


@on_one_database
def test_neither_a_browser_session_nor_a_workers_token_is_a_credential(mounted_api: Api) -> None:
    app = mounted_api.app
    with mounted_api.rows() as session:
        owner = factories.user(session)
        worker_token = factories.run(session, owner=owner).token
        values = {"user_id": owner.id}
    cookie = {"Cookie": f"session={app.session_interface.get_signing_serializer(app).dumps(values)}"}  # type: ignore[attr-defined]
    with app.test_request_context(headers=cookie):
        assert dict(browser_session) == values
    worker = [{"Authorization": scheme + worker_token} for scheme in ("Bearer ", "Token ", "")]
    for operation, headers in product(GUARDED, [cookie, *worker]):
        refused(call(mounted_api, operation, headers), 401, "unauthorized")


@each(WITH_SCOPE)
def test_a_token_without_the_scope_is_refused(operation: Operation, api: Api) -> None:
    needed = operation.access.scope
    others = [scope for scope in Scope if scope != needed]
    for scopes in (others, []):
        details = refused(call(api, operation, api.bearer(scopes=scopes)), 403, "forbidden")
        assert details == {"required_scope": needed, "token_scopes": scopes}


@each(WITH_ROLES)
def test_a_role_without_access_is_refused(operation: Operation, api: Api) -> None:
    allowed = operation.access.roles
    for role in [role for role in RoleName if role not in allowed]:
        details = refused(call(api, operation, api.bearer(role)), 403, "forbidden")
        assert details == {"required_roles": list(allowed), "user_role": role}
    assert refused(call(api, operation, api.bearer(None)), 403, "forbidden")["user_role"] is None


@on_one_database
@each(GUARDED)
def test_permitted_callers_are_not_refused(operation: Operation, api: Api) -> None:
    scopes = [operation.access.scope] if operation.access.scope else []
    for role in operation.access.roles or RoleName:
        response = call(api, operation, api.bearer(role, scopes=scopes))
        assert response.status_code not in (401, 403)


@on_one_database
@each([operation for operation in OPERATIONS if operation.access.public and operation.method == "GET"])
def test_a_public_operation_needs_no_token(operation: Operation, api: Api) -> None:
    statuses = {call(api, operation, headers).status_code for headers in useless_credentials(api).values()}
    assert statuses == {200}


# --- What is asked --------------------------------------------------------------------------------


@on_one_database
@each(OPERATIONS)
def test_an_unknown_parameter_is_refused(operation: Operation, api: Api) -> None:
    response = call(api, operation, api.bearer(), query={"unheard-of": "1"})
    known = ", ".join(sorted(operation.parameters.fields)) if operation.parameters is not None else None
    reason = f"Unknown parameter; {'there are none here' if known is None else f'known are {known}'}."
    assert refused(response, 400, "validation_error") == {"fields": {"unheard-of": reason}}


@on_one_database
@each([operation for operation in OPERATIONS if operation.parameters])
def test_a_repeated_parameter_is_refused(operation: Operation, api: Api) -> None:
    assert operation.parameters is not None
    headers = api.bearer()
    for name in operation.parameters.fields:
        response = call(api, operation, headers, query={name: ["1", "1"]})
        assert refused(response, 400, "validation_error")["fields"][name] == "Give it once."


@each(WITH_IDS)
def test_an_unknown_id_is_not_found(operation: Operation, api: Api) -> None:
    details = refused(call(api, operation, api.bearer()), 404, "not_found")
    if set(operation.path_parameters) <= RESOURCES.keys():
        assert details["resource"] in {RESOURCES[name] for name in operation.path_parameters}
        assert details["id"] == MAX_ID


@each(WITH_IDS)
def test_an_impossible_id_is_not_found(operation: Operation, api: Api) -> None:
    headers = api.bearer()
    for name, value in product(operation.path_parameters, IMPOSSIBLE_IDS):
        details = refused(call(api, operation, headers, {name: value}), 404, "not_found")
        assert details["resource"] == RESOURCES.get(name, details["resource"]), value


# --- Bodies ---------------------------------------------------------------------------------------


JSON = "application/json"


BIG = b"{}".ljust(MAX_BODY + 1)


#: What is sent, and how it is answered.
BODIES: dict[str, tuple[dict[str, Any], int, str]] = {
    "plain text": ({"data": b"{}", "content_type": "text/plain"}, 415, "unsupported_media_type"),
    "a form": ({"data": {"a": "b"}}, 415, "unsupported_media_type"),
    "no media type": ({"data": b"{}"}, 415, "unsupported_media_type"),
    "nearly JSON": ({"data": b"{}", "content_type": "application/json-patch+json"}, 415, "unsupported_media_type"),
    "malformed": ({"data": b'{"a": ', "content_type": JSON}, 400, "validation_error"),
    "two values": ({"data": b"{} {}", "content_type": JSON}, 400, "validation_error"),
    "not UTF-8": ({"data": b'{"a": "\xff"}', "content_type": JSON}, 400, "validation_error"),
    "blank": ({"data": b" ", "content_type": JSON}, 400, "validation_error"),
    "an array": ({"data": b"[{}]", "content_type": JSON}, 400, "validation_error"),
    "null": ({"data": b"null", "content_type": JSON}, 400, "validation_error"),
    "a text": ({"data": b'"{}"', "content_type": JSON}, 400, "validation_error"),
    "nested deeply": ({"data": b"[" * 60_000, "content_type": JSON}, 400, "validation_error"),
    "an unknown field": ({"json": {"unheard-of": 1}}, 400, "validation_error"),
    "too large": ({"data": BIG, "content_type": JSON}, 413, "payload_too_large"),
    "too large, as text": ({"data": BIG, "content_type": "text/plain"}, 413, "payload_too_large"),
}


def chunked(body: bytes) -> dict[str, Any]:
    """Send a body as HTTP's chunked coding does: without saying how long it is."""
    return {
        "input_stream": io.BytesIO(body),
        "content_type": JSON,
        "environ_overrides": {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"},
    }


@on_one_database
@each(WITH_BODY)
def test_a_body_other_than_a_json_object_is_refused(operation: Operation, api: Api) -> None:
    headers = api.bearer()
    for name, (body, status, code) in BODIES.items():
        response = call(api, operation, headers, **body)
        assert response.status_code == status, name
        details = refused(response, status, code)
        if status == 413:
            assert details == {"max_bytes": MAX_BODY}
        if status == 400:
            assert details["fields"]


@on_one_database
@each(WITH_BODY)
def test_a_body_without_content_length_is_read_and_limited(operation: Operation, api: Api) -> None:
    headers = api.bearer()
    refused(call(api, operation, headers, **chunked(BIG)), 413, "payload_too_large")
    details = refused(call(api, operation, headers, **chunked(b'{"unheard-of": 1}')), 400, "validation_error")
    assert "unheard-of" in details["fields"]


@on_one_database
@each([operation for operation in WITH_BODY if operation.body_required])
@pytest.mark.parametrize("content_type", [JSON, None])
def test_a_missing_body_is_refused(operation: Operation, content_type: str | None, api: Api) -> None:
    response = call(api, operation, api.bearer(), data=b"", content_type=content_type)
    assert "_body" in refused(response, 400, "validation_error")["fields"]


@on_one_database
@each([operation for operation in WITH_BODY if not operation.body_required])
def test_an_optional_body_may_be_missing(operation: Operation, api: Api) -> None:
    headers = api.bearer()
    empty: list[dict[str, Any]] = [{"data": b""}, {"json": {}}]
    answers = [call(api, operation, headers, **body).status_code for body in empty]
    assert answers[0] == answers[1] not in (400, 415)


# --- Methods --------------------------------------------------------------------------------------


@on_one_database
@pytest.mark.parametrize("path", sorted({operation.path for operation in OPERATIONS}))
def test_other_methods_are_not_allowed(path: str, api: Api) -> None:
    known = {operation.method: operation for operation in OPERATIONS if operation.path == path}
    allowed = sorted({*known, "OPTIONS", *(["HEAD"] if "GET" in known else [])})
    target = url(next(iter(known.values())))
    for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "FOO"} - set(allowed):
        response = api.request(method, target)
        assert (response.status_code, response.headers["Allow"]) == (405, ", ".join(allowed))
        if method != "HEAD":
            assert refused(response, 405, "method_not_allowed") == {"allowed_methods": allowed}
    response = api.options(target)
    assert (response.status_code, response.headers["Allow"], response.data) == (204, ", ".join(allowed), b"")


# --- Order ----------------------------------------------------------------------------------------


WRONG_QUERY = {"unheard-of": "1"}


WRONG_BODY = {"data": b"{", "content_type": "text/plain"}


@on_one_database
@each(GUARDED)
def test_the_token_is_checked_before_the_request(operation: Operation, api: Api) -> None:
    refused(call(api, operation, {}, query=WRONG_QUERY), 401, "unauthorized")
    refused(call(api, operation, {}, data=BIG), 401, "unauthorized")
    for name in operation.path_parameters:
        refused(call(api, operation, {}, {name: "x"}), 401, "unauthorized")


@on_one_database
@each(WITH_SCOPE)
def test_the_scope_is_checked_before_the_role_and_the_request(operation: Operation, api: Api) -> None:
    wrong = dict.fromkeys(operation.path_parameters, "x")
    headers = api.bearer(RoleName.USER, scopes=[])
    assert "required_scope" in refused(call(api, operation, headers, wrong, query=WRONG_QUERY), 403, "forbidden")


@on_one_database
@each(WITH_ROLES)
def test_the_role_is_checked_before_the_request(operation: Operation, api: Api) -> None:
    wrong = dict.fromkeys(operation.path_parameters, "x")
    headers = api.bearer(None)
    assert "required_roles" in refused(call(api, operation, headers, wrong, query=WRONG_QUERY), 403, "forbidden")


@on_one_database
@each(WITH_IDS)
def test_the_request_is_validated_before_ids_are_looked_up(operation: Operation, api: Api) -> None:
    headers = api.bearer()
    for value in (MAX_ID, "x"):
        wrong = dict.fromkeys(operation.path_parameters, value)
        refused(call(api, operation, headers, wrong, query=WRONG_QUERY), 400, "validation_error")
        if operation.body is not None:
            refused(call(api, operation, headers, wrong, json={"unheard-of": 1}), 400, "validation_error")
