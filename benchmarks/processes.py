"""The processes that benchmarks measure: workers that answer line by line, and gunicorn servers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks import PLATFORM, ROOT

#: What a worker sends in one line.
Answer: TypeAlias = dict[str, Any]


class Worker:
    """A Python process that answers each line of its standard input with one line of JSON (see `serve`).

    Args:
        module: run with `python -m`.
        arguments: the command line of the module.

    Attributes:
        ready: the worker's first line, sent once it can be asked.

    Raises:
        RuntimeError: the process ended early, with the end of its log.
    """

    def __init__(self, module: str, *arguments: str) -> None:
        # The log of requests is written as in production, and read only if the process fails.
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in close()
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=_environment(),
        )
        try:
            self.ready = self._read()
        except RuntimeError:
            self.close()
            raise

    def ask(self, line: str = "") -> Answer:
        """Send a line and return the answer.

        Raises:
            RuntimeError: the process ended early, with the end of its log.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
        self._log.close()

    def _read(self) -> Answer:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            # The platform may print lines of its own.
            if line.startswith("{"):
                answer: Answer = json.loads(line)
                return answer
        self._log.seek(0)
        raise RuntimeError(f"a process ended early: {self._log.read()[-8000:]}")


def serve(answer: Callable[[str], Answer], ready: Answer) -> None:
    """Be the process of a `Worker`: send `ready`, then answer each line until the input ends."""
    print(json.dumps(ready), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(line)), flush=True)


@contextmanager
def gunicorn(
    application: str,
    options: Sequence[str],
    *,
    config: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    start_seconds: float = 300,
    log: Path | None = None,
) -> Iterator[str]:
    """Serve an application until the block ends; yield its address, `host:port`.

    Args:
        application: the application, as gunicorn names it: `module:factory()`.
        options: options of gunicorn.
        config: the content of the platform's `config.py`, if the application reads one.
        environment: more variables of the environment.
        start_seconds: how long the server may take until it listens; the first one may fill our tables.
        log: the file of its output; a temporary one unless it is given.

    Raises:
        RuntimeError: the server does not listen, with the end of its log.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if config is not None:
            (folder / "config.py").write_text("".join(f"{key} = {value!r}\n" for key, value in config.items()))
        log = log or folder / "gunicorn.log"
        command = [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", *options, application]
        with log.open("w") as output:
            process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=_environment(name) | dict(environment or {}),
            )
        try:
            yield _address(process, log, start_seconds)
        finally:
            process.terminate()
            process.wait(60)


def _environment(*folders: str) -> dict[str, str]:
    """Return an environment in which the given folders, the package and the platform are on the import path."""
    return os.environ | {"PYTHONPATH": os.pathsep.join([*folders, str(ROOT), PLATFORM])}


def _address(process: subprocess.Popen[bytes], log: Path, seconds: float) -> str:
    """Wait until the server listens; return its address."""
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        if found := re.search(r"Listening at: http://(\S+)", log.read_text()):
            return found[1]
        time.sleep(0.05)
    raise RuntimeError(f"gunicorn does not listen: {log.read_text()[-2000:]}")
