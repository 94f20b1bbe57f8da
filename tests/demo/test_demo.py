"""The demo is the same each time, holds what it promises, and stays out of other people's data."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

import api_v1.database.platform as platform
from api_v1 import demo
from api_v1.database import tables
from api_v1.demo.script import OLD_PLANS
from api_v1.verdicts import observer
from tests.support.demo import END

METADATA = platform.Base.metadata
WORKER_URL = b"/progress-reporter/"


class Seeded(NamedTuple):
    """A seeded database with its folder."""

    session: Session
    repository: Path
    summary: demo.Summary

    def table(self, name: str) -> list[dict[str, Any]]:
        """Return all rows of a table, as the database has them."""
        table = METADATA.tables[name]
        rows = self.session.execute(sa.text(f"SELECT * FROM `{table.name}`")).mappings()
        return sorted((dict(row) for row in rows), key=repr)

    def files(self) -> dict[str, str]:
        """Return the digest of every file by its path."""
        return {
            str(path.relative_to(self.repository)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.repository.rglob("*"))
            if path.is_file()
        }


def empty_session() -> Session:
    engine = sa.create_engine("sqlite://")
    METADATA.create_all(engine)
    return Session(engine)


def seeded_into(repository: Path, end: datetime = END) -> Seeded:
    session = empty_session()
    summary = demo.seed(session, repository, end)
    session.commit()
    return Seeded(session, repository, summary)


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeded]:
    made = seeded_into(tmp_path_factory.mktemp("demo") / "not" / "there" / "yet")
    yield made
    made.session.close()


# Every time the same


def test_two_seedings_are_equal(seeded: Seeded, tmp_path: Path) -> None:
    again = seeded_into(tmp_path)

    assert again.summary == seeded.summary
    assert again.files() == seeded.files()
    # The stamps of noted changes differ each time.
    for name in METADATA.tables.keys() - {"api_v1_change"}:
        assert _unsalted(again.table(name)) == _unsalted(seeded.table(name)), name
    again.session.close()


def _unsalted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Blank the passwords' hashes: their salt is random."""
    return [{k: "$" if k == "password" and v.startswith("$") else v for k, v in row.items()} for row in rows]


def test_observed_runs_keep_their_creation_times(seeded: Seeded, tmp_path: Path) -> None:
    observer.observe()

    again = seeded_into(tmp_path)

    assert again.table("api_v1_run_creation") == seeded.table("api_v1_run_creation")
    again.session.close()


def test_nothing_is_later_than_the_end(seeded: Seeded) -> None:
    end = END.replace(tzinfo=None)
    progress = seeded.session.scalars(sa.select(platform.TestProgress)).all()
    created = seeded.session.scalars(sa.select(tables.RunCreation.created_at)).all()

    moments = [*created, *(row.timestamp.replace(tzinfo=None) for row in progress)]
    assert end - timedelta(days=60) < min(moments) and max(moments) <= end


def test_all_times_move_with_the_end(seeded: Seeded, tmp_path: Path) -> None:
    later = seeded_into(tmp_path, END + timedelta(days=400, microseconds=5))

    assert later.files() == seeded.files()
    assert [moment - timedelta(days=400) for moment in _moments(later)] == _moments(seeded)
    later.session.close()


def _moments(made: Seeded) -> list[datetime]:
    """Return every time of the database, by run."""
    progress = made.session.scalars(sa.select(platform.TestProgress).order_by(platform.TestProgress.id))
    created = sa.select(tables.RunCreation.created_at).order_by(tables.RunCreation.test_id)
    machines = made.session.scalars(sa.select(platform.GcpInstance).order_by(platform.GcpInstance.test_id))
    of_progress = [row.timestamp.replace(tzinfo=None) for row in progress]
    return [*of_progress, *made.session.scalars(created), *(row.timestamp for row in machines)]


# What there is


def test_the_demo_has_the_promised_rows(seeded: Seeded) -> None:
    counts = {name: len(seeded.table(name)) for name in METADATA.tables}

    assert counts["user"] == seeded.summary.users == 6
    assert counts["fork"] == 3
    assert counts["sample"] == seeded.summary.samples >= 12
    assert counts["regression_test"] == seeded.summary.regression_tests == 24
    assert counts["regression_test_output_files"] == 2
    assert counts["category"] == 6
    assert counts["test"] == seeded.summary.runs >= 44
    assert counts["general_data"] == 9
    assert counts["maintenance_mode"] == 2
    assert counts["gcp_instance"] == len(runs_by_state(seeded)["running"])
    assert len(seeded.files()) == seeded.summary.files


def test_regression_tests_cover_the_special_cases(seeded: Seeded) -> None:
    tests = seeded.session.scalars(sa.select(platform.RegressionTest)).all()
    outputs = [[output.ignore for output in test.output_files] for test in tests]

    assert all(test.categories for test in tests)
    assert [len(test.categories) for test in tests].count(2) == 1
    assert [test.active for test in tests].count(False) == 2
    assert [test.expected_rc for test in tests].count(10) == 1
    assert outputs.count([]) == 1 and outputs.count([True]) == 1
    assert any([output.correct_extension for output in test.output_files] == [".srt", ".ttxt"] for test in tests)


def test_there_is_an_account_for_each_role(seeded: Seeded) -> None:
    users = {user.name: user for user in seeded.session.scalars(sa.select(platform.User))}

    for name in ("admin", "tester", "contributor", "user"):
        assert users[name].email == f"{name}@example.org"
        assert users[name].role is getattr(platform.Role, name)
    assert platform.password_matches(users["user"].password, demo.PASSWORD)
    (gone,) = [u for u in users.values() if platform.is_deactivated(u.id, u.name, u.email)]
    assert not platform.password_matches(gone.password, demo.PASSWORD)
    assert [user.role for user in users.values()].count(None) == 1


# Runs


def runs_by_state(seeded: Seeded) -> dict[str, list[int]]:
    """Group the runs by state, by the rule of the README rather than the package's own code."""
    states: dict[str, list[int]] = {}
    for run in seeded.session.scalars(sa.select(platform.Test).order_by(platform.Test.id)):
        states.setdefault(_state(seeded.session, run), []).append(run.id)
    return states


def _state(session: Session, run: Any) -> str:
    if not run.progress:
        return "queued"
    last = run.progress[-1].status
    if last is platform.TestStatus.canceled:
        return "canceled"
    if last is not platform.TestStatus.completed:
        return "running"
    if not run.results:
        return "error"
    if not all(_passed(session, result) for result in run.results):
        return "fail"
    wanted = {row.regression_id for row in run.customized_tests}
    return "incomplete" if wanted - {row.regression_test_id for row in run.results} else "pass"


def _passed(session: Session, result: Any) -> bool:
    outputs = result.regression_test.output_files
    files = session.scalars(
        sa.select(platform.TestResultFile).filter_by(
            test_id=result.test_id, regression_test_id=result.regression_test_id
        )
    ).all()
    if not files and not all(output.ignore for output in outputs):
        return False
    accepted = {output.id: [v.file_hashes for v in output.multiple_files] for output in outputs}
    right = all(f.got is None or f.got in accepted[f.regression_test_output_id] for f in files)
    return right and result.exit_code == result.expected_rc


def test_every_state_occurs(seeded: Seeded) -> None:
    states = runs_by_state(seeded)

    assert {state: len(ids) for state, ids in states.items() if len(ids) < 2} == {}
    assert set(states) == {"queued", "running", "pass", "fail", "canceled", "error", "incomplete"}
    for state in ("queued", "running", "pass", "fail", "canceled", "error", "incomplete"):
        runs = [seeded.session.get(platform.Test, run_id) for run_id in states[state]]
        assert {run.platform.value for run in runs if run} == {"linux", "windows"}, state


def test_the_demo_has_runs_of_both_kinds_and_of_users(seeded: Seeded) -> None:
    kinds = Counter((row["test_type"], row["platform"]) for row in seeded.table("test"))
    owners = {row["user_id"] for row in seeded.table("test_fork")}
    sets = Counter((row["test_id"], row["regression_id"]) for row in seeded.table("customized_test"))

    assert min(kinds.values()) >= 8 and len(kinds) == 4
    assert len(owners) == 2
    assert max(sets.values()) == 2


def test_all_but_the_oldest_runs_have_a_creation_time(seeded: Seeded) -> None:
    runs = seeded.session.scalars(sa.select(platform.Test).order_by(platform.Test.id)).all()
    records = {row.test_id: row for row in seeded.session.scalars(sa.select(tables.RunCreation))}
    owners = {row["test_id"]: row["user_id"] for row in seeded.table("test_fork")}

    assert [run.id for run in runs if run.id not in records] == [run.id for run in runs[: len(OLD_PLANS)]]
    created = [records[run.id].created_at if run.id in records else run.progress[0].timestamp for run in runs]
    assert [moment.replace(tzinfo=None) for moment in created] == sorted(
        moment.replace(tzinfo=None) for moment in created
    )
    for run_id, record in records.items():
        assert record.user_id == owners.get(run_id)


@pytest.mark.parametrize(
    "message",
    [
        *("Canceled by admin", "Canceled by user", "PR closed", "Not ran - no code changes"),
        *("VM creation failed", "GCP operation timed out", "Build failed", "Artifact not found"),
        *("Artifact download timed out", "Duplicate Entries", "Could not complete test"),
        *("Runtime exceeded", "Invalid PR number"),
    ],
)
def test_runs_were_canceled_for_every_kind_of_reason(seeded: Seeded, message: str) -> None:
    rows = [row for row in seeded.table("test_progress") if row["status"] == "canceled"]
    assert any(row["message"].startswith(message) for row in rows)


# Files


def test_files_are_named_by_their_content(seeded: Seeded) -> None:
    for path, digest in seeded.files().items():
        folder, _, name = path.partition("/")
        if folder != "LogFiles" and "media" not in path:
            assert name.partition(".")[0] == digest, path


def test_two_files_of_the_database_are_missing(seeded: Seeded) -> None:
    present = {Path(path).stem for path in seeded.files() if path.startswith("TestResults")}
    baselines = {row["correct"] for row in seeded.table("regression_test_output")}
    variants = {row["file_hashes"] for row in seeded.table("regression_test_output_files")}
    results = seeded.table("test_result_file")
    used = {row["expected"] for row in results} | {row["got"] for row in results if row["got"]}

    assert len(baselines - present) == 1
    assert len(used - baselines - variants - present) == 1


def test_outputs_that_fail_do_differ(seeded: Seeded) -> None:
    contents = [path.read_bytes() for path in (seeded.repository / "TestResults").iterdir()]

    assert any(b"\r\n" in content for content in contents)
    assert any(_is_not_utf8(content) for content in contents)
    assert all(row["got"] != row["expected"] for row in seeded.table("test_result_file"))
    assert max(content.count(b"-->") for content in contents) >= 150


def _is_not_utf8(content: bytes) -> bool:
    return "\ufffd" in content.decode(errors="replace")


def test_samples_have_media_files_and_reports(seeded: Seeded) -> None:
    samples = seeded.session.scalars(sa.select(platform.Sample)).all()
    folder = seeded.repository / "TestFiles"
    conditions = Counter(_condition(folder / "media" / f"{sample.sha}.xml") for sample in samples)

    assert all((folder / sample.filename).is_file() for sample in samples)
    assert conditions == {"complete": len(samples) - 2, "broken": 1, "missing": 1}


def _condition(path: Path) -> str:
    if not path.exists():
        return "missing"
    try:
        ElementTree.parse(path)
    except ElementTree.ParseError:
        return "broken"
    return "complete"


def test_logs_look_like_those_of_workers(seeded: Seeded) -> None:
    runs = {run.id: run for run in seeded.session.scalars(sa.select(platform.Test))}
    logs = {int(path.stem): path.read_bytes() for path in seeded.repository.glob("LogFiles/*.txt")}

    for run_id, log in logs.items():
        windows = runs[run_id].platform is platform.TestPlatform.windows
        assert (b" \r\n" in log) is windows
        assert log.count(b"\n") == log.count(b"\r\n" if windows else b"\n")
        assert log.rstrip().splitlines()[-1].startswith(b"Sending log to")
    (echoed,) = [run_id for run_id, log in logs.items() if WORKER_URL in log]
    assert f"{echoed}/{runs[echoed].token}".encode() in logs[echoed]
    assert max(log.count(b"\n") for log in logs.values()) > 200
    assert any(b"[ERROR]" in log and b"[WARN] Aborting" in log for log in logs.values())
    finished = [run for run in runs.values() if run.finished]
    assert len(finished) / 2 < len(logs) < len(finished)


# Other people's data


def test_seeding_again_is_refused(seeded: Seeded, tmp_path: Path) -> None:
    before = {name: seeded.table(name) for name in METADATA.tables}

    assert demo.is_seeded(seeded.session)
    with pytest.raises(demo.DemoError, match="already in this database"):
        demo.seed(seeded.session, tmp_path, END)
    assert {name: seeded.table(name) for name in METADATA.tables} == before
    assert not list(tmp_path.iterdir())


def test_runs_of_others_are_left_alone(tmp_path: Path) -> None:
    with empty_session() as session:
        assert not demo.is_seeded(session)
        fork = platform.Fork("https://github.com/someone/ccextractor.git")
        session.add(fork)
        session.flush()
        linux, commit = platform.TestPlatform.linux, platform.TestType.commit
        session.add(platform.Test(linux, commit, fork.id, "master", "a" * 40))
        session.commit()

        assert demo.is_seeded(session)
        with pytest.raises(demo.DemoError, match="'test' already holds rows"):
            demo.seed(session, tmp_path, END)
