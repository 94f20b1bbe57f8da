"""Our own tables. All names start with `api_v1_`; they are in the platform's metadata, so that foreign keys resolve.

Unless `API_V1_REMEMBER_TABLES` is on, each of them adds a table check to every request of the platform. Date-times are
naive, in UTC and in whole seconds, as MySQL stores them.
"""

from __future__ import annotations

from datetime import datetime, timezone

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import Mapped, mapped_column

from api_v1.database.platform import ApiBase, Base

#: For names and digests: MySQL's usual collations ignore case.
_EXACT = {"charset": "ascii", "collation": "ascii_bin"}


def exact(length: int) -> sa.types.TypeEngine[str]:
    """Return the type of an ASCII string column that every database compares byte by byte."""
    return sa.String(length).with_variant(mysql.VARCHAR(length, **_EXACT), "mysql", "mariadb")


def now() -> datetime:
    """Return the current time in the form that is stored: UTC, naive, whole seconds."""
    return datetime.now(timezone.utc).replace(microsecond=0, tzinfo=None)


class Token(ApiBase):
    """A bearer token; only its SHA-256 digest is stored.

    `live_name` is the name while the token can be used, else NULL. The unique key on it allows a name to be used again
    after its token was revoked or has expired.
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
    #: The keyed digest of the owner's stored password when the token was made (`access/keys.py`). Another password ends
    #: the token. NULL in tokens older than this column, which end by expiry or revocation only.
    password_fingerprint: Mapped[str | None] = mapped_column(exact(64))


class Secret(ApiBase):
    """A random key of our own, in hex (`access/keys.py`). There is one row per purpose, made when first needed."""

    __tablename__ = "api_v1_secret"
    __table_args__ = {"mysql_engine": "InnoDB"}

    purpose: Mapped[str] = mapped_column(exact(20), primary_key=True)
    value: Mapped[str] = mapped_column(exact(64))


class RunCreation(ApiBase):
    """When a run was created and by whom, and of which run it is a retry; the platform stores none of it.

    See docs/decisions.md, "When a run was created" and "Retrying". `retry_of` is no foreign key, because checking it
    would wait for a transaction that has locked the other run's row; readers look whether that run still exists.
    """

    __tablename__ = "api_v1_run_creation"
    __table_args__ = {"mysql_engine": "InnoDB"}

    test_id: Mapped[int] = mapped_column(
        sa.ForeignKey("test.id", onupdate="CASCADE", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    )
    created_at: Mapped[datetime] = mapped_column(sa.DateTime)
    user_id: Mapped[int | None] = mapped_column(sa.ForeignKey("user.id", onupdate="CASCADE", ondelete="SET NULL"))
    retry_of: Mapped[int | None]


#: Alembic's own bookkeeping. It is declared so that an autogenerate on the platform's metadata does not propose to
#: drop it.
version_table = sa.Table(
    "api_v1_alembic_version",
    Base.metadata,
    sa.Column("version_num", sa.String(32), primary_key=True, nullable=False),
)


def own_tables() -> list[sa.Table]:
    """Return our tables, in the order in which they can be created."""
    return [table for table in Base.metadata.sorted_tables if table.name.startswith("api_v1_")]


class RunState(ApiBase):
    """Derived facts of a run, stored so that lists can filter, sort and count by them.

    Disposable: `verdicts/derivation.py` derives them from the platform's tables. There is no foreign key, because
    checking it would wait for a transaction that has locked the run's row. The row of run 0 proves that the table was
    not emptied or replaced (see `Refresh`).
    """

    __tablename__ = "api_v1_run_state"
    __table_args__ = (
        sa.Index("api_v1_run_state_created", "created_at", "test_id"),
        sa.Index("api_v1_run_state_status", "status", "created_at", "test_id"),
        sa.Index("api_v1_run_state_started", "started_at", "test_id"),
        sa.Index("api_v1_run_state_commit", "commit_key", "created_at", "test_id"),
        sa.Index("api_v1_run_state_branch", "branch_key", "fork_id", "of_pull_request", "test_id"),
        sa.Index("api_v1_run_state_known", "created_known"),
        sa.Index("api_v1_run_state_pull_request", "pull_request", "test_id"),
        {"mysql_engine": "InnoDB"},
    )

    test_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    #: The generation of `Refresh` when the row was stored; rows of another generation are not used.
    generation: Mapped[int]
    status: Mapped[str | None] = mapped_column(exact(10))
    #: The newest progress row and the number of result rows from which the row was derived.
    last_progress_id: Mapped[int | None]
    results: Mapped[int] = mapped_column(default=0)
    #: Whether CustomizedTest rows define the run's set of tests.
    recorded: Mapped[bool] = mapped_column(default=False)
    #: The number of tests in the run's set, and how many of them passed, failed, lack an output, or have no result.
    total: Mapped[int] = mapped_column(default=0)
    passed: Mapped[int] = mapped_column(default=0)
    failed: Mapped[int] = mapped_column(default=0)
    missing_output: Mapped[int] = mapped_column(default=0)
    absent: Mapped[int] = mapped_column(default=0)
    #: The number of entries in the run's error list.
    errors: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime | None] = mapped_column(sa.DateTime)
    created_known: Mapped[bool | None]
    started_at: Mapped[datetime | None] = mapped_column(sa.DateTime)
    completed_at: Mapped[datetime | None] = mapped_column(sa.DateTime)
    #: Copies of platform columns that have no index there: `commit` in lower case, the fork, whether the run tests a
    #: pull request and which (NULL for none, and for one without number), and the `sql.group_key` of the branch.
    commit_key: Mapped[str | None] = mapped_column(sa.String(64))
    fork_id: Mapped[int | None]
    of_pull_request: Mapped[bool | None]
    pull_request: Mapped[int | None]
    branch_key: Mapped[bytes | None] = mapped_column(
        sa.LargeBinary().with_variant(mysql.VARBINARY(32), "mysql", "mariadb")
    )


class RunFailure(ApiBase):
    """A test of a run that did not simply pass; derived and disposable like `RunState`.

    `verdict` is fail, missing_output, pass (with a warning), skipped (in the run's recorded set, without a result), or
    outside (with a result, but not in the run's recorded set). It allows filtering and counting a test's history
    without deriving the verdict of every result. `errors` is the number of entries about the test's result in the run's
    error list.

    The observed result is kept for a test with a result in the set: its exit code, whether that is wrong, and a digest
    of the exit code and all outputs (`verdicts/observed.py`).
    """

    __tablename__ = "api_v1_run_failure"
    __table_args__ = (
        sa.Index("api_v1_run_failure_history", "regression_id", "test_id", "verdict"),
        sa.Index("api_v1_run_failure_observed", "regression_id", "observed", "test_id"),
        {"mysql_engine": "InnoDB"},
    )

    test_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    regression_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    verdict: Mapped[str] = mapped_column(exact(14))
    errors: Mapped[int] = mapped_column(default=0)
    exit_code: Mapped[int | None]
    wrong_exit_code: Mapped[bool] = mapped_column(default=False, server_default=sa.text("0"))
    observed: Mapped[str | None] = mapped_column(exact(32))


class RunFailureOutput(ApiBase):
    """An output of a `RunFailure` that is neither equal nor an accepted variant; derived and disposable like it.

    `hash` is the stored hash of the worker's file. A stored text that is no hash is replaced by a digest, which no hash
    is equal to (`verdicts/observed.py`).
    """

    __tablename__ = "api_v1_run_failure_output"
    __table_args__ = (
        sa.Index("api_v1_run_failure_output_hash", "regression_id", "output_id", "hash", "test_id"),
        {"mysql_engine": "InnoDB"},
    )

    test_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    regression_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    output_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    hash: Mapped[str] = mapped_column(exact(64))


class Change(ApiBase):
    """A change since the states were stored: of a run, of a test's rule in all runs, or of the catalogue of tests.

    There is one row for each changed thing, however often it changes. `stamp` differs for each change, so that a change
    during a derivation is not mistaken for the previous one.
    """

    __tablename__ = "api_v1_change"
    __table_args__ = ({"mysql_engine": "InnoDB"},)

    kind: Mapped[str] = mapped_column(exact(12), primary_key=True)
    target: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    stamp: Mapped[int] = mapped_column(sa.BigInteger)


class Refresh(ApiBase):
    """The progress of storing states: one row, whose lock allows one refresher at a time.

    Each of the four tables above has a row with the same `generation`. If one lacks it, that table was emptied or
    replaced, and every state is derived again, from the newest run down to `position`.
    """

    __tablename__ = "api_v1_refresh"
    __table_args__ = ({"mysql_engine": "InnoDB"},)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    generation: Mapped[int]
    complete: Mapped[bool]
    #: While not complete: the states of this run and all newer ones are stored.
    position: Mapped[int]
    #: Digest of the tests that runs without a recorded set execute, and of the first run of each test.
    expected_tests: Mapped[str] = mapped_column(exact(64), default="")
    #: The newest run when the API was set up; the creation times of the runs up to it were not observed.
    newest_old_run: Mapped[int]
    #: The last run that the audit compared, and when it last had compared every run.
    audit_position: Mapped[int] = mapped_column(default=0)
    audit_ended_at: Mapped[datetime | None] = mapped_column(sa.DateTime)


class AuditRecord(ApiBase):
    """Who changed what, when and why. Rows are only added.

    `actor` and `token_name` are text, so that a record survives the deletion of account and token. `before` and `after`
    are JSON objects without secrets.
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


class IdempotentRequest(ApiBase):
    """A request with an `Idempotency-Key`, and the response to repeat.

    It is written in the transaction of the change, so that neither is stored without the other.
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


class BaselineApproval(ApiBase):
    """A request to make a run's actual output the new baseline, and its outcome.

    `pending_key` is set while the request is pending: the output, and a digest of the old and the new hash. It is
    unique, so that a second request for the same returns the first one.
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


class BaselineChange(ApiBase):
    """An output whose baseline an approval replaced, with the old hash for a revert."""

    __tablename__ = "api_v1_baseline_change"
    __table_args__ = {"mysql_engine": "InnoDB"}

    approval_id: Mapped[int] = mapped_column(
        sa.ForeignKey("api_v1_baseline_approval.id", ondelete="CASCADE"), primary_key=True
    )
    output_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    old_hash: Mapped[str | None] = mapped_column(sa.Text)
    new_hash: Mapped[str] = mapped_column(exact(64))
