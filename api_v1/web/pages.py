"""Pages in HTTP: their query parameters, envelopes and `Link` headers (contract schemas `Page` and `CursorPage`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, validate

from api_v1.paging import CursorPage, Page
from api_v1.web.absolute_urls import current_url
from api_v1.web.validation import QueryInteger, RequestSchema


class PageQuery(RequestSchema):
    """The parameters of every list."""

    limit = QueryInteger(
        load_default=50,
        validate=validate.Range(1, 100),
        metadata={"description": "Maximum number of results to return (1–100)"},
    )
    offset = QueryInteger(
        load_default=0,
        validate=validate.Range(min=0),
        metadata={"description": "Number of results to skip for pagination"},
    )


def cursor_envelope(
    page: CursorPage[Any], item: Schema, query: Mapping[str, Any], extra: Schema | None
) -> tuple[dict[str, Any], str]:
    """Serialise a page of a list with a cursor; see `envelope`."""
    pagination = {"limit": query["limit"], "next_cursor": page.next_cursor}
    body = {"data": item.dump(page.data, many=True), "pagination": pagination}
    if extra is not None:
        body |= extra.dump(page.extra)
    if page.next_cursor is None:
        return body, ""
    return body, f'<{current_url(("cursor", "tail"), cursor=page.next_cursor)}>; rel="next"'


def envelope(
    page: Page[Any], item: Schema, query: Mapping[str, Any], extra: Schema | None
) -> tuple[dict[str, Any], str]:
    """Serialise a page.

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
        f'<{current_url(("limit", "offset"), limit=limit, offset=start)}>; rel="{relation}"'
        for relation, start in targets.items()
        if start is not None
    )
