"""Pages of lists, by limit and offset or by cursor (contract schemas `Page` and `CursorPage`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa


@dataclass(frozen=True)
class Page:
    """One page of a list.

    Attributes:
        data: the items of the page.
        total: the number of matches before pagination.
        extra: what stands beside `data` in the envelope.
    """

    data: Sequence[Any]
    total: int
    extra: Mapping[str, Any] = field(default_factory=dict)


def paginate(query: sa.Select[Any]) -> sa.Select[Any]:
    """Truncated a page out of a query; `limit` and `offset` are given when it is executed."""
    limit, offset = (sa.bindparam(name, type_=sa.Integer) for name in ("limit", "offset"))
    return query.limit(limit).offset(offset)


@dataclass(frozen=True)
class CursorPage:
    """One page of a list that is walked by cursor.

    Attributes:
        data: the items of the page.
        next_cursor: what to ask for next, None at the end.
        extra: what stands beside `data` in the envelope.
    """

    data: Sequence[Any]
    next_cursor: str | None
    extra: Mapping[str, Any] = field(default_factory=dict)
