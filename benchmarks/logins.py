"""Measure how much parallel log-ins slow other requests down.

    python -m benchmarks.logins --database-uri mysql+pymysql://root@127.0.0.1/api_v1_bench_logins

A gunicorn server serves the API with a small database of `benchmarks.dataset`. Readers send `GET /runs` sequentially,
without and with clients that log in continuously. The two phases alternate, so that other load of the machine affects
both alike. The passwords are wrong and the hashes have the full cost: a check takes as long as for the right password,
and no token is created. A client that receives 429 waits as long as `Retry-After` says, unless `--impatient` is given.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import median, quantiles

import sqlalchemy as sa

from benchmarks import dataset
from benchmarks.platform_pages import RUNS, VARIANTS, base_config
from benchmarks.processes import gunicorn

READ = "/api/v1/runs"
LOG_IN = "/api/v1/auth/tokens"
PASSWORD = "the right password"

#: The highest allowed median with log-ins, as a multiple of the median without.
ALLOWED = 2.0

_UNLIMITED = "1000000 per minute"


@dataclass
class Phase:
    """The measurements with or without parallel log-ins."""

    reads: list[float] = field(default_factory=list)
    log_ins: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    def line(self, name: str) -> str:
        """Return a row of the table, with times in ms."""
        answered = ", ".join(f"{count} x {status}" for status, count in sorted(self.statuses.items()))
        waited = f"{median(self.log_ins):.0f} / {max(self.log_ins):.0f}" if self.log_ins else ""
        return (
            f"| {name} | {len(self.reads)} | {median(self.reads):.1f} | {quantiles(self.reads, n=20)[-1]:.1f} "
            f"| {max(self.reads):.1f} | {answered} | {waited} |"
        )


def prepare(uri: str, keep: bool) -> tuple[str, list[str]]:
    """Fill the database; return a token for it and the emails of accounts whose hashes have full cost."""
    if not keep:
        dataset.load(uri, dataset.Dataset(RUNS))
    from api_v1.access import tokens
    from api_v1.database import migrations
    from api_v1.database.platform import User
    from api_v1.database.session import db
    from api_v1.verdicts import refresher

    app = VARIANTS["standalone"].app(uri)
    with app.app_context():
        migrations.upgrade(db.engine)
        refresher.rebuild(db.engine)
        users = db.session.execute(sa.select(User.id, User.email).order_by(User.id).limit(4)).all()
        stored = User.generate_hash(PASSWORD)
        db.session.execute(sa.update(User).where(User.id.in_([user.id for user in users])).values(password=stored))
        tokens.revoke_named(db.session, users[0].id, "logins")
        issued = tokens.create(db.session, users[0].id, "logins", ["runs:read"], 1)
        db.session.commit()
        db.engine.dispose()
    return issued.token, [user.email for user in users]


def read(address: str, token: str, until: float) -> list[float]:
    """Send reads sequentially; return the milliseconds of each."""
    times = []
    while time.monotonic() < until:
        start = time.perf_counter()
        connection = http.client.HTTPConnection(address, timeout=120)
        connection.request("GET", READ, headers={"Authorization": f"Bearer {token}"})
        response = connection.getresponse()
        body = response.read()
        connection.close()
        times.append((time.perf_counter() - start) * 1000)
        if response.status != 200:
            raise RuntimeError(f"{READ} answered {response.status}: {body[:200]!r}")
    return times


def log_in(address: str, email: str, stop: threading.Event, patient: bool) -> list[tuple[int, float]]:
    """Log in repeatedly; return status and milliseconds of each request."""
    answers = []
    body = json.dumps({"email": email, "password": "a wrong password", "token_name": "benchmark"})
    while not stop.is_set():
        start = time.perf_counter()
        connection = http.client.HTTPConnection(address, timeout=120)
        connection.request("POST", LOG_IN, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read()
        connection.close()
        answers.append((response.status, (time.perf_counter() - start) * 1000))
        if response.status == 429 and patient:
            stop.wait(int(response.headers["Retry-After"]))
    return answers


def measure(
    phase: Phase, address: str, token: str, emails: Sequence[str], options: argparse.Namespace, seconds: float
) -> None:
    """Let readers read for some seconds, in parallel to one log-in client for each email; add the measurements."""
    stop = threading.Event()
    with ThreadPoolExecutor(options.readers + len(emails)) as pool:
        clients = [pool.submit(log_in, address, email, stop, not options.impatient) for email in emails]
        if clients:
            # The first log-ins of a process take longer.
            time.sleep(1)
        until = time.monotonic() + seconds
        try:
            for times in [pool.submit(read, address, token, until) for _ in range(options.readers)]:
                phase.reads += times.result()
        finally:
            stop.set()
        for client in clients:
            for status, milliseconds in client.result():
                phase.statuses[status] += 1
                phase.log_ins.append(milliseconds)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return 1 if log-ins slow the reads down too much."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.logins",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--database-uri", required=True, help="its name begins with api_v1_bench; it is replaced")
    parser.add_argument("--keep", action="store_true", help="measure over the database as it is")
    parser.add_argument("--log-ins", type=int, default=6, help="clients that log in")
    parser.add_argument("--readers", type=int, default=1, help="clients that read")
    parser.add_argument("--impatient", action="store_true", help="log in again immediately after a 429")
    parser.add_argument("--seconds", type=float, default=10, help="of each phase in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--gunicorn", default="--workers 1 --threads 8", help="options of gunicorn (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    try:
        token, emails = prepare(options.database_uri, options.keep)
    except ValueError as error:
        parser.error(str(error))
    clients = [emails[number % len(emails)] for number in range(options.log_ins)]
    alone, beside = Phase(), Phase()
    limits = {f"API_V1_LIMIT_{kind}": _UNLIMITED for kind in ("READS", "ANONYMOUS", "TOKENS")}
    config = base_config(options.database_uri) | limits
    with gunicorn("api_v1:create_app()", options.gunicorn.split(), config=config) as address:
        measure(Phase(), address, token, [], options, 1)
        for _ in range(options.rounds):
            measure(alone, address, token, [], options, options.seconds)
            measure(beside, address, token, clients, options, options.seconds)
    print("| GET /runs | requests | median ms | p95 | slowest | log-ins answered | median / slowest log-in |")
    print("|---|---|---|---|---|---|---|")
    print(alone.line("alone"))
    print(beside.line(f"beside {options.log_ins} log-ins"))
    ratio = median(beside.reads) / median(alone.reads)
    print(f"\nratio of the medians: {ratio:.2f}, allowed {ALLOWED:g}")
    return int(ratio > ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
