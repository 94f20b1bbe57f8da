"""The runs of a pull request, read from the database: in a constant number of statements, however many there are."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from api_v1.access.redaction import Redactor
from api_v1.database import sql
from api_v1.database.platform import DbSession, Fork, RegressionTest, Test, TestProgress
from api_v1.errors import NotFound
from api_v1.findings.flakiness import OwnCommits, Scores, flakiness
from api_v1.findings.pull_requests import verdicts
from api_v1.findings.pull_requests.masters import NOTHING, Found, Masters, before_each
from api_v1.findings.pull_requests.pictures import Attempt, Picture
from api_v1.findings.pull_requests.verdicts import Verdict
from api_v1.runs import bases, outcomes
from api_v1.runs.bases import Base, Context, Run, Subject
from api_v1.runs.commits import FULL, stored_commit
from api_v1.runs.comparison import Comparison, failed_alike
from api_v1.runs.environments import PLATFORMS
from api_v1.runs.outcomes import Narrowing, Outcomes
from api_v1.runs.repositories import GITHUB, of_repository
from api_v1.runs.runs import is_stalled
from api_v1.verdicts import stored
from api_v1.verdicts.rule import RunStatus
from api_v1.verdicts.stored import Sources

#: The newest runs of a pull request that are looked at, and those of its head and of each earlier commit on a platform.
RUNS, HEAD_RUNS, EARLIER_RUNS = 200, 20, 5

#: The earlier commits that are looked at.
EARLIER = 5


@dataclass(frozen=True)
class Commit:
    """A commit of the pull request: its runs, the newest first, and what they say on each platform."""

    runs: Sequence[Run]
    pictures: Sequence[Picture]

    @property
    def verdict(self) -> Verdict:
        """What its runs say on all platforms together."""
        return verdicts.first(picture.verdict for picture in self.pictures)

    @property
    def is_final(self) -> bool:
        """Whether no result is still to come."""
        return all(picture.is_final for picture in self.pictures)


@dataclass(frozen=True)
class Definition:
    """What a regression test is."""

    sample_id: int | None
    command: str
    is_active: bool


@dataclass(frozen=True)
class Evidence:
    """What is known of a pull request.

    Attributes:
        commits: the head first, then the newest earlier ones.
        has_more: whether there are more commits.
        definitions: what failing tests are; one that was deleted since is absent.
        scores: how often they flip.
    """

    commits: Sequence[Commit]
    has_more: bool
    definitions: Mapping[int, Definition]
    scores: Scores

    def attempts(self, platform: str) -> list[Attempt]:
        """Return the runs on a platform, the newest first."""
        found = (attempt for commit in self.commits for one in commit.pictures for attempt in one.attempts)
        of_platform = (attempt for attempt in found if attempt.run.platform == platform)
        return sorted(of_platform, key=lambda attempt: attempt.run.run_id, reverse=True)


def read(session: DbSession, number: int, *, repository: str, main_repository: str, machine_minutes: int) -> Evidence:
    """Return what is known of a pull request.

    Args:
        repository: owner/name of the repository that its runs are of.
        main_repository: the one that the platform tests.
        machine_minutes: for how long the platform lets a worker's machine live.

    Raises:
        NotFound: there are no such runs.
        VerdictsRebuilding: the states of runs are not known at the moment.
    """
    source = stored.sources(session, failures=True)
    asked = {"number": number, "url": f"{GITHUB}{repository}.git", "url_without_end": f"{GITHUB}{repository}"}
    rows = session.execute(source.built(_runs, main_repository), asked).all()
    if not rows:
        raise NotFound("pull_request", number)
    forks = [int(fork) for fork in (rows[0].main_forks or "").split(",") if fork]
    context = Context(main_repository, source, {main_repository.lower(): forks})
    chosen = _commits([bases.run_of(row) for row in rows])
    attempts = _attempts(session, context, chosen, {row.test_id: row for row in rows}, machine_minutes)
    return _evidence(session, context, number, chosen, attempts)


def _runs(source: Sources, main_repository: str) -> sa.Select[Any]:
    """Select the newest runs of the pull request `number` of the repository that `url` and `url_without_end` name."""
    state, main = source.state, sa.orm.aliased(Fork)
    forks = sa.select(sa.func.group_concat(main.id)).where(of_repository(main_repository, main)).scalar_subquery()
    urls = (sql.equals_ignoring_case(Fork.github, sql.parameter(name)) for name in ("url", "url_without_end"))
    return (
        bases.select_runs(state)
        .outerjoin(TestProgress, TestProgress.id == state.last_progress_id)
        .add_columns(Test.token, TestProgress.message, TestProgress.timestamp, forks.label("main_forks"))
        .where(state.pull_request == sa.bindparam("number"), sa.or_(*urls))
        .order_by(state.test_id.desc())
        .limit(RUNS)
    )


# --- Commits --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Chosen:
    """The runs of each commit that are looked at, both the newest first.

    Attributes:
        cut: of which commits (their index) on which platforms there may be others.
    """

    commits: Sequence[Sequence[Run]]
    cut: Collection[tuple[int, str]]
    has_more: bool

    @property
    def runs(self) -> list[Run]:
        """All of them."""
        return [run for runs in self.commits for run in runs]

    @functools.cached_property
    def groups(self) -> Mapping[tuple[int, str], list[Run]]:
        """The runs of each commit (its index) on each platform."""
        keys = ((index, platform) for index in range(len(self.commits)) for platform in PLATFORMS)
        return {key: [run for run in self.commits[key[0]] if run.platform == key[1]] for key in keys}


def _commits(runs: Sequence[Run]) -> _Chosen:
    """Return the runs of the newest commits, the head first.

    Args:
        runs: the newest first.
    """
    by_commit: defaultdict[str, list[Run]] = defaultdict(list)
    full = {run.commit.lower(): run.commit for run in runs if len(run.commit) == FULL}
    for run in runs:
        commit = _in_full(run.commit, full)
        by_commit[commit.lower()].append(replace(run, commit=commit))
    commits = sorted(by_commit.values(), key=_place, reverse=True)
    looked_at = commits[: 1 + EARLIER]
    kept: list[list[Run]] = []
    cut: set[tuple[int, str]] = set()
    for index, of_commit in enumerate(looked_at):
        limit = EARLIER_RUNS if index else HEAD_RUNS
        of_platform = {platform: [run for run in of_commit if run.platform == platform] for platform in PLATFORMS}
        # Of a commit at the end of what was read there may be more.
        is_last = len(runs) == RUNS and of_commit[-1].run_id == runs[-1].run_id
        cut |= {(index, platform) for platform, found in of_platform.items() if len(found) > limit or is_last}
        chosen = {run.run_id for found in of_platform.values() for run in found[:limit]}
        kept.append([run for run in of_commit if run.run_id in chosen])
    return _Chosen(kept, cut, len(commits) > len(looked_at) or len(runs) == RUNS)


def _place(of_commit: Sequence[Run]) -> int:
    """Return the run that gives a commit its place: the newest that the platform started, else the first.

    Who asks for a run of an earlier commit, or retries one, does not make it the head again.
    """
    return max((run.run_id for run in of_commit if run.by_platform), default=of_commit[-1].run_id)


def _in_full(commit: str, full: Mapping[str, str]) -> str:
    """Return the full commit that an abbreviation stands for, if there is just one.

    Args:
        full: the full commits as they are stored, by what they are in lower case.
    """
    found = [stored for key, stored in full.items() if stored_commit(commit) and key.startswith(commit.lower())]
    return found[0] if len(found) == 1 else commit


# --- Runs -----------------------------------------------------------------------------------------


def _attempts(
    session: DbSession, context: Context, chosen: _Chosen, rows: Mapping[int, Any], machine_minutes: int
) -> dict[int, Attempt]:
    """Return the runs that are looked at, each compared with master, by id.

    Args:
        rows: what was read of each run.
    """
    runs = chosen.runs
    with_results = [run for run in runs if run.total > run.absent]
    on_master = before_each(session, context, with_results) if with_results else Found()
    base_of = {run_id: found.base for run_id, found in on_master.of_run.items() if found.base is not None}
    compared = {run.run_id: run for run in (*runs, *base_of.values())}
    found = outcomes.of_runs(
        session,
        context,
        list(compared.values()),
        machine_minutes=machine_minutes,
        narrowing=_narrowing(chosen, base_of, on_master.failing),
        masters=on_master.runs,
    )
    return {
        run.run_id: Attempt(
            _compared(context, run, on_master.of_run.get(run.run_id, NOTHING), found),
            on_master.of_run.get(run.run_id, NOTHING),
            run.status == RunStatus.RUNNING and is_stalled(rows[run.run_id].timestamp, machine_minutes),
            _cancellation(run, rows[run.run_id]),
        )
        for run in runs
    }


def _narrowing(chosen: _Chosen, base_of: Mapping[int, Run], failing: Mapping[int, Iterable[int]]) -> Narrowing:
    """Return what of the runs and their bases has to be read.

    Where the platform started the only run of a commit, its own numbers tell whether it is complete, and only the tests
    that fail have to be compared.

    Args:
        failing: the tests that fail in each run.
    """
    alone = {runs[0].run_id for runs in chosen.groups.values() if len(runs) == 1 and runs[0].by_platform}
    whole = {base.run_id for run_id, base in base_of.items() if run_id not in alone}
    narrowed = alone | ({base.run_id for base in base_of.values()} - whole)
    return Narrowing(narrowed, {test for run in chosen.runs for test in failing.get(run.run_id, ())})


def _compared(context: Context, run: Run, masters: Masters, found: Mapping[int, Outcomes]) -> Comparison:
    there = {} if masters.base is None else found[masters.base.run_id]
    whole = Comparison(Subject(run, context), Base(masters.base, ""), found[run.run_id], there)
    whole.older = failed_alike(whole, masters.older)
    return whole


def _cancellation(run: Run, row: Any) -> str | None:
    """Return the first line of the message with which a run was canceled."""
    if run.status != RunStatus.CANCELED:
        return None
    lines = Redactor(known=[row.token]).credentials((row.message or "").strip()).splitlines()
    return lines[0] if lines else ""


# --- Tests ----------------------------------------------------------------------------------------


def _evidence(
    session: DbSession, context: Context, number: int, chosen: _Chosen, attempts: Mapping[int, Attempt]
) -> Evidence:
    groups = {key: [attempts[run.run_id] for run in runs] for key, runs in chosen.groups.items()}
    failing = sorted({test for one in attempts.values() for test, found in one.results.items() if not found.passed})
    besides = {key: _besides(group) for key, group in groups.items()}
    definitions = _definitions(session, {*failing, *(test for tests in besides.values() for test in tests or ())})
    own = OwnCommits(number, sorted({run.commit for run in chosen.runs}))
    scores = flakiness(session, context, failing, PLATFORMS, own) if failing else {}
    flaky = {platform: {test for test in failing if _is_flaky(scores, platform, test)} for platform in PLATFORMS}

    def picture(index: int, platform: str) -> Picture:
        tests = besides[index, platform]
        others = [one for key, group in groups.items() if key[1] == platform and key[0] != index for one in group]
        if tests is not None:
            tests = [test for test in tests if test in definitions and definitions[test].is_active]
        is_cut = (index, platform) in chosen.cut
        return Picture(platform, groups[index, platform], flaky[platform], tests, is_cut, others)

    commits = [
        Commit(runs, [picture(index, platform) for platform in PLATFORMS]) for index, runs in enumerate(chosen.commits)
    ]
    return Evidence(commits, chosen.has_more, definitions, scores)


def _is_flaky(scores: Scores, platform: str, test: int) -> bool:
    return verdicts.is_known_to_flip(scores[platform, test])


def _besides(group: Sequence[Attempt]) -> Collection[int] | None:
    """Return the tests of master that belong to a picture of which somebody chose the tests; None if there is no base.

    The sets of runs that the platform started by itself are all that belongs.
    """
    if not group or any(attempt.run.by_platform for attempt in group):
        return ()
    return next((one.comparison.there.keys() for one in group if one.base is not None), None)


def _definitions(session: DbSession, tests: Collection[int]) -> dict[int, Definition]:
    if not tests:
        return {}
    rows = session.execute(_DEFINITIONS, {"tests": sorted(tests)})
    return {row.id: Definition(row.sample_id, row.command, bool(row.active)) for row in rows}


_DEFINITIONS = sa.select(
    RegressionTest.id, RegressionTest.sample_id, RegressionTest.command, RegressionTest.active
).where(RegressionTest.id.in_(sa.bindparam("tests", expanding=True, type_=sa.Integer)))
