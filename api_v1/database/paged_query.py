"""Queries of which a page and the number of all rows are read in one statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from api_v1.database.platform import DbSession
from api_v1.paging import paginate


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
