"""Links in response bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api_v1.acting.approvals import APPROVED, PENDING
from api_v1.web.absolute_urls import api_root
from api_v1.web.operation import REGISTRY

if TYPE_CHECKING:
    from api_v1.acting.approvals import Approval
    from api_v1.files.artifacts import Artifact
    from api_v1.findings.failure_report import FailingTest as ReportedTest
    from api_v1.findings.failure_report import Report
    from api_v1.findings.pull_requests import FailingTest
    from api_v1.runs.runs import Run

_OF_RUN = {
    "self": "/runs/{run_id}",
    "summary": "/runs/{run_id}/summary",
    "progress": "/runs/{run_id}/progress",
    "samples": "/runs/{run_id}/samples",
    "errors": "/runs/{run_id}/errors",
    "logs": "/runs/{run_id}/logs",
    "artifacts": "/runs/{run_id}/artifacts",
}

_OF_OUTPUT = (
    "/runs/{artifact.run_id}/samples/{artifact.sample_id}/%s"
    "?regression_id={artifact.regression_id}&output_id={artifact.output_id}"
)

#: By type, the operation that serves an artifact.
_OF_ARTIFACT = {
    "build_log": "/runs/{artifact.run_id}/logs",
    "expected_output": _OF_OUTPUT % "expected",
    "sample_output": _OF_OUTPUT % "actual",
    "diff": _OF_OUTPUT % "diff",
}


def of_api(docs_url: str) -> dict[str, str]:
    """Return where a caller who knows nothing goes on.

    Args:
        docs_url: that of the documentation for people; the empty string where it is unknown.
    """
    root = api_root()
    found = {
        "self": f"{root}/",
        "document": f"{root}/openapi.json",
        "health": f"{root}/system/health",
        "log_in": f"{root}/auth/tokens",
    }
    return found | ({"docs": docs_url} if docs_url else {})


def first_question() -> str:
    """Return the URL template of the operation to begin with."""
    return f"{api_root()}/pull-requests/{{number}}"


def of_artifact(artifact: Artifact) -> str | None:
    """Return the download URL of an artifact: of the bucket, else of this API; None if neither serves it.

    docs/decisions.md, "Artifacts", says which has which.
    """
    if artifact.signed_url is not None or not artifact.served:
        return artifact.signed_url
    return api_root() + _OF_ARTIFACT[artifact.type].format(artifact=artifact)


def of_approval(approval: Approval) -> dict[str, str]:
    """Return the URLs of a baseline approval, of the diff to look at, and of what can be done about it."""
    own = f"{api_root()}/baseline-approvals/{approval.approval_id}"
    found = {"self": own, "diff": api_root() + _OF_ARTIFACT["diff"].format(artifact=approval)}
    if approval.status == PENDING:
        found["review"] = f"{own}/review"
    elif approval.status == APPROVED and approval.reverted_at is None:
        found["revert"] = f"{own}/revert"
    return found


def of_failing_test(test: FailingTest) -> str | None:
    """Return the URL of a test's result in this API; None if the test or its sample is gone."""
    if test.sample_id is None:
        return None
    return f"{api_root()}/runs/{test.run_id}/samples/{test.sample_id}?regression_id={test.regression_id}"


def of_reported_test(test: ReportedTest) -> dict[str, str | None]:
    """Return the URLs of a test of a report in this API; None where there is nothing."""
    root = api_root()
    result = None if test.sample_id is None else f"{root}/runs/{test.run_id}/samples/{test.sample_id}"
    health = f"{root}/regression-tests/{test.regression_id}/health?platform={test.platform}"
    query = f"?regression_id={test.regression_id}"
    output = None if test.output is None or test.output.is_missing else test.output
    return {
        "result": None if result is None else f"{result}{query}",
        "diff": f"{result}/diff{query}&output_id={output.output_id}" if result and output else None,
        "health": None if test.command is None else health,
    }


def of_report(report: Report) -> dict[str, str | None]:
    """Return the URLs of what a report sums up, in this API; None where there is nothing."""
    run = report.run
    of_run = f"{api_root()}/runs/{run.run_id}"
    of_pull_request = None
    if run.pull_request is not None and run.repository is not None:
        of_pull_request = f"{api_root()}/pull-requests/{run.pull_request}?repository={run.repository}"
    parts = {name: f"{of_run}/{name}" for name in ("comparison", "errors")}
    return {"run": of_run, **parts, "logs": f"{of_run}/logs?tail=50", "pull_request": of_pull_request}


def of_run(run: Run) -> dict[str, str]:
    """Return the URLs of a run's parts in this API, and of its commit or pull request on GitHub."""
    served = {operation.path for operation in REGISTRY.values()}
    root = api_root()
    found = {name: root + path.format(run_id=run.run_id) for name, path in _OF_RUN.items() if path in served}
    if run.repository and (run.pull_request or run.commit_sha):
        what = f"pull/{run.pull_request}" if run.pull_request else f"commit/{run.commit_sha}"
        found["github"] = f"https://github.com/{run.repository}/{what}"
    return found
