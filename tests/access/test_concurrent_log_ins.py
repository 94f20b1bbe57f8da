"""Twenty and fifty log-ins at once on MariaDB."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from api_v1.access import tokens
from api_v1.database.platform import Base
from tests.support import factories, servers
from tests.support.fixtures import platform_config
from tests.support.people import PASSWORD, QUICK_HASH

pytestmark = pytest.mark.usefixtures("quick_check_of_unknown_accounts")


@pytest.fixture(scope="module")
def shared_uri(mariadb_uri: str) -> Iterator[str]:
    with servers.mariadb_schema("tokens") as uri:
        engine = sa.create_engine(uri)
        Base.metadata.create_all(engine)
        engine.dispose()
        yield uri


@pytest.fixture(scope="module")
def server(shared_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Gunicorn]:
    folder: Path = tmp_path_factory.mktemp("server")
    config = platform_config(shared_uri, folder)
    with servers.gunicorn(folder, config, "--workers", "4", "--threads", "4") as running:
        yield running


def accounts(uri: str, number: int, tokens_each: int = 0) -> list[str]:
    """Make accounts that can log in; return their emails."""
    engine = sa.create_engine(uri)
    with Session(engine) as session:
        users = [factories.user(session, password=QUICK_HASH) for _ in range(number)]
        for user in users:
            for count in range(tokens_each):
                tokens.create(session, user.id, f"old{count}", [], 30)
        emails = [user.email for user in users]
        session.commit()
    engine.dispose()
    return emails


def log_in_at_once(server: servers.Gunicorn, *wanted: tuple[str, str]) -> Counter[int]:
    """Send all log-ins (email and token name) at the same time, again when they are refused as too many at once.

    Returns:
        The number of answers by status.
    """

    def send(email: str, name: str) -> int:
        body = {"email": email, "password": PASSWORD, "token_name": name}
        while (answer := server.request("POST", "/auth/tokens", body=body)).status == 429:
            time.sleep(int(answer.headers["Retry-After"]))
        return answer.status

    with ThreadPoolExecutor(len(wanted)) as pool:
        return Counter(pool.map(send, *zip(*wanted, strict=True)))


@pytest.mark.parametrize("callers", [20, 50])
def test_one_of_many_concurrent_log_ins_gets_the_name(server: servers.Gunicorn, shared_uri: str, callers: int) -> None:
    (email,) = accounts(shared_uri, 1)
    assert log_in_at_once(server, *[(email, "laptop")] * callers) == {201: 1, 400: callers - 1}


def test_concurrent_log_ins_do_not_exceed_the_tokens_left(server: servers.Gunicorn, shared_uri: str) -> None:
    (email,) = accounts(shared_uri, 1, tokens_each=tokens.MAX_LIVE_TOKENS - 3)
    assert log_in_at_once(server, *[(email, f"new{number}") for number in range(20)]) == {201: 3, 400: 17}


def test_concurrent_log_ins_of_different_users_do_not_block_each_other(
    server: servers.Gunicorn, shared_uri: str
) -> None:
    for _ in range(3):
        emails = accounts(shared_uri, 16)
        assert log_in_at_once(server, *[(email, "laptop") for email in emails]) == {201: 16}
