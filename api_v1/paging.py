"""Pages of lists, by limit and offset or by cursor (contract schemas `Page` and `CursorPage`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from api_v1.database.platform import DbSession


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
    """Cut a page out of a query; `limit` and `offset` are given when it is executed."""
    limit, offset = (sa.bindparam(name, type_=sa.Integer) for name in ("limit", "offset"))
    return query.limit(limit).offset(offset)


class PagedQuery:
    """A query whose rows are costly to find: a page of it comes with the number of all rows, found once for both.

    Build it once for each form that the query can take; what differs between requests are parameters.
    """

    def __init__(self, matches: sa.Select[Any]) -> None:
        self._page = paginate(matches.add_columns(sa.func.count().over().label("total")))
        self._number = sa.select(sa.func.count()).select_from(matches.order_by(None).subquery())

    def fetch(
        self, session: DbSession, limit: int, offset: int, parameters: Mapping[str, Any]
    ) -> tuple[Sequence[Any], int]:
        """Return a page, and the number of all rows."""
        rows = session.execute(self._page, {**parameters, "limit": limit, "offset": offset}).all()
        if rows or not offset:
            return rows, rows[0].total if rows else 0
        # Past the end there is no row to carry the total.
        return rows, session.scalar(self._number, parameters) or 0


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
