"""Database servers of the tests' own, set up like the platform's: the binary log on, and an account of few rights.

A MariaDB is started from the machine's `mariadbd`. A MySQL is started by the command that TEST_MYSQL_SERVER names
(`COMMAND FOLDER PORT` prepares FOLDER, starts a server in the background, leaves its process id in FOLDER/pid, and
gives root no password), else from a `mysqld` on the path.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path

import pytest
import sqlalchemy as sa

#: The account that the platform's installer makes: all rights on one schema, none beyond.
ACCOUNT, PASSWORD = "plain", "plain-password"

#: Seconds until a server must answer, and until the command of TEST_MYSQL_SERVER, which may download one, must end.
START_SECONDS = 60
DOWNLOAD_SECONDS = 600

MARIADB_OPTIONS = {
    "mariadb-statement": ("--log-bin", "--server-id=1", "--binlog-format=STATEMENT"),
    "mariadb-row": ("--log-bin", "--server-id=1", "--binlog-format=ROW"),
}


@dataclass(frozen=True)
class PlainSchema:
    """An empty schema, as the account with `GRANT ALL ON schema.*` reaches it, and as root does."""

    uri: str
    root_uri: str


@dataclass(frozen=True)
class DatabaseServer:
    """A running server.

    Attributes:
        kind: `mariadb-statement`, `mariadb-row` or `mysql`.
        port: on 127.0.0.1, where root has no password.
    """

    kind: str
    port: int

    def root_uri(self, schema: str = "") -> str:
        return f"mysql+pymysql://root@127.0.0.1:{self.port}/{schema}?charset=utf8mb4"

    def as_root(self, *statements: str) -> None:
        """Execute statements."""
        engine = sa.create_engine(self.root_uri(), poolclass=sa.NullPool)
        with engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    @contextmanager
    def plain_schema(self, name: str) -> Iterator[PlainSchema]:
        """Make a schema, and an account of this name with all rights on it and no other."""
        account = f"'{ACCOUNT}_{name}'@'%%'"
        drop = (f"DROP DATABASE IF EXISTS `{name}`", f"DROP USER IF EXISTS {account}")
        self.as_root(
            *drop,
            f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4",
            f"CREATE USER {account} IDENTIFIED BY '{PASSWORD}'",
            f"GRANT ALL ON `{name}`.* TO {account}",
        )
        try:
            uri = f"mysql+pymysql://{ACCOUNT}_{name}:{PASSWORD}@127.0.0.1:{self.port}/{name}?charset=utf8mb4"
            yield PlainSchema(uri, self.root_uri(name))
        finally:
            self.as_root(*drop)


@contextmanager
def mariadb_server(kind: str) -> Iterator[DatabaseServer]:
    """Start a MariaDB with an empty data folder, and stop it at the end.

    Args:
        kind: a key of MARIADB_OPTIONS.
    """
    if shutil.which("mariadbd") is None or shutil.which("mariadb-install-db") is None:
        _missing("no mariadbd to start")
    # A socket's path has to be short, which pytest's folders are not.
    with tempfile.TemporaryDirectory(prefix="mariadb-") as name:
        folder = Path(name)
        options = ["--no-defaults", f"--datadir={folder}/data", f"--user={getuser()}"]
        install = ["mariadb-install-db", *options, "--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run(install, check=True, capture_output=True, cwd=folder)
        with _process(folder, ["mariadbd", *options, *MARIADB_OPTIONS[kind]]) as port:
            yield DatabaseServer(kind, port)


@contextmanager
def mysql_server() -> Iterator[DatabaseServer]:
    """Start a MySQL with its own defaults, and stop it at the end."""
    if command := os.environ.get("TEST_MYSQL_SERVER"):
        with _commanded(command) as port:
            yield DatabaseServer("mysql", port)
    elif _is_mysql("mysqld"):
        with tempfile.TemporaryDirectory(prefix="mysql-") as name:
            folder = Path(name)
            options = ["--no-defaults", f"--datadir={folder}/data", f"--user={getuser()}", "--mysqlx=OFF"]
            subprocess.run(["mysqld", *options, "--initialize-insecure"], check=True, capture_output=True, cwd=folder)
            with _process(folder, ["mysqld", *options]) as port:
                yield DatabaseServer("mysql", port)
    else:
        pytest.skip("no MySQL: TEST_MYSQL_SERVER names no command that starts one, and no mysqld is on the path")


def _missing(text: str) -> None:
    """A server that cannot be started skips its tests, but never in CI."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(text)


def _is_mysql(command: str) -> bool:
    """MariaDB installs its server under MySQL's name too."""
    if shutil.which(command) is None:
        return False
    return "MariaDB" not in subprocess.run([command, "--version"], capture_output=True, text=True).stdout


@contextmanager
def _process(folder: Path, command: list[str]) -> Iterator[int]:
    """Run a server in the foreground of a child process; gives its port."""
    port = free_port()
    where = [f"--port={port}", "--bind-address=127.0.0.1", f"--socket={folder}/socket", f"--pid-file={folder}/pid"]
    log = folder / "log"
    with log.open("w") as output:
        process = subprocess.Popen([*command, *where], stdout=output, stderr=subprocess.STDOUT)
    try:

        def answers() -> bool:
            assert process.poll() is None, log.read_text()[-2000:]
            return _answers(port)

        _wait_until(answers, log)
        yield port
    finally:
        process.terminate()
        process.wait(START_SECONDS)


@contextmanager
def _commanded(command: str) -> Iterator[int]:
    """Let the command of TEST_MYSQL_SERVER start a server; gives its port.

    What it downloads is kept where tox keeps its environments, so that this happens once.
    """
    with tempfile.TemporaryDirectory(prefix="mysql-") as temporary:
        work = os.environ.get("TOX_WORK_DIR")
        folder = Path(work, "mysql") if work else Path(temporary)
        # One that an interrupted run left behind would hold the data folder.
        _stop(folder)
        port = free_port()
        log = Path(temporary, "command.log")
        try:
            # Into a file: the server in the background would keep a pipe open.
            with log.open("w") as said:
                start = [command, str(folder), str(port)]
                subprocess.run(start, check=True, stdout=said, stderr=subprocess.STDOUT, timeout=DOWNLOAD_SECONDS)
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"no MySQL: {command} did not start one: {type(error).__name__} {log.read_text()[-500:]}")
        try:
            _wait_until(lambda: _answers(port), folder / "log")
            yield port
        finally:
            _stop(folder)


def _stop(folder: Path) -> None:
    """End the server of a folder by the process id it left there, if that process still is the one."""
    try:
        pid = int((folder / "pid").read_text())
    except (FileNotFoundError, ValueError):
        return
    if not _is_server_of(folder, pid):
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + START_SECONDS
    while _is_server_of(folder, pid):
        assert time.monotonic() < deadline, f"the server of {folder} does not end"
        time.sleep(0.1)


def _is_server_of(folder: Path, pid: int) -> bool:
    """Tell whether a process was started with this folder and has not ended."""
    shown = subprocess.run(["ps", "-p", str(pid), "-o", "stat=,args="], capture_output=True, text=True).stdout
    return str(folder.resolve()) in shown and not shown.startswith("Z")


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _answers(port: int) -> bool:
    engine = sa.create_engine(f"mysql+pymysql://root@127.0.0.1:{port}/", poolclass=sa.NullPool)
    try:
        with engine.connect():
            return True
    except sa.exc.OperationalError:
        return False


def _wait_until(condition: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.1)


@pytest.fixture(scope="session", params=[*MARIADB_OPTIONS, "mysql"])
def production_server(request: pytest.FixtureRequest) -> Iterator[DatabaseServer]:
    """Each server like the platform's in turn: its binary log is on, and nobody may define functions or triggers."""
    with mysql_server() if request.param == "mysql" else mariadb_server(request.param) as server:
        server.as_root("SET GLOBAL log_bin_trust_function_creators = 0")
        yield server


@pytest.fixture
def plain_schema(production_server: DatabaseServer) -> Iterator[PlainSchema]:
    """An empty schema on each server, and the account that may use it and nothing else."""
    with production_server.plain_schema("api_v1_test") as schema:
        yield schema
