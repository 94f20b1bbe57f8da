"""Pages by limit and offset: the query fields, the envelope, and the `Link` header (contract schema `Page`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa
from flask import request
from marshmallow import Schema, validate

from api_v1.validation import Digits, RequestSchema


class PageQuery(RequestSchema):
    """The parameters of every list."""

    limit = Digits(
        load_default=50,
        validate=validate.Range(1, 100),
        metadata={"description": "Maximum number of results to return (1–100)"},
    )
    offset = Digits(
        load_default=0,
        validate=validate.Range(min=0),
        metadata={"description": "Number of results to skip for pagination"},
    )


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


def cut(query: sa.Select[Any]) -> sa.Select[Any]:
    """Cut a page out of a query; `limit` and `offset` are given when it is executed."""
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


def cursor_envelope(
    page: CursorPage, item: Schema, query: Mapping[str, Any], extra: Schema | None
) -> tuple[dict[str, Any], str]:
    """Shape a page that is walked by cursor; see `envelope`."""
    pagination = {"limit": query["limit"], "next_cursor": page.next_cursor}
    body = {"data": item.dump(page.data, many=True), "pagination": pagination}
    if extra is not None:
        body |= extra.dump(page.extra)
    if page.next_cursor is None:
        return body, ""
    kept = [(name, value) for name, value in request.args.items() if name not in ("cursor", "tail")]
    return body, f'<{request.base_url}?{urlencode([*kept, ("cursor", page.next_cursor)])}>; rel="next"'


def envelope(page: Page, item: Schema, query: Mapping[str, Any], extra: Schema | None) -> tuple[dict[str, Any], str]:
    """Shape a page.

    Returns:
        The body, and the value of the `Link` header (RFC 8288; empty when there is only one page).
    """
    limit, offset = query["limit"], query["offset"]
    following = offset + limit if offset + limit < page.total else None
    pagination = {
        "limit": limit,
        "offset": offset,
        "total": page.total,
        "next_offset": following,
    }
    body = {"data": item.dump(page.data, many=True), "pagination": pagination}
    if extra is not None:
        body |= extra.dump(page.extra)
    return body, _links(limit, offset, following)


def _links(limit: int, offset: int, following: int | None) -> str:
    targets = {"first": 0 if offset or following is not None else None}
    targets["prev"] = max(0, offset - limit) if offset else None
    targets["next"] = following
    return ", ".join(
        f'<{_page_url(limit, start)}>; rel="{relation}"' for relation, start in targets.items() if start is not None
    )


def _page_url(limit: int, offset: int) -> str:
    """Repeat the request's own query with another offset."""
    kept = [(name, value) for name, value in request.args.items() if name not in ("limit", "offset")]
    return f"{request.base_url}?{urlencode([*kept, ('limit', limit), ('offset', offset)])}"
