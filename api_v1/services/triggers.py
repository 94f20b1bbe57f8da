"""Database triggers that note which runs have changed.

Each belongs to one way in which a run's state can change, and adds rows to `api_v1_run_change` in the transaction of
the change itself. They see what no program can: another process, the platform's web pages, SQL typed by hand. Because
they only ever add rows, no writer of the platform waits for another, or for a reader, on their account.
InnoDB runs no triggers for rows that a foreign key's cascade deletes; those cascades start at a row of `test`,
`sample`, `regression_test` or `regression_test_output`, which have triggers of their own. The text is nearly the same
for MySQL and SQLite.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from api_v1.platform import DbSession

logger = logging.getLogger(__name__)

PREFIX = "api_v1_on_"

#: Should our tables be dropped by hand, the platform's writes go on: a missing table inside a trigger is passed over.
_WITHOUT_TABLES = "DECLARE CONTINUE HANDLER FOR SQLSTATE '42S02' BEGIN END; "

_NOTE = "INSERT INTO api_v1_run_change (test_id) "

#: The runs in which a test has a result but no file: the only ones whose verdict its outputs' `ignore` decides. The
#: platform's sentinel rows are no files.
_WITHOUT_FILE = (
    "SELECT DISTINCT r.test_id FROM test_result r LEFT JOIN test_result_file f"
    " ON f.test_id = r.test_id AND f.regression_test_id = r.regression_test_id"
    " AND NOT (f.expected = '' AND COALESCE(f.got, '') = 'error') AND f.regression_test_output_id <> -1"
    " WHERE r.regression_test_id = {row}.regression_id AND f.test_id IS NULL"
)

#: The runs in which an output was the very file that a variant names.
_WITH_VARIANT = (
    "SELECT DISTINCT f.test_id FROM test_result_file f"
    " WHERE f.regression_test_output_id = {row}.regression_test_output_id AND f.got = {row}.file_hashes"
)

#: The runs whose rows a deleted output, test or sample takes with it.
_WITH_OUTPUT = "SELECT DISTINCT f.test_id FROM test_result_file f WHERE f.regression_test_output_id = {row}.id"
_WITH_TEST = (
    "SELECT r.test_id FROM test_result r WHERE r.regression_test_id = {row}.id"
    " UNION SELECT c.test_id FROM customized_test c WHERE c.regression_id = {row}.id"
)
_WITH_SAMPLE = (
    "SELECT r.test_id FROM test_result r JOIN regression_test t ON t.id = r.regression_test_id"
    " WHERE t.sample_id = {row}.id UNION SELECT c.test_id FROM customized_test c"
    " JOIN regression_test t ON t.id = c.regression_id WHERE t.sample_id = {row}.id"
)


@dataclass(frozen=True)
class Trigger:
    """One trigger.

    Attributes:
        table: the table whose rows it watches.
        moment: such as `AFTER INSERT`.
        action: what it does.
    """

    table: str
    moment: str
    action: str

    @property
    def name(self) -> str:
        """The trigger's name in the database."""
        return PREFIX + "_".join((self.table, *self.moment.lower().split()))

    def ddl(self, dialect: str) -> str:
        """The statement that creates it."""
        guard = "" if dialect == "sqlite" else _WITHOUT_TABLES
        return f"CREATE TRIGGER {self.name} {self.moment} ON {self.table} FOR EACH ROW BEGIN {guard}{self.action}; END"


def _of_run(table: str) -> list[Trigger]:
    """Note the run that a row of the table belongs to."""
    return [
        Trigger(table, "AFTER INSERT", _NOTE + "VALUES (NEW.test_id)"),
        Trigger(table, "AFTER UPDATE", _NOTE + "SELECT OLD.test_id UNION SELECT NEW.test_id"),
        Trigger(table, "AFTER DELETE", _NOTE + "VALUES (OLD.test_id)"),
    ]


def _of_baseline(table: str, runs: str) -> list[Trigger]:
    """Note the runs to which a baseline row matters, as it was and as it is."""
    old, new = (_NOTE + runs.format(row=row) for row in ("OLD", "NEW"))
    return [
        Trigger(table, "AFTER INSERT", new),
        Trigger(table, "AFTER UPDATE", f"{old}; {new}"),
        Trigger(table, "AFTER DELETE", old),
    ]


def _before_cascade(table: str, runs: str) -> Trigger:
    """Note the runs that lose rows to the cascade of a deleted row."""
    return Trigger(table, "BEFORE DELETE", _NOTE + runs.format(row="OLD"))


TRIGGERS: tuple[Trigger, ...] = (
    Trigger(
        "test",
        "AFTER INSERT",
        "INSERT INTO api_v1_run_state (test_id, version, stale) VALUES (NEW.id, 1, 1)",
    ),
    Trigger("test", "AFTER UPDATE", _NOTE + "VALUES (NEW.id)"),
    # Runs of unknown creation time carry their neighbour's, which may be this one's. SQLite may not enforce the
    # foreign key that takes the row itself.
    Trigger(
        "test",
        "AFTER DELETE",
        "DELETE FROM api_v1_run_problem WHERE test_id = OLD.id; DELETE FROM api_v1_run_state WHERE test_id = OLD.id; "
        + _NOTE
        + "SELECT test_id FROM api_v1_run_state WHERE created_known = 0",
    ),
    # Rows of ours that are deleted by hand are made again. Those of problems are deleted by who stores a state, too, in
    # whose transaction a note would outlive the state.
    Trigger("api_v1_run_state", "AFTER DELETE", _NOTE + "VALUES (OLD.test_id)"),
    Trigger(
        "api_v1_run_problem",
        "AFTER DELETE",
        "UPDATE api_v1_run_state SET stale = 1, version = version + 1 WHERE test_id = OLD.test_id",
    ),
    *_of_run("test_progress"),
    *_of_run("test_result"),
    *_of_run("test_result_file"),
    *_of_run("customized_test"),
    *_of_run("api_v1_run_creation"),
    *_of_baseline("regression_test_output", _WITHOUT_FILE),
    *_of_baseline("regression_test_output_files", _WITH_VARIANT),
    _before_cascade("regression_test_output", _WITH_OUTPUT),
    _before_cascade("regression_test", _WITH_TEST),
    _before_cascade("sample", _WITH_SAMPLE),
)

_PRESENT = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger'",
    "mysql": "SELECT TRIGGER_NAME AS name FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE()",
}
_PRESENT["mariadb"] = _PRESENT["mysql"]


def all_there(dialect: str) -> sa.ColumnElement[bool]:
    """Be true when the database has all of our triggers."""
    names = sa.text(_PRESENT[dialect]).columns(sa.column("name", sa.String)).subquery()
    found = sa.select(sa.func.count()).where(names.c.name.in_([trigger.name for trigger in TRIGGERS]))
    return found.scalar_subquery() == len(TRIGGERS)


def missing(session: DbSession) -> list[Trigger]:
    """Return those of our triggers that the database does not have."""
    present = set(session.scalars(sa.text(_PRESENT[session.get_bind().dialect.name])))
    return [trigger for trigger in TRIGGERS if trigger.name not in present]


REMEDY = (
    "Grant the account the TRIGGER privilege on the platform's schema (on MySQL with a binary log also set "
    "log_bin_trust_function_creators=1), then run 'flask api-v1 db upgrade'."
)

#: Errors that pass by: a lock wait timeout, a deadlock, a trigger that another process made at the same time.
_PASSING = (1205, 1213, 1359)


def install(session: DbSession) -> bool:
    """Make the triggers that are missing, and a stale row for every run; commits.

    Without the right to do so it leaves a warning: answers are then derived every time.

    Returns:
        False when there is no use in trying again soon.
    """
    connection = session.connection()
    try:
        for trigger in missing(session):
            connection.exec_driver_sql(trigger.ddl(connection.dialect.name))
        for statement in _ALL_STALE:
            connection.exec_driver_sql(statement)
        session.commit()
    except DBAPIError as error:
        session.rollback()
        logger.warning("run states cannot be kept, so that lists are slow: %s. %s", error.orig, REMEDY)
        return not error.orig or error.orig.args[0] in _PASSING
    return True


#: In this order: what changes meanwhile is noted by the triggers.
_ALL_STALE = (
    "DELETE FROM api_v1_run_problem WHERE test_id NOT IN (SELECT id FROM test)",
    "DELETE FROM api_v1_run_state WHERE test_id NOT IN (SELECT id FROM test)",
    "INSERT INTO api_v1_run_change (test_id) SELECT 0 FROM (SELECT 1 AS one) intact"
    " WHERE NOT EXISTS (SELECT 1 FROM api_v1_run_change WHERE test_id = 0)",
    "INSERT INTO api_v1_run_state (test_id, version, stale) SELECT t.id, 1, 1 FROM test t"
    " LEFT JOIN api_v1_run_state s ON s.test_id = t.id WHERE s.test_id IS NULL",
    "UPDATE api_v1_run_state SET stale = 1, version = version + 1",
)


def remove(session: DbSession) -> None:
    """Drop all triggers; comes before our tables are dropped."""
    for trigger in TRIGGERS:
        session.connection().exec_driver_sql(f"DROP TRIGGER IF EXISTS {trigger.name}")
