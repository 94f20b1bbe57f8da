"""Record the examples of the OpenAPI document: a request and its answer, and one that fails, for each operation.

    python -m tests.support.examples > api_v1/web/examples.json

They are answers of the demo. So that they are the same whenever they are recorded, times are moved to `END`, and what
is random has a fixed form.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import database
from flask import Flask

import api_v1
from api_v1 import demo
from api_v1.access.policy import Scope
from api_v1.web.openapi_examples import query_text
from api_v1.web.operation import REGISTRY
from tests.support.client import Api
from tests.support.demo import END, seed_into

ROOT_URL = "https://sampleplatform.ccextractor.org/api/v1"

LATE = {"regression_id": 11, "output_id": 12}
MORE = {"regression_id": 1, "output_id": 1}
COMMIT = "5e2a1c9d7b3f4860a1b2c3d4e5f60718293a4b5c"


@dataclass(frozen=True)
class Call:
    """A request to an operation, and the status of its answer.

    Attributes:
        path: its path parameters.
        who: the name of the user whose token is sent; None for no token.
        scopes: those of the token.
    """

    status: int
    path: Mapping[str, Any] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    who: str | None = "admin"
    scopes: tuple[str, ...] = tuple(Scope)


def ok(query: Mapping[str, Any] | None = None, /, **path: Any) -> Call:
    """A reading request that succeeds."""
    return Call(200, path, query or {})


def bad(query: Mapping[str, Any], /, **path: Any) -> Call:
    """A request with a wrong parameter."""
    return Call(400, path, query)


def unknown(query: Mapping[str, Any] | None = None, /, **path: Any) -> Call:
    """A request for what does not exist."""
    return Call(404, path, query or {})


def without(scope: Scope, /, **path: Any) -> Call:
    """A request with a token that lacks a scope."""
    return Call(403, path, scopes=tuple(one for one in Scope if one != scope))


LOG_IN = {"email": "contributor@example.org", "password": demo.PASSWORD, "token_name": "my-agent", "expires_in_days": 7}
NEW_RUN = {
    "repository": "CCExtractor/ccextractor",
    "commit_sha": COMMIT,
    "platform": "linux",
    "pull_request": 1741,
    "regression_test_ids": [1, 2, 11],
}
REASON = "The last caption was lost before, see PR 1740"
APPROVE = {"decision": "approve", "reason": "Compared with the video"}

#: The calls in the order in which they are made: those of an operation that succeeds, and one that fails.
CALLS: list[tuple[str, Call, Call]] = [
    ("get_index", ok(), bad({"verbose": "true"})),
    ("get_document", ok(), bad({"verbose": "true"})),
    ("get_health", ok({"probe": "full"}), bad({"probe": "deep"})),
    (
        "create_token",
        Call(201, body=LOG_IN, who=None),
        Call(401, body={**LOG_IN, "password": "wrong password"}, who=None),
    ),
    ("list_tokens", ok({"limit": 1}), Call(401, who=None)),
    ("get_current_token", ok(), Call(401, who=None)),
    ("list_runs", ok({"status": "fail", "platform": "linux", "limit": 1}), bad({"status": "failed"})),
    ("get_run", ok(run_id=59), unknown(run_id=4711)),
    ("get_run_summary", ok(run_id=59), unknown(run_id=4711)),
    ("list_run_progress", ok({"limit": 2}, run_id=59), bad({"status": "done"}, run_id=59)),
    ("get_run_config", ok(run_id=59), unknown(run_id=4711)),
    ("list_run_samples", ok({"status": "fail", "limit": 1}, run_id=59), bad({"state": "fail"}, run_id=59)),
    ("get_run_sample", ok({"regression_id": 11}, run_id=59, sample_id=5), unknown(run_id=59, sample_id=4711)),
    ("list_samples", ok({"extension": "ts", "limit": 1}), bad({"sha256": "abc"})),
    ("get_sample", ok(sample_id=5), unknown(sample_id=4711)),
    ("list_sample_history", ok({"sample_status": "fail", "limit": 1}, sample_id=5), unknown(sample_id=4711)),
    ("list_regression_tests", ok({"category": "Broken", "limit": 1}), bad({"active": "yes"})),
    ("get_regression_test", ok(regression_id=11), unknown(regression_id=4711)),
    ("get_regression_test_health", ok({"platform": "linux"}, regression_id=17), unknown(regression_id=4711)),
    (
        "get_expected_output",
        ok({**LATE, "format": "text", "byte_offset": 18000}, run_id=59, sample_id=5),
        bad({"regression_id": 11}, run_id=59, sample_id=5),
    ),
    (
        "get_actual_output",
        ok({**LATE, "format": "text", "byte_offset": 18000}, run_id=59, sample_id=5),
        unknown({**LATE, "output_id": 4711}, run_id=59, sample_id=5),
    ),
    (
        "get_diff",
        ok({**MORE, "context_lines": 1, "captions": True}, run_id=73, sample_id=1),
        unknown({**MORE, "output_id": 4711}, run_id=73, sample_id=1),
    ),
    ("list_run_errors", ok({"type": "diff_mismatch", "limit": 1}, run_id=59), bad({"severity": "bad"}, run_id=59)),
    ("list_infrastructure_errors", ok({"limit": 1}, run_id=61), without(Scope.SYSTEM_READ, run_id=61)),
    ("list_error_groups", ok({"group_by": "category", "limit": 1}, run_id=59), bad({"group_by": "day"}, run_id=59)),
    ("list_run_log", ok({"tail": 2, "limit": 2}, run_id=59), unknown({"tail": 2}, run_id=4711)),
    ("list_sample_log", ok({"limit": 2}, run_id=59, sample_id=5), bad({"cursor": "x"}, run_id=59, sample_id=5)),
    (
        "compare_run",
        ok({"change": "broken_here", "limit": 1}, run_id=59),
        Call(422, {"run_id": 59}, {"base": "60"}),
    ),
    ("get_failure_report", ok({"max_bytes": 8192}, run_id=73), unknown(run_id=4711)),
    ("get_pull_request", ok(number=1738), unknown(number=4711)),
    ("list_failure_clusters", ok({"platform": "windows", "limit": 1}), bad({"platform": "macos"})),
    ("list_run_artifacts", ok({"type": "sample_output", "limit": 1}, run_id=59), bad({"type": "log"}, run_id=59)),
    ("list_branches", ok({"name": "master", "limit": 1}), bad({"active": "1"})),
    ("list_environments", ok({"platform": "linux"}), bad({"platform": "macos"})),
    ("get_queue", ok({"status": "queued", "limit": 1}), without(Scope.SYSTEM_READ)),
    (
        "create_run",
        Call(202, body=NEW_RUN, who="contributor"),
        Call(422, body={**NEW_RUN, "regression_test_ids": [1, 4711]}, who="contributor"),
    ),
    (
        "cancel_run",
        Call(202, {"run_id": 83}, body={"reason": "Started by mistake"}, who="contributor"),
        Call(404, {"run_id": 4711}, body={}, who="contributor"),
    ),
    (
        "retry_run",
        Call(202, {"run_id": 59}, body={"failed_only": True, "reason": "Is it flaky?"}, who="contributor"),
        Call(403, {"run_id": 59}, body={"failed_only": True}, who="user"),
    ),
    (
        "request_baseline_approval",
        Call(
            202,
            {"run_id": 73, "sample_id": 1},
            body={**MORE, "apply_to_variants": True, "reason": REASON},
            who="contributor",
        ),
        Call(400, {"run_id": 73, "sample_id": 1}, body={**MORE, "reason": "lorem ipsum"}, who="contributor"),
    ),
    ("list_baseline_approvals", ok({"status": "pending_review", "limit": 1}), bad({"status": "pending"})),
    ("get_baseline_approval", ok(approval_id="1"), unknown(approval_id="4711")),
    (
        "review_baseline_approval",
        Call(200, {"approval_id": "1"}, body=APPROVE),
        Call(409, {"approval_id": "1"}, body=APPROVE),
    ),
    (
        "revert_baseline_approval",
        Call(200, {"approval_id": "1"}, body={"reason": "The video was an old one"}),
        Call(409, {"approval_id": "1"}, body={"reason": "The video was an old one"}),
    ),
    ("list_audit_log", ok({"action": "baseline.approve", "limit": 1}), Call(403, who="contributor")),
    ("revoke_token", Call(204, {"token_name": "my-agent"}, who="contributor"), unknown(token_name="lost")),
    ("revoke_current_token", Call(204, who="tester"), Call(401, who="tester")),
]


def name_of(status: int, answer: Any) -> str:
    """Name an example: success, or the code of the error."""
    return "success" if status < 400 else str(answer["code"])


@dataclass(frozen=True)
class Recorder:
    """Makes the calls, and records what is asked and answered.

    Attributes:
        end: when the demo ends.
        tokens: by user and scopes, the token that is sent.
    """

    api: Api
    end: datetime
    tokens: dict[Any, str] = field(default_factory=dict)

    def record(self) -> dict[str, list[dict[str, Any]]]:
        """Return the examples of each operation, by its name."""
        return {name: [self._example(name, call) for call in calls] for name, *calls in CALLS}

    def _example(self, endpoint: str, call: Call) -> dict[str, Any]:
        declared = REGISTRY[endpoint]
        path = declared.path.format(**call.path)
        headers = {"X-Request-ID": "0f8fad5bd9cb469fa16570867728950e", **self._bearer(call)}
        more = {} if call.body is None else {"json": call.body}
        answer = self.api.request(declared.method, path, query=query_text(call.query), headers=headers, **more)
        assert answer.status_code == call.status, (endpoint, call, answer.text)
        body: Any = json.loads(self._fixed(answer.text)) if answer.data else None
        return {
            "name": name_of(call.status, body),
            "path": dict(call.path),
            "query": dict(call.query),
            "body": call.body,
            "status": call.status,
            "answer": _abridged(body) if body and endpoint == "get_document" and call.status == 200 else body,
        }

    def _bearer(self, call: Call) -> dict[str, str]:
        if call.who is None:
            return {}
        key = call.who, call.scopes
        if key not in self.tokens:
            body = {
                "email": f"{call.who}@example.org",
                "password": demo.PASSWORD,
                "token_name": f"example-{len(self.tokens)}",
                "scopes": list(call.scopes),
            }
            self.tokens[key] = self.api.post("/auth/tokens", json=body).json["token"]
        return {"Authorization": f"Bearer {self.tokens[key]}"}

    def _fixed(self, text: str) -> str:
        """Return an answer with its times moved, and with what is random in a fixed form."""
        text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?", self._moved, text)
        text = re.sub(r'"token":"([a-z0-9]+_)[A-Za-z0-9_-]+"', rf'"token":"\1{"x" * 40}"', text)
        return re.sub(r'"next_cursor":"[^"]+"', '"next_cursor":"b3BhcXVl"', text)

    def _moved(self, found: re.Match[str]) -> str:
        moment = datetime.fromisoformat(found[0]).replace(tzinfo=timezone.utc)
        if moment > self.end:
            # What was made by these calls; days later is when a token expires.
            moment = self.end + timedelta(minutes=5) + timedelta(days=round((moment - self.end) / timedelta(days=1)))
        return (moment + (END - self.end)).strftime(f"%Y-%m-%d{found[0][10]}%H:%M:%S")


def _abridged(document: dict[str, Any]) -> dict[str, Any]:
    """Return the frame of the document, which would not end if it contained itself."""
    info = {name: document["info"][name] for name in ("title", "version")}
    empty: dict[str, Any] = {"security": [], "tags": [], "paths": {}, "components": {}}
    return {"openapi": document["openapi"], "info": info, "servers": document["servers"], **empty}


def recorded(folder: Path) -> tuple[Flask, dict[str, list[dict[str, Any]]]]:
    """Make a demo in a folder, and record its examples; return its app, too."""
    # Some times are only exact to the minute, and all that the calls make is to be later than the demo.
    end = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(minutes=2)
    config = seed_into(folder, end) | {"API_V1_PUBLIC_URL": ROOT_URL}
    app = api_v1.create_app(config)
    return app, Recorder(Api(app), end).record()


def lines(examples: Mapping[str, Any]) -> Iterator[str]:
    """Write the examples, one in a line, so that a change is easy to see."""
    yield "{"
    for number, (name, calls) in enumerate(examples.items()):
        yield f" {json.dumps(name)}: ["
        written = [json.dumps(call, ensure_ascii=False) for call in calls]
        yield ",\n".join(f"  {one}" for one in written)
        yield " ]" if number == len(examples) - 1 else " ],"
    yield "}"


if __name__ == "__main__":
    database.db_engine = None
    with tempfile.TemporaryDirectory() as temporary:
        sys.stdout.write("\n".join(lines(recorded(Path(temporary))[1])) + "\n")
