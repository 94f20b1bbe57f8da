"""Baseline approval: request, review, revert. Nothing changes before the review, and every change can be reverted.

Approving sets the `correct` hash of an output to what a run produced. Earlier runs keep the baseline they ran against,
so the verdicts of stored results stay; the next run is compared with the new one (docs/decisions.md,
"Approving").

A request is identified by its output, the old hash and the new hash: a replacement of one baseline by one file. It is
outdated when the output has another baseline by now; then it can only be rejected (docs/decisions.md,
"Repeated requests").
"""

from api_v1.acting.approvals.reasons import check_reason
from api_v1.acting.approvals.records import APPROVED, PENDING, Approval, get, page
from api_v1.acting.approvals.requests import pending_key, request
from api_v1.acting.approvals.reviews import Review, revert, review

__all__ = [
    "APPROVED",
    "PENDING",
    "Approval",
    "Review",
    "check_reason",
    "get",
    "page",
    "pending_key",
    "request",
    "revert",
    "review",
]
