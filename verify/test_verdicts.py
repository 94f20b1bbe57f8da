"""The tests of the stored verdicts, on servers like the platform's and with an account of few rights."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.database_servers import ACCOUNT, PASSWORD, DatabaseServer

ROOT = Path(__file__).parent.parent

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
    # Those that take rights away make accounts, which this one may not.
    command = [sys.executable, "-m", "pytest", "-q", "tests/verdicts", "-k", "mariadb and not without_rights"]
    uri = f"mysql+pymysql://{ACCOUNT}_verdicts:{PASSWORD}@127.0.0.1:{production_server.port}"
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "TEST_MARIADB": uri}, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout[-5000:]
