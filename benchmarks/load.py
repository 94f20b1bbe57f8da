"""Measure a served API under load: requests per second, and latencies.

    python -m benchmarks.dataset --database-uri mysql+pymysql://root@127.0.0.1/api_v1_bench
    python -m benchmarks.load --database-uri mysql+pymysql://root@127.0.0.1/api_v1_bench

Four clients, each in a process of its own, send requests to two gunicorn workers of the standalone API, over a new
connection for each request, like nginx with workers that keep no connection alive. The same workers serve a bare JSON
route, and one that selects a row by its key. All of these alternate every second or two, so that other load of the
machine affects all alike. Compare only the ratios, and only within one run.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import random
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any, NamedTuple

from flask import Flask

from benchmarks import operations
from benchmarks.platform_pages import VARIANTS
from benchmarks.processes import gunicorn

WORKERS = 2
CLIENTS = 4
WARM_UP = 20

#: The paths of the mix and their weights.
MIX = {
    "/environments": 1,
    "/runs/{run}": 3,
    "/runs?limit=20": 2,
    "/runs/{run}/samples?limit=50": 2,
    "/runs/{run}/summary": 2,
    "/runs?status=fail": 1,
    "/runs/{run}/errors": 1,
}
#: The goal for the mix, as a fraction of the requests per second of bare + 1 select.
GOAL = 0.6

#: The environment variable that tells the server its database and run; see `served`.
ENVIRONMENT = "API_BENCHMARK"


class Answered(NamedTuple):
    """A request: its URL, and the seconds from connecting to the last byte."""

    url: str
    seconds: float


@dataclass(frozen=True)
class Target:
    """The URLs of one turn, with their weights."""

    name: str
    urls: tuple[str, ...]
    weights: tuple[int, ...] = (1,)


# --- in a gunicorn worker -------------------------------------------------------------------------


def served() -> Flask:
    """Return the app with the two routes to compare with."""
    order = json.loads(os.environ[ENVIRONMENT])
    app = VARIANTS["standalone"].app(order["uri"])
    operations.add_select_route(app, order["run"])
    return app


# --- in a client ----------------------------------------------------------------------------------


def ask(address: str, token: str, target: Target, seconds: float, seed: int) -> tuple[float, list[Answered]]:
    """Send requests sequentially for some seconds; return the exact duration and the answered requests."""
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
    """Send a request over a new connection; raise RuntimeError for a status other than 200."""
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


def targets(ids: Mapping[str, Any]) -> list[Target]:
    """Return the targets: the two routes to compare with, each path, and the mix of the paths."""
    urls = {operations.PREFIX + path.format(**ids): weight for path, weight in MIX.items()}
    return [
        Target("bare route", (operations.BARE,)),
        Target("bare route + 1 select", (operations.SELECT,)),
        *(Target(url, (url,)) for url in urls),
        Target("the mix", tuple(urls), tuple(urls.values())),
    ]


def measure(address: str, token: str, wanted: Sequence[Target], options: argparse.Namespace) -> Mapping[str, list[Any]]:
    """Measure all targets in several rounds; return by name what each client measured in each round."""
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
    print("| request | requests/s | p50 ms | p99 ms | max ms | × bare + 1 select | × bare |")
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
    """Return the requests per second of all clients together."""
    return sum(len(answered) / seconds for seconds, answered in turn)


def _ratio(rates: list[float], bases: list[float]) -> float:
    """Return the median of the ratios of each round to the base in the same round."""
    return median(rate / base for rate, base in zip(rates, bases, strict=True))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database-uri", required=True, help="benchmarks.dataset creates such a database")
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2, help="of each target in a round")
    options = parser.parse_args(arguments)
    ids, token = operations.prepare_apart(options.database_uri)
    environment = {ENVIRONMENT: json.dumps({"uri": options.database_uri, "run": ids["run"]})}
    flags = ["--workers", str(options.workers), "--worker-class", "sync", "--timeout", "300"]
    with gunicorn("benchmarks.load:served()", flags, environment=environment) as address:
        found = measure(address, token, targets(ids), options)
    report(found)


if __name__ == "__main__":
    main()
