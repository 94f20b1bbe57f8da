"""Roles × scopes × operations, as a full table: access over HTTP is as the contract declares it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import combinations, product
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa

from api_v1.access import tokens
from api_v1.access.policy import RoleName, Scope
from api_v1.database import platform
from api_v1.web.operation import REGISTRY, Operation
from tests.support import factories
from tests.support.client import Api
from tests.support.fixtures import on_one_database
from tests.support.operations import call
from tests.support.paths import CONTRACT_FILE
from tests.support.people import QUICK_HASH

ROLES: tuple[str | None, ...] = (*(role.value for role in RoleName), None)
SCOPES = tuple(scope.value for scope in Scope)
ADMIN = frozenset({"admin"})

#: A role and some scopes.
Caller = tuple[str | None, tuple[str, ...]]


class Rule(NamedTuple):
    """Who may call: None is everybody, for a scope every token and for roles every role."""

    public: bool = False
    scope: str | None = None
    roles: frozenset[str] | None = None

    def allows(self, role: str | None, scopes: Iterable[str]) -> bool:
        """Whether a token with these scopes, of a user of this role, may call."""
        in_scope = self.scope is None or self.scope in scopes
        return self.public or (in_scope and (self.roles is None or role in self.roles))


#: The operations that the contract does not have.
ADDED = {
    "GET /auth/tokens": Rule(),
    "GET /auth/tokens/current": Rule(),
    "DELETE /auth/tokens/{token_name}": Rule(),
    "GET /baseline-approvals": Rule(scope="results:read"),
    "GET /baseline-approvals/{approval_id}": Rule(scope="results:read"),
    "POST /baseline-approvals/{approval_id}/review": Rule(
        scope="baselines:write", roles=frozenset({"admin", "contributor"})
    ),
    "POST /baseline-approvals/{approval_id}/revert": Rule(scope="baselines:write", roles=ADMIN),
    "GET /audit-log": Rule(scope="system:read", roles=ADMIN),
    "GET /runs/{run_id}/comparison": Rule(scope="results:read"),
    "GET /regression-tests/{regression_id}": Rule(scope="results:read"),
    "GET /regression-tests/{regression_id}/health": Rule(scope="results:read"),
    "GET /failure-clusters": Rule(scope="results:read"),
    "GET /pull-requests/{number}": Rule(scope="results:read"),
    "GET /runs/{run_id}/failure-report": Rule(scope="results:read"),
    "GET /": Rule(public=True),
    "GET /openapi.json": Rule(public=True),
}


def contract_rules() -> dict[str, Rule]:
    """Return the contract's access rules by method and path."""
    document = json.loads(CONTRACT_FILE.read_text())
    return {
        f"{method.upper()} {path}": Rule(
            public=declared["security"] == [],
            scope=declared.get("x-required-scope"),
            roles=frozenset(declared["x-required-roles"]) if "x-required-roles" in declared else None,
        )
        for path, methods in document["paths"].items()
        for method, declared in methods.items()
        if method in ("get", "post", "delete", "put", "patch")
    }


RULES = contract_rules() | ADDED


def name_of(operation: Operation) -> str:
    return f"{operation.method} {operation.path}"


def test_every_operation_has_a_rule_and_every_rule_an_operation() -> None:
    assert sorted(name_of(operation) for operation in REGISTRY.values()) == sorted(RULES)
    assert not ADDED.keys() & contract_rules().keys()


def outcome(api: Api, operation: Operation, headers: dict[str, str]) -> str:
    """Whether a caller is let in; whatever happens behind the door is no matter."""
    answer = call(api, operation, headers)
    refusals = {(401, "unauthorized"): "unknown", (403, "forbidden"): "forbidden"}
    return refusals.get((answer.status_code, (answer.json or {}).get("code", "")), "allowed")


#: Each role with each scope alone, and the role that may do most with no scope and with all but one.
CALLERS: list[Caller] = [
    *product(ROLES, combinations(SCOPES, 1)),
    *product(["admin"], [(), *combinations(SCOPES, len(SCOPES) - 1)]),
]


def bearers(api: Api) -> dict[Caller, dict[str, str]]:
    """A fresh token of a fresh user for each of the callers."""
    return {(role, scopes): api.bearer(role, scopes=scopes) for role, scopes in CALLERS}


@on_one_database
def test_access_over_http_is_as_declared(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_NOBODY", QUICK_HASH)
    headers = bearers(api)
    wrong: dict[str, dict[Caller | None, str]] = {}
    for operation in REGISTRY.values():
        rule = RULES[name_of(operation)]
        expected: dict[Caller | None, str] = {None: "allowed" if rule.public else "unknown"}
        expected |= {caller: "allowed" if rule.allows(*caller) else "forbidden" for caller in CALLERS}
        found = {caller: outcome(api, operation, headers[caller] if caller else {}) for caller in expected}
        if found != expected:
            wrong[name_of(operation)] = {caller: got for caller, got in found.items() if got != expected[caller]}
        if operation.method == "DELETE":
            headers = bearers(api)
    assert wrong == {}


@on_one_database
def test_a_token_is_told_what_it_may_call(api: Api) -> None:
    for (role, scopes), headers in bearers(api).items():
        told: Any = api.get("/auth/tokens/current", headers=headers).json
        assert told["role"] == role
        assert told["operations"] == [
            name_of(operation) for operation in REGISTRY.values() if RULES[name_of(operation)].allows(role, scopes)
        ]
        used = {rule.scope for rule in RULES.values() if rule.scope is not None and rule.allows(role, scopes)}
        assert told["unusable_scopes"] == [scope for scope in scopes if scope not in used]


@on_one_database
def test_a_token_is_told_whose_it_is(api: Api) -> None:
    with api.rows() as session:
        owner = factories.user(session, "tester")
        headers, name, email = factories.bearer(session, owner, scopes=["baselines:write"]), owner.name, owner.email
    told: Any = api.get("/auth/tokens/current", headers=headers).json
    assert (told["user_name"], told["email"], told["role"]) == (name, email, "tester")
    assert told["unusable_scopes"] == ["baselines:write"]
    with api.rows() as session:
        # The role counts that the user has now.
        session.execute(sa.update(platform.User).where(platform.User.email == email).values(role=platform.Role.admin))
    told = api.get("/auth/tokens/current", headers=headers).json
    assert (told["role"], told["unusable_scopes"]) == ("admin", [])
    assert "POST /baseline-approvals/{approval_id}/revert" in told["operations"]


@on_one_database
def test_the_document_publishes_the_same_rules(api: Api) -> None:
    published = {
        f"{method.upper()} {path}": Rule(
            public=described.get("security") == [],
            scope=described.get("x-required-scope"),
            roles=frozenset(described["x-required-roles"]) if "x-required-roles" in described else None,
        )
        for path, methods in api.document["paths"].items()
        for method, described in methods.items()
        if method != "parameters"
    }
    assert published == RULES
