"""Every status that the document names of an operation is one that it answers with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import database
import pytest
import sqlalchemy as sa
from werkzeug.test import TestResponse

import api_v1
from api_v1.access import tokens
from api_v1.database import platform
from api_v1.database.tables import IdempotentRequest, Token
from api_v1.web.operation import REGISTRY, Operation
from api_v1.web.validation import MAX_BODY
from tests.support import factories
from tests.support.client import Api
from tests.support.contract.document import operations
from tests.support.fixtures import on_one_database, platform_config
from tests.support.operations import call
from tests.support.people import PASSWORD, QUICK_HASH
from tests.support.request_path import DEAD
from tests.support.reviews import REASON, ReviewScenario
from tests.support.writing import FINISHED

Answer = Callable[["Existing", Operation], TestResponse]


@dataclass(frozen=True)
class Existing:
    """What requests ask for, and who asks.

    Attributes:
        ids: of rows that are there, by the name of the parameter.
        matching: those of a run whose file is the baseline.
        limited: the API of which a caller may ask once an hour.
        dead: the API over a database that does not answer.
    """

    scenario: ReviewScenario
    ids: Mapping[str, Any]
    matching: Mapping[str, Any]
    limited: Api
    dead: Api

    @property
    def api(self) -> Api:
        return self.scenario.api

    def ask(self, operation: Operation, headers: Mapping[str, str] | None = None, **more: Any) -> TestResponse:
        """Send a valid request for what is there."""
        query = {name: self.ids[name] for name in ("regression_id", "output_id") if name in _needed(operation)}
        if operation.endpoint in BODIES and "json" not in more:
            more["json"] = {name: self.ids.get(name, value) for name, value in BODIES[operation.endpoint].items()}
        query |= more.pop("query", {})
        ids = {**self.ids, **more.pop("ids", {})}
        return call(self.api, operation, headers or self.scenario.admin, ids, query=query, **more)


def _needed(operation: Operation) -> list[str]:
    """The parameters without which an operation is refused."""
    return [name for name, one in operation.query.fields.items() if one.required] if operation.query else []


#: Valid bodies of the operations that an example of the schema would not do for; ids are replaced by existing ones.
BODIES: dict[str, dict[str, Any]] = {
    "create_token": {"email": "ann@example.org", "password": PASSWORD, "token_name": "laptop"},
    "request_baseline_approval": {"regression_id": 0, "output_id": 0, "reason": REASON},
    "review_baseline_approval": {"decision": "reject", "reason": REASON},
    "revert_baseline_approval": {"reason": REASON},
}


@pytest.fixture(scope="module")
def dead(tmp_path_factory: pytest.TempPathFactory) -> Api:
    """The API over a database that does not answer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "db_engine", None)
        return Api(api_v1.create_app(platform_config(DEAD, tmp_path_factory.mktemp("dead"))))


@pytest.fixture(scope="module")
def limited(engine: sa.Engine, database_uri: str, repository: Path) -> Api:
    """The API of which a caller may ask once an hour."""
    once = {f"API_V1_LIMIT_{name}": "1 per hour" for name in ("READS", "WRITES", "ANONYMOUS", "TOKENS")}
    return Api(api_v1.create_app(platform_config(database_uri, repository, **once)))


@pytest.fixture
def existing(scenario: ReviewScenario, repository: Path, limited: Api, dead: Api) -> Existing:
    """A finished run with an output that differs, a pending approval, a log, a pull request, an account."""
    mismatch = scenario.mismatch
    with scenario.api.rows() as session:
        factories.user(session, "tester", email="ann@example.org", password=QUICK_HASH)
        asker = session.scalars(sa.select(Token.user_id).order_by(Token.id)).first()
        assert asker is not None
        tokens.create(session, asker, "lost", [], 1)
        test = session.get_one(platform.RegressionTest, mismatch.regression_id)
        output = session.get_one(platform.RegressionTestOutput, mismatch.output_id)
        same = factories.run(session, *FINISHED, tests=[test], pull_request=7)
        factories.result(session, same, test, (output, None))
        run_id = same.id
    (repository / "LogFiles").mkdir(exist_ok=True)
    (repository / "LogFiles" / f"{mismatch.run_id}.txt").write_text("[INFO] began\n")
    (repository / "TestResults" / f"{mismatch.old}.srt").write_text("old")
    ids = {
        "run_id": mismatch.run_id,
        "sample_id": mismatch.sample_id,
        "regression_id": mismatch.regression_id,
        "output_id": mismatch.output_id,
        "number": 7,
        "token_name": "lost",
        "approval_id": scenario.request()["approval_id"],
    }
    return Existing(scenario, ids, {**ids, "run_id": run_id}, limited, dead)


# --- What makes an answer have a status -----------------------------------------------------------


def succeed(existing: Existing, operation: Operation) -> TestResponse:
    return existing.ask(operation)


def know_the_answer(existing: Existing, operation: Operation) -> TestResponse:
    etag = existing.ask(operation).headers["ETag"]
    return existing.ask(operation, {**existing.scenario.admin, "If-None-Match": etag})


def know_any_answer(existing: Existing, operation: Operation) -> TestResponse:
    return existing.ask(operation, {**existing.scenario.admin, "If-None-Match": "*"})


def refuse_the_query(existing: Existing, operation: Operation) -> TestResponse:
    return existing.ask(operation, query={"unheard-of": "1"})


def refuse_the_caller(existing: Existing, operation: Operation) -> TestResponse:
    wrong = {"json": {**BODIES["create_token"], "password": "not hers"}} if operation.access.public else {}
    return existing.ask(operation, {"Authorization": "Bearer noise"}, **wrong)


def refuse_the_scopes(existing: Existing, operation: Operation) -> TestResponse:
    return existing.ask(operation, existing.api.bearer(scopes=[]))


def find_nothing(existing: Existing, operation: Operation) -> TestResponse:
    return call(existing.api, operation, existing.scenario.admin)


def refuse_the_size(existing: Existing, operation: Operation) -> TestResponse:
    return existing.ask(operation, data=b"{}".ljust(MAX_BODY + 1), content_type="application/json", json=None)


def refuse_the_media_type(existing: Existing, operation: Operation) -> TestResponse:
    return existing.ask(operation, data=b"{}", content_type="text/plain", json=None)


def _with_a_key(existing: Existing, operation: Operation, status: int | None) -> TestResponse:
    """Send a key that another request has, which was answered with this status or not yet."""
    headers = {**existing.api.bearer(), "Idempotency-Key": "one"}
    with existing.api.rows() as session:
        token_id = session.scalar(sa.select(sa.func.max(Token.id)))
        row = {"token_id": token_id, "idempotency_key": "one", "fingerprint": "f" * 64, "status": status}
        session.add(IdempotentRequest(**row))
    return existing.ask(operation, headers)


def wait_for_the_first(existing: Existing, operation: Operation) -> TestResponse:
    return _with_a_key(existing, operation, None)


def reuse_a_key(existing: Existing, operation: Operation) -> TestResponse:
    return _with_a_key(existing, operation, 202)


def ask_too_often(existing: Existing, operation: Operation) -> TestResponse:
    headers = existing.scenario.other
    # What is refused counts as well, and takes no token away.
    call(existing.limited, operation, headers, query={"unheard-of": "1"})
    return call(existing.limited, operation, headers)


def lose_the_database(existing: Existing, operation: Operation) -> TestResponse:
    return call(existing.dead, operation, existing.scenario.admin)


def match_the_baseline(existing: Existing, operation: Operation) -> TestResponse:
    return existing.ask(operation, ids=existing.matching)


def decide_twice(existing: Existing, operation: Operation) -> TestResponse:
    assert existing.ask(operation).status_code == 200
    return existing.ask(operation)


def decide_once(existing: Existing, operation: Operation) -> TestResponse:
    approval = existing.scenario.request(of=existing.scenario.later_run("another"))
    return existing.ask(operation, ids={"approval_id": approval["approval_id"]})


def revert_what_was_approved(existing: Existing, operation: Operation) -> TestResponse:
    assert existing.scenario.review(existing.ids).status_code == 200
    return existing.ask(operation)


def compare_with_itself(existing: Existing, operation: Operation) -> TestResponse:
    return existing.ask(operation, query={"base": existing.ids["run_id"]})


#: How each status comes about, unless an operation has a way of its own.
ANSWERS: dict[int, Answer] = {
    **dict.fromkeys((200, 201, 202, 204), succeed),
    304: know_the_answer,
    400: refuse_the_query,
    401: refuse_the_caller,
    403: refuse_the_scopes,
    404: find_nothing,
    409: wait_for_the_first,
    413: refuse_the_size,
    415: refuse_the_media_type,
    422: reuse_a_key,
    429: ask_too_often,
    503: lose_the_database,
}

OWN_ANSWERS: dict[tuple[str, int], Answer] = {
    ("get_actual_output", 204): match_the_baseline,
    # It says when it looked, so that no two answers are equal.
    ("get_health", 304): know_any_answer,
    ("compare_run", 422): compare_with_itself,
    ("review_baseline_approval", 200): decide_once,
    ("review_baseline_approval", 409): decide_twice,
    ("revert_baseline_approval", 200): revert_what_was_approved,
    ("revert_baseline_approval", 409): succeed,
}


@on_one_database
@pytest.mark.parametrize("operation", REGISTRY.values(), ids=lambda operation: operation.endpoint)
def test_every_documented_status_occurs(operation: Operation, existing: Existing) -> None:
    described = operations(existing.api.document)[f"{operation.method} {operation.path}"]
    documented = {int(status) for status in described["responses"] if status != "default"}
    seen = {}
    # The successes come last, because they change what is there.
    for status in sorted(documented, reverse=True):
        answer = OWN_ANSWERS.get((operation.endpoint, status)) or ANSWERS[status]
        seen[status] = answer(existing, operation).status_code
    assert seen == {status: status for status in documented}
