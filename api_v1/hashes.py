"""Hashes as the platform stores them: free text, which may be anything."""

from __future__ import annotations

import re

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def stored_hash(text: str | None) -> str | None:
    """Return a stored text if it is a SHA-256 hash (64 hex digits), else None."""
    return text if text and _SHA256.fullmatch(text) else None
