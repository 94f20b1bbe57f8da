"""Our own tables. All names start with `api_v1_`; they live in the platform's metadata, so that foreign keys resolve.

Every table we add costs each request of the platform one table check, unless `API_V1_REMEMBER_TABLES` is on. Date-times
are naive, in UTC and in whole seconds, as MySQL stores them.
"""

from __future__ import annotations

from datetime import datetime, timezone

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import Mapped, mapped_column

from api_v1.platform import Base, db

#: MySQL's usual collations ignore case; names and digests here are exact.
_EXACT = {"charset": "ascii", "collation": "ascii_bin"}


def exact(length: int) -> sa.types.TypeEngine[str]:
    """An ASCII string column that compares byte by byte everywhere."""
    return sa.String(length).with_variant(mysql.VARCHAR(length, **_EXACT), "mysql", "mariadb")


def now() -> datetime:
    """Return the time as it is stored: UTC, naive, whole seconds."""
    return datetime.now(timezone.utc).replace(microsecond=0, tzinfo=None)


class Token(db.Model):  # type: ignore[name-defined,misc]
    """A bearer token: only its SHA-256 digest is kept.

    `live_name` is the name while the token can still be used, else NULL; the unique key on it lets a name be used
    again once its token was revoked or has expired.
    """

    __tablename__ = "api_v1_token"
    __table_args__ = (
        sa.UniqueConstraint("user_id", "live_name", name="api_v1_token_live_name"),
        {"mysql_engine": "InnoDB"},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("user.id", onupdate="CASCADE", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(exact(50))
    live_name: Mapped[str | None] = mapped_column(exact(50))
    digest: Mapped[str] = mapped_column(exact(64), unique=True)
    scopes: Mapped[str] = mapped_column(exact(255))
    created_at: Mapped[datetime] = mapped_column(sa.DateTime, default=now)
    expires_at: Mapped[datetime] = mapped_column(sa.DateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(sa.DateTime)
    last_used_at: Mapped[datetime | None] = mapped_column(sa.DateTime)


class RunCreation(db.Model):  # type: ignore[name-defined,misc]
    """When a run was created and by whom: facts the platform does not store (decisions, "When a run was created")."""

    __tablename__ = "api_v1_run_creation"
    __table_args__ = {"mysql_engine": "InnoDB"}

    test_id: Mapped[int] = mapped_column(
        sa.ForeignKey("test.id", onupdate="CASCADE", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    )
    created_at: Mapped[datetime] = mapped_column(sa.DateTime)
    user_id: Mapped[int | None] = mapped_column(sa.ForeignKey("user.id", onupdate="CASCADE", ondelete="SET NULL"))


#: Alembic's own bookkeeping. It is declared so that the platform's autogenerate does not propose to drop it.
version_table = sa.Table(
    "api_v1_alembic_version",
    Base.metadata,
    sa.Column("version_num", sa.String(32), primary_key=True, nullable=False),
)


def own_tables() -> list[sa.Table]:
    """Return our tables, in the order in which they can be created."""
    return [table for table in Base.metadata.sorted_tables if table.name.startswith("api_v1_")]


class RunState(db.Model):  # type: ignore[name-defined,misc]
    """What follows from a run's rows, kept so that lists can filter, sort and count by it.

    Disposable: `services/run_states.py` derives it from the platform's tables. A row is stale once anything it was
    derived from has changed. `version` counts how often it became so, so that a derivation that was overtaken by a
    change is not stored as fresh.
    """

    __tablename__ = "api_v1_run_state"
    __table_args__ = (
        sa.Index("api_v1_run_state_created", "created_at", "test_id"),
        sa.Index("api_v1_run_state_status", "status", "created_at", "test_id"),
        sa.Index("api_v1_run_state_started", "started_at", "test_id"),
        sa.Index("api_v1_run_state_commit", "commit_key", "created_at", "test_id"),
        sa.Index("api_v1_run_state_branch", "branch_key", "fork_id", "of_pull_request", "test_id"),
        sa.Index("api_v1_run_state_stale", "stale"),
        sa.Index("api_v1_run_state_known", "created_known"),
        {"mysql_engine": "InnoDB"},
    )

    test_id: Mapped[int] = mapped_column(
        sa.ForeignKey("test.id", onupdate="CASCADE", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    )
    version: Mapped[int] = mapped_column(sa.BigInteger)
    stale: Mapped[bool]
    status: Mapped[str | None] = mapped_column(exact(10))
    failing: Mapped[int | None]
    created_at: Mapped[datetime | None] = mapped_column(sa.DateTime)
    created_known: Mapped[bool | None]
    started_at: Mapped[datetime | None] = mapped_column(sa.DateTime)
    completed_at: Mapped[datetime | None] = mapped_column(sa.DateTime)
    #: What follows is the platform's, where it has no index: its `commit` in lower case, whose branch a run is of, and
    #: the branch as `sql.identity` makes it.
    commit_key: Mapped[str | None] = mapped_column(sa.String(64))
    fork_id: Mapped[int | None]
    of_pull_request: Mapped[bool | None]
    branch_key: Mapped[bytes | None] = mapped_column(
        sa.LargeBinary().with_variant(mysql.VARBINARY(32), "mysql", "mariadb")
    )


class RunChange(db.Model):  # type: ignore[name-defined,misc]
    """Notes that a run changed: triggers add them, the next read marks the run's `RunState` and takes them away.

    Rows are only ever added by who changes something, so nobody waits for anybody else's change of the same run. One
    row of run 0 says that the table is what it was: without it, notes may have been lost.
    """

    __tablename__ = "api_v1_run_change"
    __table_args__ = (sa.Index("api_v1_run_change_run", "test_id"), {"mysql_engine": "InnoDB"})

    id: Mapped[int] = mapped_column(sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True)
    test_id: Mapped[int | None]


class RunProblem(db.Model):  # type: ignore[name-defined,misc]
    """A test that did not pass in a run: its verdict is fail, missing_output or skipped. As disposable as `RunState`,
    and derived with it, so that a test's history can be filtered and counted without judging every result.
    """

    __tablename__ = "api_v1_run_problem"
    __table_args__ = (
        sa.Index("api_v1_run_problem_history", "regression_id", "test_id", "verdict"),
        {"mysql_engine": "InnoDB"},
    )

    test_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    regression_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    verdict: Mapped[str] = mapped_column(exact(14))


class AuditRecord(db.Model):  # type: ignore[name-defined,misc]
    """Who changed what, when and why. Rows are only ever added.

    `actor` and `token_name` are kept as text, so that a record outlives the account and the token. `before` and `after`
    are JSON objects, and never hold a secret.
    """

    __tablename__ = "api_v1_audit"
    __table_args__ = (
        sa.Index("api_v1_audit_action", "action", "id"),
        sa.Index("api_v1_audit_target", "target", "id"),
        sa.Index("api_v1_audit_actor", "actor", "id"),
        sa.Index("api_v1_audit_time", "created_at", "id"),
        {"mysql_engine": "InnoDB"},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(sa.DateTime, default=now)
    actor: Mapped[str] = mapped_column(sa.String(255))
    token_name: Mapped[str | None] = mapped_column(exact(50))
    action: Mapped[str] = mapped_column(exact(50))
    target: Mapped[str] = mapped_column(exact(100))
    reason: Mapped[str | None] = mapped_column(sa.Text)
    before: Mapped[str | None] = mapped_column(sa.Text)
    after: Mapped[str | None] = mapped_column(sa.Text)
    request_id: Mapped[str | None] = mapped_column(exact(128))


class IdempotentRequest(db.Model):  # type: ignore[name-defined,misc]
    """A request that was sent with an `Idempotency-Key`, and the answer to repeat. Written in the transaction of the
    change itself: no change without its answer, no answer without its change.
    """

    __tablename__ = "api_v1_idempotency"
    __table_args__ = (
        sa.UniqueConstraint("token_id", "idempotency_key", name="api_v1_idempotency_token_key"),
        {"mysql_engine": "InnoDB"},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    token_id: Mapped[int] = mapped_column(sa.ForeignKey("api_v1_token.id", ondelete="CASCADE"))
    idempotency_key: Mapped[str] = mapped_column(exact(255))
    fingerprint: Mapped[str] = mapped_column(exact(64))
    created_at: Mapped[datetime] = mapped_column(sa.DateTime, default=now)
    status: Mapped[int | None]
    body: Mapped[str | None] = mapped_column(sa.Text)


class BaselineApproval(db.Model):  # type: ignore[name-defined,misc]
    """A request to make a run's actual output the new baseline, and what became of it.

    `pending_key` is set while the request is pending; it is unique, so that a second request for the same output and
    hash is the first one.
    """

    __tablename__ = "api_v1_baseline_approval"
    __table_args__ = (
        sa.Index("api_v1_baseline_approval_status", "status", "id"),
        {"mysql_engine": "InnoDB"},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    status: Mapped[str] = mapped_column(exact(20))
    pending_key: Mapped[str | None] = mapped_column(exact(100), unique=True)
    run_id: Mapped[int]
    sample_id: Mapped[int]
    regression_id: Mapped[int]
    output_id: Mapped[int]
    expected_hash: Mapped[str | None] = mapped_column(sa.Text)
    actual_hash: Mapped[str] = mapped_column(exact(64))
    apply_to_variants: Mapped[bool]
    reason: Mapped[str] = mapped_column(sa.Text)
    requested_by: Mapped[str] = mapped_column(sa.String(255))
    requester_id: Mapped[int | None] = mapped_column(sa.ForeignKey("user.id", onupdate="CASCADE", ondelete="SET NULL"))
    created_at: Mapped[datetime] = mapped_column(sa.DateTime, default=now)
    reviewed_by: Mapped[str | None] = mapped_column(sa.String(255))
    review_reason: Mapped[str | None] = mapped_column(sa.Text)
    reviewed_at: Mapped[datetime | None] = mapped_column(sa.DateTime)
    reverted_by: Mapped[str | None] = mapped_column(sa.String(255))
    reverted_at: Mapped[datetime | None] = mapped_column(sa.DateTime)


class BaselineChange(db.Model):  # type: ignore[name-defined,misc]
    """One output whose baseline an approval replaced: what a revert puts back."""

    __tablename__ = "api_v1_baseline_change"
    __table_args__ = {"mysql_engine": "InnoDB"}

    approval_id: Mapped[int] = mapped_column(
        sa.ForeignKey("api_v1_baseline_approval.id", ondelete="CASCADE"), primary_key=True
    )
    output_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    old_hash: Mapped[str | None] = mapped_column(sa.Text)
    new_hash: Mapped[str] = mapped_column(exact(64))
