"""The audit log records who changed what, when and why; it is only added to and holds no secret."""

from __future__ import annotations

import json
import logging
import re
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import Result

from api_v1.access import tokens
from api_v1.database import platform
from api_v1.database.tables import AuditRecord, Token, now
from api_v1.web.operation import REGISTRY
from tests.support import factories
from tests.support.client import Api
from tests.support.fixtures import on_one_database
from tests.support.people import PASSWORD, QUICK_HASH
from tests.support.reviews import REASON, ReviewScenario, review_scenario
from tests.support.statements import statements
from tests.support.writing import BODY, accepted, refused

pytestmark = pytest.mark.usefixtures("quick_check_of_unknown_accounts")
Records = list[dict[str, Any]]


def shell(api: Api, *arguments: str) -> Result:
    """Run `flask api-v1 …`."""
    result = api.app.test_cli_runner().invoke(args=["api-v1", *arguments])
    assert result.exit_code == 0, result.output
    return result


def log(api: Api, who: dict[str, str] | None = None, **query: Any) -> Records:
    """The audit log as an admin reads it, newest first."""
    page = api.get("/audit-log", query=query, headers=who or api.bearer(scopes=["system:read"]))
    assert page.status_code == 200, page.json
    records: Records = page.json["data"]
    return records


def last(api: Api) -> dict[str, Any]:
    """The newest record."""
    return log(api, limit=1)[0]


def identity(api: Api, who: dict[str, str]) -> tuple[str, str]:
    """The email and the name of a token."""
    with api.rows() as session:
        secret = who["Authorization"].removeprefix("Bearer ")
        query = sa.select(platform.User.email, Token.name).join(Token, Token.user_id == platform.User.id)
        email, name = session.execute(query.where(Token.digest == tokens.digest(secret))).one()
        return str(email), name


# --- What is recorded -----------------------------------------------------------------------------


def test_every_change_records_who_what_why_and_when(each_api: Api) -> None:
    scenario, admin = review_scenario(each_api), each_api.bearer()
    case = scenario.mismatch
    email, token_name = identity(each_api, scenario.admin)
    with each_api.rows() as session:
        queued = factories.run(session, "preparation").id

    def check(path: str, body: Any, *, action: str, target: str, before: Any, after: Any, headers: Any = None) -> Any:
        answer = each_api.post(
            path, json=body, headers={**(headers or scenario.admin), "X-Request-ID": f"id-of-{action}"}
        )
        assert answer.status_code in (200, 202), answer.json
        number = answer.json.get("new_run_id") or answer.json.get("approval_id") or answer.json.get("run_id")
        record = log(each_api, admin, limit=1)[0]
        age = datetime.now().astimezone() - datetime.fromisoformat(record.pop("created_at"))
        assert timedelta(0) <= age < timedelta(minutes=1)
        assert record.pop("audit_id") > 0
        assert record == {
            "actor": email,
            "token_name": token_name,
            "action": action,
            "target": target.format(number),
            "reason": body.get("reason"),
            "before": before,
            "after": json.loads(json.dumps(after).replace('"{}"', str(number))),
            "request_id": f"id-of-{action}",
        }
        return answer.json

    described: dict[str, Any] = {"repository": BODY["repository"], "branch": "master", "commit_sha": BODY["commit_sha"]}
    described |= {"platform": "linux", "pull_request": None, "regression_tests": 1}
    check("/runs", BODY, action="run.create", target="run:{}", before=None, after=described)
    check(
        f"/runs/{queued}/cancel",
        {"reason": "größer \N{GRINNING FACE}"},
        action="run.cancel",
        target="run:{}",
        before={"progress": "preparation"},
        after={"progress": "canceled"},
    )
    check(
        f"/runs/{case.run_id}/retry",
        {"reason": "flaky", "failed_only": True},
        action="run.retry",
        target=f"run:{case.run_id}",
        before=None,
        after={"new_run_id": "{}", "failed_only": True, "regression_tests": 1},
    )
    approval = scenario.request(scenario.admin)
    record = log(each_api, admin, limit=1)[0]
    target = f"approval:{approval['approval_id']}"
    assert (record["action"], record["target"], record["reason"]) == ("baseline.request", target, REASON)
    assert record["before"] == {"hash": case.old}
    assert record["after"] == {
        "hash": case.new,
        "output_id": case.output_id,
        "run_id": case.run_id,
        "apply_to_variants": False,
    }

    email, token_name = identity(each_api, scenario.other)
    path, output = f"/baseline-approvals/{approval['approval_id']}", str(case.output_id)
    same: dict[str, Any] = {"target": path.replace("/baseline-approvals/", "approval:"), "headers": scenario.other}
    review = {"decision": "approve", "reason": "I compared both files."}
    check(
        f"{path}/review", review, action="baseline.approve", before={output: case.old}, after={output: case.new}, **same
    )
    back = {"reason": "The timing was wrong."}
    check(f"{path}/revert", back, action="baseline.revert", before={output: case.new}, after={output: case.old}, **same)
    approval = scenario.request(scenario.admin)
    same["target"] = f"approval:{approval['approval_id']}"
    path, review = f"/baseline-approvals/{approval['approval_id']}", review | {"decision": "reject"}
    check(f"{path}/review", review, action="baseline.reject", before={}, after={}, **same)


def test_requests_that_change_nothing_are_not_recorded(scenario: ReviewScenario) -> None:
    with scenario.api.rows() as session:
        over = factories.run(session, "completed").id
    approval = scenario.request()
    before = log(scenario.api)
    accepted(scenario.api.post(f"/runs/{over}/cancel", headers=scenario.admin))
    scenario.review(approval, dry_run=True)
    refused(scenario.revert(approval), 409, "conflict")
    refused(scenario.api.post("/runs/4711/retry", headers=scenario.admin), 404, "not_found")
    assert log(scenario.api) == before


def account(api: Api) -> str:
    """The email of an account that can log in."""
    with api.rows() as session:
        return str(factories.user(session, "contributor", email="ann@example.org", password=QUICK_HASH).email)


def log_in(api: Api, email: str, password: str = PASSWORD, **more: Any) -> Any:
    body = {"email": email, "password": password, "token_name": "laptop"} | more
    return api.post("/auth/tokens", json=body, headers={"X-Request-ID": "log-in"})


def test_log_ins_and_revocations_are_recorded(each_api: Api) -> None:
    email = account(each_api)
    answer = log_in(each_api, email, scopes=["runs:read"])
    record = last(each_api)
    assert (record["actor"], record["action"], record["target"]) == (email, "token.create", "token:laptop")
    assert record["after"] == {"scopes": ["runs:read"], "expires_at": answer.json["expires_at"]}
    assert (record["token_name"], record["request_id"]) == (None, "log-in")

    headers = {"Authorization": f"Bearer {answer.json['token']}"}
    log_in(each_api, email, token_name="phone")
    assert each_api.delete("/auth/tokens/phone", headers=headers).status_code == 204
    record = last(each_api)
    assert (record["actor"], record["action"], record["target"]) == (email, "token.revoke", "token:phone")
    assert record["token_name"] == "laptop"
    assert each_api.delete("/auth/tokens/current", headers=headers).status_code == 204
    assert (last(each_api)["action"], last(each_api)["target"]) == ("token.revoke", "token:laptop")


@pytest.mark.parametrize("email", ["ann@example.org", "nobody@example.org", "Größe@example.org"])
def test_a_failed_log_in_is_recorded(api: Api, email: str) -> None:
    account(api)
    assert log_in(api, email, "not the password").status_code == 401
    record = last(api)
    assert (record["actor"], record["action"], record["target"]) == (email, "token.login_failed", "token:")
    assert (record["before"], record["after"], record["request_id"]) == (None, None, "log-in")


def test_a_log_in_refused_for_its_token_name_is_not_recorded_as_failed(api: Api) -> None:
    email = account(api)
    log_in(api, email)
    before = log(api)
    assert log_in(api, email).status_code == 400, "the name is taken"
    assert log_in(api, "no address").status_code == 400
    assert log(api) == before


def test_the_command_line_is_recorded(api: Api) -> None:
    email = account(api)
    shell(api, "token", "create", email, "ci", "--scope", "runs:read", "--days", "7")
    shell(api, "token", "create", email, "ci", "--replace")
    shell(api, "token", "revoke", email, "ci")
    records = log(api, actor="command-line")
    assert [record["action"] for record in records] == [
        "token.revoke",
        "token.create",
        "token.revoke",
        "token.create",
    ]
    assert {record["target"] for record in records} == {"token:ci"}
    assert {(record["token_name"], record["request_id"], record["reason"]) for record in records} == {(None,) * 3}
    assert records[0]["before"] == records[2]["before"] == {"user": email}
    assert records[3]["after"]["user"] == email
    assert records[3]["after"]["scopes"] == ["runs:read"]


def test_reviews_on_the_command_line_name_the_admin(scenario: ReviewScenario) -> None:
    approval = scenario.request()
    with scenario.api.rows() as session:
        factories.user(session, email="boss@example.org")
    for action in ("approve", "revert"):
        shell(
            scenario.api, "approvals", action, approval["approval_id"], "--as", "boss@example.org", "--reason", REASON
        )
        record = last(scenario.api)
        assert (record["actor"], record["action"]) == ("boss@example.org", f"baseline.{action}")
        assert (record["token_name"], record["request_id"], record["reason"]) == ("command-line", None, REASON)


def test_a_record_outlives_its_actor(scenario: ReviewScenario) -> None:
    with scenario.api.rows() as session:
        owner = factories.user(session)
        owner_id, email, who = owner.id, owner.email, factories.bearer(session, owner)
        run_id = factories.run(session).id
    accepted(scenario.api.post(f"/runs/{run_id}/cancel", headers=who))
    with scenario.api.rows() as session:
        session.execute(sa.delete(Token).where(Token.user_id == owner_id))
        session.execute(sa.delete(platform.User).where(platform.User.id == owner_id))
    assert [record["action"] for record in log(scenario.api, actor=email)] == ["run.cancel"]


# --- Append-only, and no secrets ------------------------------------------------------------------


def everything(scenario: ReviewScenario) -> list[str]:
    """Do all that is recorded, in many ways; return the secrets that were used."""
    api, case = scenario.api, scenario.mismatch
    email = account(api)
    wrong, unknown = "not the right password", tokens.new_secret()
    log_in(api, email, wrong)
    log_in(api, f"{email}.invalid", wrong)
    log_in(api, wrong, wrong)
    log_in(api, email, wrong, unknown=wrong)
    secret = log_in(api, email, scopes=["runs:read", "runs:write", "baselines:write"]).json["token"]
    who = {"Authorization": f"Bearer {secret}", "Idempotency-Key": "one"}
    run_id = accepted(api.post("/runs", json=BODY, headers=who))["run_id"]
    for action in ("retry", "cancel"):
        api.post(f"/runs/{run_id}/{action}", json={"reason": "no secret"}, headers=who | {"Idempotency-Key": action})
    approval = accepted(api.post(case.path, json=case.body(), headers=who | {"Idempotency-Key": "approve"}))
    scenario.review(approval)
    scenario.revert(approval)
    made = shell(api, "token", "create", email, "ci").stdout.strip()
    shell(api, "token", "revoke", email, "ci")
    for refused_one in (unknown, secret + "x", secret[:-1], wrong):
        api.get("/runs", headers={"Authorization": f"Bearer {refused_one}"})
    api.delete("/auth/tokens/current", headers=who)
    with api.rows() as session:
        workers = list(session.scalars(sa.select(platform.Test.token)))
    values = [wrong, PASSWORD, QUICK_HASH, unknown, secret, made, *map(str, workers)]
    return [*values, *map(tokens.digest, (unknown, secret, made)), secret[5:25], made[5:25]]


def test_no_secret_reaches_the_audit_log_or_any_other(
    scenario: ReviewScenario, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    hidden = everything(scenario)
    with scenario.api.rows() as session:
        rows = [dict(row) for row in session.execute(sa.select(AuditRecord.__table__)).mappings()]
    assert len(rows) >= 11
    logged = caplog.text + "".join(str(vars(record)) for record in caplog.records)
    assert "/api/v1/runs" in logged
    for text in (str(rows), logged, shell(scenario.api, "audit").output, str(log(scenario.api))):
        assert [secret for secret in hidden if secret in text] == []


def test_records_are_only_ever_added(scenario: ReviewScenario) -> None:
    with statements(scenario.api) as sent:
        everything(scenario)
        log(scenario.api)
        shell(scenario.api, "audit")
    touching = [statement for statement in sent if re.search("api_v1_audit", statement)]
    assert {statement.split()[0] for statement in touching} == {"INSERT", "SELECT"}
    methods = {operation.method for operation in REGISTRY.values() if "audit" in operation.path}
    assert methods == {"GET"}


# --- Reading it -----------------------------------------------------------------------------------


@pytest.fixture
def filled(api: Api) -> list[int]:
    """Ids of seven records, oldest first, a minute apart."""
    actors = ("ann@example.org", "Bob@Example.org", "größe@example.org")
    targets = ("run:1", "run:17", "run:1", "token:a_b", "token:axb", "run:1", "approval:1")
    with api.rows() as session:
        rows = [
            AuditRecord(
                created_at=factories.START + timedelta(minutes=number),
                actor=actors[number % 3],
                action="run.cancel" if target.startswith("run") else "token.create",
                target=target,
                before=None if number else json.dumps({"a": [1, None], "ä": "\N{GRINNING FACE}"}),
            )
            for number, target in enumerate(targets)
        ]
        session.add_all(rows)
        session.flush()
        return [row.id for row in rows]


#: What is asked, and which of the seven it finds.
FILTERS: dict[str, list[int]] = {
    "": [6, 5, 4, 3, 2, 1, 0],
    "limit=2&offset=1": [5, 4],
    "action=run.cancel": [5, 2, 1, 0],
    "action=run": [],
    "action=RUN.CANCEL": [],
    "action=größe": [],
    "target=run:1": [5, 2, 0],
    "target=run:17": [1],
    "target=token:a_b": [3],
    "target=ünknown": [],
    "actor=ann@example.org": [6, 3, 0],
    "actor=BOB@example.org": [4, 1],
    "actor=bob": [],
    "actor=GRÖSSE@example.org": [],
    "actor=größe@example.org": [5, 2],
    "actor=grosse@example.org": [],
    "actor=ann@example.org&action=run.cancel&target=run:1": [0],
    "created_after=2026-01-01T12:04:00Z": [6, 5],
    "created_before=2026-01-01T13:02:00%2B01:00": [1, 0],
    "created_after=2026-01-01T12:01:00&created_before=2026-01-01T12:04:00": [3, 2],
}


@pytest.mark.parametrize("query", FILTERS)
def test_the_log_is_filtered_in_the_database(api: Api, filled: list[int], query: str) -> None:
    page = api.get("/audit-log", query=query, headers=api.bearer(scopes=["system:read"])).json
    assert [filled.index(record["audit_id"]) for record in page["data"]] == FILTERS[query]
    assert page["pagination"]["total"] == (7 if query.startswith("limit") else len(FILTERS[query]))


def test_pages_neither_repeat_nor_skip(api: Api, filled: list[int]) -> None:
    with api.rows() as session:
        session.execute(sa.update(AuditRecord).values(created_at=now()))
    headers = api.bearer()
    found = [log(api, headers, limit=1, offset=offset)[0]["audit_id"] for offset in range(7)]
    assert found == filled[::-1]


@on_one_database
@pytest.mark.parametrize(
    "query",
    [
        "action=" + "a" * 51,
        "actor=" + "a" * 256,
        "target=" + "t" * 101,
        "created_after=yesterday",
        "created_before=2026-13-01T00:00:00Z",
        "limit=0",
        "user=ann",
        "action=nul%00",
    ],
)
def test_an_invalid_filter_is_refused(api: Api, query: str) -> None:
    response = api.get("/audit-log", query=query, headers=api.bearer())
    assert list(refused(response, 400, "validation_error")["fields"]) == [query.partition("=")[0]]


@on_one_database
def test_only_admins_read_the_log(api: Api) -> None:
    for role in ("contributor", "tester", "user", None):
        refused(api.get("/audit-log", headers=api.bearer(role)), 403, "forbidden")
    others = ["runs:read", "runs:write", "results:read", "baselines:write"]
    refused(api.get("/audit-log", headers=api.bearer(scopes=others)), 403, "forbidden")


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ((), [6, 5, 4, 3, 2, 1, 0]),
        (("--limit", "2"), [6, 5]),
        (("--action", "token.create"), [6, 4, 3]),
        (("--actor", "bob@example.org"), [4, 1]),
        (("--target", "run:1", "--limit", "1"), [5]),
        (("--target", "run:4711"), []),
    ],
)
def test_the_command_line_prints_the_same_records(
    api: Api, filled: list[int], options: tuple[str, ...], found: list[int]
) -> None:
    printed = json.loads(shell(api, "audit", "--json", *options).stdout)
    read = {record["audit_id"]: record for record in log(api)}
    assert printed == [read[filled[number]] for number in found]


def test_reading_takes_few_statements(api: Api, filled: list[int]) -> None:
    headers = api.bearer()
    log(api, headers)
    with statements(api) as sent:
        log(api, headers)
    assert len([each for each in sent if "api_v1_audit" in each]) == 2
