"""Passwords are checked by the platform's rule, one at a time."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from passlib.context import CryptContext
from passlib.hash import pbkdf2_sha256, sha256_crypt

from api_v1.access.password_checks import PasswordChecks
from api_v1.database import platform
from api_v1.errors import LogInsBusy, LogInUnavailable
from tests.support.password_checks import BEGINNING, LONGEST, PASSWORD, STORED, Here, Make, Script, quick

# --- The rule -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "password"),
    [
        (STORED, PASSWORD),
        (STORED, PASSWORD + " "),
        (STORED, PASSWORD.upper()),
        (STORED, ""),
        (STORED, None),
        (STORED, 12345678),
        (STORED, "nul\0in the middle"),
        (STORED, PASSWORD + "\0"),
        (STORED, "half a pair \ud800"),
        (STORED, "line\nbreak"),
        (STORED + "\n", PASSWORD),
        (STORED[:-1], PASSWORD),
        (STORED.swapcase(), PASSWORD),
        (quick("pässwörd \N{GRINNING FACE}"), "pässwörd \N{GRINNING FACE}"),
        (quick("\u00e9"), "e\u0301"),
        (quick(""), ""),
        (quick(LONGEST), LONGEST),
        (quick(LONGEST), LONGEST + "x"),
        (quick(PASSWORD, sha256_crypt), PASSWORD),
        (quick(PASSWORD, sha256_crypt), "wrong"),
        ("", ""),
        ("", PASSWORD),
        ("none", "none"),
        ("a plain random string", "a plain random string"),
        ("$6$", PASSWORD),
        ("$5$x", PASSWORD),
        ("$6$rounds=1$x$y", PASSWORD),
        ("$6$rounds=99999999999$x$y", PASSWORD),
        ("$2b$12$" + "x" * 53, PASSWORD),
        ("*" + STORED, PASSWORD),
        ("\N{GRINNING FACE}", PASSWORD),
        ("\0", PASSWORD),
    ],
)
def test_helper_decides_as_the_platform_does(platform_checks: PasswordChecks, stored: str, password: Any) -> None:
    assert platform_checks.matches(stored, password) is platform.password_matches(stored, password)


def test_hash_of_full_cost_is_checked_in_the_helper(platform_checks: PasswordChecks) -> None:
    stored = platform.User.generate_hash(PASSWORD)
    assert platform_checks.matches(stored, PASSWORD)
    assert not platform_checks.matches(stored, "wrong")


def test_settings_of_the_platform_are_followed_at_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = make(platform.password_context)
    assert checks.matches(STORED, PASSWORD)
    other = CryptContext(["pbkdf2_sha256"])
    monkeypatch.setattr("mod_auth.models.pwd_context", other)
    assert not checks.matches(STORED, PASSWORD)
    assert checks.matches(quick(PASSWORD, pbkdf2_sha256), PASSWORD)


def test_another_rule_of_the_platform_is_followed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Here(verdict=False)
    checks = make(platform.password_context, here)
    assert checks.matches(STORED, PASSWORD)
    ask = platform.User.is_password_valid

    def only_with_a_name(self: Any, password: str) -> bool:
        return bool(ask(self, password)) and self.name != ""

    monkeypatch.setattr(platform.User, "is_password_valid", only_with_a_name)
    assert not checks.matches(STORED, PASSWORD)
    assert here.asked == [(STORED, PASSWORD)]


def test_platform_without_its_context_checks_here(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("mod_auth.models.pwd_context")
    here = Here()
    assert make(platform.password_context, here).matches(STORED, PASSWORD)
    assert len(here.asked) == 1


# --- One at a time --------------------------------------------------------------------------------


COUNTING = """
while True:
    open(sys.argv[1], "a").write("begin\\n")
    time.sleep(0.01)
    open(sys.argv[1], "a").write("end\\n")
    say(json.dumps({"id": question["id"], "matches": True}))
    question = ask()
"""


def test_checks_are_made_one_after_the_other(make: Make, tmp_path: Path) -> None:
    script = Script(tmp_path, BEGINNING + COUNTING)
    checks = make(command=script.command, turn_seconds=30, check_seconds=30)
    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(lambda _: checks.matches(STORED, PASSWORD), range(40))) == [True] * 40
    assert script.lines() == ["started", *["begin", "end"] * 40]


class Held:
    """A check in this process that goes on until it is let go."""

    def __init__(self) -> None:
        self.begun, self.let_go = threading.Event(), threading.Event()
        self.running = self.most = 0

    def __call__(self, stored: str, password: str) -> bool:
        self.running += 1
        self.most = max(self.most, self.running)
        self.begun.set()
        assert self.let_go.wait(30)
        self.running -= 1
        return True


def test_checks_in_this_process_are_made_one_after_the_other(make: Make) -> None:
    held = Held()
    checks = make(lambda: None, held, turn_seconds=30)
    with ThreadPoolExecutor(10) as pool:
        verdicts = [pool.submit(checks.matches, STORED, PASSWORD) for _ in range(10)]
        assert held.begun.wait(30)
        held.let_go.set()
        assert [verdict.result() for verdict in verdicts] == [True] * 10
    assert held.most == 1


def test_waiting_too_long_reports_that_log_ins_are_busy(make: Make) -> None:
    held = Held()
    checks = make(lambda: None, held, turn_seconds=0.05)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(checks.matches, STORED, PASSWORD)
        assert held.begun.wait(30)
        for _ in range(3):
            with pytest.raises(LogInsBusy):
                checks.matches(STORED, PASSWORD)
        held.let_go.set()
        assert first.result()
    assert checks.matches(STORED, PASSWORD)
    assert held.most == 1


@pytest.mark.parametrize(("last_seconds", "most"), [(0.3, 4), (0.5, 3), (0.9, 2), (1.0, 2), (1.1, 1), (30, 1)])
def test_only_as_many_log_ins_wait_as_can_be_checked_in_a_second(
    make: Make, monkeypatch: pytest.MonkeyPatch, last_seconds: float, most: int
) -> None:
    checks = make()
    monkeypatch.setattr(checks, "_last_seconds", last_seconds)
    for _ in range(2):
        with pytest.raises(LogInUnavailable), ExitStack() as taken:
            for _ in range(most):
                taken.enter_context(checks.queued())
            with pytest.raises(LogInsBusy), checks.queued():
                pass
            # An error gives places back, too.
            raise LogInUnavailable()


def test_quick_checks_refuse_no_log_in(make: Make) -> None:
    checks = make()
    with ExitStack() as taken:
        for _ in range(1000):
            taken.enter_context(checks.queued())


def test_the_duration_of_a_check_is_measured(make: Make) -> None:
    held = Held()
    checks = make(lambda: None, held)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(checks.matches, STORED, PASSWORD)
        assert held.begun.wait(30)
        time.sleep(0.3)
        held.let_go.set()
        assert first.result()
    slow = checks._last_seconds
    assert slow >= 0.3
    assert checks.matches(STORED, PASSWORD)
    assert 0 < checks._last_seconds < slow
