"""Pages of lists, by limit and offset or by cursor (contract schemas `Page` and `CursorPage`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from api_v1.database.platform import DbSession

Item_co = TypeVar("Item_co", covariant=True)


@dataclass(frozen=True)
class Page(Generic[Item_co]):
    """One page of a list.

    Attributes:
        data: the items of the page.
        total: the number of matches before pagination.
        extra: the fields beside `data` in the envelope.
    """

    data: Sequence[Item_co]
    total: int
    extra: Mapping[str, Any] = field(default_factory=dict)


def paginate(query: sa.Select[Any]) -> sa.Select[Any]:
    """Restrict a query to one page, by the parameters `limit` and `offset` of its execution."""
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
class CursorPage(Generic[Item_co]):
    """One page of a list with a cursor.

    Attributes:
        data: the items of the page.
        next_cursor: the `cursor` of the next page, None on the last one.
        extra: the fields beside `data` in the envelope.
    """

    data: Sequence[Item_co]
    next_cursor: str | None
    extra: Mapping[str, Any] = field(default_factory=dict)
