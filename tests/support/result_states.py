"""Results of every status."""

from __future__ import annotations

from typing import Any

from api_v1.database import platform
from api_v1.database.platform import DbSession
from tests.support import factories
from tests.support.reading import FINISHED


def with_state(session: DbSession, run: Any, sample: Any, status: str) -> None:
    """A test of a sample that is in this state in a run whose progress allows it."""
    test = factories.regression_test(session, sample)
    output = factories.output(session, test)
    session.add(platform.CustomizedTest(run.id, test.id))
    if status in ("pass", "fail"):
        factories.result(session, run, test, (output, None), exit_code=int(status == "fail"))
    elif status == "missing_output":
        factories.result(session, run, test)
    elif status == "running":
        session.add(platform.TestResultFile(run.id, test.id, output.id, output.correct))


#: The states of the tests of a run by its progress, the most severe first.
SEVERITY = {
    FINISHED: ("missing_output", "fail", "skipped", "pass"),
    ("testing",): ("missing_output", "fail", "running", "not_started", "pass"),
}
