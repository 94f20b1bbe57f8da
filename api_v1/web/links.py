"""Links in response bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api_v1.web.absolute_urls import api_root
from api_v1.web.operation import REGISTRY

if TYPE_CHECKING:
    from api_v1.files.artifacts import Artifact
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


def of_artifact(artifact: Artifact) -> str | None:
    """Return the download URL of an artifact: of this API for a diff, else of the bucket; None without one."""
    if artifact.diff_of is None:
        return artifact.download_url
    regression_id, output_id = artifact.diff_of
    path = f"/runs/{artifact.run_id}/samples/{artifact.sample_id}/diff"
    return f"{api_root()}{path}?regression_id={regression_id}&output_id={output_id}"


def of_run(run: Run) -> dict[str, str]:
    """Return the URLs of a run's parts in this API, and of its commit or pull request on GitHub."""
    served = {operation.path for operation in REGISTRY.values()}
    root = api_root()
    found = {name: root + path.format(run_id=run.run_id) for name, path in _OF_RUN.items() if path in served}
    if run.repository and (run.pull_request or run.commit_sha):
        what = f"pull/{run.pull_request}" if run.pull_request else f"commit/{run.commit_sha}"
        found["github"] = f"https://github.com/{run.repository}/{what}"
    return found
