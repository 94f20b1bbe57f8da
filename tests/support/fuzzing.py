"""Schemathesis against the API: an app with runs in every state, ids that exist, and the differences that are meant."""

from __future__ import annotations

import re
import types
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import schemathesis
import sqlalchemy as sa
from flask import Flask
from hypothesis import HealthCheck, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.openapi.checks import (
    AllowHeaderMismatch,
    JsonSchemaError,
    RejectedPositiveData,
    UnsupportedMethodResponse,
)

import api_v1
from api_v1 import demo
from api_v1.access import tokens
from api_v1.database import platform
from api_v1.database.session import db
from api_v1.errors import ApiError
from api_v1.runs import environments
from api_v1.web.operation import REGISTRY
from tests.support import factories
from tests.support.contract.document import Json
from tests.support.contract.responses import ResponseValidator
from tests.support.demo import seed
from tests.support.fixtures import own_engine, platform_config
from tests.support.people import PASSWORD, QUICK_HASH

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

UNLIMITED = {f"API_V1_LIMIT_{name}": "1000000 per second" for name in "READS WRITES ANONYMOUS TOKENS FAILURES".split()}


# --- What is meant --------------------------------------------------------------------------------


class Difference(NamedTuple):
    """A request that its schema allows and that is refused, because no schema can say why.

    Attributes:
        where: the field that is blamed, or the code of an error that blames none.
        reason: what is said, as a regular expression.
        why: why it is refused all the same.
    """

    where: str
    reason: str
    why: str


_TWO = "it is about two parameters together"
_STORED = "it depends on what is stored"

#: Every request that a schema allows and that is refused. Nothing else of what schemathesis checks may fail.
DIFFERENCES = (
    Difference("created_after", r"Must be before created_before\.", _TWO),
    Difference("created_after", r"Must be at most 90 days before created_before\.", _TWO),
    Difference("tail", r"Cannot be combined with cursor\.", _TWO),
    Difference("around", r"Cannot be combined with .*", _TWO),
    Difference("regression_test_ids|category|tag", r"Choose by one of .*", _TWO),
    Difference("context", r"Needs contains or around: .*", _TWO),
    Difference("cursor", r"Not a cursor of this API, .*", "a cursor is signed"),
    Difference("repository", r"Must be owner/repo; .*", "the contract's pattern matches `../..` as well"),
    Difference("reason", r"Must (say why; a placeholder does not|have at least 10 characters)\.", "words are judged"),
    Difference(".*", r"Must not contain NUL\.", "the contract's texts have no pattern that excludes it"),
    Difference(".*", r"Must be valid Unicode\.", "the contract's texts have no pattern that excludes half a pair"),
    Difference("token_name", r"This name stands for the token in use; .*", "in a URL it would mean another token"),
    Difference("token_name", r"You have .*", _STORED),
    Difference("pull_request", r"Must be at most 2147483647\.", "the platform's column holds no more"),
    Difference("unprocessable", r"There is no such environment; .*", _STORED),
    Difference("unprocessable", r"The environment is of another platform; .*", _TWO),
    Difference("unprocessable", r"regression_test_ids contains .*", _STORED),
    Difference("unprocessable", r"No active regression test has the (category|tag) .*", _STORED),
    Difference("unprocessable", r"There is no regression test to run\.", "the contract allows an empty choice"),
    Difference("unprocessable", r"This Idempotency-Key was used for another request\.", _STORED),
    Difference("unprocessable", r"The run is not finished; .*", _STORED),
    Difference("unprocessable", r"No test of the run failed or was skipped\.", _STORED),
    Difference("unprocessable", r"No active regression test of the run is left\.", _STORED),
    Difference("unprocessable", r"A run cannot be compared with itself\.", _TWO),
    Difference("unprocessable", r"The base ran on another platform\.", _STORED),
    Difference("unprocessable", r"Several commits begin with these digits\.", _STORED),
    Difference("unprocessable", r"The run has no actual file of this output that differs .*", _STORED),
    Difference("unprocessable", r"The run's file is the baseline .*", _STORED),
    Difference("unprocessable", r"No store has the run's output file\.", _STORED),
)


def is_meant(body: Json) -> bool:
    """Whether all that an error's body says is one of the `DIFFERENCES`."""
    blamed = body["details"].get("fields") or {body["code"]: body["message"]}
    return all(
        any(re.fullmatch(one.where, where) and re.fullmatch(one.reason, reason) for one in DIFFERENCES)
        for where, reason in blamed.items()
    )


def is_a_right_part(validator: ResponseValidator, case: Any, response: Any) -> bool:
    """Whether an answer has all that its schema demands, but for required fields that `fields` does not name."""
    headers = {name: values[0] for name, values in response.headers.items()}
    operation, status, body = case.operation, response.status_code, response.content
    try:
        validator.check(operation.method, operation.path, status, headers, body, partial=True)
    except AssertionError:
        return False
    return True


def are_additions(failure: Any, path: str) -> bool:
    """Whether what fails are methods that the contract has not and we have (docs/decisions.md, "Additions")."""
    ours = {f"{operation.method} {operation.path}" for operation in REGISTRY.values()}
    if isinstance(failure, AllowHeaderMismatch) and not failure.missing_methods:
        return all(f"{method} {path}" in ours for method in failure.undocumented_methods)
    return isinstance(failure, UnsupportedMethodResponse) and f"{failure.method} {path}" in ours


# --- What exists ----------------------------------------------------------------------------------

#: An id of each kind, all of one place: run, sample, regression test, output.
Place = Mapping[str, Any]


def _places() -> list[dict[str, Any]]:
    """Where results with files are, and the runs of every state without one."""
    file, test = platform.TestResultFile, platform.RegressionTest
    found = sa.select(file.test_id, test.sample_id, test.id, file.regression_test_output_id, platform.Test.pr_nr)
    with_files = db.session.execute(
        found.join(test, test.id == file.regression_test_id)
        .join(platform.Test, platform.Test.id == file.test_id)
        .order_by(file.got.is_(None), file.test_id.desc())
        .limit(300)
    ).tuples()
    names = ("run_id", "sample_id", "regression_id", "output_id", "number")
    places: list[dict[str, Any]] = [dict(zip(names, row, strict=True)) for row in with_files]
    runs = db.session.execute(sa.select(platform.Test.id, platform.Test.pr_nr)).tuples()
    return places + [places[0] | {"run_id": run, "number": number} for run, number in runs]


@dataclass
class Fuzzed:
    """The API over the demo, with approvals in every state, and the callers of its operations."""

    app: Flask
    places: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        with self.app.app_context():
            self.headers = factories.bearer(db.session)
            self.places = _places()
            db.session.commit()
        self._insert_approvals()

    def _insert_approvals(self) -> None:
        """Ask for approvals, and decide about some."""
        client, wishes = self.app.test_client(use_cookies=False), []
        other = self.fresh_headers()
        for place in self.places[:12]:
            path = "/api/v1/runs/{run_id}/samples/{sample_id}/baseline-approval".format(**place)
            body = {name: place[name] for name in ("regression_id", "output_id")} | {"reason": "The timing is right"}
            answer = client.post(path, json=body, headers=other)
            if answer.status_code == 202 and answer.json is not None:
                wishes.append(int(answer.json["approval_id"]))
        assert len(set(wishes)) >= 3, "the demo has outputs to approve"
        for approval, decision in zip(wishes, ("approve", "reject"), strict=False):
            body = {"decision": decision, "reason": "Compared with the video"}
            answer = client.post(f"/api/v1/baseline-approvals/{approval}/review", json=body, headers=self.headers)
            assert answer.status_code == 200, answer.json
        self.places = [
            {**place, "approval_id": wishes[number % len(wishes)]} for number, place in enumerate(self.places)
        ]

    def fresh_headers(self, token_name: str | None = None) -> dict[str, str]:
        """Headers with a token of a new admin, who has another one of this name if it can be one."""
        with self.app.app_context():
            owner = factories.user(db.session)
            made = factories.bearer(db.session, owner)
            db.session.commit()
            if token_name is not None and re.fullmatch("[a-zA-Z0-9_-]{1,50}", token_name):
                with suppress(ApiError):
                    tokens.create(db.session, owner.id, token_name, [], 1)
                    db.session.commit()
            return made

    def headers_for(self, case: schemathesis.Case[Any]) -> dict[str, str]:
        """Headers of a caller, who is a new one where a token may be lost."""
        if case.operation.label == "POST /auth/tokens":
            return {}
        if case.operation.label.startswith("DELETE /auth/tokens/"):
            name = case.path_parameters.get("token_name")
            return self.fresh_headers(name if isinstance(name, str) else None)
        return self.headers

    def ask(self, case: schemathesis.Case[Any]) -> None:
        """Send what was generated, and check the answer with everything that schemathesis has."""
        _with_what_exists(case, self.places)
        headers = self.headers_for(case)
        response = case.call_and_validate(headers=headers)
        # It is content with a 401, but then it would check nothing else.
        assert not headers or response.status_code != 401


class CurrentApp:
    """The app of the module that is tested, as WSGI: schemathesis wants one when tests are collected."""

    def __init__(self) -> None:
        self.app: Flask | None = None

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        assert self.app is not None
        return self.app(environ, start_response)


_CURRENT = CurrentApp()


@contextmanager
def fuzzed(folder: Path, uri: str | None = None) -> Iterator[Fuzzed]:
    """The API over a demo in a folder. Checks of passwords are quick.

    Args:
        uri: of an empty database, if it shall not be one in the folder.
    """
    # Schemathesis accepts gzip, and in this process does not read it.
    more = {**UNLIMITED, "API_V1_GZIP": "never"}
    config = platform_config(uri or f"sqlite:///{folder / 'platform.sqlite'}", folder / "repository", **more)
    seed(config)
    with pytest.MonkeyPatch.context() as patch, own_engine():
        patch.setattr(tokens, "_NOBODY", QUICK_HASH)
        _CURRENT.app = api_v1.create_app(config)
        with _CURRENT.app.app_context():
            db.session.execute(sa.update(platform.User).values(password=QUICK_HASH))
            db.session.commit()
        yield Fuzzed(_CURRENT.app)
        _CURRENT.app = None


# --- What schemathesis is told --------------------------------------------------------------------


def schema(document: Json, with_limits: bool = True) -> Any:
    """The operations of a document, of which every failure counts but the differences that are meant.

    Args:
        with_limits: also send what is at, below and beyond each limit of a schema, leave out what is required, and try
            other methods.
    """
    made: Any = schemathesis.openapi.from_dict(document, config=SchemathesisConfig())
    made.app = _CURRENT
    # A generated token would replace that of the caller.
    made.config.generation.update(with_security_parameters=False)
    made.config.phases.update(phases=["examples", "fuzzing", *(["coverage"] if with_limits else [])])

    validator = ResponseValidator(document)

    def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
        """Keep every failure but what is meant."""
        if isinstance(failure, RejectedPositiveData):
            return not is_meant(response.json())
        if isinstance(failure, JsonSchemaError) and "fields" in case.query:
            return not is_a_right_part(validator, case, response)
        return not are_additions(failure, case.operation.path)

    made.hook(filter_failure)
    return made


def tests(prefix: str, schema: Any, ask: Callable[..., None], examples: int) -> dict[str, Any]:
    """A test of each operation by its name. A test of all would have one name for all, which xdist takes for one test.

    Args:
        ask: is called with a case, and with fixtures.
        examples: how many requests are drawn.
    """
    drawn = settings(
        max_examples=examples,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    found = {}
    for operation in (result.ok() for result in schema.get_all_operations()):
        only = schema.include(method=operation.method.upper(), path=operation.path)
        name = re.sub(r"\W+", "_", f"{prefix} {operation.label.lower()}").strip("_")
        # A function of its own, because schemathesis marks the one that it is given.
        found[name] = only.parametrize()(drawn(types.FunctionType(ask.__code__, ask.__globals__, name)))
        found[name].__annotations__ = ask.__annotations__
    return found


def _with_what_exists(case: Any, places: Sequence[Place]) -> None:
    """Let three of four requests be about what exists; what is no possible id stays as it is."""
    chosen = zlib.crc32(repr((case.path_parameters, case.query, case.body)).encode("utf-8", "replace"))
    if chosen % 4 == 0:
        return
    place = places[chosen // 4 % len(places)]
    for container in (case.path_parameters, case.query, case.body):
        if isinstance(container, dict):
            container.update({name: place[name] for name in container.keys() & place.keys() if _is_id(container[name])})
    if case.meta.generation.mode.is_positive and isinstance(case.body, dict):
        # Not in place: it may be the document's own example.
        case.body = case.body | {name: value for name, value in _existing(case.body).items() if name in case.body}


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _existing(body: Json) -> Json:
    """What a valid body may name: the account of the demo's admin, and the environment of the platform."""
    environment = environments.identity(body.get("platform", ""))
    return {"email": demo.ADMIN, "password": PASSWORD, "environment_id": environment}
