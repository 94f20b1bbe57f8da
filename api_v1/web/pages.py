"""Pages in HTTP: their query parameters, envelopes and `Link` headers (contract schemas `Page` and `CursorPage`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import EXCLUDE, Schema, fields, validate

from api_v1.paging import CursorPage, Page
from api_v1.web.absolute_urls import current_url
from api_v1.web.validation import QueryInteger, RequestSchema


class PageQuery(RequestSchema):
    """The parameters of every list."""

    limit = QueryInteger(
        load_default=50,
        validate=validate.Range(1, 100),
        metadata={"description": "The most entries of a page, 1 to 100."},
    )
    offset = QueryInteger(
        load_default=0,
        validate=validate.Range(min=0),
        metadata={"description": "How many entries to skip: next_offset of the page before."},
    )


class _Envelope(Schema):
    """Base of the schemas of what is around the entries of a page, which may get more fields."""

    class Meta:
        unknown = EXCLUDE


class Pagination(_Envelope):
    """Where a page is in its list."""

    limit = fields.Integer(
        required=True, validate=validate.Range(min=1), metadata={"description": "The most entries of a page."}
    )
    offset = fields.Integer(
        required=True, validate=validate.Range(min=0), metadata={"description": "How many entries are before the page."}
    )
    total = fields.Integer(
        required=True,
        validate=validate.Range(min=0),
        metadata={"description": "How many entries match, on all pages together."},
    )
    next_offset = fields.Integer(
        required=True,
        allow_none=True,
        validate=validate.Range(min=0),
        metadata={"description": "The offset of the next page; null on the last one."},
    )


class CursorPagination(_Envelope):
    """Where the next page is."""

    limit = fields.Integer(
        required=True, validate=validate.Range(min=1), metadata={"description": "The most lines of a page."}
    )
    next_cursor = fields.String(
        required=True,
        allow_none=True,
        validate=validate.Length(max=255),
        metadata={"description": "The opaque cursor of the next page; null when there are no more results."},
    )


def envelope_schema(page: type[Page[Any]] | type[CursorPage[Any]], item: Schema, extra: Schema | None) -> type[Schema]:
    """Return the schema of the pages of a list, such as `RunsPage` of `Run`, for the document."""
    name = type(item).__name__
    plural = f"{name[:-1]}ies" if name.endswith("y") else f"{name}es" if name.endswith("h") else f"{name}s"
    pagination = CursorPagination if page is CursorPage else Pagination
    made: dict[str, fields.Field[Any]] = {
        "data": fields.List(
            fields.Nested(type(item)), required=True, metadata={"description": "The entries of the page, in order."}
        ),
        "pagination": fields.Nested(pagination, required=True, metadata={"description": (pagination.__doc__ or "")}),
    }
    schema = _Envelope.from_dict(made | (extra.fields if extra is not None else {}), name=f"{plural}Page")
    schema.__doc__ = f"A page of a list. Of each entry: {item.__doc__}"
    return schema


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
