"""The commits of runs, some of which the platform stores abbreviated (docs/decisions.md, "Commit hashes")."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from api_v1.database.platform import DbSession, Fork, Test
from api_v1.database.tables import RunState
from api_v1.runs.repositories import repository_name

#: The least number of digits of an abbreviation, and that of a full commit.
SHORTEST, FULL = 7, 40

_COMMIT = re.compile(f"[0-9a-fA-F]{{{SHORTEST},{FULL}}}")

#: A commit as it is stored, and the URL of the fork that it is of.
StoredCommit = tuple[str, "str | None"]


def completed(session: DbSession, commits: Iterable[StoredCommit]) -> Mapping[StoredCommit, str | None]:
    """Return what is sent of each commit, with one statement at most.

    A full commit stays as it is. An abbreviation becomes the full commit if the runs of the same repository have just
    one that begins with it, and stays as it is otherwise. What is no commit becomes None.
    """
    asked = set(commits)
    known = _full_commits(session, {commit.lower() for commit, github in asked if github and _is_abbreviated(commit)})
    return {(commit, github): _completed(commit, known[_repository(github)]) for commit, github in asked}


def stored_commit(text: str) -> str | None:
    """Return a stored text if it is a commit, in full or abbreviated, else None."""
    return text if _COMMIT.fullmatch(text) else None


def is_commit(text: Any) -> sa.ColumnElement[bool]:
    """Be true for a text in lower case that is a commit, in full or abbreviated."""
    return sa.and_(sa.func.length(text).between(SHORTEST, FULL), ~text.regexp_match("[^0-9a-f]"))


def _is_abbreviated(commit: str) -> bool:
    return len(commit) < FULL and stored_commit(commit) is not None


def _repository(github: str | None) -> str | None:
    """Return what two URLs of one repository have in common."""
    name = repository_name(github)
    return name.lower() if name is not None else github


def _completed(commit: str, known: Mapping[str, str]) -> str | None:
    if not _is_abbreviated(commit):
        return stored_commit(commit)
    found = [stored for key, stored in known.items() if key.startswith(commit.lower())]
    return found[0] if len(found) == 1 else commit


def _full_commits(session: DbSession, beginnings: Iterable[str]) -> Mapping[str | None, Mapping[str, str]]:
    """Return the full commits with one of these beginnings, by repository: in lower case, and as they are stored."""
    found: defaultdict[str | None, dict[str, str]] = defaultdict(dict)
    key = RunState.commit_key
    # A range and not LIKE, for which SQLite does not use the index. "g" comes after all hex digits.
    ranges = [sa.and_(key >= beginning, key < f"{beginning}g") for beginning in sorted(beginnings)]
    if not ranges:
        return found
    rows = session.execute(
        sa.select(Test.commit, Fork.github)
        .join(RunState, RunState.test_id == Test.id)
        .join(Fork, Fork.id == Test.fork_id)
        .where(sa.or_(*ranges), sa.func.length(key) == FULL)
        .distinct()
    )
    for commit, github in rows:
        if stored_commit(commit):
            found[_repository(github)].setdefault(commit.lower(), commit)
    return found


def abbreviated_runs(session: DbSession, commit: str) -> Sequence[int]:
    """Return the runs whose commit is stored with fewer digits than are given, and is sent as one that begins so.

    Args:
        commit: a commit in full, or its first digits, at least `SHORTEST`.
    """
    beginnings = [commit[:length].lower() for length in range(SHORTEST, len(commit))]
    if not beginnings:
        return []
    rows = session.execute(
        sa.select(Test.id, Test.commit, Fork.github)
        .join(RunState, RunState.test_id == Test.id)
        .outerjoin(Fork, Fork.id == Test.fork_id)
        .where(RunState.commit_key.in_(beginnings))
    ).all()
    sent = completed(session, ((row.commit, row.github) for row in rows))
    return [row.id for row in rows if (sent[row.commit, row.github] or "").lower().startswith(commit.lower())]
