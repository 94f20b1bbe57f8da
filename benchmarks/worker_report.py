"""Measure what the mounted API adds to a worker's reports to the platform, and to a restart of its run.

    python -m benchmarks.dataset --runs 400 --database-uri mysql+pymysql://root@127.0.0.1/api_v1_bench_report
    SAMPLE_PLATFORM=/path/to/checkout python -m benchmarks.worker_report \
        --database-uri mysql+pymysql://root@127.0.0.1/api_v1_bench_report

A report consists of all messages of a worker about a run: its stages, and for each active test its output and result;
every sixteenth output is a file that differs. The platform's own routes receive it, and the restart, which deletes the
run's files, results and stages. Without SAMPLE_PLATFORM, the same rows are written through the embedded stand-in's
models, one transaction for each message. The platform alone and with the API mounted alternate, in processes of their
own, so that other load of the machine affects both alike. The goal is 1.1 times the time of the platform alone.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

import sqlalchemy as sa
from flask import Flask, g

from benchmarks import operations, processes
from benchmarks.platform_pages import VARIANTS
from benchmarks.processes import Answer, Worker

ALONE = "platform"
HOSTS = (ALONE, "mounted", "asking tables")
DIFFERING = 16
GOAL = 1.1

#: A message of a worker: the fields of the form; `content` is the content of a file.
Message: TypeAlias = dict[str, Any]


# --- in the process of a host ---------------------------------------------------------------------


class Reporter(ABC):
    """A run of the benchmark, with the actions of its worker and its owner."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.run_id, self.token, self.admin, self.outputs = self._insert_run()

    def _insert_run(self) -> tuple[int, str, int, list[tuple[int, int]]]:
        """Queue a run with a machine; return its id and token, an administrator's id, and (test, output) id pairs."""
        from mod_auth.models import Role, User
        from mod_ci.models import GcpInstance
        from mod_regression.models import RegressionTest, RegressionTestOutput
        from mod_test.models import Test, TestPlatform, TestType

        with _request(self.app) as session:
            run = Test(TestPlatform.linux, TestType.commit, 1, "master", "b" * 40)
            session.add(run)
            session.flush()
            session.add(GcpInstance(f"linux-{run.id}", run.id))
            first_output = sa.func.min(RegressionTestOutput.id)
            outputs = session.execute(
                sa.select(RegressionTest.id, first_output)
                .join(RegressionTestOutput, RegressionTestOutput.regression_id == RegressionTest.id)
                .where(RegressionTest.active.is_(True))
                .group_by(RegressionTest.id)
                .order_by(RegressionTest.id)
            ).all()
            admin = session.scalars(sa.select(User.id).where(User.role == Role.admin).limit(1)).one()
            found = run.id, str(run.token), admin, [(test_id, output_id) for test_id, output_id in outputs]
            session.commit()
        return found

    def messages(self) -> Iterator[Message]:
        """Yield all messages of a worker about its run."""
        for status in ("preparation", "testing"):
            yield Message(type="progress", status=status, message=f"Now {status}")
        for number, (test_id, output_id) in enumerate(self.outputs):
            ids = {"test_id": test_id, "test_file_id": output_id}
            if number % DIFFERING:
                yield Message(type="equality", **ids)
            else:
                yield Message(type="upload", content=f"differs in {number}", **ids)
            yield Message(type="finish", test_id=test_id, runTime=1200, exitCode=0)
        yield Message(type="progress", status="completed", message="Ran all tests")

    def report(self) -> None:
        """Send all messages of a worker about its run."""
        for message in self.messages():
            self.send(message)

    @abstractmethod
    def send(self, message: Message) -> None:
        """Send one message to the platform."""

    @abstractmethod
    def restart(self) -> None:
        """Delete the reported rows, as the platform's restart button does."""

    def remove(self) -> None:
        """Delete the run; this is not measured."""
        from mod_ci.models import GcpInstance
        from mod_test.models import Test

        with _request(self.app) as session:
            session.query(GcpInstance).filter(GcpInstance.test_id == self.run_id).delete()
            session.query(Test).filter(Test.id == self.run_id).delete()
            session.commit()


class Routes(Reporter):
    """Reports to the routes of the real platform."""

    def send(self, message: Message) -> None:
        """Post the form."""
        form = dict(message)
        if content := form.pop("content", None):
            form["file"] = (io.BytesIO(content.encode()), "output.srt")
        url = f"/progress-reporter/{self.run_id}/{self.token}"
        response = self.app.test_client(use_cookies=False).post(url, data=form)
        if response.text != "OK":
            raise RuntimeError(f"{message} was answered {response.status}: {response.text[:200]}")

    def restart(self) -> None:
        """Request the restart as an administrator."""
        client = self.app.test_client()
        with client.session_transaction() as cookie:
            cookie["user_id"] = self.admin
        response = client.get(f"/test/restart_test/{self.run_id}")
        if response.status_code != 302:
            raise RuntimeError(f"the restart was answered {response.status}: {response.text[:200]}")


class Models(Reporter):
    """Writes to the stand-in's tables like the real platform's routes, in one request for each message."""

    def send(self, message: Message) -> None:
        """Read the run, and add the row."""
        with _request(self.app) as session:
            self.write(session, self.run_id, message)

    @classmethod
    def write(cls, session: Any, run_id: int, message: Message) -> None:
        """Read the run, and add the row, in a transaction of its own."""
        from mod_test.models import Test

        session.add(cls._row(session, session.get(Test, run_id), message))
        session.commit()

    @staticmethod
    def _row(session: Any, run: Any, message: Message) -> Any:
        from mod_regression.models import RegressionTest, RegressionTestOutput
        from mod_test.models import TestProgress, TestResult, TestResultFile, TestStatus

        if message["type"] == "progress":
            return TestProgress(run.id, TestStatus.from_string(message["status"]), message["message"])
        if message["type"] == "finish":
            test = session.get(RegressionTest, message["test_id"])
            return TestResult(run.id, test.id, message["runTime"], message["exitCode"], test.expected_rc)
        output = session.get(RegressionTestOutput, message["test_file_id"])
        got = "f" * 64 if message["type"] == "upload" else None
        return TestResultFile(run.id, message["test_id"], output.id, output.correct, got)

    def restart(self) -> None:
        """Delete as the platform's route does."""
        from mod_test.models import TestProgress, TestResult, TestResultFile

        with _request(self.app) as session:
            for model in (TestResultFile, TestResult, TestProgress):
                session.query(model).filter(model.test_id == self.run_id).delete()
            session.commit()


@contextmanager
def _request(app: Flask) -> Iterator[Any]:
    """Yield the platform's session, in a request with its usual set-up."""
    with app.test_request_context("/"):
        app.preprocess_request()
        yield g.db


def serve(host: str, uri: str, folder: str) -> None:
    """Be the process of a host: for each line, measure a report and a restart of a new run."""
    app = replace(VARIANTS[host], settings=VARIANTS[host].settings | {"SAMPLE_REPOSITORY": folder}).app(uri)
    kind = Routes if "ci.progress_reporter" in app.view_functions else Models
    statements: list[str] = []
    sa.event.listen(sa.Engine, "before_cursor_execute", lambda *event: statements.append(event[2]))

    def answer(_: str) -> Answer:
        reporter = kind(app)
        found: Answer = {"tests": len(reporter.outputs)}
        for name in ("report", "restart"):
            statements.clear()
            begin = time.perf_counter()
            getattr(reporter, name)()
            found[name] = {"seconds": time.perf_counter() - begin, "statements": len(statements)}
        reporter.remove()
        return found

    processes.serve(answer, {"ready": kind.__name__})


# --- in the first process -------------------------------------------------------------------------


def compare(uri: str, rounds: int) -> None:
    """Measure the hosts alternately and print the table."""
    found: dict[str, list[Answer]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("TempFiles", "TestResults", "LogFiles"):
            Path(folder, name).mkdir()
        workers = {
            host: Worker("benchmarks.worker_report", "--database-uri", uri, "--serve", host, folder) for host in HOSTS
        }
        for number in range(rounds + 1):
            for host, worker in workers.items():
                answer = worker.ask()
                # The first answer of each host is the warm-up.
                if number:
                    found[host].append(answer)
        for worker in workers.values():
            worker.close()
    tests = found[ALONE][0]["tests"]
    print(f"{tests} tests reported through {workers[ALONE].ready['ready'].lower()}, {rounds} rounds; goal {GOAL:g}\n")
    report(found)


def report(found: Mapping[str, list[Answer]]) -> None:
    """Print a row for each host and act: median and slowest in ms, statements, and the ratio to the platform alone."""
    print("| act | host | median ms | max ms | statements | × platform alone |")
    print("|---|---|---|---|---|---|")
    for act in ("report", "restart"):
        alone = [each[act]["seconds"] for each in found[ALONE]]
        for host, answers in found.items():
            times = [each[act]["seconds"] for each in answers]
            ratio = median(time_ / base for time_, base in zip(times, alone, strict=True))
            middle, worst = median(times) * 1000, max(times) * 1000
            print(f"| {act} | {host} | {middle:.1f} | {worst:.1f} | {answers[-1][act]['statements']} | {ratio:.2f} |")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--database-uri", required=True, help="its name begins with api_v1_bench; runs are inserted and deleted"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        serve(options.serve[0], options.database_uri, options.serve[1])
        return
    if not (sa.make_url(options.database_uri).database or "").startswith("api_v1_bench"):
        parser.error("the name of the database must begin with api_v1_bench")
    operations.prepare_apart(options.database_uri)
    compare(options.database_uri, options.rounds)


if __name__ == "__main__":
    main()
