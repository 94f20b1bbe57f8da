"""The checks of an installation: read-only, each in bounded time."""

from __future__ import annotations

import functools
import json
import platform
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from flask import Flask

from api_v1.cli import servers
from api_v1.database import connections, migrations, outages
from api_v1.database.platform import Base, probing_engine
from api_v1.database.session import db
from api_v1.database.tables import now, own_tables
from api_v1.enums import StrEnum

#: Seconds that one check may use the database, and wait for the public URL.
SECONDS = 4.0

#: The oldest releases that are tested, and the Pythons.
OLDEST = {"MySQL": (8, 0), "MariaDB": (10, 6)}
PYTHONS = ((3, 10), (3, 13))

#: Seconds by which clocks may differ: tokens, and what counts as stalled, go by the time of the process.
CLOCK_WARNING, CLOCK_TROUBLE = 2.0, 60.0

#: What the account needs for `db upgrade`, beside what it needs to serve, which health finds out by trying.
TO_UPGRADE = ("CREATE", "ALTER", "INDEX", "REFERENCES")

UPGRADE = "Run `api-v1 db upgrade`."
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Grade(StrEnum):
    """How a check ended."""

    OK = "ok"
    UNKNOWN = "unknown"
    WARNING = "warning"
    TROUBLE = "trouble"


@dataclass(frozen=True)
class Finding:
    """What a check found, and what to do about it."""

    name: str
    grade: Grade
    message: str
    advice: str | None = None


def examine(app: Flask) -> list[Finding]:
    """Return what all checks find, in the order in which to repair."""
    health = {one.name: one for one in app.extensions["api_v1"].health.run().dependencies}
    return [
        *_versions(),
        _database(health["database"]),
        *_of_database("server", _server),
        *_of_database("rights", _rights),
        *_of_database("migrations", _migrations),
        *_of_database("tables", _tables),
        *_of_database("clock", _clock),
        _verdicts(health["verdicts"]),
        _folder(health["local_storage"], app.config),
        _bucket(health["bucket"], app.config),
        _counts(health["rate_limits"]),
        of_public_url(app.extensions["api_v1"].settings.public_url),
        *_of_database("threads", functools.partial(_threads, waiters=app.extensions["api_v1"].settings.waiters)),
    ]


def _versions() -> Iterator[Finding]:
    """Compare Python with the tested ones, and name the versions that a report of a bug needs."""
    names = ("ccextractor-api-v1", "Flask", "SQLAlchemy", "marshmallow", "PyMySQL", "gunicorn")
    found = ", ".join([f"Python {platform.python_version()}", *(f"{name} {_version(name)}" for name in names)])
    major, minor, _ = platform.python_version_tuple()
    is_tested = PYTHONS[0] <= (int(major), int(minor)) <= PYTHONS[1]
    tested = " to ".join(f"{major}.{minor}" for major, minor in PYTHONS)
    advice = None if is_tested else f"Tested are Python {tested}; use one of these."
    yield Finding("versions", Grade.OK if is_tested else Grade.WARNING, f"{found}.", advice)


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "(not installed)"


# --- Database -------------------------------------------------------------------------------------


def _of_database(name: str, check: Callable[[sa.Connection], Finding]) -> Iterator[Finding]:
    """Run a check that asks the database, on a connection of its own; where that fails, nothing is known."""
    try:
        with connections.limited_time(SECONDS), probing_engine(db.engine).connect() as connection:
            yield check(connection)
    except outages.DATABASE_ERRORS as error:
        explained = outages.explain(error)
        reason = explained.message if explained else f"The database refused to tell ({outages.in_short(error)})."
        yield Finding(name, Grade.UNKNOWN, reason)


def _database(health: Any) -> Finding:
    if health.status == "ok":
        return Finding("database", Grade.OK, "Answers, and takes changes.")
    advice = 'See docs/deploy.md, "Health"; check DATABASE_URI in config.py, the server, and the rights of the account.'
    return Finding("database", Grade.TROUBLE, health.message, advice)


def _server(connection: sa.Connection) -> Finding:
    """Compare the server with the oldest that is tested."""
    if connection.dialect.name == "sqlite":
        return Finding("server", Grade.OK, "SQLite, which is for trying; production is MySQL or MariaDB.")
    text = str(connection.scalar(sa.text("SELECT VERSION()")))
    kind = "MariaDB" if "mariadb" in text.lower() else "MySQL"
    numbers = tuple(int(number) for number in re.findall(r"\d+", text)[:2])
    oldest = OLDEST[kind]
    if numbers < oldest:
        return Finding("server", Grade.WARNING, f"{kind} {text}.", f"Tested is {kind} from {oldest[0]}.{oldest[1]} on.")
    return Finding("server", Grade.OK, f"{kind} {text}.")


def _rights(connection: sa.Connection) -> Finding:
    """Look for the rights that `db upgrade` needs."""
    if connection.dialect.name == "sqlite":
        return Finding("rights", Grade.OK, "SQLite has none.")
    schema = str(connection.engine.url.database)
    grants = [str(row[0]) for row in connection.execute(sa.text("SHOW GRANTS"))]
    missing = [right for right in TO_UPGRADE if right not in granted(grants, schema)]
    if not missing:
        return Finding("rights", Grade.OK, "The account may serve and run `api-v1 db upgrade`.")
    if any(re.match(r"GRANT [`']", grant) for grant in grants):
        return Finding("rights", Grade.UNKNOWN, f"The account has roles, which may grant {', '.join(missing)}.")
    account = str(connection.scalar(sa.text("SELECT CURRENT_USER()"))).replace("@", "'@'")
    return Finding(
        "rights",
        Grade.WARNING,
        f"The account may not run `api-v1 db upgrade`: it lacks {', '.join(missing)}.",
        f"As an administrator of the database: GRANT {', '.join(missing)} ON `{schema}`.* TO '{account}';",
    )


def granted(grants: Iterable[str], schema: str) -> set[str]:
    """Return the rights on a whole schema that `SHOW GRANTS` tells of.

    Args:
        schema: its name. A server reads `_` and `%` of a granted name as wildcards, unless there is a backslash.
    """
    found: set[str] = set()
    for grant in grants:
        match = re.match(r"GRANT (.+?) ON (?:`([^`]+)`|(\*))\.\* TO ", grant)
        if match is None or not (match[3] or _is_like(schema, match[2])):
            continue
        rights = {right.strip().upper() for right in match[1].split(",")}
        found |= {*TO_UPGRADE, *rights} if rights & {"ALL", "ALL PRIVILEGES"} else rights
    return found


def _is_like(schema: str, pattern: str) -> bool:
    parts = re.findall(r"\\.|.", pattern)
    wildcards = {"_": ".", "%": ".*"}
    whole = "".join(wildcards.get(part) or re.escape(part[-1]) for part in parts)
    return re.fullmatch(whole, schema) is not None


def _migrations(connection: sa.Connection) -> Finding:
    """Compare the revision of our tables with that of the code."""
    newest = migrations.newest_revision()
    try:
        revision = migrations.current(connection.engine)
    except migrations.UnknownRevision as unknown:
        return Finding(
            "migrations",
            Grade.TROUBLE,
            f"The tables are at revision {unknown.revision}, which this version does not know.",
            "Install the newer version that made them.",
        )
    if revision == newest:
        return Finding("migrations", Grade.OK, f"The tables are at revision {newest}, as the code.")
    state = "There are no tables" if revision is None else f"The tables are at revision {revision}"
    return Finding("migrations", Grade.TROUBLE, f"{state}; the code needs {newest}.", UPGRADE)


def _tables(connection: sa.Connection) -> Finding:
    """Look for tables and columns that are missing."""
    inspector = sa.inspect(connection)
    there = set(inspector.get_table_names())
    ours = {table.name: {column.name for column in table.columns} for table in own_tables()}
    absent = [table.name for table in Base.metadata.sorted_tables if table.name not in there]
    if theirs := [name for name in absent if name not in ours]:
        advice = "Run the platform's own `flask db upgrade`, or correct DATABASE_URI."
        return Finding("tables", Grade.TROUBLE, f"Missing of the platform: {', '.join(theirs)}.", advice)
    for name in ours.keys() & there:
        columns = {column["name"] for column in inspector.get_columns(name)}
        absent += [f"{name}.{column}" for column in sorted(ours[name] - columns)]
    if absent:
        return Finding("tables", Grade.TROUBLE, f"Missing: {', '.join(absent)}.", UPGRADE)
    return Finding("tables", Grade.OK, f"All {len(ours)} tables of the API are there.")


def _clock(connection: sa.Connection) -> Finding:
    """Compare the clock of the database server with this machine's."""
    if connection.dialect.name == "sqlite":
        return Finding("clock", Grade.OK, "The database is on this machine.")
    theirs = connection.scalar(sa.text("SELECT UTC_TIMESTAMP(6)"))
    return of_clocks(theirs, now())


def of_clocks(theirs: datetime, ours: datetime) -> Finding:
    """Judge the difference between the database's time and the time here, both in UTC."""
    seconds = abs((theirs - ours).total_seconds())
    if seconds < CLOCK_WARNING:
        return Finding("clock", Grade.OK, "The database's clock agrees with this machine's.")
    grade = Grade.WARNING if seconds < CLOCK_TROUBLE else Grade.TROUBLE
    message = f"The database's clock differs from this machine's by {seconds:.0f} s."
    return Finding("clock", grade, message, "Synchronise both, for example with chrony or systemd-timesyncd.")


def _threads(connection: sa.Connection, *, waiters: int) -> Finding:
    """Compare the gunicorns that run here with what the platform's sessions and the database stand."""
    limit = None
    if connection.dialect.name != "sqlite":
        limit = int(connection.scalar(sa.text("SELECT @@max_connections")) or 0)
    return of_servers(servers.running(), limit, waiters)


def of_servers(running: Sequence[servers.Gunicorn], max_connections: int | None, waiters: int) -> Finding:
    """Judge the threads of gunicorns.

    Args:
        max_connections: of the database; None where there is no limit.
        waiters: the setting `API_V1_WAITERS`.
    """
    if not running:
        return Finding("threads", Grade.UNKNOWN, "No gunicorn that serves the API is to be seen from here.")
    if any(one.is_platform and one.threads > 1 for one in running):
        return Finding(
            "threads",
            Grade.TROUBLE,
            "A gunicorn serves the platform's pages with several threads, which its sessions do not stand.",
            "Start it without --threads, with more --workers instead.",
        )
    if any(1 < one.threads <= waiters for one in running):
        return Finding(
            "threads",
            Grade.WARNING,
            f"Requests with `wait` may occupy all threads of a process: API_V1_WAITERS is {waiters}.",
            "Start gunicorn with more --threads, or lower API_V1_WAITERS.",
        )
    connections_used = sum(one.workers * one.threads for one in running)
    text = ", ".join(f"{one.app}: {one.workers} workers of {one.threads} threads" for one in running)
    if max_connections is not None and connections_used + 10 > max_connections:
        return Finding(
            "threads",
            Grade.WARNING,
            f"{text}: up to {connections_used} connections, of which the database takes {max_connections}.",
            f"Raise max_connections to {connections_used + 50} or so, or use fewer threads.",
        )
    return Finding("threads", Grade.OK, f"{text}.")


# --- Everything else ------------------------------------------------------------------------------


def _verdicts(health: Any) -> Finding:
    return Finding("verdicts", Grade.OK if health.status == "ok" else Grade.UNKNOWN, health.message)


def _folder(health: Any, config: Mapping[str, Any]) -> Finding:
    folder = Path(str(config.get("SAMPLE_REPOSITORY") or "."))
    if health.status == "ok":
        return Finding("files", Grade.OK, f"{folder} can be read.")
    advice = "Correct SAMPLE_REPOSITORY in config.py, mount the folder, or let this account read it."
    return Finding("files", Grade.TROUBLE, f"{folder} is no folder that this account can read.", advice)


def _bucket(health: Any, config: Mapping[str, Any]) -> Finding:
    if health.status != "ok":
        advice = "Check GCS_BUCKET_NAME, SERVICE_ACCOUNT_FILE and the network; files of the local folder are served."
        return Finding("bucket", Grade.TROUBLE, health.message, advice)
    name = config.get("GCS_BUCKET_NAME")
    return Finding("bucket", Grade.OK, health.message or f"{name} answers.")


def _counts(health: Any) -> Finding:
    """Tell where rate limits are counted."""
    if health.status != "ok":
        advice = "Start the Redis that API_V1_LIMIT_STORAGE names, or correct it; meanwhile each process counts alone."
        return Finding("redis", Grade.TROUBLE, health.message, advice)
    if health.message:
        advice = "With several processes, set API_V1_LIMIT_STORAGE to a Redis: else N processes grant N budgets."
        return Finding("redis", Grade.WARNING, "Rate limits are counted in each process alone.", advice)
    return Finding("redis", Grade.OK, "Answers; all processes share their counts.")


def of_public_url(url: str) -> Finding:
    """Ask the public URL whether the API is there."""
    if not url:
        return Finding(
            "public URL",
            Grade.WARNING,
            "Not set: links begin with the Host of each request.",
            "Set API_V1_PUBLIC_URL to the URL of the API as its callers see it.",
        )
    if urlsplit(url).scheme != "https" and urlsplit(url).hostname not in LOOPBACK:
        advice = "Serve it by https, and set API_V1_PUBLIC_URL to that."
        return Finding("public URL", Grade.TROUBLE, f"{url} sends tokens in the clear.", advice)
    try:
        with _OPENER.open(f"{url}/system/health?probe=live", timeout=SECONDS) as answer:
            body = json.loads(answer.read(10_000))
    except urllib.error.HTTPError as error:
        return _not_there(url, f"answers {error.code}")
    except ValueError:
        return _not_there(url, "answers with something else than JSON")
    except OSError as error:
        reason = getattr(error, "reason", error)
        return Finding(
            "public URL", Grade.WARNING, f"{url} cannot be reached from here: {reason}.", "Try it elsewhere."
        )
    if not isinstance(body, dict) or body.get("status") != "ok":
        return _not_there(url, "answers with something else than the API's health")
    return Finding("public URL", Grade.OK, f"{url} answers.")


def _not_there(url: str, what: str) -> Finding:
    advice = "Check that the API runs, the location in nginx, and the path in API_V1_PUBLIC_URL."
    return Finding("public URL", Grade.TROUBLE, f"{url} {what}.", advice)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Takes a redirect for an answer: a client would lose its token on the way."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow none."""


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)
