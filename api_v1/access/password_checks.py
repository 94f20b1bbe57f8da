"""Password checks that do not block other requests: one at a time, in a helper process.

A check takes about 0.3 s of computation. Neither passlib's own code nor Python's `crypt` releases the interpreter lock,
so that a check in this process would block all of its threads. Therefore a small process (`password_helper.py`)
computes it, with the platform's passlib settings. The first check starts the helper, a later check replaces it when it
died, and it ends with this process. Where it cannot run, this process checks by itself, also one password at a time.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from api_v1.errors import LogInsBusy, LogInUnavailable

logger = logging.getLogger(__name__)

#: Seconds that a log-in waits for earlier ones. A log-in that would wait longer is refused at once, because each
# waiting
#: one occupies a thread of the server.
TURN_SECONDS = 1.0

#: Seconds that a check may take, including the start of the helper. It is far more than usual, because the helper has a
#: low priority when the machine is busy.
CHECK_SECONDS = 8.0

#: Seconds that the start of the helper may take; usually it takes 0.1.
START_SECONDS = 2.0

#: Seconds between a failed start of the helper and the next try.
PAUSE_SECONDS = 60.0

#: The maximum length of a line from the helper, in bytes.
_REPLY_BYTES = 1000

#: The command that runs the helper. `-I` keeps environment and current folder off its import path, `-B` writes no
# files.
COMMAND = (sys.executable or "python3", "-I", "-B", str(Path(__file__).with_name("password_helper.py")))


class _HelperLost(Exception):
    """The helper ended, or sent an invalid reply."""


class _Helper:
    """A running helper process.

    Args:
        command: the command that runs it.
        context: settings of a passlib context, as `CryptContext.to_string` writes them.
        deadline: the time at which it must be ready (`time.monotonic`).

    Raises:
        OSError: the process cannot be started; as TimeoutError, it is not ready in time.
        _HelperLost: it ended, for example because it does not find passlib.
    """

    def __init__(self, command: Sequence[str], context: str, deadline: float) -> None:
        self.context = context
        self._socket, helper_end = socket.socketpair()
        try:
            with helper_end:
                self.process = subprocess.Popen(
                    command,
                    stdin=helper_end.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
        except BaseException:
            self._socket.close()
            raise
        try:
            path = [entry for entry in sys.path if isinstance(entry, str)]
            if self._ask({"path": path, "context": context}, deadline) != {"ready": True}:
                raise _HelperLost("it is not ready")
        except BaseException:
            self.end()
            raise

    def matches(self, stored: str, password: str, deadline: float) -> bool:
        """Check a password.

        Raises:
            TimeoutError: the helper did not reply in time.
            _HelperLost: the helper ended, or sent an invalid reply.
        """
        question_id = secrets.token_hex(8)
        try:
            reply = self._ask({"id": question_id, "stored": stored, "password": password}, deadline)
        except TimeoutError:
            raise
        except OSError as error:
            raise _HelperLost(type(error).__name__) from None
        # The id distinguishes this reply from a late reply to an earlier question.
        verdict = reply.get("matches") if isinstance(reply, dict) and reply.get("id") == question_id else None
        if not isinstance(verdict, bool):
            raise _HelperLost("its reply is invalid")
        return verdict

    def _ask(self, question: dict[str, Any], deadline: float) -> Any:
        self._limit(deadline)
        self._socket.sendall(json.dumps(question).encode() + b"\n")
        line = b""
        while not line.endswith(b"\n"):
            self._limit(deadline)
            part = self._socket.recv(_REPLY_BYTES)
            line += part
            if not part or len(line) > _REPLY_BYTES:
                raise _HelperLost("it ended" if not part else "its reply is too long")
        try:
            return json.loads(line)
        except ValueError:
            raise _HelperLost("its reply is not JSON") from None

    def _limit(self, deadline: float) -> None:
        """Limit the next call of the socket to the remaining time."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no time left")
        self._socket.settimeout(left)

    def end(self) -> None:
        """Kill the process, even if it hangs."""
        self._socket.close()
        self.process.kill()
        try:
            self.process.wait(1)
        except subprocess.TimeoutExpired:
            logger.warning("the password helper %d does not end", self.process.pid)

    def leave_to_parent(self) -> None:
        """Close this process's connection to a helper of the parent process, without ending the helper."""
        self._socket.close()
        # The helper is not a child of this process, so that `Popen` must not wait for it.
        self.process.returncode = 0


class PasswordChecks:
    """Checks passwords one at a time.

    Args:
        context: returns the settings of the passlib context, or None when passwords have to be checked in this
            process.
        check_here: checks a password in this process, given the stored hash and the password.
        command: the command that runs the helper.
        turn_seconds, check_seconds, start_seconds: see the constants of this module.
    """

    def __init__(
        self,
        context: Callable[[], str | None],
        check_here: Callable[[str, str], bool],
        *,
        command: Sequence[str] = COMMAND,
        turn_seconds: float = TURN_SECONDS,
        check_seconds: float = CHECK_SECONDS,
        start_seconds: float = START_SECONDS,
    ) -> None:
        self._context = context
        self._check_here = check_here
        self._command = command
        self._turn_seconds = turn_seconds
        self._check_seconds = check_seconds
        self._start_seconds = start_seconds
        self._turn = threading.Lock()
        self._counting = threading.Lock()
        self._in_progress = 0
        self._last_seconds = 0.0
        self._helper: _Helper | None = None
        self._start_after = 0.0
        os.register_at_fork(after_in_child=self._forked)
        atexit.register(self.close)

    @contextmanager
    def queued(self) -> Iterator[None]:
        """Count a log-in as in progress.

        Raises:
            LogInsBusy: the log-ins in progress would take over a second, at the duration of the last check.
        """
        with self._counting:
            if self._in_progress * self._last_seconds > self._turn_seconds:
                raise LogInsBusy()
            self._in_progress += 1
        try:
            yield
        finally:
            with self._counting:
                self._in_progress -= 1

    def matches(self, stored: str, password: str) -> bool:
        """Check a password against a stored hash.

        Raises:
            LogInsBusy: earlier checks did not end within a second.
            LogInUnavailable: the check did not end in time.
        """
        if not self._turn.acquire(timeout=self._turn_seconds):
            raise LogInsBusy()
        began = time.monotonic()
        try:
            return self._check(stored, password)
        finally:
            self._last_seconds = time.monotonic() - began
            self._turn.release()

    def close(self) -> None:
        """End the helper; a later check starts a new one."""
        helper, self._helper = self._helper, None
        if helper is not None:
            helper.end()

    def _check(self, stored: str, password: str) -> bool:
        deadline = time.monotonic() + self._check_seconds
        # Try twice, because the helper may have died since the last check.
        for _ in range(2):
            helper = self._running(deadline)
            if helper is None:
                break
            try:
                return helper.matches(stored, password, deadline)
            except TimeoutError:
                # Do not check in this process instead: it would be blocked for as long.
                self.close()
                logger.error("a password check took over %g s", self._check_seconds)
                raise LogInUnavailable() from None
            except _HelperLost as error:
                self.close()
                logger.warning("the password helper was lost: %s", error)
        else:
            self._pause()
        return self._check_here(stored, password)

    def _running(self, deadline: float) -> _Helper | None:
        """Return the helper, and start it if necessary; None when it cannot run now."""
        context = self._context()
        if self._helper is not None and self._helper.context != context:
            self.close()
        if self._helper is None and context is not None and time.monotonic() >= self._start_after:
            soon = min(deadline, time.monotonic() + self._start_seconds)
            try:
                self._helper = _Helper(self._command, context, soon)
            except (OSError, subprocess.SubprocessError, _HelperLost) as error:
                logger.warning("the password helper does not start: %s", error)
                self._pause()
        return self._helper

    def _pause(self) -> None:
        """Check in this process for `PAUSE_SECONDS`, because each failed start takes time."""
        logger.warning("passwords are checked in this process for %g s; requests wait meanwhile", PAUSE_SECONDS)
        self._start_after = time.monotonic() + PAUSE_SECONDS

    def _forked(self) -> None:
        """Reset a forked process: threads of the parent may have held the locks, and the helper is the parent's."""
        self._turn, self._counting, self._in_progress = threading.Lock(), threading.Lock(), 0
        helper, self._helper = self._helper, None
        if helper is not None:
            helper.leave_to_parent()
