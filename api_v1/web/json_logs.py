"""Log lines that are JSON objects, for a process whose host has configured no logging."""

from __future__ import annotations

import json
import logging
from typing import Any

from pythonjsonlogger.json import JsonFormatter


class Entry(dict[str, Any]):
    """The fields of a log line: a JSON object of its own in any other format, too."""

    def __str__(self) -> str:
        return json.dumps(self, default=str)


def to_stderr(logger: logging.Logger) -> None:
    """Log to stderr if the host has not configured logging: one JSON object per line, tracebacks included.

    Its fields are `time` (UTC), `level`, `logger`, and `message` or those of an `Entry`.
    """
    if logger.hasHandlers():
        return
    logger.setLevel(logging.INFO)
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(levelname)s%(name)s%(message)s", rename_fields=_FIELDS, timestamp="time"))
    logger.addHandler(handler)


_FIELDS = {"levelname": "level", "name": "logger"}


class _Formatter(JsonFormatter):
    """The library's formatter, without an empty message beside the fields of an `Entry`."""

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """Leave out what says nothing."""
        return {name: value for name, value in log_data.items() if value not in (None, "")}
