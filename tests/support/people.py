"""Accounts that can log in, and requests that they send."""

from __future__ import annotations

import pytest
from passlib.hash import sha512_crypt

from api_v1.access import tokens

PASSWORD = "correct horse battery staple"


def quick_hash(password: str) -> str:
    """Hash at the least cost; what a check costs is a test of its own."""
    hashed: str = sha512_crypt.using(rounds=1000).hash(password)  # type: ignore[no-untyped-call]
    return hashed


QUICK_HASH = quick_hash(PASSWORD)


@pytest.fixture
def quick_check_of_unknown_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the check for unknown accounts be quick too."""
    monkeypatch.setattr(tokens, "_NOBODY", QUICK_HASH)
