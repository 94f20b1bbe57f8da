"""An output that differs from its baseline, and the people who decide about it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from api_v1.database import platform
from api_v1.database.platform import DbSession, RegressionTestOutput
from tests.support import factories
from tests.support.client import Api
from tests.support.factories import hash_of
from tests.support.writing import FINISHED, accepted

REASON = "The new timing is right, see issue 1234."


@dataclass(frozen=True)
class MismatchedOutput:
    """An output of a finished run that is not the baseline; its file is stored."""

    run_id: int
    sample_id: int
    regression_id: int
    output_id: int
    old: str
    new: str

    @property
    def path(self) -> str:
        """Where approval is requested."""
        return f"/runs/{self.run_id}/samples/{self.sample_id}/baseline-approval"

    def body(self, **changes: Any) -> dict[str, Any]:
        """A request for approval, apart from the changes; a field changed to `...` is left out."""
        body = {"regression_id": self.regression_id, "output_id": self.output_id, "reason": REASON} | changes
        return {name: value for name, value in body.items() if value is not ...}


def mismatched_output(session: DbSession, folder: Path, sample: Any = None, **output: Any) -> MismatchedOutput:
    """Make an output that is not the baseline; the session must be committed."""
    test = factories.regression_test(session, sample)
    expected = factories.output(session, test, **output)
    run = factories.run(session, *FINISHED, tests=[test])
    new = store(folder, f"new{expected.id}")
    factories.result(session, run, test, (expected, new))
    return MismatchedOutput(run.id, test.sample_id, test.id, expected.id, expected.correct, new)


def store(folder: Path, text: str, extension: str = ".srt") -> str:
    """Store a file as an output that a run produced; return its hash."""
    (folder / "TestResults").mkdir(parents=True, exist_ok=True)
    (folder / "TestResults" / (hash_of(text) + extension)).write_text(text)
    return hash_of(text)


@dataclass(frozen=True)
class ReviewScenario:
    """Two admins and a contributor, each with a token, and an output that is not the baseline."""

    api: Api
    mismatch: MismatchedOutput
    admin: dict[str, str]
    other: dict[str, str]
    contributor: dict[str, str]

    def request(
        self, who: dict[str, str] | None = None, of: MismatchedOutput | None = None, **changes: Any
    ) -> dict[str, Any]:
        """Request approval as the contributor, or somebody else."""
        approval: dict[str, Any] = accepted(self.ask(who, of, **changes))
        return approval

    def review(self, approval: Any, decision: str = "approve", who: dict[str, str] | None = None, **more: Any) -> Any:
        """Review as the admin, or somebody else."""
        body = {"decision": decision, "reason": "I compared both files."} | more
        path = f"/baseline-approvals/{approval['approval_id']}/review"
        return self.api.post(path, json=body, headers=who or self.admin)

    def ask(self, who: dict[str, str] | None = None, of: MismatchedOutput | None = None, **changes: Any) -> Any:
        """The answer to a request for approval by the contributor, or somebody else."""
        of = of or self.mismatch
        return self.api.post(of.path, json=of.body(**changes), headers=who or self.contributor)

    def later_run(self, content: str | None = None) -> MismatchedOutput:
        """A newer run that was compared with today's baseline, and wrote the same file or one of this content."""
        own = self.mismatch
        with self.api.rows() as session:
            test = session.get_one(platform.RegressionTest, own.regression_id)
            run = factories.run(session, *FINISHED, tests=[test])
            output = session.get_one(RegressionTestOutput, own.output_id)
            new = own.new if content is None else store(platform.repository(self.api.app.config), content)
            factories.result(session, run, test, (output, new))
            return dataclasses.replace(own, run_id=run.id, old=output.correct or "", new=new)

    def revert(self, approval: Any, **more: Any) -> Any:
        """Revert as the admin."""
        body = {"reason": "The timing was wrong after all."} | more
        path = f"/baseline-approvals/{approval['approval_id']}/revert"
        return self.api.post(path, json=body, headers=self.admin)

    def get(self, approval: Any) -> dict[str, Any]:
        """The approval as it is now."""
        path = f"/baseline-approvals/{approval['approval_id']}"
        body: dict[str, Any] = self.api.get(path, headers=self.contributor).json
        return body

    def baseline(self, output_id: int | None = None) -> str | None:
        """Return the current baseline of an output, by default of the mismatched one."""
        with self.api.rows() as session:
            return session.get_one(RegressionTestOutput, output_id or self.mismatch.output_id).correct

    def set_baseline(self, value: str | None) -> None:
        """Change the mismatched output behind the API's back."""
        with self.api.rows() as session:
            session.get_one(RegressionTestOutput, self.mismatch.output_id).correct = value


def review_scenario(api: Api) -> ReviewScenario:
    """Make two admins, a contributor and an output that is not the baseline."""
    with api.rows() as session:
        case = mismatched_output(session, platform.repository(api.app.config))
    return ReviewScenario(api, case, api.bearer(), api.bearer(), api.bearer("contributor"))


@pytest.fixture
def scenario(api: Api) -> ReviewScenario:
    return review_scenario(api)


class review_mode:
    """Let an app have another setting of API_V1_BASELINE_REVIEW for a while."""

    def __init__(self, api: Api, mode: str) -> None:
        self.extensions = api.app.extensions
        self.usual = self.extensions["api_v1"]
        settings = dataclasses.replace(self.usual.settings, baseline_review=mode)
        self.changed = dataclasses.replace(self.usual, settings=settings)

    def __enter__(self) -> None:
        self.extensions["api_v1"] = self.changed

    def __exit__(self, *_: Any) -> None:
        self.extensions["api_v1"] = self.usual
