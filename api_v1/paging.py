"""Pages of lists, by limit and offset or by cursor (contract schemas `Page` and `CursorPage`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

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
