"""Infrastructure errors: runs that queue, machine, build, storage or worker canceled.

The platform stores a message with each canceled progress row and nothing else (docs/platform.md, "Messages of canceled
runs").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from api_v1.access.redaction import LONGEST, Redactor, hide_locations
from api_v1.database.platform import DbSession, TestProgress, TestStatus
from api_v1.paging import Page
from api_v1.runs import results

#: Messages of runs that somebody canceled deliberately: no errors.
DELIBERATE = re.compile(
    r"Canceled by (user|admin)\b.*|PR closed|PR is closed|Tests cancell?ed|Not ran - no code changes"
    r"|PR closed or updated|PR converted to draft",
    re.DOTALL,
)

#: The kinds of error, each with the pattern of a whole message, in order; the worker's if none matches.
KINDS = (
    ("queue", re.compile(r"Invalid PR number|Tests have been cancelled")),
    (
        "vm_provisioning",
        re.compile(
            r"VM creation failed.*|Required GCP resource not found\..*|A VM with this name already exists\..*"
            r"|GCP operation timed out\..*|Failed to create VM.*",
            re.DOTALL,
        ),
    ),
    ("merge", re.compile(r"Commit could not be merged")),
    (
        "storage",
        re.compile(
            r"Artifact not found:.*|Artifact download timed out|Artifact download failed.*"
            r"|Build succeeded but artifact not yet available.*|artifact",
            re.DOTALL,
        ),
    ),
    (
        "build",
        re.compile(
            r"Cancelling tests as Github Action\(s\) failed|Build failed:.*|No build available:.*"
            r"|No build will be created:.*|build|No build artifact found for this commit",
            re.DOTALL,
        ),
    ),
)
WORKER = "worker"

#: Characters of a message by which its kind is found.
KIND_LENGTH = 1000

#: The contract's limits of `stack`.
STACK_LINES, STACK_LENGTH = 50, 2000

#: Characters of a message that are redacted for a full `stack`, which redacting shortens.
STACK_TEXT = 2 * STACK_LINES * STACK_LENGTH


@dataclass(frozen=True)
class InfrastructureError:
    """A progress row that an error canceled (contract schema `ErrorItem`)."""

    error_id: str
    run_id: int
    type: str
    severity: str
    message: str
    occurred_at: datetime
    location: dict[str, Any]
    stack: list[str] | None = None


def kind_of(message: str) -> str | None:
    """Return the kind of a canceled row by its message, None if somebody canceled it deliberately."""
    text = message.strip()[:KIND_LENGTH]
    if DELIBERATE.fullmatch(text):
        return None
    return next((kind for kind, pattern in KINDS if pattern.fullmatch(text)), WORKER)


def page(
    session: DbSession,
    run_id: int,
    *,
    limit: int,
    offset: int = 0,
    type: str | None = None,
    severity: str | None = None,
    include_stack: bool = False,
) -> Page[InfrastructureError]:
    """Return a page of the infrastructure errors of a run, oldest first.

    A run has a handful of canceled rows; they are classified and filtered here, because databases lack such patterns.

    Raises:
        NotFound: there is no such run.
    """
    redactor = Redactor(known=[results.header(session, run_id).token])
    rows = session.execute(
        sa.select(TestProgress.id, TestProgress.status, TestProgress.timestamp, TestProgress.message)
        .where(TestProgress.test_id == run_id)
        .order_by(TestProgress.id)
    ).all()
    asked, tested = [], False
    for row in rows:
        tested = tested or row.status == TestStatus.testing
        kind = kind_of(row.message) if row.status == TestStatus.canceled else None
        grade = _severity(tested)
        if kind is not None and type in (None, kind) and severity in (None, grade):
            asked.append((row, kind, grade))
    shown = asked[offset : offset + limit]
    return Page([_error(run_id, *one, include_stack, redactor) for one in shown], len(asked))


class Canceled(NamedTuple):
    """A canceled progress row."""

    id: int
    timestamp: datetime
    message: str


def of_last(run_id: int, row: Canceled, *, tested: bool, redactor: Redactor) -> InfrastructureError | None:
    """Return the error with which a run ended; None if somebody canceled it deliberately.

    Args:
        row: the run's last progress.
        tested: whether the run had begun testing.
    """
    kind = kind_of(row.message)
    return None if kind is None else _error(run_id, row, kind, _severity(tested), False, redactor)


def _severity(tested: bool) -> str:
    return "error" if tested else "critical"


def _error(
    run_id: int, row: Any, kind: str, severity: str, include_stack: bool, redactor: Redactor
) -> InfrastructureError:
    looked_at = STACK_TEXT if include_stack else LONGEST
    first, *rest = redactor.credentials(row.message.strip(), looked_at).splitlines() or [""]
    return InfrastructureError(
        error_id=f"{run_id}-infrastructure-{row.id}",
        run_id=run_id,
        type=kind,
        severity=severity,
        message=(first if include_stack else hide_locations(first)) or "The worker gave no reason.",
        occurred_at=row.timestamp,
        location={"progress_id": row.id},
        stack=[line[:STACK_LENGTH] for line in rest[:STACK_LINES]] if include_stack else None,
    )
