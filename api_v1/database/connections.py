"""Connections to MySQL and MariaDB on which a request does not wait for long.

PyMySQL knows one time-out per connection, set when it connects. An answer takes several statements, which together must
end in time, so `BoundedConnection` gives each statement what is left of the request's time. Outside of requests, as on
the command line, statements take as long as they need.

A server that accepts connections and says nothing costs the first requests two short time-outs. From then on it is
asked by one thread alone, and requests fail at once until it answers (`Circuit`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import sqlalchemy as sa
from pymysql.connections import Connection
from pymysql.constants import CR
from pymysql.err import OperationalError

logger = logging.getLogger(__name__)

#: Seconds for which a request may use the database, from its first look-up on.
REQUEST_SECONDS = 4.0

#: Seconds within which a server answers a ping; else the connection is given up and a new one made.
PING_SECONDS = 0.5

#: Seconds within which a server takes each step of a new connection, or counts as silent.
CONNECT_SECONDS = 1.0

#: Seconds between two questions to a silent server.
PAUSE = 0.5

#: Seconds for which a statement waits for a row or for a table that another transaction holds.
LOCK_SECONDS = 3

_ends: ContextVar[float | None] = ContextVar("api_v1_database_time_ends", default=None)


def begin_time(seconds: float | None = None) -> None:
    """From now on the statements of this thread have so many seconds together, by default `REQUEST_SECONDS`."""
    _ends.set(time.monotonic() + (REQUEST_SECONDS if seconds is None else seconds))


def end_time() -> None:
    """From now on the statements of this thread take as long as they need."""
    _ends.set(None)


@contextmanager
def limited_time(seconds: float) -> Iterator[None]:
    """Give the statements inside so many seconds together."""
    begin_time(seconds)
    try:
        yield
    finally:
        end_time()


def _time_left() -> float | None:
    ends = _ends.get()
    return None if ends is None else ends - time.monotonic()


class Circuit:
    """Whether a server answers.

    Args:
        ask: connects to the server and returns, or raises.
    """

    def __init__(self, ask: Callable[[], None]) -> None:
        self._ask = ask
        self._starting = threading.Lock()
        self._open = False

    def check(self) -> None:
        """Raise at once where the server is known not to answer.

        Raises:
            OperationalError: it was silent when it was last asked.
        """
        if self._open:
            raise OperationalError(CR.CR_CONN_HOST_ERROR, "The server is silent.") from TimeoutError()

    def report_silence(self) -> None:
        """Have the server asked by a thread of its own until it answers, and let nobody else wait for it."""
        with self._starting:
            if self._open:
                return
            self._open = True
        logger.error("the database server is silent; requests are refused until it answers")
        threading.Thread(target=self._watch, name="api_v1_circuit", daemon=True).start()

    def _watch(self) -> None:
        while True:
            time.sleep(PAUSE)
            try:
                self._ask()
            except Exception as error:
                if is_time_out(error):
                    continue
                # A refusal is an answer: whoever asks next meets it without waiting.
            self._open = False
            logger.info("the database server answers again")
            return


def is_time_out(error: BaseException | None) -> bool:
    """Tell whether an error of the driver comes from waiting in vain."""
    while error is not None:
        if isinstance(error, TimeoutError):
            return True
        error = error.__cause__ or error.__context__
    return False


class BoundedConnection(Connection):  # type: ignore[misc]
    """A connection whose statements end with the request's time.

    Args:
        circuit: says at once that the server is silent; without one the connection asks for itself.
        settings: those of PyMySQL's connection.
    """

    def __init__(self, circuit: Circuit | None = None, **settings: Any) -> None:
        self._circuit = circuit
        self._patience: float | None = None
        super().__init__(**settings)

    def connect(self, sock: Any = None) -> None:
        """Connect, or report that the server is silent."""
        if self._circuit is not None:
            self._circuit.check()
        left = _time_left()
        try:
            with self._at_most(CONNECT_SECONDS):
                self._take_time()
                super().connect(sock)
        except Exception as error:
            had_time = left is None or left >= CONNECT_SECONDS
            if self._circuit is not None and had_time and is_time_out(error):
                self._circuit.report_silence()
            raise

    def ping(self, reconnect: bool = False) -> None:
        """Ask for a sign of life."""
        if self._circuit is not None:
            self._circuit.check()
        with self._at_most(PING_SECONDS):
            super().ping(reconnect)

    def _execute_command(self, command: int, sql: str | bytes) -> None:
        self._take_time()
        super()._execute_command(command, sql)

    @contextmanager
    def _at_most(self, seconds: float) -> Iterator[None]:
        """Wait for each answer for so many seconds at most."""
        self._patience = seconds
        try:
            yield
        finally:
            self._patience = None

    def _take_time(self) -> None:
        """Set the driver's time-outs to what is left."""
        known = [seconds for seconds in (_time_left(), self._patience) if seconds is not None]
        seconds = min(known, default=None)
        if seconds is not None and seconds <= 0:
            # The code of a lost connection: SQLAlchemy then closes it, and the server rolls back.
            raise OperationalError(CR.CR_SERVER_LOST, "The request's time is used up.") from TimeoutError()
        self._read_timeout = self._write_timeout = seconds


#: One circuit for each server and account, whichever engine connects to it.
_circuits: dict[sa.URL, Circuit] = {}


def bound(engine: sa.Engine, *, lock_seconds: int = LOCK_SECONDS) -> None:
    """Let an engine on PyMySQL make bounded connections.

    Args:
        lock_seconds: for how long its statements wait for a lock on a row or on a table's definition.
    """
    settings: dict[str, Any] = {
        **engine.dialect.create_connect_args(engine.url)[1],
        "connect_timeout": CONNECT_SECONDS,
        "init_command": f"SET SESSION innodb_lock_wait_timeout={lock_seconds}, lock_wait_timeout={lock_seconds}",
    }
    circuit = _circuits.setdefault(engine.url, Circuit(lambda: BoundedConnection(**settings).close()))

    @sa.event.listens_for(engine, "do_connect")
    def connect(*_: Any) -> BoundedConnection:
        return BoundedConnection(circuit, **settings)
