"""Is it the pull request's fault? An answer from all of its runs: a verdict, what it rests on, and the tests behind it.

The rule is docs/decisions.md, "Verdict of a pull request".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from api_v1.database.platform import DbSession
from api_v1.findings.flakiness import Flakiness
from api_v1.findings.pull_requests import evidence, sentences
from api_v1.findings.pull_requests.evidence import Commit, Evidence
from api_v1.findings.pull_requests.pictures import Failing, Flipped, Picture, first_failure
from api_v1.findings.pull_requests.verdicts import Cause
from api_v1.runs.references import RunReference

__all__ = ["PullRequest", "get"]

#: The failing tests, the tests that flipped, and the runs of a commit that are listed.
TESTS, FLIPPED, LISTED_RUNS = 8, 5, 5


@dataclass(frozen=True)
class RunState:
    """A run and its status."""

    run_id: int
    status: str


@dataclass(frozen=True)
class Platform:
    """What the head's runs on one platform say.

    Attributes:
        is_complete: whether each test has a result.
        counts: the number of tests, of those that passed, failed or have no result, of each cause, and of those that
            flipped.
        run_id: the run that the verdict rests on; None where there is none.
        runs: the newest runs, of `run_count`.
        base: the run of master that the newest one is compared with.
    """

    platform: str
    verdict: str
    is_final: bool
    because: str
    is_complete: bool
    counts: Mapping[str, int]
    run_id: int | None
    runs: Sequence[RunState]
    run_count: int
    base: RunReference | None


@dataclass(frozen=True)
class FirstFailure(RunReference):
    """The first run of the present streak of a test's failures, and whether that is one of master."""

    on_master: bool


@dataclass(frozen=True)
class FailingTest:
    """A test whose newest result at the head is a failure. Ids of runs are None where there is none to name."""

    platform: str
    regression_id: int
    sample_id: int | None
    command: str
    cause: str
    because: str
    status: str
    exit_code: int | None
    expected_exit_code: int | None
    change: str
    is_certain: bool
    run_id: int
    base_run_id: int | None
    older_master_run_id: int | None
    passed_run_id: int | None
    first_failure: FirstFailure
    flakiness: Flakiness


@dataclass(frozen=True)
class FlippedTest:
    """A test that both failed and passed at the head; the newest run of each."""

    platform: str
    regression_id: int
    failed_run_id: int
    passed_run_id: int


@dataclass(frozen=True)
class EarlierCommit:
    """What the runs of an earlier commit say; the newest of them, and all of them up to a limit."""

    run: RunReference
    verdict: str
    because: str
    run_ids: Sequence[int]


@dataclass(frozen=True)
class PullRequest:
    """A pull request.

    Attributes:
        head: its newest run, whose commit is its head.
        tests: the failing tests, the worst first, of `test_count`.
        flipped: tests that flipped, of `flipped_count`.
        earlier_commits: the newest first; `has_more_commits` tells whether there are others.
    """

    number: int
    repository: str
    verdict: str
    is_final: bool
    because: str
    head: RunReference
    platforms: Sequence[Platform]
    tests: Sequence[FailingTest]
    test_count: int
    flipped: Sequence[FlippedTest]
    flipped_count: int
    earlier_commits: Sequence[EarlierCommit]
    has_more_commits: bool


def get(
    session: DbSession,
    number: int,
    *,
    main_repository: str,
    machine_minutes: int,
    repository: str | None = None,
) -> PullRequest:
    """Return what the runs of a pull request say.

    Args:
        main_repository: owner/name of the repository that the platform tests.
        machine_minutes: for how long the platform lets a worker's machine live.
        repository: owner/name of the repository that the runs are of, by default the main one.

    Raises:
        NotFound: there are no such runs.
        VerdictsRebuilding: the states of runs are not known at the moment.
    """
    known = evidence.read(
        session,
        number,
        repository=repository or main_repository,
        main_repository=main_repository,
        machine_minutes=machine_minutes,
    )
    head, *earlier = known.commits
    failing = sorted((one for picture in head.pictures for one in picture.failing), key=_badness)
    flipped = [one for picture in head.pictures for one in picture.flipped]
    return PullRequest(
        number=number,
        repository=head.runs[0].repository or repository or main_repository,
        verdict=head.verdict,
        is_final=head.is_final,
        because=sentences.of_commit(head.verdict, head.pictures),
        head=head.runs[0].reference,
        platforms=[_platform(picture) for picture in head.pictures],
        tests=[_failing_test(known, one) for one in failing[:TESTS]],
        test_count=len(failing),
        flipped=[_flipped_test(one) for one in flipped[:FLIPPED]],
        flipped_count=len(flipped),
        earlier_commits=[_earlier_commit(commit) for commit in earlier],
        has_more_commits=known.has_more,
    )


_CAUSES = list(Cause)


def _badness(failing: Failing) -> tuple[int, bool, int, str]:
    """Return what to sort by for the worst first: by cause, and a wrong exit code before what else is wrong."""
    outcome = failing.outcome
    plain = outcome.exit_code == outcome.expected_exit_code
    return _CAUSES.index(failing.cause), plain, failing.regression_id, failing.platform


def _platform(picture: Picture) -> Platform:
    failed, absent = len(picture.failing), len(picture.without_result)
    counts = {"total": picture.total, "passed": picture.total - failed - absent, "failed": failed}
    counts |= {"without_result": absent, "flipped": len(picture.flipped)}
    counts |= {cause.value: picture.causes[cause] for cause in Cause}
    return Platform(
        platform=picture.platform,
        verdict=picture.verdict,
        is_final=picture.is_final,
        because=sentences.of_picture(picture),
        is_complete=picture.gap is None,
        counts=counts,
        run_id=None if picture.decisive is None else picture.decisive.run_id,
        runs=[RunState(one.run.run_id, one.run.status) for one in picture.attempts[:LISTED_RUNS]],
        run_count=len(picture.attempts),
        base=None if picture.base is None else picture.base.reference,
    )


def _failing_test(known: Evidence, failing: Failing) -> FailingTest:
    test, definition = failing.regression_id, known.definitions.get(failing.regression_id)
    flakiness = known.scores.get((failing.platform, test), Flakiness())
    older, base = failing.older_master, failing.attempt.base
    first = first_failure(failing, known.attempts(failing.platform))
    return FailingTest(
        platform=failing.platform,
        regression_id=test,
        sample_id=None if definition is None else definition.sample_id,
        command="" if definition is None else definition.command,
        cause=failing.cause,
        because=sentences.of_failing(failing, flakiness),
        status=failing.outcome.verdict,
        exit_code=failing.outcome.exit_code,
        expected_exit_code=failing.outcome.expected_exit_code,
        change=failing.change,
        is_certain=failing.is_certain,
        run_id=failing.attempt.run.run_id,
        base_run_id=None if base is None else base.run_id,
        older_master_run_id=None if older is None else older.run_id,
        passed_run_id=failing.passed_in,
        first_failure=FirstFailure(first.run_id, first.commit, first.created_at, failing.began_on_master),
        flakiness=flakiness,
    )


def _flipped_test(flipped: Flipped) -> FlippedTest:
    return FlippedTest(flipped.platform, flipped.regression_id, flipped.failed_in.run_id, flipped.passed_in.run_id)


def _earlier_commit(commit: Commit) -> EarlierCommit:
    return EarlierCommit(
        run=commit.runs[0].reference,
        verdict=commit.verdict,
        because=sentences.of_commit(commit.verdict, commit.pictures),
        run_ids=[run.run_id for run in commit.runs[:LISTED_RUNS]],
    )
