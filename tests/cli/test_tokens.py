"""`flask api-v1 token`: create, list and revoke."""

from __future__ import annotations

import json
import re

import pytest
import sqlalchemy as sa
from flask import Flask

from api_v1.access import tokens
from api_v1.access.policy import Scope
from api_v1.database import platform
from api_v1.database.session import db
from api_v1.database.tables import Token, now
from tests.support import factories
from tests.support.cli import Cli, answer, sentence


def test_created_token_stands_alone_on_standard_output(app: Flask, cli: Cli) -> None:
    result = cli("token", "create", "ann@example.org", "laptop")
    token = result.stdout.removesuffix("\n")
    assert tokens.is_well_formed(token)
    assert answer(app, token) == 200
    assert token not in result.stderr


def test_token_has_the_scopes_and_days_asked_for(app: Flask, cli: Cli) -> None:
    asked = ["--scope", "runs:write", "--scope", "system:read", "--scope", "runs:write", "--days", "90"]
    cli("token", "create", "ann@example.org", "laptop", *asked)
    with app.app_context():
        row = db.session.execute(sa.select(Token.scopes, Token.expires_at)).one()
    assert row.scopes == "runs:write system:read"
    assert 89 <= (row.expires_at - now()).days <= 90


@pytest.mark.parametrize(
    ("role", "unusable"),
    [
        ("admin", []),
        ("contributor", []),
        ("tester", ["baselines:write"]),
        ("user", ["runs:write", "baselines:write"]),
    ],
)
def test_a_scope_that_the_role_cannot_use_is_warned_of(app: Flask, cli: Cli, role: str, unusable: list[str]) -> None:
    with app.app_context():
        factories.user(db.session, role, email="bob@example.org")
        db.session.commit()
    scopes = [word for scope in Scope for word in ("--scope", scope.value)]

    result = cli("token", "create", "bob@example.org", "laptop", *scopes)

    warnings = [line for line in result.stderr.splitlines() if line.startswith("Warning: ")]
    assert [line.rpartition(" ")[2].rstrip(".") for line in warnings] == unusable
    assert tokens.is_well_formed(result.stdout.strip())


def test_a_token_in_json(app: Flask, cli: Cli) -> None:
    made = json.loads(cli("token", "create", "ann@example.org", "laptop", "--json").stdout)
    assert answer(app, made["token"]) == 200
    assert (made["email"], made["name"], made["scopes"]) == ("ann@example.org", "laptop", ["runs:read", "results:read"])
    revoked = json.loads(cli("token", "revoke", "ann@example.org", "laptop", "--json").stdout)
    assert revoked == {"email": "ann@example.org", "name": "laptop", "revoked": True}
    assert answer(app, made["token"]) == 401


def test_list_shows_live_tokens_without_their_values(app: Flask, cli: Cli) -> None:
    token = cli("token", "create", "ann@example.org", "laptop").stdout.strip()
    cli("token", "create", "ann@example.org", "phone")
    cli("token", "revoke", "ann@example.org", "phone")
    for arguments in ((), ("ann@example.org",)):
        header, line = cli("token", "list", *arguments).stdout.splitlines()
        assert header.split() == ["EMAIL", "NAME", "SCOPES", "EXPIRES"]
        assert re.split("  +", line)[:3] == ["ann@example.org", "laptop", "runs:read results:read"]
        assert header.index("SCOPES") == line.index("runs:read")
        (record,) = json.loads(cli("token", "list", *arguments, "--json").stdout)
        assert record["scopes"] == ["runs:read", "results:read"]
        assert token not in line + str(record)


def test_without_tokens_the_list_says_so_beside_standard_output(cli: Cli) -> None:
    result = cli("token", "list")
    assert (result.stdout, result.stderr) == ("", "No live tokens.\n")
    assert json.loads(cli("token", "list", "--json").stdout) == []


def test_list_leaves_out_tokens_that_a_new_password_ended(app: Flask, cli: Cli) -> None:
    cli("token", "create", "ann@example.org", "laptop")
    with app.app_context():
        db.session.execute(sa.update(platform.User).values(password="another"))
        db.session.commit()
    cli("token", "create", "ann@example.org", "phone")
    assert [one["name"] for one in json.loads(cli("token", "list", "--json").stdout)] == ["phone"]


def test_revoked_token_is_refused(app: Flask, cli: Cli) -> None:
    token = cli("token", "create", "ann@example.org", "laptop").stdout.strip()
    cli("token", "revoke", "ann@example.org", "laptop")
    assert answer(app, token) == 401


def test_replacing_a_token_revokes_the_one_before(app: Flask, cli: Cli) -> None:
    before, after = (cli("token", "create", "ann@example.org", "ci", "--replace").stdout.strip() for _ in range(2))
    assert (answer(app, before), answer(app, after)) == (401, 200)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["create", "bob@example.org", "laptop"], "no user with the email bob@example.org"),
        (["create", "ann@example.org", "taken"], "live token of that name"),
        (["create", "ann@example.org", "current"], "stands for the token in use"),
        (["list", "bob@example.org"], "no user with the email bob@example.org"),
        (["revoke", "bob@example.org", "laptop"], "no user with the email bob@example.org"),
        (["revoke", "ann@example.org", "laptop"], "no live token named laptop"),
    ],
)
def test_token_commands_fail_with_one_sentence(app: Flask, cli: Cli, arguments: list[str], reason: str) -> None:
    cli("token", "create", "ann@example.org", "taken")
    assert reason in sentence(cli("token", *arguments, fails=True))


@pytest.mark.parametrize(
    "arguments",
    [
        ["laptop", "--days", "0"],
        ["laptop", "--days", "91"],
        ["laptop", "--scope", "runs:delete"],
        ["with blank"],
        ["größe"],
        ["x" * 51],
        [""],
    ],
)
def test_values_that_the_api_refuses_are_refused(app: Flask, cli: Cli, arguments: list[str]) -> None:
    result = cli("token", "create", "ann@example.org", *arguments, fails=True)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error: Invalid value for" in result.stderr
