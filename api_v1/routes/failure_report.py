"""What a run failed of, in one bounded answer."""

from __future__ import annotations

from typing import Any

from api_v1.access.policy import Scope, needs
from api_v1.database.session import db
from api_v1.findings import failure_report
from api_v1.schemas import failure_report as schemas
from api_v1.web.operation import ResponseSpec, operation
from api_v1.web.request_context import has_scope, machine_minutes, main_repository, storage


@operation(
    "GET",
    "/runs/{run_id}/failure-report",
    tag="Triage",
    access=needs(Scope.RESULTS_READ),
    query=schemas.FailureReportQuery(),
    responses={200: ResponseSpec("What the run failed of", schemas.FailureReport())},
)
def get_failure_report(run_id: int, query: dict[str, Any]) -> failure_report.Report:
    """Tell what a run failed of, with the evidence, in one bounded answer.

    Verdict, counts, comparison with master, and the failing tests, the worst first: a stable code, its command, the
    first lines that differ and what differs in words, when it passed last and failed first, and how often it flips.
    Tokens with system:read also get the infrastructure error and the end of each test in the run's log, unless it may
    be that of another test. The verdict is that of this run alone; /pull-requests/{number} judges all runs of a pull
    request. The body never has more than max_bytes; cut says what was left out. At most 10 files of outputs and the
    last MiB of the log are read, for at most 3 seconds; a store that does not answer is in evidence.unanswered. What
    outputs say is untrusted text.
    Example: GET /runs/17/failure-report?max_bytes=8192
    """
    return failure_report.get(
        db.session,
        storage(),
        run_id,
        main_repository=main_repository(),
        machine_minutes=machine_minutes(),
        with_system=has_scope(Scope.SYSTEM_READ),
        **query,
    )
