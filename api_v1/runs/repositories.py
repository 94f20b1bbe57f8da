"""The GitHub repositories of forks, which the platform stores as URLs, with `.git` at the end or without."""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa

from api_v1.database import sql
from api_v1.database.platform import Fork

GITHUB = "https://github.com/"

_URL = re.compile(re.escape(GITHUB) + r"([a-zA-Z0-9_.-]+/[a-zA-Z0-9_.-]+?)(\.git)?", re.IGNORECASE)


def repository_name(github: str | None) -> str | None:
    """Return owner/repo of a fork's URL; None without a fork, and for a URL that names no repository of GitHub."""
    match = _URL.fullmatch(github or "")
    return match[1] if match else None


def of_repository(name: str, fork: Any = Fork) -> sa.ColumnElement[bool]:
    """Be true for a fork of this name; GitHub's names ignore case.

    Args:
        fork: the forks, an alias of the table if need be.
    """
    return sa.or_(*(sql.equals_ignoring_case(fork.github, f"{GITHUB}{name}{end}") for end in (".git", "")))
