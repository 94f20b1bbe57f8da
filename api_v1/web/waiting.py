"""`wait=`: hold a request until a run's progress changes (docs/decisions.md, "Waiting")."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from flask import current_app, request
from marshmallow import validate

from api_v1.database import connections
from api_v1.database.session import db
from api_v1.runs import details
from api_v1.web.operation import drop_session
from api_v1.web.request_context import remember_wait
from api_v1.web.validation import QueryInteger

#: The longest wait in seconds: usual proxies close a connection after a minute of silence.
LONGEST = 50

#: Seconds between two looks at the database.
INTERVAL = 1.0

#: `Retry-After` in seconds of an unfinished run after a wait: who waits again need not pause.
RETRY_SECONDS = 1


class Waiters:
    """Limits how many requests of a process wait at the same time.

    Args:
        most: their number; the threads of the others stay free.
        clock: a monotonic clock in seconds.
        sleep: waits for some seconds.
    """

    def __init__(
        self, most: int, *, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], Any] = time.sleep
    ) -> None:
        self._places = threading.Semaphore(most)
        self._clock = clock
        self._sleep = sleep

    def wait(self, seconds: float, look: Callable[[], details.Mark]) -> bool:
        """Wait until what is seen changes or is final, at most for some seconds.

        Args:
            seconds: the longest wait.
            look: returns what there is to see now; it keeps no connection.

        Returns:
            False when nothing was waited for because no place was free.
        """
        ends = self._clock() + seconds
        first = seen = look()
        if first.final:
            return True
        if not self._places.acquire(blocking=False):
            return False
        try:
            while seen == first and not seen.final and (left := ends - self._clock()) > 0:
                self._sleep(min(INTERVAL, left))
                seen = look()
        finally:
            self._places.release()
        return True


def wait_field() -> QueryInteger:
    """Return the query parameter `wait`."""
    return QueryInteger(
        validate=validate.Range(1, LONGEST),
        metadata={
            "description": "Seconds to wait at most for the run's next progress; the answer comes at once when the run "
            "is over, or when the server has no thread to wait in. Retry-After is 1 after a wait of an unfinished run."
        },
    )


def wait_for_progress(run_id: int, seconds: int | None) -> int | None:
    """Wait for the next progress of a run, if that is asked for and the server has a thread to wait in.

    Neither a transaction nor a connection is kept meanwhile.

    Args:
        seconds: the longest wait; None not to wait.

    Returns:
        The seconds of `Retry-After` of a run that is still unfinished, None for the usual ones.

    Raises:
        NotFound: there is no such run.
    """
    if seconds is None or not request.environ.get("wsgi.multithread"):
        return None
    waiters: Waiters = current_app.extensions["api_v1"].waiters
    drop_session()

    def look() -> details.Mark:
        with connections.limited_time(connections.REQUEST_SECONDS):
            try:
                return details.mark(db.session, run_id)
            finally:
                drop_session()

    try:
        waited = waiters.wait(seconds, look)
    finally:
        connections.begin_time()
    remember_wait()
    return RETRY_SECONDS if waited else None
