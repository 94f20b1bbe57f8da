"""Checking passwords without holding up other requests: one at a time, in a helper process.

A check takes some 0.3 s of computing, in which the interpreter of this process would run nothing else: neither
passlib's own code nor the C library's `crypt`, as Python calls it, gives up the interpreter lock. So a small process
(`password_helper.py`) computes, with the platform's passlib settings. It is started by the first check, replaced when
it died, and ends with this process. Where it cannot run, this process checks by itself, still one password at a time.
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

#: Seconds that a log-in waits for earlier ones. Who would wait longer is refused at once, because those who wait each
#: occupy a thread of the server.
TURN_SECONDS = 1.0

#: Seconds that a check may take, the start of the helper included. Far more than it needs, because the helper yields to
#: other processes when the machine is busy.
CHECK_SECONDS = 8.0

#: Seconds that the start of the helper may take; usually it takes 0.1.
START_SECONDS = 2.0

#: Seconds until a start is tried again after one that failed.
PAUSE_SECONDS = 60.0

#: Bytes of the longest line that the helper sends.
_REPLY_BYTES = 1000

#: What runs the helper. `-I` keeps environment and current folder off its import path, `-B` writes no files.
COMMAND = (sys.executable or "python3", "-I", "-B", str(Path(__file__).with_name("password_helper.py")))


class _HelperLost(Exception):
    """The helper ended, or sent something else than an answer."""


class _Helper:
    """A running helper process.

    Args:
        command: what to run.
        context: settings of a passlib context, as `CryptContext.to_string` writes them.
        deadline: when it has to be ready (`time.monotonic`).

    Raises:
        OSError: the process cannot be started; as TimeoutError, it is not ready in time.
        _HelperLost: it ended, say because it does not find passlib.
    """

    def __init__(self, command: Sequence[str], context: str, deadline: float) -> None:
        self.context = context
        self._socket, theirs = socket.socketpair()
        try:
            with theirs:
                self.process = subprocess.Popen(
                    command,
                    stdin=theirs.fileno(),
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
            TimeoutError: there is no answer in time.
            _HelperLost: the helper ended, or sent something else.
        """
        question_id = secrets.token_hex(8)
        try:
            reply = self._ask({"id": question_id, "stored": stored, "password": password}, deadline)
        except TimeoutError:
            raise
        except OSError as error:
            raise _HelperLost(type(error).__name__) from None
        # The id tells this answer from a late one to an earlier question.
        verdict = reply.get("matches") if isinstance(reply, dict) and reply.get("id") == question_id else None
        if not isinstance(verdict, bool):
            raise _HelperLost("its answer is not understood")
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
                raise _HelperLost("it ended" if not part else "its answer is too long")
        try:
            return json.loads(line)
        except ValueError:
            raise _HelperLost("its answer is not JSON") from None

    def _limit(self, deadline: float) -> None:
        """Let the next call of the socket take no longer than is left."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no time left")
        self._socket.settimeout(left)

    def end(self) -> None:
        """End the process, also one that hangs."""
        self._socket.close()
        self.process.kill()
        try:
            self.process.wait(1)
        except subprocess.TimeoutExpired:
            logger.warning("the password helper %d does not end", self.process.pid)

    def leave_to_parent(self) -> None:
        """Give up the helper of the process that this one was forked from, without ending it."""
        self._socket.close()
        # Not a child of this process, which so has nothing to wait for.
        self.process.returncode = 0


class PasswordChecks:
    """Checks passwords one at a time.

    Args:
        context: returns the settings of the passlib context that decides, or None when passwords have to be checked
            in this process.
        check_here: checks a password in this process, given the stored hash and the password.
        command: runs the helper.
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
        """Count a log-in as one that is in progress.

        Raises:
            LogInsBusy: as long as the last check took, those of the log-ins in progress would take over a second.
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
        """End the helper; a later check would start a new one."""
        helper, self._helper = self._helper, None
        if helper is not None:
            helper.end()

    def _check(self, stored: str, password: str) -> bool:
        deadline = time.monotonic() + self._check_seconds
        # Twice, because a helper may have died since the last check.
        for _ in range(2):
            helper = self._running(deadline)
            if helper is None:
                break
            try:
                return helper.matches(stored, password, deadline)
            except TimeoutError:
                # Not here instead: what takes the helper so long would stop this whole process as long.
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
        """Return the helper, started if need be, or None when it cannot run now."""
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
        """Check in this process for a while: each start that fails costs time."""
        logger.warning("passwords are checked in this process for %g s; requests wait meanwhile", PAUSE_SECONDS)
        self._start_after = time.monotonic() + PAUSE_SECONDS

    def _forked(self) -> None:
        """Begin anew in a process that was forked: other threads may have had the locks, and the helper is not ours."""
        self._turn, self._counting, self._in_progress = threading.Lock(), threading.Lock(), 0
        helper, self._helper = self._helper, None
        if helper is not None:
            helper.leave_to_parent()
