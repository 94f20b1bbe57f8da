"""A MariaDB server for one test, which may freeze, fill or stop it, or make it read-only."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from tests.support.fixtures import IN_CI
from tests.support.servers import wait_until

#: What makes a server small and quick to start.
_SMALL = (
    "--innodb-buffer-pool-size=32M",
    "--innodb-log-file-size=8M",
    "--innodb-flush-log-at-trx-commit=0",
    "--performance-schema=OFF",
    "--character-set-server=utf8mb4",
    "--skip-name-resolve",
)


@dataclass
class MariaDB:
    """A running server. `root` has no password; `account` makes others."""

    folder: Path
    port: int
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def url(self, account: str = "root", schema: str = "") -> str:
        """The URL of a schema for an account without a password."""
        return f"mysql+pymysql://{account}@127.0.0.1:{self.port}/{schema}?charset=utf8mb4"

    def start(self) -> None:
        """Start on the data that are there, and return when the server answers."""
        command = [*_server("mariadbd"), f"--datadir={self.folder / 'data'}", f"--port={self.port}", *_SMALL]
        own = ["--bind-address=127.0.0.1", f"--socket={self.folder / 's'}", f"--pid-file={self.folder / 'pid'}"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([*command, *own, *self.options], stdout=log, stderr=log)
        wait_until(self._answers, "MariaDB answers")

    def _answers(self) -> bool:
        assert self.process is not None and self.process.poll() is None, (self.folder / "log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """End the server, also a frozen one."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let the server keep its connections, accept others and say nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        # It stops a moment later than it is told.
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    @contextmanager
    def admin(self, schema: str = "") -> Iterator[sa.Connection]:
        """A connection of root's, on which each statement is committed."""
        engine = sa.create_engine(self.url(schema=schema), poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            yield connection

    def run(self, *statements: str, schema: str = "") -> list[list[Any]]:
        """Run statements as root and return the rows of each."""
        with self.admin(schema) as connection:
            results = [connection.exec_driver_sql(statement) for statement in statements]
            return [[tuple(row) for row in result] if result.returns_rows else [] for result in results]

    def account(self, name: str, *grants: str) -> None:
        """Make an account anew, with rights such as `ALL ON ci.*`."""
        self.run(
            f"CREATE OR REPLACE USER `{name}`@`127.0.0.1`",
            *(f"GRANT {grant} TO `{name}`@`127.0.0.1`" for grant in grants),
        )


def _server(program: str) -> list[str]:
    """The command of a program of the server; it runs as whoever owns the folder, root included."""
    return [program, "--no-defaults", f"--user={getpass.getuser()}"]


@contextmanager
def mariadb_server(folder: Path, *options: str) -> Iterator[MariaDB]:
    """Start a server on a free port.

    Args:
        folder: an empty folder for its data; its path must be short, because a socket's name is.
        options: more arguments of mariadbd, such as `--log-bin` or `--read-only`.
    """
    if not (shutil.which("mariadbd") and shutil.which("mariadb-install-db")):
        (pytest.fail if IN_CI else pytest.skip)("no mariadbd to start")
    install = [*_server("mariadb-install-db"), f"--datadir={folder / 'data'}", "--skip-test-db"]
    subprocess.run(
        [*install, "--auth-root-authentication-method=normal", "--skip-name-resolve", "--innodb-log-file-size=8M"],
        check=True,
        capture_output=True,
        env=os.environ | {"HOME": str(folder)},
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = MariaDB(folder, free.getsockname()[1], options)
    server.start()
    try:
        server.run("CREATE OR REPLACE USER root@`127.0.0.1`", "GRANT ALL ON *.* TO root@`127.0.0.1` WITH GRANT OPTION")
        yield server
    finally:
        server.stop()
