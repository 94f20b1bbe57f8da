"""Who changed what."""

from __future__ import annotations

from typing import Any

from api_v1.access.policy import RoleName, Scope, needs
from api_v1.acting import audit_log
from api_v1.database.session import db
from api_v1.paging import Page
from api_v1.schemas import audit_log as schemas
from api_v1.web.operation import ResponseSpec, operation


@operation(
    "GET",
    "/audit-log",
    tag="System",
    access=needs(Scope.SYSTEM_READ, RoleName.ADMIN),
    query=schemas.AuditQuery(),
    responses={200: ResponseSpec("Paginated audit log", schemas.AuditRecord(), page=Page)},
)
def list_audit_log(query: dict[str, Any]) -> Page[audit_log.Record]:
    """List the audit log.

    Newest first: who changed what, when and why. actor is an email, target such as run:17; both are whole values.
    """
    return audit_log.page(db.session, **query)
