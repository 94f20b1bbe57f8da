"""Keep two servers under a mixed load for minutes: rates, latencies, errors, memory and connections.

    python -m benchmarks.dataset --database-uri mysql+pymysql://root@127.0.0.1/api_v1_bench
    SAMPLE_PLATFORM=/path/to/checkout python -m benchmarks.soak \
        --database-uri mysql+pymysql://root@127.0.0.1/api_v1_bench --redis redis://127.0.0.1:6379/9

As in production: the API alone in 2 workers of 4 threads, and mounted into the platform in 3 workers of one. Readers
ask both; a writer queues, cancels and retries runs; a worker reports whole runs to the platform, which are deleted
again; in the middle the states of all runs are derived anew. The slowest requests are listed with the time that the
server itself took, from its access log: the rest is waiting for a free worker.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import re
import tempfile
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from multiprocessing.queues import Queue
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

import requests
import sqlalchemy as sa
from flask import Flask, g, request

from benchmarks import operations
from benchmarks.platform_pages import VARIANTS
from benchmarks.processes import gunicorn
from benchmarks.worker_report import Models, Routes

#: The environment variable that tells the servers their settings.
ENVIRONMENT = "API_SOAK"
READERS = {"standalone": 4, "mounted": 2}
SLOWEST = 12
#: Between two runs that the writer queues; the platform itself queues some tens a day.
WRITER_SECONDS = 5
PATHS = {
    "/runs?limit=50": 4,
    "/runs?status=fail&limit=50": 3,
    "/runs?branch=master&limit=50": 2,
    "/runs/{run}": 8,
    "/runs/{run}/progress": 6,
    "/runs/{run}/summary": 4,
    "/runs/{run}/samples?status=fail": 4,
    "/runs/{run}/errors": 4,
    "/runs/{run}/error-summary?group_by=type": 2,
    "/runs/{run}/comparison": 3,
    "/samples/{sample}/history?limit=50": 3,
    "/samples/{sample}/history?limit=50&status=fail": 1,
    "/regression-tests/{test}/health": 2,
    "/pull-requests/{number}": 3,
    "/failure-clusters?created_before={end}": 1,
    "/system/queue": 3,
    "/branches": 1,
    "/environments": 1,
    "/system/health": 2,
}


class Answered(NamedTuple):
    """A request: its server, method and path, its outcome, when it began, and its seconds.

    The outcome is the status, with the code of an error of the API; 0 if there was no answer.
    """

    server: str
    path: str
    outcome: str
    begin: float
    seconds: float
    request_id: str


# --- in the gunicorn workers ----------------------------------------------------------------------


def served() -> Flask:
    """Return the app of the server that the environment names."""
    order = json.loads(os.environ[ENVIRONMENT])
    variant = VARIANTS[order["variant"]]
    limits = {"API_V1_LIMIT_STORAGE": order["redis"], "API_V1_LIMIT_WRITES": "1000000 per minute"}
    app = variant.app(order["uri"], limits | {"SAMPLE_REPOSITORY": order["folder"]})
    if variant.pages and "ci.progress_reporter" not in app.view_functions:
        app.add_url_rule("/progress-reporter/<int:run_id>/<token>", view_func=_report, methods=["POST"])
    return app


def _report(run_id: int, token: str) -> str:
    """Write what the platform's own route writes for a message; the stand-in for the platform has no such route."""
    message = request.form.to_dict(flat=True)
    Models.write(g.db, run_id, {name: int(value) if value.isdigit() else value for name, value in message.items()})
    return "OK"


# --- in the clients -------------------------------------------------------------------------------


@dataclass
class Client:
    """A client in a process of its own, with a new connection for each request, as nginx makes them.

    Attributes:
        servers: the address of each server by name.
        ids: the ids to ask for, see `operations.prepare`.
        end: when to stop, as `time.time`.
    """

    servers: Mapping[str, str]
    token: str
    ids: Mapping[str, Any]
    end: float
    uri: str
    report_pause: float
    answered: list[Answered] = field(default_factory=list)

    def send(
        self, server: str, method: str, path: str, name: str | None = None, **more: Any
    ) -> requests.Response | None:
        """Send a request and keep its time; return None where there is no answer."""
        request_id = uuid.uuid4().hex
        headers = {"Authorization": f"Bearer {self.token}", "X-Request-ID": request_id, "Connection": "close"}
        begin, response = time.time(), None
        try:
            response = requests.request(
                method, f"http://{self.servers[server]}{path}", headers=headers, timeout=60, **more
            )
        except requests.RequestException:
            response = None
        outcome = _outcome(response)
        self.answered.append(
            Answered(server, f"{method} {name or path}", outcome, begin, time.time() - begin, request_id)
        )
        return response

    def read(self, server: str, seed: int) -> None:
        """Read until the end."""
        draws = random.Random(seed)
        while time.time() < self.end:
            (path,) = draws.choices(list(PATHS), list(PATHS.values()))
            self.send(server, "GET", operations.PREFIX + path.format(**self.ids), path)

    def write(self) -> None:
        """Queue a run, cancel it, retry it and cancel the retry, on the one server and on the other in turn."""
        order = {"repository": "CCExtractor/ccextractor", "commit_sha": self.ids["commit"], "platform": "linux"}
        for number in range(10**9):
            server = ("standalone", "mounted")[number % 2]
            made = self._act(server, "/runs", order)
            self._act(server, f"/runs/{made}/cancel", {}, "/runs/{run}/cancel")
            retried = self._act(server, f"/runs/{made}/retry", {}, "/runs/{run}/retry")
            self._act(server, f"/runs/{retried}/cancel", {}, "/runs/{run}/cancel")
            if time.time() > self.end:
                return
            time.sleep(WRITER_SECONDS)

    def _act(self, server: str, path: str, body: dict[str, Any], name: str | None = None) -> int | None:
        response = self.send(server, "POST", operations.PREFIX + path, operations.PREFIX + (name or path), json=body)
        if response is None or response.status_code != 202:
            return None
        content = response.json()
        return int(content.get("new_run_id") or content["run_id"])

    def report(self) -> None:
        """Report whole runs to the platform, as a worker does, and delete each."""
        app = VARIANTS["mounted"].app(self.uri)
        kind = Routes if "ci.progress_reporter" in app.view_functions else Models
        while time.time() < self.end:
            reporter = kind(app)
            path = f"/progress-reporter/{reporter.run_id}/{reporter.token}"
            for message in reporter.messages():
                form = dict(message)
                content = form.pop("content", None)
                files = {"file": ("output.srt", content.encode())} if content else None
                kept = form if files else message
                self.send("mounted", "POST", path, "/progress-reporter", data=kept, files=files)
                time.sleep(self.report_pause)
                if time.time() > self.end:
                    break
            reporter.remove()


def _outcome(response: requests.Response | None) -> str:
    if response is None:
        return "0"
    if response.ok or "json" not in response.headers.get("Content-Type", ""):
        return str(response.status_code)
    return f"{response.status_code} {response.json().get('code')}"


def _client(client: Client, act: str, arguments: Sequence[Any], results: Queue[Any]) -> None:
    getattr(client, act)(*arguments)
    results.put(client.answered)


# --- watching -------------------------------------------------------------------------------------


@dataclass
class Watched:
    """What is seen every second: resident bytes of each server's workers together, and connections to the database."""

    memory: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    connections: list[int] = field(default_factory=list)


def watch(parents: Mapping[str, int], engine: sa.Engine, stopped: threading.Event, seen: Watched) -> None:
    """Look every second until it is stopped."""
    while not stopped.wait(1):
        for name, pid in parents.items():
            seen.memory[name].append(sum(map(_resident, _children(pid))))
        seen.connections.append(connections(engine))


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        return 0


def connections(engine: sa.Engine) -> int:
    """Return the number of connections to the database, without this one."""
    count = "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
    with engine.connect() as connection:
        return int(connection.exec_driver_sql(count).scalar_one())


# --- in the first process -------------------------------------------------------------------------


@contextmanager
def servers(uri: str, redis: str, folder: str) -> Iterator[tuple[dict[str, str], dict[str, Path]]]:
    """Serve both until the block ends; yield their addresses and logs."""
    logs = {name: Path(folder, f"{name}.log") for name in READERS}
    flags = {"standalone": ["--workers", "2", "--threads", "4"], "mounted": ["--workers", "3"]}

    def serve(name: str) -> AbstractContextManager[str]:
        order = json.dumps({"variant": name, "uri": uri, "redis": redis, "folder": folder})
        environment = {ENVIRONMENT: order}
        return gunicorn("benchmarks.soak:served()", flags[name], environment=environment, log=logs[name])

    with serve("standalone") as alone, serve("mounted") as mounted:
        yield {"standalone": alone, "mounted": mounted}, logs


def soak(options: argparse.Namespace) -> None:
    """Run the load and print the report."""
    engine = sa.create_engine(options.database_uri, poolclass=sa.NullPool)
    ids, token = operations.prepare_apart(options.database_uri)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("TempFiles", "TestResults", "LogFiles"):
            Path(folder, name).mkdir()
        before = connections(engine)
        with servers(options.database_uri, options.redis, folder) as (addresses, logs):
            parents = {name: _parent(log) for name, log in logs.items()}
            seen, stopped = Watched(), threading.Event()
            watcher = threading.Thread(target=watch, args=(parents, engine, stopped, seen))
            watcher.start()
            if not options.cold:
                warm_up(addresses)
            begin = time.time()
            end = begin + options.minutes * 60
            client = Client(addresses, token, ids, end, options.database_uri, options.report_pause)
            answered, rebuilt = load(client, options)
            stopped.set()
            watcher.join()
            records = {name: dict(_logged(log)) for name, log in logs.items()}
        # The database notices a moment later.
        time.sleep(5)
        after = connections(engine)
    report(answered, options.minutes * 60)
    slowest(answered, records, begin, rebuilt)
    for name, values in seen.memory.items():
        minute = max(1, min(60, len(values) // 3))
        first, last = (median(part) / 2**20 for part in (values[minute : 2 * minute], values[-minute:]))
        print(f"\n{name}: {first:.0f} MiB in the second minute, {last:.0f} MiB in the last", end="")
    print(f"\nConnections: {before} before, at most {max(seen.connections)}, {after} after the servers stopped.")


def warm_up(addresses: Mapping[str, str]) -> None:
    """Wait until no worker is still importing the application, which requests after a start have to wait for."""
    for address in addresses.values():
        fast = 0
        while fast < 50:
            begin = time.monotonic()
            requests.get(f"http://{address}{operations.PREFIX}/system/health?probe=live", timeout=60).raise_for_status()
            fast = fast + 1 if time.monotonic() - begin < 1 else 0
            time.sleep(0.1)


def _parent(log: Path) -> int:
    """Return the process id of a gunicorn's first process, from its log."""
    found = re.search(r"\[(\d+)\] \[INFO\] Listening", log.read_text())
    assert found is not None
    return int(found[1])


def load(client: Client, options: argparse.Namespace) -> tuple[list[Answered], tuple[float, float]]:
    """Start all clients, rebuild in the middle, and return what they saw, and when the rebuild began and ended."""
    context = multiprocessing.get_context("fork")
    results: Queue[Any] = context.Queue()
    acts: list[tuple[str, tuple[Any, ...]]] = [
        ("read", (server, seed)) for server, count in READERS.items() for seed in range(count)
    ]
    acts += [("write", ()), ("report", ())]
    clients = [context.Process(target=_client, args=(client, *act, results)) for act in acts]
    for each in clients:
        each.start()
    time.sleep(options.minutes * 30)
    begin = time.time()
    rebuild = context.Process(target=_rebuild, args=(options.database_uri,))
    rebuild.start()
    rebuild.join()
    end = time.time()
    answered = [one for _ in clients for one in results.get()]
    for each in clients:
        each.join()
    return answered, (begin, end)


def _rebuild(uri: str) -> None:
    from api_v1.database.session import db
    from api_v1.verdicts import refresher

    with VARIANTS["standalone"].app(uri).app_context():
        refresher.rebuild(db.engine, everything=True)


def _logged(log: Path) -> Iterator[tuple[str, float]]:
    """Yield the id of each request in an access log, with its milliseconds in the server."""
    for line in log.read_text(errors="replace").splitlines():
        if '"request_id"' in line:
            entry = json.loads(line[line.index("{") :])
            yield entry["request_id"], entry["ms"]


def report(answered: Sequence[Answered], seconds: float) -> None:
    """Print a row for each server and path."""
    groups: dict[tuple[str, str], list[Answered]] = defaultdict(list)
    for one in answered:
        groups[one.server, one.path].append(one)
        groups[one.server, "all"].append(one)
    print("| server | request | requests/s | p50 ms | p99 ms | max ms | statuses |")
    print("|---|---|---|---|---|---|---|")
    for (server, path), each in sorted(groups.items()):
        times = sorted(one.seconds * 1000 for one in each)
        p99 = quantiles(times, n=100)[-1] if len(times) > 1 else times[0]
        counts = sorted(Counter(one.outcome for one in each).items())
        statuses = ", ".join(f"{outcome}: {count}" for outcome, count in counts)
        print(
            f"| {server} | {path} | {len(each) / seconds:.1f} | {median(times):.1f} | {p99:.1f} | {times[-1]:.1f} "
            f"| {statuses} |"
        )


def slowest(
    answered: Sequence[Answered],
    records: Mapping[str, Mapping[str, float]],
    begin: float,
    rebuilt: tuple[float, float],
) -> None:
    """Print the slowest requests and those that failed, and how long the server itself took for each."""
    calm = sum(one.begin < rebuilt[0] for one in answered) / (rebuilt[0] - begin)
    beside = sum(rebuilt[0] <= one.begin < rebuilt[1] for one in answered)
    seconds = min(rebuilt[1], max(one.begin for one in answered)) - rebuilt[0]
    print(f"\nThe rebuild ran from {rebuilt[0] - begin:.1f} s to {rebuilt[1] - begin:.1f} s:", end=" ")
    print(f"{calm:.1f} requests/s before it, {beside / seconds:.1f} beside it.")
    print("The slowest requests, and those that failed:\n")
    print("| at s | server | request | status | ms | ms in the server |")
    print("|---|---|---|---|---|---|")
    slow = sorted(answered, key=lambda each: -each.seconds)[:SLOWEST]
    failed = [one for one in answered if one not in slow and one.outcome.startswith(("0", "5"))]
    for one in (*slow, *sorted(failed, key=lambda each: each.begin)):
        inside = records[one.server].get(one.request_id)
        print(
            f"| {one.begin - begin:.1f} | {one.server} | {one.path} | {one.outcome} | {one.seconds * 1000:.0f} "
            f"| {'' if inside is None else f'{inside:.0f}'} |"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database-uri", required=True, help="its name begins with api_v1_bench; runs are added")
    parser.add_argument("--redis", required=True, help="where the limits are counted")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument(
        "--report-pause",
        type=float,
        default=0.25,
        help="seconds between a worker's messages; a run of 240 tests takes an hour in production",
    )
    parser.add_argument("--cold", action="store_true", help="do not wait until every worker has started")
    options = parser.parse_args(arguments)
    if not (sa.make_url(options.database_uri).database or "").startswith("api_v1_bench"):
        parser.error("the name of the database must begin with api_v1_bench")
    soak(options)


if __name__ == "__main__":
    main()
