"""A log of errors that may recur with every request or commit."""

from __future__ import annotations

import logging
import time

#: Seconds after which an error is logged again.
LOG_AGAIN = 60.0

#: Maximum length of a logged error, in characters; errors of the database end with the statement, which may be long.
ERROR_LENGTH = 500


class ThrottledLog:
    """Logs an error at most once a minute."""

    def __init__(self, logger: logging.Logger, message: str) -> None:
        """Choose what to log.

        Args:
            message: what it means that there is an error; the error itself is appended.
        """
        self._logger = logger
        self._message = message
        self._logged_at = -float("inf")

    def error(self, error: Exception) -> None:
        """Log an error, unless one was logged within the last minute."""
        if time.monotonic() - self._logged_at >= LOG_AGAIN:
            self._logged_at = time.monotonic()
            self._logger.error("%s: %s: %s", self._message, type(error).__name__, str(error)[:ERROR_LENGTH])
