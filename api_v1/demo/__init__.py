"""Demo data of a small platform: samples, regression tests, and some weeks of runs.

All of it is invented, and each seeding inserts the same ids, files and hashes, and the same dates relative to its end.
Only the salted password hashes differ.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from api_v1.database.platform import (
    Category,
    CCExtractorVersion,
    Fork,
    GeneralData,
    MaintenanceMode,
    RegressionTest,
    Role,
    Sample,
    Tag,
    Test,
    TestPlatform,
    User,
)
from api_v1.demo.catalogue import SAMPLES, insert_catalogue
from api_v1.demo.files import Files
from api_v1.demo.runs import insert_runs

__all__ = ["ADMIN", "PASSWORD", "DemoError", "Summary", "is_seeded", "seed"]

ADMIN = "admin@example.org"
PASSWORD = "sample-platform"
ROLES = (Role.admin, Role.tester, Role.contributor, Role.user)

MAIN_FORK = "https://github.com/CCExtractor/ccextractor.git"


class DemoError(Exception):
    """The demo cannot be inserted into this database; the message says why."""


@dataclass(frozen=True)
class Summary:
    """The numbers of inserted rows and written files."""

    users: int
    samples: int
    regression_tests: int
    runs: int
    files: int


def is_seeded(session: Session) -> bool:
    """Tell whether the database contains the demo's admin or any run, with which the demo must not be mixed."""
    admin = session.scalar(sa.select(User.id).where(User.email == ADMIN))
    return admin is not None or session.scalar(sa.select(Test.id).limit(1)) is not None


def seed(session: Session, repository: Path, end: datetime) -> Summary:
    """Insert the demo into an empty database and write its files to a folder.

    Args:
        session: the session in which to insert; the caller commits.
        repository: the platform's `SAMPLE_REPOSITORY`; it is created if it does not exist.
        end: the current time of the demo, in UTC where it has no offset: nothing in it is later.

    Raises:
        DemoError: the database is not empty.
    """
    _refuse_unless_empty(session)
    files = Files()
    users = _insert_users(session)
    forks = _insert_forks(session)
    session.add_all(MaintenanceMode(platform, False) for platform in TestPlatform)
    catalogue = insert_catalogue(session, files, list(users.values()))
    whole_seconds = end.replace(microsecond=0, tzinfo=end.tzinfo or timezone.utc)
    runs = insert_runs(session, files, catalogue, users, forks, whole_seconds)
    session.flush()
    repository.mkdir(parents=True, exist_ok=True)
    return Summary(
        users=len(users) + 2,
        samples=len(SAMPLES),
        regression_tests=len(catalogue.commands),
        runs=len(runs),
        files=files.write(repository),
    )


def _refuse_unless_empty(session: Session) -> None:
    if session.scalar(sa.select(User.id).where(User.email == ADMIN)) is not None:
        raise DemoError("The demo is already in this database.")
    for model in (Test, RegressionTest, Sample, Category, Tag, CCExtractorVersion, Fork, User, GeneralData):
        if session.scalar(sa.select(sa.func.count()).select_from(model)):
            raise DemoError(
                f"The table {model.__tablename__!r} already holds rows that are not the demo's: "
                "the demo needs an empty database."
            )


def _insert_users(session: Session) -> dict[str, User]:
    """Insert the accounts; return those that can log in, by name."""
    hashed = User.generate_hash(PASSWORD)  # slow by design, and one hash serves all four
    users = [User(role.value, role, f"{role.value}@example.org", hashed) for role in ROLES]
    no_password = hashlib.sha256(b"no hash: this account cannot log in").hexdigest()[:32]
    left = User("left", Role.contributor, "left@example.org", no_password)
    roleless = User("roleless", None, "roleless@example.org", hashed)
    for user in (*users, left, roleless):
        session.add(user)
        session.flush()
    left.name, left.email = f"Anonymous {left.id}", f"unknown{left.id}@ccextractor.org"
    session.flush()
    return {f"{user.name}": user for user in users}


def _insert_forks(session: Session) -> dict[str | None, Fork]:
    owners = {None: MAIN_FORK} | {
        name: f"https://github.com/{name}/ccextractor.git" for name in ("tester", "contributor")
    }
    forks = {owner: Fork(address) for owner, address in owners.items()}
    session.add_all(forks.values())
    session.flush()
    return forks
