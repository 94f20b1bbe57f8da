"""Passwords are checked one at a time, in a helper process, and whatever becomes of it, by the platform's rule."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from passlib.context import CryptContext
from passlib.hash import pbkdf2_sha256, sha256_crypt, sha512_crypt

from api_v1.access import password_checks
from api_v1.access.password_checks import PasswordChecks
from api_v1.database import platform
from api_v1.errors import LogInsBusy, LogInUnavailable
from tests.support.paths import ROOT
from tests.support.servers import PLATFORM, wait_until

PASSWORD = "correct horse battery staple"
LONGEST = "x" * 4096
CONTEXT = "[passlib]\nschemes = sha512_crypt\n"


def quick(password: str, scheme: Any = sha512_crypt) -> str:
    """Hash at the least cost."""
    # A salt of its own would name the tests anew in each process.
    salt = "saltofthetests" if scheme in (sha256_crypt, sha512_crypt) else b"saltofthetests"
    hashed: str = scheme.using(rounds=1000, salt=salt).hash(password)
    return hashed


STORED = quick(PASSWORD)
Make = Callable[..., PasswordChecks]


def never(stored: str, password: str) -> bool:
    """The check in this process, where it must not be needed."""
    raise AssertionError("the password was checked in this process")


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes checks, and ends their helpers after the test."""
    made: list[PasswordChecks] = []

    def make_checks(
        context: Callable[[], str | None] = lambda: CONTEXT,
        check_here: Callable[[str, str], bool] = never,
        **more: Any,
    ) -> PasswordChecks:
        made.append(PasswordChecks(context, check_here, **more))
        return made[-1]

    yield make_checks
    for checks in made:
        checks.close()


def helper_process(checks: PasswordChecks) -> subprocess.Popen[bytes]:
    """The helper that is running."""
    assert checks._helper is not None
    return checks._helper.process


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


#: The beginning of a helper that misbehaves: it notes that it was started, says that it is ready, and reads a question.
BEGINNING = """
import json, os, sys, time
open(sys.argv[1], "a").write("started\\n")
def ask():
    return json.loads(os.read(0, 100_000))
def say(line):
    os.write(0, line if isinstance(line, bytes) else (line + "\\n").encode())
settings = ask()
say('{"ready": true}')
question = ask()
"""


class Script:
    """A helper of the test's own."""

    def __init__(self, folder: Path, source: str) -> None:
        self.notes = folder / "notes"
        file = folder / "helper.py"
        file.write_text(source)
        self.command: Sequence[str] = (sys.executable, "-I", str(file), str(self.notes))

    def lines(self) -> list[str]:
        """What it has noted."""
        return self.notes.read_text().splitlines() if self.notes.exists() else []


class Here:
    """Checks in this process; counts how many."""

    def __init__(self, verdict: bool = True) -> None:
        self.verdict = verdict
        self.asked: list[tuple[str, str]] = []

    def __call__(self, stored: str, password: str) -> bool:
        self.asked.append((stored, password))
        return self.verdict


# The rule


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


@pytest.fixture(scope="module")
def platform_checks() -> Iterator[PasswordChecks]:
    """Checks by the platform's settings, in the helper only."""
    checks = PasswordChecks(platform.password_context, never)
    yield checks
    checks.close()


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


def test_rule_other_than_asking_the_context_is_followed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
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


# One at a time

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


def test_who_waits_too_long_is_told_that_log_ins_are_busy(make: Make) -> None:
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
def test_as_many_log_ins_are_in_progress_as_can_be_checked_in_a_second(
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


def test_quick_checks_refuse_nobody(make: Make) -> None:
    checks = make()
    with ExitStack() as taken:
        for _ in range(1000):
            taken.enter_context(checks.queued())


def test_what_a_check_takes_is_measured(make: Make) -> None:
    held = Held()
    checks = make(lambda: None, held)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(checks.matches, STORED, PASSWORD)
        assert held.begun.wait(30)
        time.sleep(0.05)
        held.let_go.set()
        assert first.result()
    slow = checks._last_seconds
    assert slow >= 0.05
    assert checks.matches(STORED, PASSWORD)
    assert 0 < checks._last_seconds < slow


# A helper in trouble


def test_helper_that_died_is_replaced(make: Make) -> None:
    checks = make()
    for _ in range(3):
        assert checks.matches(STORED, PASSWORD)
        process = helper_process(checks)
        process.kill()
        assert not checks.matches(STORED, "wrong")
        assert helper_process(checks).pid != process.pid
        assert process.returncode == -signal.SIGKILL, "it was waited for"


TROUBLE = {
    "ends": "sys.exit()",
    "crashes": "os.abort()",
    "says nothing known": "say('hello')",
    "sends an empty line": "say('')",
    "sends no object": "say('[true]')",
    "sends no verdict": "say(json.dumps({'id': question['id']}))",
    "sends a number": "say(json.dumps({'id': question['id'], 'matches': 1}))",
    "sends text": "say(json.dumps({'id': question['id'], 'matches': 'true'}))",
    "answers another question": "say(json.dumps({'id': 'other', 'matches': True}))",
    "answers twice in a line": "say(2 * json.dumps({'id': question['id'], 'matches': True}))",
    "sends bytes": "say(b'\\xff\\xfe\\n')",
    "sends without end": "say(b'x' * 5000)",
}


@pytest.mark.parametrize("trouble", TROUBLE)
def test_lost_helper_costs_no_answer(make: Make, tmp_path: Path, trouble: str) -> None:
    script = Script(tmp_path, BEGINNING + TROUBLE[trouble])
    here = Here(verdict=False)
    checks = make(check_here=here, command=script.command)
    assert not checks.matches(STORED, PASSWORD)
    assert script.lines() == ["started"] * 2, "it is given a second chance"
    assert not checks.matches(STORED, PASSWORD)
    assert script.lines() == ["started"] * 2, "and then a pause"
    assert here.asked == [(STORED, PASSWORD)] * 2


LATE = """
first = question["id"]
say(json.dumps({"id": first, "matches": True}))
ask()
say(json.dumps({"id": first, "matches": True}))
ask()
"""


def test_second_answer_to_a_question_is_not_taken_for_the_next_one(make: Make, tmp_path: Path) -> None:
    here = Here(verdict=False)
    checks = make(check_here=here, command=Script(tmp_path, BEGINNING + LATE).command)
    assert checks.matches(STORED, PASSWORD)
    # The helper says yes once more; its successor, asked for the first time, is believed.
    process = helper_process(checks)
    checks.matches(STORED, "wrong")
    assert process.returncode is not None


def test_helper_that_hangs_is_ended_in_time(make: Make) -> None:
    checks = make(check_seconds=1)
    assert checks.matches(STORED, PASSWORD)
    process = helper_process(checks)
    process.send_signal(signal.SIGSTOP)
    begin = time.monotonic()
    with pytest.raises(LogInUnavailable) as error:
        checks.matches(STORED, PASSWORD)
    assert time.monotonic() - begin < 10
    assert (error.value.code, error.value.retry_after) == ("log_in_unavailable", 5)
    assert process.returncode == -signal.SIGKILL
    assert checks.matches(STORED, PASSWORD), "the next one has a new helper"


def test_endless_hash_is_given_up(make: Make) -> None:
    checks = make(check_seconds=1)
    with pytest.raises(LogInUnavailable):
        checks.matches(STORED.replace("rounds=1000$", "rounds=999999999$"), PASSWORD)
    assert checks.matches(STORED, PASSWORD)


START_TROUBLE = {
    "hangs": BEGINNING.replace("settings =", "time.sleep(60)"),
    "hangs ignoring signals": "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)",
    "ends": "",
    "has no passlib": "import passlib_is_missing",
    "is not ready": BEGINNING.replace("true", "false"),
}


@pytest.mark.parametrize("trouble", START_TROUBLE)
def test_helper_that_does_not_start_costs_no_answer(make: Make, tmp_path: Path, trouble: str) -> None:
    here = Here()
    script = Script(tmp_path, START_TROUBLE[trouble])
    checks = make(check_here=here, command=script.command, start_seconds=0.5)
    begin = time.monotonic()
    assert checks.matches(STORED, PASSWORD)
    assert checks.matches(STORED, PASSWORD)
    assert time.monotonic() - begin < 10
    assert len(here.asked) == 2
    assert len(script.lines()) <= 1, "a start that failed is not repeated at once"


@pytest.mark.parametrize("error", [BlockingIOError(11, "no more processes"), OSError(12, "no memory")])
def test_forbidden_fork_costs_no_answer(make: Make, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    starts: list[Any] = []

    def refuse(*arguments: Any, **_: Any) -> Any:
        starts.append(arguments)
        raise error

    here = Here()
    checks = make(check_here=here)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert checks.matches(STORED, PASSWORD) and checks.matches(STORED, PASSWORD)
    assert (len(starts), len(here.asked)) == (1, 2)
    monkeypatch.undo()
    monkeypatch.setattr(checks, "_start_after", 0.0)
    assert checks.matches(STORED, PASSWORD)
    assert len(here.asked) == 2, "after the pause there is a helper again"


def test_missing_interpreter_costs_no_answer(make: Make) -> None:
    here = Here()
    assert make(check_here=here, command=("/nowhere/python",)).matches(STORED, PASSWORD)
    assert len(here.asked) == 1


def test_settings_that_the_helper_cannot_load_cost_no_answer(make: Make) -> None:
    here = Here()
    assert make(lambda: "[passlib]\nschemes = known_here_only\n", here).matches(STORED, PASSWORD)
    assert len(here.asked) == 1


# What the helper is

STARTED = """
import json, os, sys
from api_v1.access.password_checks import PasswordChecks
checks = PasswordChecks(lambda: "[passlib]\\nschemes = sha512_crypt\\n", None)
stored, password = json.loads(sys.stdin.readline())
"""


def run(source: str) -> Any:
    """Run a program that imports the package; return the JSON that it prints."""
    path = os.pathsep.join([str(ROOT), PLATFORM])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", STARTED + source],
        input=json.dumps([STORED, PASSWORD]) + "\n",
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_helper_starts_with_the_first_check_only(make: Make) -> None:
    checks = make()
    assert checks._helper is None
    checks.matches(STORED, PASSWORD)
    pid = helper_process(checks).pid
    checks.matches(STORED, PASSWORD)
    assert helper_process(checks).pid == pid


def test_password_is_in_no_argument_and_no_environment(make: Make) -> None:
    checks = make()
    checks.matches(STORED, PASSWORD)
    process = Path(f"/proc/{helper_process(checks).pid}")
    for file in ("cmdline", "environ"):
        content = (process / file).read_bytes()
        assert content and PASSWORD.encode() not in content and STORED.encode() not in content


def test_helper_loads_neither_the_package_nor_the_platform(tmp_path: Path) -> None:
    source = Path(password_checks.COMMAND[-1]).read_text().replace('__name__ == "__main__"', "False")
    modules = "\nimport sys\nfrom passlib.context import CryptContext\nprint(*sorted(sys.modules))"
    listed = subprocess.run([sys.executable, "-W", "ignore", "-c", source + modules], capture_output=True, text=True)
    loaded = {name.partition(".")[0] for name in listed.stdout.split()}
    assert "passlib" in loaded
    assert loaded.isdisjoint({"api_v1", "flask", "sqlalchemy", "database"})


def test_helper_ends_with_its_process() -> None:
    pid = run("checks.matches(stored, password); print(checks._helper.process.pid)")
    wait_until(lambda: is_gone(pid), "the helper ends")


def test_helper_ends_with_a_process_that_is_killed() -> None:
    pid = run("checks.matches(stored, password); print(checks._helper.process.pid, flush=True); os._exit(0)")
    wait_until(lambda: is_gone(pid), "the helper ends")


FORK = """
assert checks.matches(stored, password)
parents = checks._helper.process.pid
checks._turn.acquire()      # another thread is about to check
checks._last_seconds = 0.6
checks._counting.acquire()
checks._in_progress = 3
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    with checks.queued():
        verdicts = [checks.matches(stored, password), checks.matches(stored, "wrong")]
    os.write(writer, json.dumps([verdicts, checks._helper.process.pid]).encode())
    sys.exit()
verdicts, childs = json.loads(os.read(reader, 1000))
assert os.waitpid(child, 0)[1] == 0
checks._turn.release()
checks._counting.release()
again = checks.matches(stored, password)
print(json.dumps([verdicts, parents != childs, again, checks._helper.process.pid == parents]))
"""


def test_forked_process_has_a_helper_of_its_own() -> None:
    assert run(FORK) == [[True, False], True, True, True]


def test_forked_process_does_not_keep_its_parents_helper() -> None:
    pids = run(
        "checks.matches(stored, password)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os.close(1); os.close(2)\n"
        "    import time; time.sleep(50)\n"
        "print(json.dumps([checks._helper.process.pid, child]), flush=True)\n"
        "os._exit(0)"
    )
    try:
        wait_until(lambda: is_gone(pids[0]), "the helper ends although the forked process goes on")
        assert not is_gone(pids[1])
    finally:
        os.kill(pids[1], signal.SIGKILL)
