"""Requests to replace a baseline, and their review."""

from __future__ import annotations

from typing import Any

from flask import current_app

from api_v1.access.policy import RoleName, Scope, needs
from api_v1.acting import approvals
from api_v1.database.session import db
from api_v1.paging import Page
from api_v1.schemas import baseline_approvals as schemas
from api_v1.web.operation import ResponseSpec, operation
from api_v1.web.request_context import current_actor, storage


def review_mode() -> str:
    """Return the mode of review: the setting `API_V1_BASELINE_REVIEW`."""
    mode: str = current_app.extensions["api_v1"].settings.baseline_review
    return mode


@operation(
    "POST",
    "/runs/{run_id}/samples/{sample_id}/baseline-approval",
    tag="Results",
    access=needs(Scope.BASELINES_WRITE, RoleName.ADMIN, RoleName.CONTRIBUTOR),
    body=schemas.BaselineApprovalRequest(),
    responses={
        202: ResponseSpec(
            "Baseline approval recorded. Status begins as pending_review.",
            schemas.BaselineApproval(),
            location="/baseline-approvals/{approval_id}",
        )
    },
    idempotent=True,
)
def request_baseline_approval(run_id: int, sample_id: int, body: dict[str, Any]) -> approvals.Approval:
    """Approve actual output as the new expected baseline.

    Nothing changes before somebody else reviews the request (POST /baseline-approvals/{approval_id}/review; the setting
    API_V1_BASELINE_REVIEW can relax that). A second request for the same output, baseline and file is answered with the
    first one; 409 when its apply_to_variants differs. 409 also when the run was compared with another file than today's
    baseline. Earlier runs keep the baseline they ran against.
    """
    return approvals.request(db.session, current_actor(), storage(), run_id, sample_id, **body, mode=review_mode())


@operation(
    "GET",
    "/baseline-approvals",
    tag="Results",
    access=needs(Scope.RESULTS_READ),
    query=schemas.ApprovalQuery(),
    responses={200: ResponseSpec("Paginated baseline approvals", schemas.BaselineApproval(), page=Page)},
)
def list_baseline_approvals(query: dict[str, Any]) -> Page[approvals.Approval]:
    """List baseline approvals.

    Newest first.
    """
    return approvals.page(db.session, **query)


@operation(
    "GET",
    "/baseline-approvals/{approval_id}",
    tag="Results",
    access=needs(Scope.RESULTS_READ),
    responses={200: ResponseSpec("A baseline approval", schemas.BaselineApproval())},
)
def get_baseline_approval(approval_id: int) -> approvals.Approval:
    """Get a baseline approval.

    A request to replace a baseline, and what became of it. It is outdated when the baseline moved on before the review.
    """
    return approvals.get(db.session, approval_id)


@operation(
    "POST",
    "/baseline-approvals/{approval_id}/review",
    tag="Results",
    access=needs(Scope.BASELINES_WRITE, RoleName.ADMIN, RoleName.CONTRIBUTOR),
    body=schemas.ReviewRequest(),
    responses={200: ResponseSpec("What the review changed, or would change", schemas.ReviewResult())},
    errors=(409,),
)
def review_baseline_approval(approval_id: int, body: dict[str, Any]) -> approvals.Review:
    """Review a baseline approval.

    Approving replaces the baseline; rejecting leaves it. Only an admin may approve who, unless the setting
    API_V1_BASELINE_REVIEW relaxes that, is not the requester. Requesters may look at what their own request would
    change (dry_run) and withdraw it (reject), contributors too. 409 when it was decided already, when the baseline
    changed since the request, or when no store has the file any more. With dry_run nothing changes, and the answer says
    which outputs would change and which of the newest runs' files would compare otherwise.
    """
    return approvals.review(db.session, current_actor(), storage(), approval_id, **body, mode=review_mode())


@operation(
    "POST",
    "/baseline-approvals/{approval_id}/revert",
    tag="Results",
    access=needs(Scope.BASELINES_WRITE, RoleName.ADMIN),
    body=schemas.RevertRequest(),
    responses={200: ResponseSpec("What was put back", schemas.ReviewResult())},
    errors=(409,),
)
def revert_baseline_approval(approval_id: int, body: dict[str, Any]) -> approvals.Review:
    """Revert an approved baseline approval.

    Puts back the baselines it replaced. 409 when it is not approved, was reverted already, the baseline moved on, or
    others were approved since that are not reverted.
    """
    return approvals.revert(db.session, current_actor(), approval_id, **body)
