"""Create, cancel and retry runs. Each is one transaction with its audit record; the caller commits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from api_v1.access.redaction import Redactor
from api_v1.acting import audit_log
from api_v1.acting.audit_log import Actor
from api_v1.database import sql
from api_v1.database.platform import (
    CustomizedTest,
    DbSession,
    Fork,
    RegressionTest,
    Test,
    TestFork,
    TestPlatform,
    TestProgress,
    TestStatus,
    TestType,
)
from api_v1.database.tables import RunCreation, now
from api_v1.errors import NotFound, Unprocessable
from api_v1.runs import environments, labels, results
from api_v1.runs.branches import PULL_REQUEST_BRANCH
from api_v1.runs.repositories import GITHUB
from api_v1.verdicts import run_sets
from api_v1.verdicts.rule import FAILING, Phase, Verdict

DEFAULT_BRANCH = "master"

#: Maximum number of ids that a message or a detail names.
NAMED = 50

#: The statuses of the tests that a retry of what failed takes.
REPEATED = (*FAILING, Verdict.SKIPPED.value)

#: Told with every cancellation: the platform's own page does not stop the machine either (docs/platform.md,
#: "Cancel and restart").
NOT_STOPPED = "The worker's machine is not stopped, and its late reports may still arrive."


@dataclass(frozen=True)
class ActionResult:
    """The result of an action on a run (contract schema `RunActionResult`)."""

    run_id: int
    action: str
    status: str
    message: str
    new_run_id: int | None = None


def create(
    session: DbSession,
    actor: Actor,
    *,
    repository: str,
    commit_sha: str,
    platform: str,
    branch: str | None = None,
    pull_request: int | None = None,
    regression_test_ids: Sequence[int] | None = None,
    category: str | None = None,
    tag: str | None = None,
    environment_id: str | None = None,
) -> int:
    """Queue a new run; return its id.

    The set of its tests is always recorded: without it the platform's worker would also run the inactive tests.

    Args:
        regression_test_ids, category, tag: choose the tests; at most one is given, and without any all active ones run.

    Raises:
        Unprocessable: a test is unknown or inactive, there is none, no active one has the category or tag, or the
            environment does not fit.
    """
    _check_environment(environment_id, platform)
    label = {kind: name for kind, name in (("category", category), ("tag", tag)) if name is not None}
    tests = _labelled_tests(session, **label) if label else _chosen_tests(session, regression_test_ids)
    kind = TestType.commit if pull_request is None else TestType.pull_request
    run = Test(
        getattr(TestPlatform, platform),
        kind,
        _fork(session, repository),
        branch or (DEFAULT_BRANCH if pull_request is None else PULL_REQUEST_BRANCH),
        commit_sha,
        pull_request or 0,
    )
    _insert(session, run, tests, actor)
    after = {
        "repository": repository,
        "branch": run.branch,
        "commit_sha": commit_sha,
        "platform": platform,
        "pull_request": pull_request,
        "regression_tests": len(tests),
        **label,
    }
    audit_log.record(session, actor, "run.create", f"run:{run.id}", after=after)
    return int(run.id)


def _check_environment(environment_id: str | None, platform: str) -> None:
    if environment_id is None:
        return
    of_platform = {environments.identity(name): name for name in environments.PLATFORMS}
    details = {"environment_id": environment_id, "platform": platform, "allowed_ids": [environments.identity(platform)]}
    if environment_id not in of_platform:
        raise Unprocessable(f"There is no such environment; there are {' and '.join(of_platform)}.", details)
    if of_platform[environment_id] != platform:
        raise Unprocessable(
            f"The environment is of another platform; that of {platform} is {environments.identity(platform)}.", details
        )


def _chosen_tests(session: DbSession, asked: Sequence[int] | None) -> list[int]:
    """Return the requested tests, which must all be active, or all active tests."""
    known = dict(session.execute(sa.select(RegressionTest.id, RegressionTest.active)).tuples().all())
    active = {test for test, is_active in known.items() if is_active}
    wrong = {
        "unknown": [test for test in asked or () if test not in known],
        "inactive": [test for test in asked or () if test in known and test not in active],
    }
    if any(wrong.values()):
        kinds = " and ".join(kind for kind, tests in wrong.items() if tests)
        details = {f"{kind}_ids": tests for kind, tests in wrong.items() if tests}
        raise Unprocessable(f"regression_test_ids contains {kinds} test IDs.", details)
    chosen = sorted(active if asked is None else asked)
    if not chosen:
        raise Unprocessable("There is no regression test to run.")
    return chosen


def _labelled_tests(session: DbSession, *, category: str | None = None, tag: str | None = None) -> Sequence[int]:
    """Return the active tests of one category or tag."""
    kind, name, names = ("tag", tag, "tags") if category is None else ("category", category, "categories")
    chosen = labels.active_tests(session, kind, str(name))
    if not chosen:
        allowed = labels.of_active_tests(session, kind, NAMED)
        raise Unprocessable(
            f"No active regression test has the {kind} {name}.", {kind: name, f"allowed_{names}": allowed}
        )
    return chosen


def _fork(session: DbSession, repository: str) -> int:
    """Return the id of the fork of this name, which is added if there is none; GitHub's names ignore case."""
    url = f"{GITHUB}{repository}.git"
    found = sa.select(Fork.id).where(sql.equals_ignoring_case(Fork.github, url)).order_by(Fork.id).limit(1)
    known = session.scalar(found)
    if known is not None:
        return int(known)
    try:
        with session.begin_nested():
            fork = Fork(url)
            session.add(fork)
            session.flush()
            return int(fork.id)
    except IntegrityError:
        # Another transaction added it meanwhile. A locking read sees it, the transaction's snapshot does not. Its lock
        # is the one that the refused insert already holds, so that many requests at once do not come to a deadlock.
        return int(session.scalars(found.with_for_update(read=True)).one())


def _insert(session: DbSession, run: Any, tests: Iterable[int], actor: Actor, retry_of: int | None = None) -> None:
    """Insert a run with its set of tests, and with the actor as its author and owner."""
    session.add(run)
    session.flush()
    session.add_all(CustomizedTest(run.id, test) for test in tests)
    if actor.user_id is not None:
        session.add(TestFork(actor.user_id, run.id))
    # Recorded with its author here, or the observer would record it without. SQLite reuses the ids of deleted runs.
    insert = sa.insert(RunCreation).prefix_with("OR REPLACE", dialect="sqlite")
    session.execute(insert.values(test_id=run.id, created_at=now(), user_id=actor.user_id, retry_of=retry_of))
    session.flush()


def cancel(session: DbSession, actor: Actor, run_id: int, reason: str | None = None) -> ActionResult:
    """Cancel a run; a finished run stays as it is.

    Raises:
        NotFound: there is no such run.
    """
    # The lock is that of the run's row: only one of several requests at once finds the run unfinished. Nothing is read
    # before it is held, so that the snapshot has the latest progress. To lock the progress instead would also lock the
    # gap in which workers insert theirs.
    if session.scalar(sa.select(Test.id).where(Test.id == run_id).with_for_update()) is None:
        raise NotFound("run", run_id)
    last = session.scalar(
        sa.select(TestProgress.status).where(TestProgress.test_id == run_id).order_by(TestProgress.id.desc()).limit(1)
    )
    if last in (TestStatus.completed, TestStatus.canceled):
        return ActionResult(run_id, "cancel", "no_op", f"The run is {last.value} already; nothing was done.")
    message = "Canceled by admin" if actor.is_admin else "Canceled by user"
    if reason:
        # The platform shows it to everybody.
        message += f": {Redactor().redact(reason)}"
    session.add(TestProgress(run_id, TestStatus.canceled, message, now()))
    before = {"progress": None if last is None else last.value}
    audit_log.record(
        session, actor, "run.cancel", f"run:{run_id}", reason=reason, before=before, after={"progress": "canceled"}
    )
    return ActionResult(run_id, "cancel", "accepted", f"The run was canceled. {NOT_STOPPED}")


def retry(
    session: DbSession, actor: Actor, run_id: int, *, failed_only: bool = False, reason: str | None = None
) -> ActionResult:
    """Queue a new run with the configuration of another, whose own rows are not touched.

    Args:
        failed_only: take only the tests that are fail, missing_output or skipped.

    Raises:
        NotFound: there is no such run.
        Unprocessable: failed_only of an unfinished run or one without such tests, or no test is left.
    """
    phase = results.header(session, run_id).phase
    if failed_only and not phase.finished:
        raise Unprocessable("The run is not finished; what failed in it is not known yet.", {"run_id": run_id})
    active = set(session.scalars(sa.select(RegressionTest.id).where(RegressionTest.active.is_(True))))
    statuses = _statuses(session, run_id, phase, active)
    wanted = [test for test, status in statuses.items() if not failed_only or status in REPEATED]
    if failed_only and not wanted:
        raise Unprocessable("No test of the run failed or was skipped.", {"run_id": run_id})
    tests = sorted(test for test in wanted if test in active)
    dropped = sorted(test for test in wanted if test not in active)
    if not tests:
        raise Unprocessable("No active regression test of the run is left.", {"inactive_ids": dropped})
    source = session.execute(
        sa.select(Test.platform, Test.test_type, Test.fork_id, Test.branch, Test.commit, Test.pr_nr).where(
            Test.id == run_id
        )
    ).one()
    run = Test(*source)
    _insert(session, run, tests, actor, retry_of=run_id)
    after = {"new_run_id": run.id, "failed_only": failed_only, "regression_tests": len(tests)}
    audit_log.record(session, actor, "run.retry", f"run:{run_id}", reason=reason, after=after)
    return ActionResult(run_id, "retry", "accepted", _retried(run.id, tests, dropped), int(run.id))


def _statuses(session: DbSession, run_id: int, phase: Phase, active: Iterable[int]) -> dict[int, str]:
    """Return the tests that a retry of a run repeats, each with its status.

    They are the run's set. A run that ended before its set was written down, and so without executing it, had all
    active tests to execute.
    """
    members = session.execute(results.members(phase), {"run_id": run_id}).all()
    statuses: dict[int, str] = {row.regression_id: row.status for row in members}
    ended_early = phase is Phase.CANCELED or not members
    if ended_early and not run_sets.has_recorded_set(session, run_id):
        statuses = dict.fromkeys(active, Verdict.SKIPPED.value) | statuses
    return statuses


def _retried(run_id: int, tests: Sequence[int], dropped: Sequence[int]) -> str:
    text = f"Run {run_id} was queued with {len(tests)} regression tests."
    if dropped:
        names = ", ".join(map(str, dropped[:NAMED])) + (" and more" if len(dropped) > NAMED else "")
        text += f" Left out because they are inactive now: {names}."
    return text
