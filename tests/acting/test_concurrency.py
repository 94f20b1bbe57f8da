"""Concurrent writes to a real server of several processes and threads on MariaDB."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from api_v1.database import platform
from api_v1.database.platform import Base, RegressionTestOutput, TestStatus
from api_v1.database.tables import AuditRecord, BaselineApproval, BaselineChange, IdempotentRequest, RunCreation
from tests.support import factories, servers
from tests.support.fixtures import platform_config
from tests.support.reviews import MismatchedOutput, mismatched_output, store
from tests.support.thorough import sampled, thorough
from tests.support.writing import BODY, FINISHED

MANY = 20
MORE = 50
REVIEW = {"decision": "approve", "reason": "I compared both files."}


class ServedApi(NamedTuple):
    """The server, and its database."""

    server: servers.Gunicorn
    engine: sa.Engine
    folder: Path

    @contextmanager
    def rows(self) -> Iterator[Session]:
        """A session that is committed at the end."""
        with Session(self.engine) as session:
            yield session
            session.commit()

    def bearers(self, number: int) -> list[dict[str, str]]:
        """Tokens of as many admins."""
        with self.rows() as session:
            return [factories.bearer(session) for _ in range(number)]

    def count(self, model: Any, *conditions: Any) -> int:
        """Return the number of rows."""
        with self.rows() as session:
            return session.scalar(sa.select(sa.func.count()).select_from(model).where(*conditions)) or 0

    def mismatched_outputs(self, number: int = 1, sample: Any = None, **output: Any) -> list[MismatchedOutput]:
        """Mismatched outputs of one sample."""
        with self.rows() as session:
            sample = factories.sample(session)
            return [mismatched_output(session, self.folder, sample, **output) for _ in range(number)]


class Post(NamedTuple):
    """A request to send."""

    path: str
    body: Any
    headers: dict[str, str]


@pytest.fixture(scope="module")
def served(mariadb_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedApi]:
    with serving("acting", tmp_path_factory.mktemp("acting")) as api:
        yield api


@contextmanager
def serving(name: str, folder: Path, **more: str) -> Iterator[ServedApi]:
    """Serve the API with five tests by several processes and threads.

    Args:
        name: of the schema.
        more: further settings.
    """
    with servers.mariadb_schema(name) as uri:
        engine = sa.create_engine(uri)
        Base.metadata.create_all(engine)
        with Session(engine) as session:
            for _ in range(5):
                factories.regression_test(session)
            session.commit()
        config = platform_config(uri, folder, **more)
        with servers.gunicorn(folder, config, "--workers", "4", "--threads", "5", "--preload") as server:
            yield ServedApi(server, engine, folder)
        engine.dispose()


def at_once(served: ServedApi, posts: Sequence[Post]) -> list[servers.Answer]:
    """Send all requests at the same time."""
    with ThreadPoolExecutor(len(posts)) as pool:
        return list(pool.map(lambda post: served.server.request("POST", post.path, post.headers, post.body), posts))


def statuses(answers: Sequence[servers.Answer]) -> Counter[int]:
    return Counter(answer.status for answer in answers)


@pytest.mark.parametrize("life", [(), ("preparation", "testing")])
@pytest.mark.parametrize(("callers", "each"), [(1, MANY), (MANY, 1), pytest.param(MORE, 1, marks=thorough)])
def test_one_of_many_cancellations_cancels(served: ServedApi, life: tuple[str, ...], callers: int, each: int) -> None:
    with served.rows() as session:
        run_id = factories.run(session, *life).id
    bearers = served.bearers(callers) * each

    answers = at_once(served, [Post(f"/runs/{run_id}/cancel", None, bearer) for bearer in bearers])

    assert statuses(answers) == {202: len(bearers)}
    assert Counter(answer.json()["status"] for answer in answers) == {"accepted": 1, "no_op": len(bearers) - 1}
    of_run, canceled = platform.TestProgress.test_id == run_id, platform.TestProgress.status == TestStatus.canceled
    assert served.count(platform.TestProgress, of_run, canceled) == 1
    assert served.count(AuditRecord, AuditRecord.target == f"run:{run_id}") == 1


def test_cancellations_of_different_runs_do_not_block_each_other(served: ServedApi) -> None:
    for keyed in (False, True):
        with served.rows() as session:
            runs = [factories.run(session).id for _ in range(MANY)]
        key = {"Idempotency-Key": "one"} if keyed else {}
        bearers = served.bearers(MANY)
        posts = [Post(f"/runs/{run}/cancel", None, who | key) for run, who in zip(runs, bearers, strict=True)]
        answers = at_once(served, posts)
        assert [answer.json()["status"] for answer in answers] == ["accepted"] * MANY


@pytest.mark.parametrize("action", ["create", "retry", "cancel", "approve"])
@pytest.mark.parametrize("requests", sampled([MANY, MORE], 2))
def test_many_requests_with_one_key_are_executed_once(served: ServedApi, action: str, requests: int) -> None:
    (case,) = served.mismatched_outputs()
    with served.rows() as session:
        queued = factories.run(session).id
    path, body = {
        "create": ("/runs", BODY),
        "retry": (f"/runs/{case.run_id}/retry", {}),
        "cancel": (f"/runs/{queued}/cancel", {}),
        "approve": (case.path, case.body()),
    }[action]
    (bearer,) = served.bearers(1)
    records, runs = served.count(AuditRecord), served.count(platform.Test)

    answers = at_once(served, [Post(path, body, bearer | {"Idempotency-Key": "one"})] * requests)

    assert {(answer.status, answer.body) for answer in answers} == {(202, answers[0].body)}
    replayed = Counter(answer.headers["Idempotency-Replayed"] for answer in answers)
    assert replayed == {None: 1, "true": requests - 1}
    assert served.count(AuditRecord) == records + 1
    assert served.count(platform.Test) == runs + (action in ("create", "retry"))


def test_requests_with_different_keys_do_not_block_each_other(served: ServedApi) -> None:
    (one,) = served.bearers(1)
    callers = [one] * (MANY // 2) + served.bearers(MANY // 2)
    posts = [Post("/runs", BODY, who | {"Idempotency-Key": f"key{n}"}) for n, who in enumerate(callers)]
    answers = at_once(served, posts)
    assert statuses(answers) == {202: MANY}
    assert len({answer.json()["run_id"] for answer in answers}) == MANY


def test_expired_keys_can_be_reused_concurrently(served: ServedApi) -> None:
    bearers = served.bearers(MANY // 2)
    posts = [Post("/runs", BODY, who | {"Idempotency-Key": "old"}) for who in bearers]
    first = at_once(served, posts)
    with served.rows() as session:
        session.execute(sa.update(IdempotentRequest).values(created_at=factories.START))
    second = at_once(served, posts + posts)
    assert statuses([*first, *second]) == {202: 3 * len(bearers)}
    runs = {answer.json()["run_id"] for answer in second}
    assert len(runs) == len(bearers) and not runs & {answer.json()["run_id"] for answer in first}


def test_a_new_fork_is_created_once(served: ServedApi) -> None:
    bearers = served.bearers(MANY)
    for number in range(2):
        name = f"somebody/fork{number}"
        spelled = (name, name.upper())
        posts = [Post("/runs", BODY | {"repository": spelled[n % 2]}, who) for n, who in enumerate(bearers)]
        answers = at_once(served, posts)
        assert statuses(answers) == {202: MANY}
        assert len({answer.json()["run_id"] for answer in answers}) == MANY
        assert served.count(platform.Fork, platform.Fork.github.ilike(f"%/{name}.git")) == 1


@pytest.mark.parametrize("callers", sampled([MANY, MORE], 2))
def test_equal_requests_for_approval_are_one(served: ServedApi, callers: int) -> None:
    (case,) = served.mismatched_outputs()
    answers = at_once(served, [Post(case.path, case.body(), who) for who in served.bearers(callers)])
    assert statuses(answers) == {202: callers}
    (approval,) = {answer.json()["approval_id"] for answer in answers}
    assert served.count(BaselineApproval, BaselineApproval.output_id == case.output_id) == 1
    assert served.count(AuditRecord, AuditRecord.target == f"approval:{approval}") == callers


def test_requests_that_differ_in_apply_to_variants_are_one_and_conflicts(served: ServedApi) -> None:
    (case,) = served.mismatched_outputs()
    posts = [
        Post(case.path, case.body(apply_to_variants=number % 2 == 0), who)
        for number, who in enumerate(served.bearers(MANY))
    ]
    answers = at_once(served, posts)
    assert statuses(answers) == {202: MANY // 2, 409: MANY // 2}
    assert len({(answer.json().get("details") or answer.json())["approval_id"] for answer in answers}) == 1
    assert served.count(BaselineApproval, BaselineApproval.output_id == case.output_id) == 1


@pytest.mark.parametrize("callers", sampled([MANY, MORE], 2))
def test_every_retry_is_a_run_of_its_own(served: ServedApi, callers: int) -> None:
    (case,) = served.mismatched_outputs()
    posts = [Post(f"/runs/{case.run_id}/retry", {"failed_only": True}, who) for who in served.bearers(callers)]
    answers = at_once(served, posts)
    assert statuses(answers) == {202: callers}
    new = {answer.json()["new_run_id"] for answer in answers}
    assert len(new) == callers
    assert served.count(RunCreation, RunCreation.test_id.in_(new), RunCreation.retry_of == case.run_id) == callers
    assert served.count(platform.TestFork, platform.TestFork.test_id.in_(new)) == callers
    assert served.count(platform.CustomizedTest, platform.CustomizedTest.test_id.in_(new)) == callers


def test_one_of_many_reviewers_and_the_requester_decides(served: ServedApi) -> None:
    (case,) = served.mismatched_outputs()
    (requester,) = served.bearers(1)
    (answer,) = at_once(served, [Post(case.path, case.body(), requester)])
    path = f"/baseline-approvals/{answer.json()['approval_id']}/review"
    withdraw = {"decision": "reject", "reason": "I looked at the wrong run."}
    posts = [Post(path, REVIEW, who) for who in served.bearers(MORE - 1)]
    answers = at_once(served, [Post(path, withdraw, requester), *posts])
    assert statuses(answers) == {200: 1, 409: MORE - 1}
    decided = next(answer.json()["approval"]["status"] for answer in answers if answer.status == 200)
    with served.rows() as session:
        correct = session.get_one(RegressionTestOutput, case.output_id).correct
    assert correct == {"approved": case.new, "rejected": case.old}[decided]


@pytest.mark.parametrize("pending", [False, True])
def test_one_of_many_requests_that_are_applied_at_once_is_approved(
    mariadb_uri: str, tmp_path: Path, pending: bool
) -> None:
    with serving("at_once", tmp_path, API_V1_BASELINE_REVIEW="auto") as served:
        (case,) = served.mismatched_outputs()
        if pending:
            with served.rows() as session:
                contributor = factories.bearer(session, factories.user(session, "contributor"))
            (answer,) = at_once(served, [Post(case.path, case.body(), contributor)])
            assert answer.json()["status"] == "pending_review"
        answers = at_once(served, [Post(case.path, case.body(), who) for who in served.bearers(MORE)])
        found = statuses(answers)
        # They queue for one output. On a slow machine the time of some is used up, but none comes to a deadlock.
        assert found[202] == 1 and found.keys() <= {202, 409, 503}
        # As `outages.in_short` logs a deadlock; its number alone may be part of a process id.
        assert "Error [1213]" not in served.server.log
        assert served.count(BaselineApproval) == served.count(BaselineChange) == 1
        with served.rows() as session:
            assert session.get_one(RegressionTestOutput, case.output_id).correct == case.new


def request(served: ServedApi, cases: Sequence[MismatchedOutput], **more: Any) -> list[str]:
    """Request approvals; return where each of them is."""
    (bearer,) = served.bearers(1)
    answers = at_once(served, [Post(case.path, case.body(**more), bearer) for case in cases])
    assert statuses(answers) == {202: len(cases)}
    return [f"/baseline-approvals/{answer.json()['approval_id']}" for answer in answers]


def test_one_of_two_concurrent_reviewers_decides(served: ServedApi) -> None:
    reviewers = served.bearers(2)
    for case, approval in [(case, request(served, [case])[0]) for case in served.mismatched_outputs(3)]:
        answers = at_once(served, [Post(f"{approval}/review", REVIEW, who) for who in reviewers])
        assert statuses(answers) == {200: 1, 409: 1}
        with served.rows() as session:
            changes = session.scalars(sa.select(BaselineChange).where(BaselineChange.output_id == case.output_id))
            assert [(change.old_hash, change.new_hash) for change in changes] == [(case.old, case.new)]
            assert session.get_one(RegressionTestOutput, case.output_id).correct == case.new

        back = {"reason": "The timing was wrong after all."}
        answers = at_once(served, [Post(f"{approval}/revert", back, who) for who in reviewers])
        assert statuses(answers) == {200: 1, 409: 1}
        with served.rows() as session:
            assert session.get_one(RegressionTestOutput, case.output_id).correct == case.old


def test_one_of_two_files_for_one_baseline_is_approved(served: ServedApi) -> None:
    (case,) = served.mismatched_outputs()
    with served.rows() as session:
        test = session.get_one(platform.RegressionTest, case.regression_id)
        run = factories.run(session, *FINISHED, tests=[test])
        newer = store(served.folder, f"newer{run.id}")
        factories.result(session, run, test, (session.get_one(RegressionTestOutput, case.output_id), newer))
        rival = case.__class__(run.id, case.sample_id, case.regression_id, case.output_id, case.old, newer)
    approvals = request(served, [case, rival])
    answers = at_once(served, [Post(f"{each}/review", REVIEW, who) for each in approvals for who in served.bearers(1)])
    assert statuses(answers) == {200: 1, 409: 1}
    assert served.count(BaselineChange, BaselineChange.output_id == case.output_id) == 1


def test_reviews_of_variants_of_each_other_do_not_block_each_other(served: ServedApi) -> None:
    """Each would replace the baselines of all: the first does, the others find theirs changed."""
    cases = served.mismatched_outputs(4, correct=factories.hash_of("one baseline for all"))
    approvals = request(served, cases, apply_to_variants=True)
    answers = at_once(served, [Post(f"{each}/review", REVIEW, who) for each in approvals for who in served.bearers(1)])
    assert statuses(answers) == {200: 1, 409: 3}
    (changes,) = [answer.json()["changes"] for answer in answers if answer.status == 200]
    assert len(changes) == 4
