"""Files of the platform's repository: where they are, and of which media type."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from api_v1.platform import bucket, repository

logger = logging.getLogger(__name__)

#: Seconds the bucket's service may take to connect and to answer.
BUCKET_TIMEOUT = (1, 2)

#: Where baselines, variants and the workers' outputs lie, named by their hash (platform, "Files").
RESULTS = "TestResults"

#: Media types by extension; what is not here is an octet stream.
MEDIA_TYPES = {
    ".srt": "application/x-subrip",
    ".ttxt": "text/plain",
    ".txt": "text/plain",
    ".smi": "application/x-sami",
    ".sami": "application/x-sami",
    ".ssa": "text/x-ssa",
    ".ass": "text/x-ssa",
    ".vtt": "text/vtt",
    ".xml": "application/xml",
    ".ttml": "application/ttml+xml",
    ".json": "application/json",
    ".html": "text/html",
}
OCTET_STREAM = "application/octet-stream"


def media_type(name: str) -> str:
    """Return the media type of a file by its extension."""
    return MEDIA_TYPES.get(Path(name).suffix.lower(), OCTET_STREAM)


def inside(root: Path, *parts: str) -> Path | None:
    """Return a path below a folder, or None when the names lead out of it (`..`, absolute, NUL, links)."""
    try:
        path = root.joinpath(*parts).resolve()
        return path if path.is_relative_to(root.resolve()) else None
    except (ValueError, OSError):
        return None


def local_size(root: Path, *parts: str) -> int | None:
    """Return the size in bytes of a file below the folder, None when it is not there."""
    path = inside(root, *parts)
    try:
        return path.stat().st_size if path is not None and path.is_file() else None
    except OSError:
        return None


def exists(config: Mapping[str, Any], *parts: str) -> bool:
    """Tell whether a file is in the local folder or in the bucket."""
    if local_size(repository(config), *parts) is not None:
        return True
    found = bucket(config)
    try:
        return found is not None and bool(found.blob("/".join(parts)).exists(timeout=BUCKET_TIMEOUT, retry=None))
    except Exception as error:  # whatever the client raises: a bucket that does not answer has nothing for us
        logger.warning("the bucket does not answer: %s", type(error).__name__)
        return False
