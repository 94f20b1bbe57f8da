"""Compress large answers with gzip for callers who accept it (docs/decisions.md, "Compression")."""

from __future__ import annotations

import gzip

from flask import Response, current_app, request

#: The smallest body in bytes that is compressed: a smaller one fits in one packet anyway.
LEAST = 1024

#: Of 160 KB of the API's JSON this level leaves 15 % in 2 ms; the next one takes half as long again for 3 % of that.
LEVEL = 5

#: What the `ETag` of a compressed representation ends with, because a strong one stands for the very bytes.
SUFFIX = "-gzip"


def is_wanted(response: Response) -> bool:
    """Tell whether to compress an answer, and say in `Vary` where that depends on the caller."""
    if not current_app.extensions["api_v1"].gzip:
        return False
    if response.mimetype != "application/json" or len(response.get_data()) < LEAST:
        return False
    response.vary.add("Accept-Encoding")
    return bool(request.accept_encodings.quality("gzip") > 0)


def compress(response: Response) -> None:
    """Compress the body of an answer; equal bodies give equal bytes."""
    response.set_data(gzip.compress(response.get_data(), LEVEL, mtime=0))
    response.headers["Content-Encoding"] = "gzip"
