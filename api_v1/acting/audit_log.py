"""The audit log: who changed what, when and why. Append-only, in the transaction of the change."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from api_v1.access.redaction import Redactor
from api_v1.access.tokens import Caller
from api_v1.database import sql
from api_v1.database.platform import DbSession
from api_v1.database.tables import AuditRecord
from api_v1.paging import Page

#: Maximum length of an actor's name; a failed log-in may name anything.
ACTOR_LENGTH = 255


#: All that is recorded, and the kinds of things to which it is done: a target is a kind, a colon and an id.
ACTIONS = (
    "baseline.approve",
    "baseline.reject",
    "baseline.request",
    "baseline.revert",
    "cursors.rotate",
    "run.cancel",
    "run.create",
    "run.retry",
    "token.create",
    "token.login_failed",
    "token.revoke",
)
TARGETS = ("approval", "key", "run", "token")


@dataclass(frozen=True)
class Actor:
    """Who acts: `name` is the account's email, or the command line's user; id and role are None without an account."""

    name: str
    user_id: int | None = None
    role: str | None = None
    token_name: str | None = None
    request_id: str | None = None

    @property
    def is_admin(self) -> bool:
        """Whether the account is an admin's now."""
        return self.role == "admin"

    @classmethod
    def of(cls, caller: Caller, request_id: str) -> Actor:
        """Build the actor for the caller of a request."""
        return cls(caller.email, caller.user_id, caller.role, caller.token_name, request_id)


@dataclass(frozen=True)
class Record:
    """One entry of the log."""

    audit_id: int
    created_at: datetime
    actor: str
    token_name: str | None
    action: str
    target: str
    reason: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    request_id: str | None


def record(
    session: DbSession,
    actor: Actor,
    action: str,
    target: str,
    *,
    reason: str | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Add an entry; it is written when the change itself is committed.

    Args:
        action: what was done, one of `ACTIONS`.
        target: what it was done to, such as `run:17`.
        reason: why, as somebody wrote it; tokens in it are not stored.
        before, after: what changed, without secrets.
    """
    session.add(
        AuditRecord(
            actor=actor.name[:ACTOR_LENGTH],
            token_name=actor.token_name,
            action=action,
            target=target,
            reason=None if reason is None else Redactor().redact(reason),
            before=None if before is None else json.dumps(before),
            after=None if after is None else json.dumps(after),
            request_id=actor.request_id,
        )
    )
    session.flush()


def page(session: DbSession, *, limit: int, offset: int = 0, **filters: Any) -> Page[Record]:
    """Return a page of the log, newest first.

    Args:
        filters: action, actor, target, created_after, created_before; absent ones do not filter.
    """
    row = AuditRecord
    rules: dict[str, Callable[[Any], sa.ColumnElement[bool]]] = {
        "action": lambda value: _same(row.action, value),
        "actor": lambda value: sql.equals_ignoring_case(row.actor, value),
        "target": lambda value: _same(row.target, value),
        "created_after": lambda value: row.created_at > value,
        "created_before": lambda value: row.created_at < value,
    }
    matches = sa.select(*row.__table__.c).where(*(rules[name](value) for name, value in filters.items()))
    rows = session.execute(matches.order_by(row.id.desc()).limit(limit).offset(offset))
    total = session.scalar(sa.select(sa.func.count()).select_from(matches.subquery()))
    return Page([_record(found) for found in rows], total or 0)


def _same(column: Any, value: str) -> sa.ColumnElement[bool]:
    """Compare with an ASCII column; a text that is not ASCII never matches."""
    same: sa.ColumnElement[bool] = column == value
    return same if value.isascii() else sa.false()


def _record(row: Any) -> Record:
    return Record(
        audit_id=row.id,
        created_at=row.created_at,
        actor=row.actor,
        token_name=row.token_name,
        action=row.action,
        target=row.target,
        reason=row.reason,
        before=None if row.before is None else json.loads(row.before),
        after=None if row.after is None else json.loads(row.after),
        request_id=row.request_id,
    )
