"""Token self-service: list the live tokens, show the current one, revoke any of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa

from api_v1.access import tokens
from api_v1.access.policy import Scope
from api_v1.database import platform
from api_v1.database.session import db
from api_v1.database.tables import Token, now
from api_v1.errors import ValidationFailed
from tests.support import factories
from tests.support.client import Api
from tests.support.fixtures import on_one_database
from tests.support.statements import statements
from tests.support.writing import refused


@dataclass(frozen=True)
class TokenOwner:
    """A user with tokens, by name."""

    user_id: int
    secrets: dict[str, str]

    def __getitem__(self, name: str) -> dict[str, str]:
        """The headers of a token."""
        return {"Authorization": f"Bearer {self.secrets[name]}"}


def owner_of(api: Api, *names: str, role: str | None = "user", scopes: tuple[str, ...] = ("runs:read",)) -> TokenOwner:
    with api.rows() as session:
        user_id = factories.user(session, role).id
        made = {name: tokens.create(session, user_id, name, scopes, 30).token for name in names}
    return TokenOwner(user_id, made)


def listed(api: Api, who: dict[str, str], **query: Any) -> list[dict[str, Any]]:
    """The tokens that a caller is shown."""
    page = api.get("/auth/tokens", query=query, headers=who)
    assert page.status_code == 200, page.json
    assert page.headers["Cache-Control"] == "private, no-store"
    shown: list[dict[str, Any]] = page.json["data"]
    return shown


def change(api: Api, name: str, **values: Any) -> None:
    """Change a token behind the API's back."""
    with api.rows() as session:
        session.execute(sa.update(Token).where(Token.name == name).values(values))


def test_a_user_sees_the_live_tokens_by_name(each_api: Api) -> None:
    owner = owner_of(each_api, "phone", "Laptop", "ci", "lost", "old", scopes=("runs:read", "results:read"))
    owner_of(each_api, "somebody-elses")
    change(each_api, "old", expires_at=now())
    each_api.delete("/auth/tokens/lost", headers=owner["phone"])

    shown = listed(each_api, owner["phone"])

    assert [token["token_name"] for token in shown] == ["Laptop", "ci", "phone"]
    assert [token["current"] for token in shown] == [False, False, True]
    assert {tuple(token["scopes"]) for token in shown} == {("runs:read", "results:read")}
    for token in shown:
        created, expires = (datetime.fromisoformat(token[name]) for name in ("created_at", "expires_at"))
        assert expires - created == timedelta(days=30)
    assert not any(secret[5:30] in str(shown) for secret in owner.secrets.values())
    page = each_api.get("/auth/tokens", query={"limit": 1, "offset": 1}, headers=owner["ci"]).json
    assert ([token["token_name"] for token in page["data"]], page["pagination"]["total"]) == (["ci"], 3)
    current: Any = each_api.get("/auth/tokens/current", headers=owner["ci"]).json
    assert {name: current[name] for name in page["data"][0]} == page["data"][0]


@on_one_database
@pytest.mark.parametrize("role", ["admin", "contributor", "tester", "user", None])
@pytest.mark.parametrize("scopes", [(), tuple(Scope)])
def test_any_token_may_list_and_revoke_its_owners_tokens(api: Api, role: str | None, scopes: tuple[str, ...]) -> None:
    owner = owner_of(api, "one", "two", role=role, scopes=scopes)
    assert listed(api, owner["one"])[0]["scopes"] == list(scopes)
    assert api.get("/auth/tokens/current", headers=owner["one"]).json["token_name"] == "one"
    assert api.delete("/auth/tokens/two", headers=owner["one"]).status_code == 204
    assert api.delete("/auth/tokens/current", headers=owner["one"]).status_code == 204


def test_revoking_ends_one_token_at_once(each_api: Api) -> None:
    owner, other = owner_of(each_api, "one", "two", "three"), owner_of(each_api, "two")

    answer = each_api.delete("/auth/tokens/two", headers=owner["one"])

    assert (answer.status_code, answer.data) == (204, b"")
    assert each_api.get("/auth/tokens", headers=owner["two"]).status_code == 401
    assert [token["token_name"] for token in listed(each_api, owner["three"])] == ["one", "three"]
    assert [token["token_name"] for token in listed(each_api, other["two"])] == ["two"], "another user's of that name"
    assert refused(each_api.delete("/auth/tokens/two", headers=owner["one"]), 404, "not_found") == {
        "resource": "token",
        "id": "two",
    }


def test_a_token_can_revoke_itself_by_name(api: Api) -> None:
    owner = owner_of(api, "one")
    assert api.delete("/auth/tokens/one", headers=owner["one"]).status_code == 204
    assert api.get("/auth/tokens/current", headers=owner["one"]).status_code == 401


def test_a_name_is_free_again_after_revocation(api: Api) -> None:
    owner = owner_of(api, "one", "two")
    api.delete("/auth/tokens/two", headers=owner["one"])
    with api.rows() as session:
        tokens.create(session, owner.user_id, "two", [], 30)
    assert [token["token_name"] for token in listed(api, owner["one"])] == ["one", "two"]


@pytest.mark.parametrize("name", ["nothing", "ONE", "größe", "expired", "somebody-elses", "%00", "x" * 300, "a b"])
def test_only_live_tokens_of_the_caller_are_found(api: Api, name: str) -> None:
    owner = owner_of(api, "one", "expired")
    other = owner_of(api, "somebody-elses")
    change(api, "expired", expires_at=now() - timedelta(seconds=1))
    assert refused(api.delete(f"/auth/tokens/{name}", headers=owner["one"]), 404, "not_found")["resource"] == "token"
    assert api.get("/auth/tokens/current", headers=other["somebody-elses"]).status_code == 200


@on_one_database
def test_a_token_of_a_deactivated_account_lists_nothing(api: Api) -> None:
    owner = owner_of(api, "one")
    with api.rows() as session:
        user = session.get_one(platform.User, owner.user_id)
        user.name, user.email = f"Anonymous {user.id}", f"unknown{user.id}@ccextractor.org"
    refused(api.get("/auth/tokens", headers=owner["one"]), 401, "unauthorized")


# --- A token named current ---------------------------------------------------------------------


def test_no_token_can_be_named_as_the_one_in_use(api: Api) -> None:
    owner = owner_of(api, "one")
    with pytest.raises(ValidationFailed) as refusal, api.rows() as session:
        tokens.create(session, owner.user_id, "current", [], 30)
    assert "stands for the token in use" in refusal.value.details["fields"]["token_name"]


def test_an_older_token_named_current_can_be_revoked(api: Api) -> None:
    owner = owner_of(api, "one", "was-allowed-before")
    with api.rows() as session:
        older = sa.update(Token).where(Token.name == "was-allowed-before")
        session.execute(older.values(name="current", live_name="current"))
    assert api.delete("/auth/tokens/name:current", headers=owner["one"]).status_code == 204
    assert [token["token_name"] for token in listed(api, owner["one"])] == ["one"]
    assert refused(api.delete("/auth/tokens/name:current", headers=owner["one"]), 404, "not_found") == {
        "resource": "token",
        "id": "current",
    }


def test_the_audit_log_says_with_which_token_another_was_revoked(api: Api) -> None:
    owner = owner_of(api, "one", "two")
    change(api, "two", scopes="runs:write baselines:write")
    api.delete("/auth/tokens/two", headers=owner["one"])
    (record,) = api.get("/audit-log", query={"action": "token.revoke"}, headers=api.bearer()).json["data"]
    assert (record["target"], record["token_name"]) == ("token:two", "one")
    assert record["before"] == {"scopes": ["runs:write", "baselines:write"]}
    assert record["after"] == {"revoked_by": {"token_name": "one", "scopes": ["runs:read"]}}


# --- When it was last used -------------------------------------------------------------------


def last_used(api: Api, name: str = "one") -> datetime | None:
    """When a token was last used, as stored."""
    with api.rows() as session:
        return session.scalars(sa.select(Token.last_used_at).where(Token.name == name)).one()


def test_the_last_use_is_known_to_the_minute(api: Api) -> None:
    owner = owner_of(api, "one", "two")
    assert last_used(api) is None
    before = now().replace(second=0)
    one, two = listed(api, owner["one"])
    assert two["last_used_at"] is None
    moment = datetime.fromisoformat(one["last_used_at"])
    assert moment.second == 0
    assert before <= moment.astimezone(timezone.utc).replace(tzinfo=None) <= now()


def test_refused_requests_count_as_use(api: Api) -> None:
    owner = owner_of(api, "one", scopes=())
    refused(api.get("/runs", headers=owner["one"]), 403, "forbidden")
    assert last_used(api) is not None


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_token_in_use_is_not_written_with_every_request(api: Api, method: str) -> None:
    owner = owner_of(api, "one", role="admin", scopes=tuple(Scope))
    path = "/auth/tokens/current" if method == "GET" else "/runs/4711/cancel"
    writing = ("UPDATE", "INSERT", "DELETE")
    # In the future, so that no minute ends in between.
    change(api, "one", last_used_at=now() + timedelta(minutes=5))
    with statements(api) as sent:
        for _ in range(3):
            api.request(method, path, headers=owner["one"])
    assert not [statement for statement in sent if statement.startswith(writing)]

    change(api, "one", last_used_at=now() - timedelta(minutes=1))
    with statements(api) as sent:
        api.request(method, path, headers=owner["one"])
    assert [statement.split()[:2] for statement in sent if statement.startswith(writing)] == [
        ["UPDATE", "api_v1_token"]
    ]
    used = last_used(api)
    assert used is not None and now() - used < timedelta(minutes=2)


def test_reading_takes_few_statements(api: Api) -> None:
    owner = owner_of(api, *(f"token{number}" for number in range(20)))
    change(api, "token0", last_used_at=now() + timedelta(minutes=5))
    for path, number in (("/auth/tokens", 3), ("/auth/tokens/current", 2)):
        with statements(api) as sent:
            assert api.get(path, headers=owner["token0"]).status_code == 200
        assert len(sent) == number


@pytest.mark.parametrize("database_uri", ["mariadb"], indirect=True)
def test_recording_the_use_does_not_wait_for_locks(api: Api) -> None:
    """A long request of the same token holds its row."""
    owner = owner_of(api, "one")
    with api.app.app_context():
        engine = db.engine
    with engine.connect() as long_request:
        long_request.execute(sa.select(Token.id).with_for_update())
        assert api.get("/auth/tokens/current", headers=owner["one"]).json["last_used_at"] is None
        long_request.rollback()
    assert api.get("/auth/tokens/current", headers=owner["one"]).json["last_used_at"]
