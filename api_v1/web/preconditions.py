"""Conditional requests (RFC 9110, section 13; docs/decisions.md, "Preconditions").

No resource of the API has a modification date, so `If-Modified-Since` and `If-Unmodified-Since` are ignored, as the RFC
demands then.
"""

from __future__ import annotations

from flask import Response, request

from api_v1.web.errors import PreconditionFailed


def apply(response: Response, variant: str = "") -> None:
    """Give a representation its ETag, and make it a 304 where the client has it already.

    Args:
        variant: the end of the ETag of another representation of the same answer.

    Raises:
        PreconditionFailed: `If-Match` names other representations only.
    """
    response.add_etag()
    etag, weak = response.get_etag()
    if variant:
        etag = f"{etag}{variant}"
        response.set_etag(etag)
    # The comparison is strong: Werkzeug's `contains` ignores weak tags.
    if request.if_match and (weak or etag is None or not request.if_match.contains(etag)):
        raise PreconditionFailed("If-Match")
    # Only what decides: Werkzeug would evaluate If-Match once more and answer it with the representation.
    known = {name: request.environ[name] for name in ("HTTP_IF_NONE_MATCH",) if name in request.environ}
    response.make_conditional({"REQUEST_METHOD": request.method, **known})


def check_write(*, has_representation: bool) -> None:
    """Evaluate the preconditions of a request that changes something.

    An ETag never matches: what a write refers to has changed with the reading already, for example when a token was
    last used.

    Args:
        has_representation: whether GET has an answer at the same URL.

    Raises:
        PreconditionFailed: one fails.
    """
    if request.if_match and not (request.if_match.star_tag and has_representation):
        raise PreconditionFailed("If-Match")
    if request.if_none_match and request.if_none_match.star_tag and has_representation:
        raise PreconditionFailed("If-None-Match")
