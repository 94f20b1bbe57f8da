"""Measure what the mounted API adds to the platform's own pages, and what mounting adds to the API.

    SAMPLE_PLATFORM=/path/to/checkout python -m benchmarks.platform_pages \
        --database-uri mysql+pymysql://root@127.0.0.1/api_v1_bench_pages

Requests go through Flask's test client, one at a time, with a small database of `benchmarks.dataset`. Each variant runs
in processes of its own, alternating with the others, so that other load of the machine affects all alike. Compare only
within one run. Without SAMPLE_PLATFORM, the embedded stand-in is the platform.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
import types
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any
from unittest import mock

import sqlalchemy as sa
from flask import Flask

from benchmarks import PLATFORM, ROOT, dataset

#: The smallest number of runs in the dataset with every outcome.
RUNS = 400
WARM_UP = 50
COUNTED = 20

BARE = "/bare"
PAGES = ("/", "/health/live")
HEALTH = "/api/v1/system/health"


@dataclass(frozen=True)
class Variant:
    """A way to assemble an app."""

    name: str
    pages: bool = True
    api: bool = True
    settings: dict[str, Any] = field(default_factory=dict)

    def app(self, uri: str, settings: Mapping[str, Any] | None = None) -> Flask:
        """Create the app, with an additional route that returns constant JSON; `settings` come last."""
        config = base_config(uri) | self.settings | dict(settings or {})
        if self.pages:
            app = _platform(config)
            if self.api:
                importlib.import_module("api_v1").init_app(app)
        else:
            app = importlib.import_module("api_v1").create_app(config)
        app.add_url_rule(BARE, view_func=lambda: {"bare": True})
        return app

    def urls(self, run_id: int) -> list[str]:
        """Return the URLs to measure."""
        api = [HEALTH, f"/api/v1/runs/{run_id}"] if self.api else []
        return [*(PAGES if self.pages else ()), BARE, *api]


VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("platform", api=False),
        Variant("mounted"),
        Variant("asking tables", settings={"API_V1_REMEMBER_TABLES": False}),
        Variant("standalone", pages=False),
    )
}


def base_config(uri: str) -> dict[str, Any]:
    """Return the configuration of every app of the benchmarks."""
    many = "1000000 per minute"
    limits = {f"API_V1_LIMIT_{kind}": many for kind in ("READS", "ANONYMOUS")}
    return limits | {
        "DATABASE_URI": uri,
        "APPLICATION_ROOT": "/",
        "INSTALL_FOLDER": PLATFORM,
        "SAMPLE_REPOSITORY": str(ROOT),
        "GITHUB_OWNER": "CCExtractor",
        "GITHUB_REPOSITORY": "ccextractor",
        "GITHUB_TOKEN": "",
        "GITHUB_CI_KEY": "",
        "GCS_BUCKET_NAME": "",
        "SERVICE_ACCOUNT_FILE": "",
    }


def _platform(config: dict[str, Any]) -> Flask:
    """Import the platform with this configuration, without a bucket, so that it uses no network."""
    module = types.ModuleType("config")
    vars(module).update(config)
    sys.modules["config"] = module
    os.environ["TESTING"] = "True"
    with mock.patch("google.cloud.storage.Client.from_service_account_json"):
        app: Flask = importlib.import_module("run").app
    app.config["SECRET_KEY"] = b"benchmark"
    return app


# --- in the process of a variant ----------------------------------------------------------------


def measure(app: Flask, urls: list[str], token: str, requests: int) -> dict[str, dict[str, Any]]:
    """Return by URL the milliseconds of each request, and the number of SQL statements of one."""
    client = app.test_client(use_cookies=False)
    headers = {"Authorization": f"Bearer {token}"}

    def get(url: str) -> float:
        start = time.perf_counter()
        response = client.get(url, headers=headers)
        elapsed = time.perf_counter() - start
        if response.status_code != 200:
            raise RuntimeError(f"{url} answered {response.status}: {response.text[:200]}")
        return elapsed * 1000

    for _ in range(WARM_UP):
        for url in urls:
            get(url)
    times = defaultdict(list)
    for _ in range(requests):
        for url in urls:
            times[url].append(get(url))
    # After the timing, because counting takes time.
    statements: list[None] = []
    sa.event.listen(sa.Engine, "before_cursor_execute", lambda *_: statements.append(None))
    counts = {}
    for url in urls:
        statements.clear()
        for _ in range(COUNTED):
            get(url)
        counts[url] = len(statements) / COUNTED
    return {url: {"times": times[url], "statements": counts[url]} for url in urls}


# --- in the first process -----------------------------------------------------------------------


def prepare(uri: str, keep: bool) -> tuple[str, int]:
    """Fill the database; return a token for it and the id of the newest completed run."""
    if not keep:
        dataset.load(uri, dataset.Dataset(RUNS))
    from api_v1.access import tokens
    from api_v1.database.platform import Base, TestProgress, TestStatus, User
    from api_v1.database.session import db

    app = VARIANTS["standalone"].app(uri)
    with app.app_context():
        Base.metadata.create_all(db.engine)
        user_id = db.session.scalars(sa.select(User.id).limit(1)).one()
        tokens.revoke_named(db.session, user_id, "pages")
        issued = tokens.create(db.session, user_id, "pages", ["runs:read"], 1)
        completed = sa.select(TestProgress.test_id).where(TestProgress.status == TestStatus.completed)
        run_id = db.session.scalars(completed.order_by(TestProgress.id.desc()).limit(1)).one()
        db.session.commit()
    # The first list derives the states of all runs, which later requests do not.
    app.test_client().get("/api/v1/runs", headers={"Authorization": f"Bearer {issued.token}"})
    return issued.token, int(run_id or 0)


def run_variant(name: str, uri: str, token: str, run_id: int, requests: int) -> dict[str, dict[str, Any]]:
    """Measure a variant in a process of its own."""
    order = {"name": name, "uri": uri, "token": token, "run_id": run_id, "requests": requests}
    command = [sys.executable, "-m", "benchmarks.platform_pages", "--variant"]
    done = subprocess.run(command, input=json.dumps(order), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stderr}")
    # The platform may print lines of its own first.
    measured: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return measured


def answer(order: Mapping[str, Any]) -> None:
    """Be the process of a variant: measure it and print the result."""
    variant = VARIANTS[order["name"]]
    app = variant.app(order["uri"])
    print(json.dumps(measure(app, variant.urls(order["run_id"]), order["token"], order["requests"])))


def report(results: Mapping[str, list[dict[str, dict[str, Any]]]]) -> None:
    """Print a row for each URL and variant: median and 95th percentile in ms, SQL statements, ratios."""
    times: dict[tuple[str, str], list[float]] = {}
    statements = {}
    for name, rounds in results.items():
        for url in rounds[0]:
            times[url, name] = sorted(one for part in rounds for one in part[url]["times"])
            statements[url, name] = rounds[0][url]["statements"]
    print(f"\n{'URL':24}{'variant':16}{'median':>8}{'p95':>8}{'SQL':>6}{'/ platform':>12}{'/ ' + BARE:>12}")
    for (url, name), measured in sorted(times.items(), key=lambda item: item[0][0]):
        middle, late = median(measured), measured[int(len(measured) * 0.95)]
        alone = times.get((url, "platform"))
        to_alone = f"{middle / median(alone):.2f}" if alone else ""
        to_bare = f"{middle / median(times[BARE, name]):.2f}"
        print(f"{url:24}{name:16}{middle:8.2f}{late:8.2f}{statements[url, name]:6g}{to_alone:>12}{to_bare:>12}")


def main(arguments: list[str] | None = None) -> int:
    """Measure all variants as the command line says."""
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.platform_pages", description=summary)
    parser.add_argument("--database-uri", help="its name begins with api_v1_bench; its content is replaced")
    parser.add_argument("--keep", action="store_true", help="measure over the database as it is")
    parser.add_argument("--requests", type=int, default=100, help="requests for each URL in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--variant", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.variant:
        answer(json.load(sys.stdin))
        return 0
    if not options.database_uri:
        parser.error("--database-uri is missing")
    try:
        token, run_id = prepare(options.database_uri, options.keep)
    except ValueError as error:
        parser.error(str(error))
    results = defaultdict(list)
    for number in range(options.rounds):
        for name in VARIANTS:
            results[name].append(run_variant(name, options.database_uri, token, run_id, options.requests))
        print(f"round {number + 1} of {options.rounds}", flush=True)
    report(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
