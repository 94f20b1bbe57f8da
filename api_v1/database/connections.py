"""Connections to MySQL and MariaDB with a time limit for each request.

PyMySQL has one time-out per connection, set when it connects. A request executes several statements, which share its
time limit, so `BoundedConnection` sets the time-out of each statement to the time that is left. Outside of requests, as
on the command line, statements have no time limit.

A server that accepts connections but does not respond costs the first requests two short time-outs. After that, one
thread alone probes it, and requests fail immediately until it responds (`Circuit`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar

import sqlalchemy as sa
from pymysql.connections import Connection
from pymysql.constants import CR
from pymysql.err import OperationalError

logger = logging.getLogger(__name__)

#: How long a request may use the database, in seconds from its first statement.
REQUEST_SECONDS = 4.0

#: Time limit of a ping in seconds; after it, the connection is closed and replaced.
PING_SECONDS = 0.5

#: Time limit in seconds of each step of connecting; a server that exceeds it counts as silent.
CONNECT_SECONDS = 1.0

#: Seconds between two probes of a silent server.
PAUSE = 0.5

#: How long a statement waits for a row or table that another transaction has locked, in seconds.
LOCK_SECONDS = 3

#: Seconds after which the server itself ends a statement of a request, which gave up on it before.
SERVER_SECONDS = 10

_ends: ContextVar[float | None] = ContextVar("api_v1_database_time_ends", default=None)


def begin_time(seconds: float | None = None) -> None:
    """Limit the time of all following statements of this thread together, by default to `REQUEST_SECONDS`."""
    _ends.set(time.monotonic() + (REQUEST_SECONDS if seconds is None else seconds))


def end_time() -> None:
    """Remove the time limit of this thread's statements."""
    _ends.set(None)


@contextmanager
def limited_time(seconds: float) -> Iterator[None]:
    """Limit the time of all statements inside the block together."""
    begin_time(seconds)
    try:
        yield
    finally:
        end_time()


def _time_left() -> float | None:
    ends = _ends.get()
    return None if ends is None else ends - time.monotonic()


class Circuit:
    """A circuit breaker for a database server: open while the server is silent.

    Args:
        ask: connects to the server; raises if that fails.
    """

    def __init__(self, ask: Callable[[], None]) -> None:
        self._ask = ask
        self._starting = threading.Lock()
        self._open = False

    def check(self) -> None:
        """Raise immediately if the server is known to be silent.

        Raises:
            OperationalError: the server was silent at the last probe.
        """
        if self._open:
            raise OperationalError(CR.CR_CONN_HOST_ERROR, "The server is silent.") from TimeoutError()

    def report_silence(self) -> None:
        """Open the circuit, and start a thread that probes the server until it answers."""
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
                # A refusal is an answer: the next request gets it without waiting.
            self._open = False
            logger.info("the database server answers again")
            return


def is_time_out(error: BaseException | None) -> bool:
    """Tell whether an error of the driver was caused by a time-out."""
    while error is not None:
        if isinstance(error, TimeoutError):
            return True
        error = error.__cause__ or error.__context__
    return False


class SharedContextConnection(Connection):  # type: ignore[misc]
    """A connection that shares one TLS context with all others, unless its URL asks for a certificate.

    PyMySQL makes one for each connection, also to servers without TLS, and loads the machine's certificates into it,
    which it does not verify by and which takes many times as long as to connect.
    """

    _unverified: ClassVar[Any] = None

    def _create_ssl_ctx(self, sslp: Any) -> Any:
        if sslp:
            return super()._create_ssl_ctx(sslp)
        if SharedContextConnection._unverified is None:
            SharedContextConnection._unverified = super()._create_ssl_ctx(sslp)
        return SharedContextConnection._unverified


class BoundedConnection(SharedContextConnection):
    """A connection whose statements share the request's time limit.

    Args:
        circuit: the circuit breaker of the server; None to connect without one.
        settings: the arguments of PyMySQL's connection.
    """

    def __init__(self, circuit: Circuit | None = None, **settings: Any) -> None:
        self._circuit = circuit
        self._patience: float | None = None
        super().__init__(**settings)

    def connect(self, sock: Any = None) -> None:
        """Connect; if the server is silent, open the circuit."""
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
        """Ping the server within `PING_SECONDS`."""
        if self._circuit is not None:
            self._circuit.check()
        with self._at_most(PING_SECONDS):
            super().ping(reconnect)

    def _execute_command(self, command: int, sql: str | bytes) -> None:
        self._take_time()
        super()._execute_command(command, sql)

    @contextmanager
    def _at_most(self, seconds: float) -> Iterator[None]:
        """Limit the wait for each response inside the block."""
        self._patience = seconds
        try:
            yield
        finally:
            self._patience = None

    def _take_time(self) -> None:
        """Set the driver's time-outs to the time that is left."""
        known = [seconds for seconds in (_time_left(), self._patience) if seconds is not None]
        seconds = min(known, default=None)
        if seconds is not None and seconds <= 0:
            # With the code of a lost connection SQLAlchemy closes the connection, and the server rolls back.
            raise OperationalError(CR.CR_SERVER_LOST, "The request's time is used up.") from TimeoutError()
        self._read_timeout = self._write_timeout = seconds


#: One circuit for each server and account, shared by all engines.
_circuits: dict[sa.URL, Circuit] = {}


def share_context(engine: sa.Engine) -> None:
    """Make an engine on PyMySQL create connections that share one TLS context."""

    @sa.event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, _arguments: Any, settings: dict[str, Any]) -> SharedContextConnection:
        return SharedContextConnection(**settings)


def bound(engine: sa.Engine, *, lock_seconds: int = LOCK_SECONDS) -> None:
    """Make an engine on PyMySQL create bounded connections.

    Args:
        lock_seconds: how long its statements wait for a lock on a row or on a table's metadata.
    """
    waits = f"SET SESSION innodb_lock_wait_timeout={lock_seconds}, lock_wait_timeout={lock_seconds}"
    # Comments that only MariaDB, and only MySQL, executes.
    ends = f" /*M!100108 , max_statement_time={SERVER_SECONDS} */ /*!50708 , max_execution_time={SERVER_SECONDS}000 */"
    settings: dict[str, Any] = {
        **engine.dialect.create_connect_args(engine.url)[1],
        "connect_timeout": CONNECT_SECONDS,
        "init_command": waits,
    }
    circuit = _circuits.setdefault(engine.url, Circuit(lambda: BoundedConnection(**settings).close()))

    @sa.event.listens_for(engine, "do_connect")
    def connect(*_: Any) -> BoundedConnection:
        in_request = _time_left() is not None
        return BoundedConnection(circuit, **settings | ({"init_command": waits + ends} if in_request else {}))

    @sa.event.listens_for(engine, "handle_error")
    def keep_others(context: Any) -> None:
        # A statement that took too long says nothing about the other connections; without this all are replaced.
        if is_time_out(context.original_exception):
            context.invalidate_pool_on_disconnect = False
