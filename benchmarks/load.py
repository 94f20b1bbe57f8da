"""What a served API answers under load: requests per second, and how long the slowest wait.

    python -m benchmarks.dataset --database-uri mysql+pymysql://root@127.0.0.1/api_v1_bench
    python -m benchmarks.load --database-uri mysql+pymysql://root@127.0.0.1/api_v1_bench

Two gunicorn workers of the standalone API are asked by four clients, each in a process of its own, over a connection
per request, as nginx does with workers that keep none alive. The same workers serve a bare JSON route, and one that
selects a row by its key. All take turns of a second or two, so that whatever else the machine does meets all alike;
compare the ratios, within one run only.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

from flask import Flask

from benchmarks import PLATFORM, ROOT, operations
from benchmarks.platform_pages import VARIANTS

WORKERS = 2
CLIENTS = 4
#: Seconds until the server must listen; the first one fills the tables of ours.
START_SECONDS = 300
WARM_UP = 20

#: The paths that the mix asks for, and their weights.
MIX = {
    "/environments": 1,
    "/runs/{run}": 3,
    "/runs?limit=20": 2,
    "/runs/{run}/samples?limit=50": 2,
    "/runs/{run}/summary": 2,
    "/runs?status=fail": 1,
    "/runs/{run}/errors": 1,
}
#: The part of bare + 1 select's requests per second that the mix shall reach.
GOAL = 0.6

#: Tells the server which database, which token and which ids; see `served`.
ENVIRONMENT = "API_BENCHMARK"


class Answered(NamedTuple):
    """One request: its URL, and the seconds from connecting to the last byte."""

    url: str
    seconds: float


@dataclass(frozen=True)
class Target:
    """What one turn asks for: URLs with their weights."""

    name: str
    urls: tuple[str, ...]
    weights: tuple[int, ...] = (1,)


# --- in a gunicorn worker -------------------------------------------------------------------------


def served() -> Flask:
    """The app, with the two routes that everything is compared with."""
    order = json.loads(os.environ[ENVIRONMENT])
    app = VARIANTS["standalone"].app(order["uri"])
    operations.add_select_route(app, order["run"])
    return app


# --- in a client ----------------------------------------------------------------------------------


def ask(address: str, token: str, target: Target, seconds: float, seed: int) -> tuple[float, list[Answered]]:
    """Send one request after the other for some seconds; returns how long that was, and what was answered."""
    draws = random.Random(seed)
    headers = {"Authorization": f"Bearer {token}"}
    found = []
    begin = now = time.perf_counter()
    while now - begin < seconds:
        (url,) = draws.choices(target.urls, target.weights)
        get(address, url, headers)
        before, now = now, time.perf_counter()
        found.append(Answered(url, now - before))
    return now - begin, found


def get(address: str, url: str, headers: Mapping[str, str]) -> bytes:
    """Send one request over a connection of its own; a status other than 200 is an error."""
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        connection.request("GET", url, headers=dict(headers))
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise RuntimeError(f"{url} answered {response.status}: {body[:200]!r}")
    return body


# --- in the first process -------------------------------------------------------------------------


@contextmanager
def gunicorn(order: Mapping[str, Any], workers: int) -> Iterator[str]:
    """Serve until the block ends; gives the address."""
    options = ["--workers", str(workers), "--worker-class", "sync", "--bind", "127.0.0.1:0", "--timeout", "300"]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        environment = os.environ | {
            ENVIRONMENT: json.dumps(order),
            "PYTHONPATH": os.pathsep.join([str(ROOT), PLATFORM]),
        }
        command = [sys.executable, "-m", "gunicorn", *options, "benchmarks.load:served()"]
        with log.open("w") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=folder)
        try:
            yield _address(process, log)
        finally:
            process.terminate()
            process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait until the server listens."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if found := re.search(r"Listening at: http://(\S+)", log.read_text()):
            return found[1]
        time.sleep(0.05)
    raise RuntimeError(f"gunicorn does not listen: {log.read_text()[-2000:]}")


def targets(ids: Mapping[str, Any]) -> list[Target]:
    """What is asked for in turn: the two routes for comparison, each path, and the mix of them."""
    urls = {operations.PREFIX + path.format(**ids): weight for path, weight in MIX.items()}
    return [
        Target("bare route", (operations.BARE,)),
        Target("bare route + 1 select", (operations.SELECT,)),
        *(Target(url, (url,)) for url in urls),
        Target("the mix", tuple(urls), tuple(urls.values())),
    ]


def measure(address: str, token: str, wanted: Sequence[Target], options: argparse.Namespace) -> Mapping[str, list[Any]]:
    """Let the clients ask for all targets in turn, several rounds; returns by name what each client found in each."""
    found = defaultdict(list)
    with multiprocessing.get_context("fork").Pool(options.clients) as clients:
        for target in wanted:
            for url in target.urls * WARM_UP:
                get(address, url, {"Authorization": f"Bearer {token}"})
        for number in range(options.rounds):
            for target in wanted:
                seeds = [number * options.clients + client for client in range(options.clients)]
                orders = [(address, token, target, options.seconds, seed) for seed in seeds]
                found[target.name].append(clients.starmap(ask, orders, chunksize=1))
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
    return found


def report(found: Mapping[str, list[Any]]) -> None:
    """Print a row for each target: requests per second (median of the rounds), latencies in ms, ratios."""
    rates = {name: [_rate(turn) for turn in turns] for name, turns in found.items()}
    print("| asked for | requests/s | p50 ms | p99 ms | max ms | × bare + 1 select | × bare |")
    print("|---|---|---|---|---|---|---|")
    for name, turns in found.items():
        times = sorted(answered.seconds * 1000 for turn in turns for _, each in turn for answered in each)
        p99 = quantiles(times, n=100)[-1]
        to_select, to_bare = (_ratio(rates[name], rates[base]) for base in ("bare route + 1 select", "bare route"))
        print(
            f"| {name} | {median(rates[name]):.0f} | {median(times):.1f} | {p99:.1f} | {times[-1]:.1f} "
            f"| {to_select:.2f} | {to_bare:.2f} |"
        )
    print(f"\nThe goal of the mix: {GOAL:g} of bare + 1 select's requests/s.")


def _rate(turn: list[tuple[float, list[Answered]]]) -> float:
    """Requests per second of all clients together."""
    return sum(len(answered) / seconds for seconds, answered in turn)


def _ratio(rates: list[float], bases: list[float]) -> float:
    """The median over the rounds, each compared with the base of the same round."""
    return median(rate / base for rate, base in zip(rates, bases, strict=True))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database-uri", required=True, help="benchmarks.dataset makes such a database")
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2, help="of each target in a round")
    options = parser.parse_args(arguments)
    # In a process of its own, because clients are forked from this one and must share no connection.
    with multiprocessing.get_context("fork").Pool(1) as prepared:
        ids, token = prepared.apply(_prepare, (options.database_uri,))
    with gunicorn({"uri": options.database_uri, "run": ids["run"]}, options.workers) as address:
        found = measure(address, token, targets(ids), options)
    report(found)


def _prepare(uri: str) -> tuple[dict[str, Any], str]:
    return operations.prepare(VARIANTS["standalone"].app(uri))


if __name__ == "__main__":
    main()
