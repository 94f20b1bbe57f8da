"""The tests of the stored verdicts, on servers like the platform's and with an account of few rights."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from tests.support.database_servers import ACCOUNT, PASSWORD, DatabaseServer
from tests.support.paths import ROOT

#: The account of these tests may do everything with the schemas that the tests make, and nothing beyond: as the
#: platform's account with its one schema.
SCHEMAS = r"`api\_v1\_test\_%%`"


def test_verdicts_are_right_on_servers_like_the_platforms(production_server: DatabaseServer) -> None:
    account = f"'{ACCOUNT}_verdicts'@'%%'"
    production_server.as_root(
        f"DROP USER IF EXISTS {account}",
        f"CREATE USER {account} IDENTIFIED BY '{PASSWORD}'",
        f"GRANT ALL ON {SCHEMAS}.* TO {account}",
    )
    uri = f"mysql+pymysql://{ACCOUNT}_verdicts:{PASSWORD}@127.0.0.1:{production_server.port}"
    # Those that take rights away make accounts, which this one may not.
    done = run_tests(uri, "tests/verdicts", "-k", "mariadb and not without_rights")
    if failed := re.findall(r"^FAILED (\S+)", done.stdout, re.MULTILINE):
        # A server beside a full machine drops a connection now and then; what fails twice is wrong.
        print("run again:", *failed)
        done = run_tests(uri, *failed)
    assert done.returncode == 0, done.stdout[-20_000:]


def run_tests(uri: str, *which: str) -> subprocess.CompletedProcess[str]:
    """Run some of the suite's tests against a server."""
    command = [sys.executable, "-m", "pytest", "-q", *which]
    environment = {**os.environ, "TEST_MARIADB": uri}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
