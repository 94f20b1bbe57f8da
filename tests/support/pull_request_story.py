"""One pull request, run by run, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from api_v1.database import platform
from api_v1.database.platform import DbSession
from api_v1.findings import pull_requests
from api_v1.findings.pull_requests import PullRequest
from tests.support import factories
from tests.support.factories import MAIN_REPOSITORY, START
from tests.support.pull_requests import NUMBER
from tests.support.triage_scenarios import MACHINE_MINUTES

DONE = ("preparation", "testing", "completed")


def read(session: DbSession, number: int = NUMBER, **more: Any) -> PullRequest:
    """What the runs of a pull request say."""
    return pull_requests.get(session, number, main_repository=MAIN_REPOSITORY, machine_minutes=MACHINE_MINUTES, **more)


HEAD, EARLIER = "a" * 40, "b" * 40


class Story:
    """Runs of three tests, of master and of a pull request."""

    def __init__(self, session: DbSession) -> None:
        self.session = session
        self.tests = [factories.regression_test(session) for _ in range(3)]
        self.outputs = [factories.output(session, test) for test in self.tests]
        self.ids = [test.id for test in self.tests]

    def run(
        self,
        host: str = "linux",
        progress: Sequence[str] = DONE,
        *,
        failing: Mapping[int, str] | None = None,
        missing: Sequence[int] = (),
        tests: Sequence[int] = (0, 1, 2),
        message: str = "",
        commit: str | None = HEAD,
        number: int = NUMBER,
        begun: datetime = START,
        author: Any = None,
        github: str = factories.MAIN_FORK,
    ) -> int:
        """A run of the pull request; return its id.

        Args:
            failing: of each test that fails, by its place, what its output was.
            missing: the tests without a result.
            message: the one that the run was canceled with.
        """
        run = factories.run(
            self.session,
            *progress,
            host=host,
            commit=commit,
            pull_request=number,
            tests=[self.tests[place] for place in tests],
            created_at=begun,
            started=begun,
            owner=author,
            github=github,
        )
        if message:
            self.session.flush()
            last = sa.select(sa.func.max(platform.TestProgress.id)).where(platform.TestProgress.test_id == run.id)
            self.session.get_one(platform.TestProgress, self.session.scalars(last).one()).message = message
        for place in tests if "testing" in progress else ():
            if place not in missing:
                got = (failing or {}).get(place)
                file = (self.outputs[place], None if got is None else factories.hash_of(got))
                factories.result(self.session, run, self.tests[place], file)
        self.session.commit()
        return int(run.id)

    def master(self, host: str = "linux", **more: Any) -> int:
        """A run of master."""
        return self.run(host, commit=None, number=0, **more)

    def masters(self, **more: Any) -> dict[str, int]:
        """A run of master on each platform."""
        return {host: self.master(host, **more) for host in ("linux", "windows")}


def verdicts_of(found: PullRequest) -> list[str]:
    """The verdicts of the platforms, and that of the whole."""
    return [*(one.verdict for one in found.platforms), found.verdict]


def flip(story: Story, times: int) -> None:
    """Somebody runs the first test again and again for one commit; every second time it fails."""
    owner = factories.user(story.session)
    for number in range(times):
        failing = {0: f"number {number}"} if number % 2 else {}
        story.run(tests=(0,), failing=failing, commit="f" * 40, number=0, author=owner)


CANCELED = {
    "build_failed": "Build failed: 'w' finished with conclusion 'failure'. Check the GitHub Actions logs for details.",
    "infrastructure": "VM creation failed. Please contact the administrator.",
    "canceled": "Canceled by user",
    "nothing_to_test": "No build will be created: commit 1234567 does not modify any files.",
    "incomplete": "Could not complete test, time limit exceeded",
}
