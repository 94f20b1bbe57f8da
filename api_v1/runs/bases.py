"""Which run another one is compared with, and the runs of master before it (docs/decisions.md, "Base of a comparison").

A run *of master* is one of the main repository's branch `master` that the platform started by itself: nobody asked for
it on the custom page (it has no TestFork row) or through the API (nobody is recorded as its author). Only such a run is
known to have the whole set of tests, and to be of a commit that was merged. A *complete* run completed, and has a
result of every test of its set.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from api_v1.database import sql
from api_v1.database.platform import DbSession, Fork, Test, TestFork, TestPlatform
from api_v1.database.tables import RunCreation
from api_v1.errors import NotFound, Unprocessable
from api_v1.runs.commits import stored_commit
from api_v1.runs.references import RunReference
from api_v1.runs.repositories import of_repository, repository_name
from api_v1.verdicts import stored
from api_v1.verdicts.rule import FAILING, FINISHED, RunStatus
from api_v1.verdicts.stored import Sources

#: The branch whose runs say what is known to fail.
MASTER = "master"

#: How many runs of master before the base are looked at for a failure that is known there.
OLDER = 20

#: Runs of one commit that are looked at; a commit has a few.
OF_ONE_COMMIT = 100

_RUN_ID = re.compile(r"[0-9]{1,10}", re.ASCII)
_COMMIT = re.compile(r"[0-9a-fA-F]{7,40}", re.ASCII)
_LARGEST_ID = 2**31 - 1


@dataclass(frozen=True)
class Run:
    """What a comparison needs of a run.

    Attributes:
        recorded: whether CustomizedTest rows say which tests it consists of.
        total: the number of tests of its set, of which `absent` have no result.
        by_platform: whether the platform started it by itself.
    """

    run_id: int
    platform: str
    fork_id: int | None
    repository: str | None
    branch: str
    branch_key: bytes
    commit: str
    of_pull_request: bool
    pull_request: int | None
    status: str
    recorded: bool
    total: int
    absent: int
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    by_platform: bool

    @property
    def commit_sha(self) -> str | None:
        """Its commit as the platform stores it; None where that is no commit."""
        return stored_commit(self.commit)

    @property
    def is_complete(self) -> bool:
        """Whether it completed and has a result of every test of its set."""
        return self.status in COMPLETE and not self.absent

    @property
    def is_finished(self) -> bool:
        """Whether it is over."""
        return self.status in FINISHED

    @property
    def reference(self) -> RunReference:
        """How an answer about something else names it."""
        return RunReference(self.run_id, self.commit, self.created_at)

    @property
    def begun_at(self) -> datetime:
        """When it began testing, as far as its rows tell."""
        return self.started_at or self.completed_at or self.created_at


#: The states of a run that completed with a result, which is complete if no test of its set lacks one.
COMPLETE = (RunStatus.PASS.value, RunStatus.FAIL.value)


@dataclass(frozen=True)
class Context:
    """What runs are compared in.

    Attributes:
        main_repository: owner/name of the repository that the platform tests.
        source: what to read the states of runs from.
        forks: the ids of fork rows by repository, in lower case: two where a URL is stored with and without `.git`.
    """

    main_repository: str
    source: Sources
    forks: Mapping[str, Sequence[int]]

    def forks_of(self, repository: str) -> Sequence[int]:
        """Return the ids of a repository's fork rows."""
        return self.forks.get(repository.lower(), [])

    @property
    def main_forks(self) -> Sequence[int]:
        """The ids of the main repository's fork rows."""
        return self.forks_of(self.main_repository)


@dataclass(frozen=True)
class Subject:
    """A run that is compared."""

    run: Run
    context: Context


@dataclass(frozen=True)
class Base:
    """What a run is compared with: a run, or None where there is none; and why it is that one, in a sentence."""

    run: Run | None
    reason: str


class MasterRun(NamedTuple):
    """A complete run of master, and of some tests those that failed in it, with the digest of what was observed."""

    run: RunReference
    digests: Mapping[int, str | None]


def context(session: DbSession, main_repository: str, *others: str) -> Context:
    """Return what runs are compared in.

    Args:
        main_repository: owner/name of the repository that the platform tests.
        others: the names of other repositories that are asked about.

    Raises:
        VerdictsRebuilding: the states of runs are not known at the moment.
    """
    source = stored.sources(session, failures=True)
    of_names = sa.or_(*(of_repository(name) for name in (main_repository, *others)))
    forks: defaultdict[str, list[int]] = defaultdict(list)
    for fork_id, url in session.execute(sa.select(Fork.id, Fork.github).where(of_names)):
        forks[(repository_name(url) or "").lower()].append(fork_id)
    return Context(main_repository, source, forks)


def subject(session: DbSession, run_id: int, *, main_repository: str) -> Subject:
    """Return a run, ready to be compared.

    Args:
        main_repository: owner/name of the repository that the platform tests.

    Raises:
        NotFound: there is no such run.
        VerdictsRebuilding: the states of runs are not known at the moment.
    """
    source = stored.sources(session, failures=True)
    row = session.execute(source.built(select_subject, main_repository), {"run_id": run_id}).first()
    if row is None:
        raise NotFound("run", run_id)
    return subject_of(row, source, main_repository)


def subject_of(row: Any, source: Sources, main_repository: str) -> Subject:
    """Return the run of a row of `select_subject`, ready to be compared."""
    forks = [int(fork) for fork in (row.main_forks or "").split(",") if fork]
    return Subject(run_of(row), Context(main_repository, source, {main_repository.lower(): forks}))


def select_subject(source: Sources, main_repository: str) -> sa.Select[Any]:
    """Select the run that the parameter `run_id` names, and the ids of the main repository's fork rows in one text."""
    main = sa.orm.aliased(Fork)
    forks = sa.select(sa.func.group_concat(main.id)).where(of_repository(main_repository, main)).scalar_subquery()
    rows = select_runs(source.state).where(source.state.test_id == sa.bindparam("run_id"))
    return rows.add_columns(forks.label("main_forks"))


_STATE = (
    *("test_id", "fork_id", "branch_key", "of_pull_request", "status", "recorded", "total", "absent"),
    *("created_at", "started_at", "completed_at"),
)


def select_runs(state: Any) -> sa.Select[Any]:
    """Select what `run_of` makes a run of; the platform's row of the run and of its fork are joined."""
    return (
        sa.select(
            *(state[name] for name in _STATE),
            *(Test.platform, Test.branch, Test.commit, Test.pr_nr, Fork.github),
            _started_by_platform(Test.id).label("by_platform"),
        )
        .join(Test, Test.id == state.test_id)
        .outerjoin(Fork, Fork.id == Test.fork_id)
    )


def _started_by_platform(test_id: Any) -> sa.ColumnElement[bool]:
    """Be true for a run that nobody asked for, on the custom page or through the API."""
    owned = sa.select(TestFork.id).where(TestFork.test_id == test_id).limit(1).correlate_except(TestFork)
    author = sa.select(RunCreation.user_id).where(RunCreation.test_id == test_id).correlate_except(RunCreation)
    return sa.and_(owned.scalar_subquery().is_(None), author.scalar_subquery().is_(None))


def run_of(row: Any) -> Run:
    """Return the run of a row of `select_runs`."""
    return Run(
        run_id=row.test_id,
        platform=row.platform.value,
        fork_id=row.fork_id,
        repository=repository_name(row.github),
        branch=row.branch,
        branch_key=row.branch_key,
        commit=row.commit,
        of_pull_request=bool(row.of_pull_request),
        pull_request=row.pr_nr or None if row.of_pull_request else None,
        status=row.status,
        recorded=bool(row.recorded),
        total=row.total,
        absent=row.absent,
        created_at=row.created_at,
        started_at=row.started_at,
        completed_at=row.completed_at,
        by_platform=bool(row.by_platform),
    )


# --- Master ---------------------------------------------------------------------------------------


def of_master(state: Any) -> list[sa.ColumnElement[bool]]:
    """Return the conditions for a run of master; the parameter `forks` holds the fork rows of the main repository.

    Args:
        state: columns of `RunState`, joined with the platform's row of the run.
    """
    return [
        state.branch_key == sql.group_key(MASTER),
        state.fork_id.in_(sa.bindparam("forks", expanding=True, type_=sa.Integer)),
        state.of_pull_request == sa.false(),
        _started_by_platform(state.test_id),
    ]


def is_complete(state: Any) -> list[sa.ColumnElement[bool]]:
    """Return the conditions for a complete run."""
    return [state.status.in_(COMPLETE), state.absent == 0]


def select_masters(source: Sources, *columns: Any, most: Any, platform: str = "platform") -> sa.Select[Any]:
    """Select complete runs of master on a platform, the newest first.

    Args:
        source: for completed runs.
        columns: what to select, of their states and the platform's rows.
        most: how many.
        platform: the name of the parameter that holds the platform.
    """
    state = source.state
    return (
        sa.select(*columns)
        .join(Test, Test.id == state.test_id)
        .where(*of_master(state), *is_complete(state), Test.platform == sa.bindparam(platform))
        .order_by(state.test_id.desc())
        .limit(most)
    )


def masters(
    session: DbSession, context: Context, *, platform: str, before: int, tests: Sequence[int], most: int = OLDER
) -> list[MasterRun]:
    """Return the newest complete runs of master on a platform, newest first, each with its failures of some tests.

    Args:
        before: the id that those of the runs are below.
        most: how many runs.
    """
    asked = {"forks": context.main_forks, "platform": getattr(TestPlatform, platform), "before": before, "most": most}
    runs: dict[int, RunReference] = {}
    digests: defaultdict[int, dict[int, str | None]] = defaultdict(dict)
    rows = session.execute(context.source.completed.built(_masters), {**asked, "tests": list(tests)})
    for run_id, commit, created_at, test, digest in rows:
        runs.setdefault(run_id, RunReference(run_id, commit, created_at))
        if test is not None:
            digests[run_id][test] = digest
    return [MasterRun(run, digests[run_id]) for run_id, run in runs.items()]


def _masters(source: Sources) -> sa.Select[Any]:
    """Select the newest complete runs of master of a platform before a run, each with its failures of some tests.

    Returns:
        Rows of test_id, commit, created_at, regression_id, observed; newest run first.
    """
    state, failure = source.state, source.own_failures
    newest = select_masters(
        source, state.test_id, Test.commit, state.created_at, most=sa.bindparam("most", type_=sa.Integer)
    )
    run = newest.where(state.test_id < sa.bindparam("before")).subquery("run").c
    tests = sa.bindparam("tests", expanding=True, type_=sa.Integer)
    return failure.join_to(
        sa.select(*run, failure["regression_id"], failure["observed"]).order_by(run.test_id.desc()),
        lambda of: sa.and_(of.test_id == run.test_id, of.regression_id.in_(tests), of.verdict.in_(FAILING)),
    )


# --- The choice -----------------------------------------------------------------------------------


def choose(session: DbSession, subject: Subject, asked: str = MASTER) -> Base:
    """Return the base of a run.

    Args:
        asked: `master`: the newest complete run of master on the same platform before it; `previous`: the newest
            complete run of the same fork, branch, pull request and platform before it; the id of a run; or a commit
            (7 to 40 hex digits): its newest complete run on the same platform, else its newest one.

    Raises:
        NotFound: no run has this id or this commit.
        Unprocessable: the run is the same one or of another platform; or several commits begin with these digits.
    """
    if asked in _KINDS:
        return _KINDS[asked](session, subject)
    found = _candidates(session, subject, asked)
    if not found:
        raise NotFound("base", asked)
    others = [run for run in found if run.run_id != subject.run.run_id]
    if not others:
        raise Unprocessable("A run cannot be compared with itself.", {"base": asked})
    run = others[0]
    if run.platform != subject.run.platform:
        details = {"base": asked, "platform": run.platform, "run_platform": subject.run.platform}
        raise Unprocessable("The base ran on another platform.", details)
    return Base(run, f"{_what_was_asked(run, asked)}{_shortcoming(run)}.")


def _of_master(session: DbSession, subject: Subject) -> Base:
    run, context = subject.run, subject.context
    asked = {"forks": context.main_forks, "platform": getattr(TestPlatform, run.platform), "before": run.run_id}
    row = session.execute(context.source.completed.built(_newest_master), asked).first()
    return of_newest_master(subject, None if row is None else run_of(row))


def of_newest_master(subject: Subject, run: Run | None) -> Base:
    """Return the newest complete run of master before a run as its base; None where there is none."""
    what = f"complete run of {subject.context.main_repository} {MASTER} on {subject.run.platform} before this run"
    return Base(run, f"There is no {what}." if run is None else f"The newest {what}.")


def _newest_master(source: Sources) -> sa.Select[Any]:
    return _newest(source, of_master(source.state))


def _previous(session: DbSession, subject: Subject) -> Base:
    run = subject.run
    query = subject.context.source.completed.built(_previous_run)
    asked = {
        "platform": getattr(TestPlatform, run.platform),
        "before": run.run_id,
        "pull_request": run.pull_request or 0,
    }
    asked |= {name: getattr(run, name) for name in ("fork_id", "branch_key", "of_pull_request")}
    row = session.execute(query, asked).first()
    of = f"pull request {run.pull_request}" if run.of_pull_request else f"branch {run.branch}"
    what = f"complete run of {run.repository} {of} on {run.platform} before this run"
    return Base(run_of(row), f"The newest {what}.") if row is not None else Base(None, f"There is no {what}.")


def _previous_run(source: Sources) -> sa.Select[Any]:
    state = source.state
    of_pull_request = sa.case((state.of_pull_request, Test.pr_nr), else_=0) == sa.bindparam("pull_request")
    same = [state[name] == sa.bindparam(name) for name in ("fork_id", "of_pull_request")]
    return _newest(source, [*same, state.branch_key == sql.binary_parameter("branch_key"), of_pull_request])


def _newest(source: Sources, conditions: Sequence[sa.ColumnElement[bool]]) -> sa.Select[Any]:
    """Select the newest complete run of a platform before another one, under some conditions."""
    state = source.state
    return (
        select_runs(state)
        .where(*conditions, *is_complete(state), Test.platform == sa.bindparam("platform"))
        .where(state.test_id < sa.bindparam("before"))
        .order_by(state.test_id.desc())
        .limit(1)
    )


_KINDS: Mapping[str, Callable[[DbSession, Subject], Base]] = {MASTER: _of_master, "previous": _previous}


def _candidates(session: DbSession, subject: Subject, asked: str) -> list[Run]:
    """Return the runs that an id or a commit names, the best one first.

    Digits alone name a run, if there is one of that id, else a commit.
    """
    run_id = int(asked) if _RUN_ID.fullmatch(asked) and int(asked) <= _LARGEST_ID else 0
    commit = asked.lower() if _COMMIT.fullmatch(asked) else ""
    query = subject.context.source.built(_named)
    rows = session.execute(query, {"run_id": run_id, "prefix": f"{commit or '-'}%", "shorter": _shorter(commit)}).all()
    runs = [run_of(row) for row in rows]
    if named := [run for run in runs if run.run_id == run_id]:
        return named
    found = [run for run in runs if commit and _is_of_commit(run, commit)]
    commits = {run.commit.lower() for run in found if len(run.commit) >= len(commit)}
    # One that is stored abbreviated may be the beginning of the other.
    if not all(max(commits, key=len).startswith(one) for one in commits):
        raise Unprocessable("Several commits begin with these digits.", {"base": asked})
    same = [run for run in found if run.platform == subject.run.platform and run.run_id != subject.run.run_id]
    return sorted(same or found, key=lambda run: (run.is_complete, run.by_platform, run.run_id), reverse=True)


def _shorter(commit: str) -> list[str]:
    """Return the abbreviations of a commit that the platform may have stored."""
    return [commit[:length] for length in range(7, len(commit))]


def _is_of_commit(run: Run, commit: str) -> bool:
    stored_commit = run.commit.lower()
    return stored_commit.startswith(commit) or (len(stored_commit) >= 7 and commit.startswith(stored_commit))


def _named(source: Sources) -> sa.Select[Any]:
    """Select the run that the parameter `run_id` names, and the newest ones of commits by `prefix` and `shorter`."""
    state = source.state
    of_commit = sa.or_(
        state.commit_key.like(sa.bindparam("prefix")),
        state.commit_key.in_(sa.bindparam("shorter", expanding=True, type_=sa.String)),
    )
    newest = sa.select(state.test_id).where(of_commit).order_by(state.test_id.desc()).limit(OF_ONE_COMMIT)
    by_id = sa.select(state.test_id).where(state.test_id == sa.bindparam("run_id"))
    chosen = sa.union(by_id, sa.select(newest.subquery())).subquery("named")
    return select_runs(state).join(chosen, chosen.c.test_id == state.test_id)


def _what_was_asked(run: Run, asked: str) -> str:
    if _RUN_ID.fullmatch(asked) and int(asked) == run.run_id:
        return "The run that was asked for"
    return f"The newest {'complete ' if run.is_complete else ''}run of commit {asked} on {run.platform}"


def _shortcoming(run: Run) -> str:
    """Say what keeps a run from being complete."""
    if run.is_complete:
        return ""
    if run.status == RunStatus.CANCELED:
        return "; it was canceled"
    if run.status in (RunStatus.QUEUED, RunStatus.RUNNING):
        return f"; it is {run.status}"
    return f"; it is incomplete: {run.absent} of {run.total} tests have no result"
