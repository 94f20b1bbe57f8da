"""Measure every reading operation at production size, and its growth from a tenth of that size.

    python -m benchmarks.dataset --database-uri mysql+pymysql://root@127.0.0.1/api_v1_bench
    python -m benchmarks.dataset --database-uri mysql+pymysql://root@127.0.0.1/api_v1_bench_tenth --scale 0.1
    python -m benchmarks.operations --full mysql+pymysql://root@127.0.0.1/api_v1_bench \
        --tenth mysql+pymysql://root@127.0.0.1/api_v1_bench_tenth

Requests go through Flask's test client, one at a time, in a process for each host (standalone, mounted) and size. The
two sizes alternate, so that other load of the machine affects both alike. Times are multiples of a bare JSON route of
the same app that selects one row by its key and is requested before each measured request. Compare only these
multiples, and only within one run.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from benchmarks import evidence, processes
from benchmarks.platform_pages import VARIANTS
from benchmarks.processes import Worker

PREFIX = "/api/v1"
BARE, SELECT = "/bare", "/bare-select"
WARM_UP = 5


@dataclass(frozen=True)
class Case:
    """A request and its limits: SQL statements, and the time as a multiple of the bare route with one select.

    Attributes:
        has_files: whether the run has its outputs and its log; else no store has a file.
    """

    url: str
    statements: int | None = None
    multiple: float | None = None
    has_files: bool = False

    @property
    def name(self) -> str:
        """Its row in the table."""
        return f"`{self.url}`" + (" with evidence" if self.has_files else "")


CASES = (
    Case(BARE),
    Case(SELECT),
    Case("/runs?limit=100", 6, 15),
    Case("/runs?status=fail&limit=50", 6, 15),
    Case("/runs?status=pass&limit=50", 6, 15),
    Case("/runs?status=incomplete&limit=50", 6, 15),
    Case("/runs?limit=50&offset=800", 6, 15),
    Case("/runs?sort=started_at&limit=50", 6),
    Case("/runs?branch=master&limit=50", 6),
    Case("/runs?repository=CCExtractor/ccextractor&limit=50", 6),
    Case("/runs?commit_sha={commit}", 6),
    Case("/runs?commit_prefix={prefix}", 6, 15),
    Case("/runs?pull_request={number}", 6, 15),
    Case("/runs/{run}", 5, 3),
    Case("/runs/{run}/progress", 5, 3),
    Case("/runs/{run}/config", 5, 5),
    Case("/runs/{run}/summary", 6, 3),
    Case("/runs/{run}/samples?status=fail", 6, 8),
    Case("/runs/{run}/samples?limit=100", 6, 8),
    Case("/runs/{run}/samples/{sample}", 6),
    Case("/runs/{run}/errors", 6, 8),
    Case("/runs/{run}/errors?type=diff_mismatch", 6, 8),
    Case("/runs/{run}/error-summary?group_by=type", 6, 8),
    Case("/runs/{run}/error-summary?group_by=sample_id", 6, 8),
    Case("/runs/{run}/error-summary?group_by=regression_id", 6, 8),
    Case("/runs/{run}/error-summary?group_by=category", 6, 8),
    Case("/runs/{run}/error-summary?group_by=severity", 6, 8),
    Case("/runs/{run}/infrastructure-errors", 6),
    Case("/runs/{run}/artifacts?limit=100", 6),
    Case("/samples/{sample}/history?limit=50", 6, 10),
    Case("/samples/{sample}/history?limit=5", 6, 10),
    Case("/samples/{sample}/history?limit=50&branch=master", 6, 10),
    Case("/samples/{sample}/history?limit=50&offset=800", 6, 10),
    Case("/samples/{sample}/history?limit=50&status=fail", 6, 30),
    Case("/samples/{sample}/history?limit=50&sample_status=skipped", 6, 30),
    Case("/samples/{sample}/history?limit=50&pull_request=1", 6, 30),
    Case("/samples/{sample}/history?limit=50&repository=CCExtractor/ccextractor", 7, 30),
    Case("/samples", 6, 10),
    Case("/samples/{sample}", 6),
    Case("/regression-tests", 6, 6),
    Case("/regression-tests?command=out&output_type=file", 6, 6),
    Case("/regression-tests/{test}", 6, 6),
    Case("/regression-tests/{test}/health", 8, 20),
    Case("/regression-tests/{test}/health?platform=linux", 8, 20),
    Case("/runs/{run}/comparison", 8, 20),
    Case("/runs/{run}/comparison?base=previous", 8, 20),
    Case("/runs/{run}/comparison?change=failing_identically&limit=100", 8, 20),
    Case("/pull-requests/{number}", 9, 20),
    Case("/runs/{run}/failure-report", 9, 20),
    Case("/runs/{run}/failure-report", 9, has_files=True),
    Case("/runs/{run}/failure-report?max_bytes=262144", 9, has_files=True),
    Case("/failure-clusters?created_before={end}", 8, 20),
    Case("/failure-clusters?created_before={end}&created_after={start}", 8, 20),
    Case("/system/queue", 6, 6),
    Case("/branches", 6, 6),
    Case("/environments", 6, 6),
    Case("/system/health"),
    Case("/"),
    Case("/openapi.json"),
)


# --- in the process of one host and size ----------------------------------------------------------


def serve(host: str, uri: str) -> None:
    """Be the process of one host and size: for each line, measure rounds of a case (its index, and their number)."""
    with tempfile.TemporaryDirectory() as folder:
        _serve(VARIANTS[host].app(uri), Path(folder))


def _serve(app: Flask, folder: Path) -> None:
    ids, token = prepare(app)
    evidence.write(app, ids["run"], folder)
    add_select_route(app, ids["run"])
    client = app.test_client(use_cookies=False)
    headers = {"Authorization": f"Bearer {token}"}
    statements: list[str] = []
    sa.event.listen(sa.Engine, "before_cursor_execute", lambda *event: statements.append(event[2]))

    def answer(line: str) -> processes.Answer:
        case, rounds = (int(word) for word in line.split())
        url = CASES[case].url.format(**ids)
        # The stores look it up with each request.
        app.config["SAMPLE_REPOSITORY"] = str(folder if CASES[case].has_files else folder / "none")
        return measure(client, url if case < 2 else PREFIX + url, headers, rounds, statements)

    processes.serve(answer, {"ready": True})


def prepare_apart(uri: str) -> tuple[dict[str, Any], str]:
    """Prepare the standalone app's database in a process of its own, whose connections no forked client shares."""
    with multiprocessing.get_context("fork").Pool(1) as apart:
        return apart.apply(_prepare, (uri,))


def _prepare(uri: str) -> tuple[dict[str, Any], str]:
    return prepare(VARIANTS["standalone"].app(uri))


def prepare(app: Flask) -> tuple[dict[str, Any], str]:
    """Create a token and choose the ids to request, which exist in both sizes."""
    from api_v1.access import tokens
    from api_v1.access.policy import Scope
    from api_v1.database import migrations
    from api_v1.database.platform import RegressionTest, Test, TestProgress, TestResult, TestStatus, User
    from api_v1.database.session import db
    from api_v1.database.tables import RunFailure, RunState
    from api_v1.verdicts import refresher

    with app.app_context():
        migrations.upgrade(db.engine)
        refresher.rebuild(db.engine)
        user_id = db.session.scalars(sa.select(User.id).limit(1)).one()
        tokens.revoke_named(db.session, user_id, "benchmark")
        issued = tokens.create(db.session, user_id, "benchmark", list(Scope), 1)
        # The newest completed run with results, and the sample of its third test.
        run = db.session.execute(
            sa.select(Test.id, Test.commit)
            .join(TestProgress, TestProgress.test_id == Test.id)
            .where(TestProgress.status == TestStatus.completed)
            .where(sa.exists().where(TestResult.test_id == Test.id))
            .order_by(Test.id.desc())
            .limit(1)
        ).one()
        sample = db.session.scalars(
            sa.select(RegressionTest.sample_id)
            .join(TestResult, TestResult.regression_test_id == RegressionTest.id)
            .where(TestResult.test_id == run.id)
            .order_by(RegressionTest.id)
            .offset(2)
            .limit(1)
        ).one()
        db.session.commit()
        # The test that fails most often.
        test = db.session.scalars(
            sa.select(RunFailure.regression_id)
            .where(RunFailure.verdict == "fail")
            .group_by(RunFailure.regression_id)
            .order_by(sa.func.count().desc())
            .limit(1)
        ).one()
        # The newest pull request of which a test fails.
        number = db.session.scalars(
            sa.select(RunState.pull_request)
            .where(RunState.pull_request.is_not(None), RunState.status == "fail")
            .order_by(RunState.test_id.desc())
            .limit(1)
        ).one()
        newest = db.session.scalars(sa.select(sa.func.max(RunState.created_at)).where(RunState.test_id > 0)).one()
        db.session.commit()
    assert newest is not None
    times = {"end": newest.isoformat() + "Z", "start": (newest - timedelta(days=90)).isoformat() + "Z"}
    ids = {
        "run": run.id,
        "commit": run.commit,
        "prefix": run.commit[:7],
        "sample": sample,
        "test": test,
        "number": number,
    }
    return ids | times, issued.token


def add_select_route(app: Flask, run_id: int) -> None:
    """Add the route to compare with: it returns JSON and selects one row by its key."""
    from api_v1.database.platform import Test
    from api_v1.database.session import db

    def select() -> dict[str, str]:
        commit = db.session.scalars(sa.select(Test.commit).where(Test.id == run_id)).one()
        db.session.remove()
        return {"commit": commit}

    app.add_url_rule(SELECT, view_func=select)


def measure(
    client: FlaskClient, url: str, headers: dict[str, str], rounds: int, statements: list[str]
) -> dict[str, Any]:
    """Return the milliseconds of each request and of the bare one before it, and statements and bytes of the last."""
    times: dict[str, list[float]] = {"base": [], "times": []}
    for _ in range(WARM_UP + rounds):
        for name, asked in (("base", SELECT), ("times", url)):
            statements.clear()
            start = time.perf_counter()
            response = client.get(asked, headers=headers)
            times[name].append((time.perf_counter() - start) * 1000)
            if response.status_code != 200:
                raise RuntimeError(f"{asked} answered {response.status}: {response.text[:200]}")
    kept = {name: each[WARM_UP:] for name, each in times.items()}
    return {**kept, "statements": len(statements), "bytes": len(response.data)}


# --- in the first process -------------------------------------------------------------------------


def compare(host: str, uris: dict[str, str], rounds: int, turns: int) -> None:
    """Measure a host with all sizes and print the table."""
    workers = {size: Worker("benchmarks.operations", "--serve", host, uri) for size, uri in uris.items()}
    found: dict[str, list[dict[str, Any]]] = {size: [_empty() for _ in CASES] for size in workers}
    for _ in range(turns):
        for index in range(len(CASES)):
            for size, worker in workers.items():
                answer = worker.ask(f"{index} {rounds}")
                for name in ("times", "base"):
                    found[size][index][name] += answer[name]
                found[size][index] |= {name: answer[name] for name in ("statements", "bytes")}
    for worker in workers.values():
        worker.close()
    print(f"\n## {host}\n")
    print("| request | median ms | p95 ms | × bare+select | allowed | statements | bytes | growth from 1/10 |")
    print("|---|---|---|---|---|---|---|---|")
    for index, case in enumerate(CASES):
        print(_line(case, found["full"][index], found.get("tenth", [None] * len(CASES))[index]))


def _empty() -> dict[str, Any]:
    return {"times": [], "base": [], "statements": 0, "bytes": 0}


def _line(case: Case, full: dict[str, Any], tenth: dict[str, Any] | None) -> str:
    middle, base = (median(full[name]) for name in ("times", "base"))
    p95 = quantiles(full["times"], n=20)[-1]
    growth = "" if tenth is None else f"{middle / base * median(tenth['base']) / median(tenth['times']):.2f}"
    allowed = "" if case.multiple is None else f"{case.multiple:g}"
    statements = str(full["statements"]) + ("" if case.statements is None else f" of {case.statements}")
    return (
        f"| {case.name} | {middle:.2f} | {p95:.2f} | {middle / base:.1f} | {allowed} | {statements} "
        f"| {full['bytes']} | {growth} |"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", help="database of production size")
    parser.add_argument("--tenth", help="database of a tenth of it")
    parser.add_argument("--hosts", nargs="+", default=["standalone", "mounted"], choices=["standalone", "mounted"])
    parser.add_argument("--rounds", type=int, default=10, help="requests per case and turn")
    parser.add_argument("--turns", type=int, default=4, help="how often all cases are measured")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        serve(*options.serve)
        return
    if not options.full:
        parser.error("--full is required; benchmarks.dataset creates such a database")
    uris = {"full": options.full} | ({"tenth": options.tenth} if options.tenth else {})
    for host in options.hosts:
        compare(host, uris, options.rounds, options.turns)


if __name__ == "__main__":
    main()
