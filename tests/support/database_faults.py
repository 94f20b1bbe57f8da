"""The API over a database server of its own that can be made to fail, and ways to send requests."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import database
import sqlalchemy as sa
from werkzeug.test import TestResponse

from api_v1.database.platform import Base
from api_v1.database.session import db
from api_v1.web.operation import REGISTRY, Operation
from tests.support.client import Api
from tests.support.mariadb_server import MariaDB

SCHEMA = "ci"

#: Seconds within which every answer is there, and that of health, however busy the machine is: the time limits of
#: statements are 4 s and less, and without them a request waits for minutes.
ANSWER = 20.0
HEALTH = 10.0
OUR_TABLES = sorted(table for table in Base.metadata.tables if table.startswith("api_v1_"))

#: Of each writing operation a body with which it is done or refused by its meaning.
BODIES: dict[str, Any] = {
    "create_run": {"commit_sha": "c" * 40, "platform": "linux", "repository": "CCExtractor/ccextractor"},
    "cancel_run": {},
    "retry_run": {},
    "request_baseline_approval": {
        "regression_id": 1,
        "output_id": 1,
        "apply_to_variants": False,
        "reason": "The timing is right now.",
    },
    "review_baseline_approval": {"decision": "reject", "reason": "It cuts the last line."},
    "revert_baseline_approval": {"reason": "It was wrong after all."},
    "create_token": {"email": "nobody@example.org", "password": "long enough", "token_name": "name"},
}


@dataclass(frozen=True)
class Timed:
    """An answer and the seconds it took."""

    response: TestResponse
    seconds: float

    @property
    def status(self) -> int:
        return self.response.status_code

    @property
    def json(self) -> dict[str, Any]:
        """The body, which is an object in every answer that has one."""
        body: dict[str, Any] = self.response.json or {}
        return body


@dataclass(frozen=True)
class DatabaseFaultScenario:
    """The API in an app of its own and mounted, over one server, with some rows and a token.

    Attributes:
        ids: of rows that are there, by the name of the path parameter; `queued` is a run that can be canceled.
        headers: those of an admin.
    """

    server: MariaDB
    standalone: Api
    mounted: Api
    ids: dict[str, Any]
    headers: dict[str, str]

    def ask(self, endpoint: str, api: Api | None = None, **path: Any) -> Timed:
        """Send a request for an operation."""
        declared = REGISTRY[endpoint]
        query = {"regression_id": 1, "output_id": 1} if "output" in endpoint or endpoint == "get_diff" else {}
        url = declared.path.format(**{"regression_id": 1, "number": 1, **self.ids, **path})
        body = {} if endpoint not in BODIES else {"json": BODIES[endpoint]}
        if declared.method == "GET":
            body = {"query": query}
        begun = time.monotonic()
        response = (api or self.standalone).request(declared.method, url, headers=self.headers, **body)
        return Timed(response, time.monotonic() - begun)

    def health(self, *, token: bool = True) -> Timed:
        """Ask for the health, in vain or not within its two seconds."""
        begun = time.monotonic()
        response = self.standalone.get("/system/health", headers=self.headers if token else {})
        found = Timed(response, time.monotonic() - begun)
        assert found.seconds < HEALTH
        return found

    def database_health(self) -> tuple[str, str | None]:
        """Status and message of the database, which are the same with a token and without."""
        answers = at_once([functools.partial(self.health, token=token) for token in (True, False)])
        (found,) = {
            (one["status"], one["message"])
            for answer in answers
            for one in answer.json["dependencies"]
            if one["name"] == "database"
        }
        return found

    def engine(self, api: Api | None = None) -> sa.Engine:
        """The API's own engine."""
        with (api or self.standalone).app.app_context():
            return db.engine

    @contextmanager
    def holding(self, *statements: str) -> Iterator[sa.Connection]:
        """Let another connection run statements, and keep what they lock."""
        with self.server.admin(SCHEMA) as other:
            for statement in statements:
                other.exec_driver_sql(statement)
            try:
                yield other
            finally:
                other.exec_driver_sql("ROLLBACK")
                other.exec_driver_sql("UNLOCK TABLES")

    def connections(self, state: str = "%") -> list[int]:
        """The ids of the connections of the API's account."""
        query = "SELECT id FROM information_schema.processlist WHERE user = 'api' AND coalesce(info, '') LIKE '{}'"
        return [row[0] for row in self.server.run(query.format(state).replace("%", "%%"))[0]]

    def kill(self, what: str, ids: Sequence[int], *, platforms_too: bool = False) -> None:
        """Kill a QUERY or a CONNECTION; one that is gone already does not matter.

        Args:
            platforms_too: leave the platform its lost connections: its next page fails, for its pool does not notice.
        """
        if database.db_engine is not None and not platforms_too:
            database.db_engine.dispose()
        with self.server.admin() as admin:
            for one in ids:
                with suppress(sa.exc.DBAPIError):
                    admin.exec_driver_sql(f"KILL {what} {one}")


def reading() -> list[Operation]:
    """The operations that read and need a token."""
    return [one for one in REGISTRY.values() if one.method == "GET" and not one.access.public]


def writing() -> list[Operation]:
    """The operations that write, but for the one that would end the token in use."""
    return [one for one in REGISTRY.values() if one.method != "GET" and one.endpoint != "revoke_current_token"]


def asking(scenario: DatabaseFaultScenario, operations: Sequence[Operation]) -> list[Callable[[], Timed]]:
    """Return a call for each operation."""
    return [functools.partial(scenario.ask, operation.endpoint) for operation in operations]


def at_once(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Make all calls at the same time and return their results."""
    together = threading.Barrier(len(calls))

    def call(one: Callable[[], Any]) -> Any:
        together.wait(20)
        return one()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(call, calls))


def unavailable(answer: Timed, code: str = "database_unavailable", seconds: float = ANSWER) -> str:
    """Check that an answer says in time and in JSON that the database is the trouble; return its message."""
    assert (answer.status, answer.json.get("code")) == (503, code), answer.response.text
    assert answer.seconds < seconds
    assert answer.response.headers["Retry-After"].isdigit()
    message: str = answer.json["message"]
    return message
