"""The helper process that checks passwords: its start, its failures and its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from api_v1.access import password_checks
from api_v1.errors import LogInUnavailable
from tests.support.password_checks import BEGINNING, PASSWORD, STORED, Here, Make, Script, helper_process, is_gone
from tests.support.paths import ROOT
from tests.support.servers import PLATFORM, wait_until

# --- A helper in trouble --------------------------------------------------------------------------


def test_a_dead_helper_is_replaced(make: Make) -> None:
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
def test_a_lost_helper_does_not_fail_the_check(make: Make, tmp_path: Path, trouble: str) -> None:
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


def test_a_duplicate_reply_is_not_taken_for_the_next_one(make: Make, tmp_path: Path) -> None:
    here = Here(verdict=False)
    checks = make(check_here=here, command=Script(tmp_path, BEGINNING + LATE).command)
    assert checks.matches(STORED, PASSWORD)
    # The helper says yes once more; its successor, asked for the first time, is believed.
    process = helper_process(checks)
    checks.matches(STORED, "wrong")
    assert process.returncode is not None


def test_a_hanging_helper_is_ended_in_time(make: Make) -> None:
    checks = make(check_seconds=3)
    assert checks.matches(STORED, PASSWORD)
    process = helper_process(checks)
    process.send_signal(signal.SIGSTOP)
    begin = time.monotonic()
    with pytest.raises(LogInUnavailable) as error:
        checks.matches(STORED, PASSWORD)
    assert time.monotonic() - begin < 40
    assert (error.value.code, error.value.retry_after) == ("log_in_unavailable", 5)
    assert process.returncode == -signal.SIGKILL
    assert checks.matches(STORED, PASSWORD), "the next one has a new helper"


def test_an_endless_check_is_given_up(make: Make) -> None:
    checks = make(check_seconds=3)
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
def test_a_helper_that_does_not_start_does_not_fail_the_check(make: Make, tmp_path: Path, trouble: str) -> None:
    here = Here()
    script = Script(tmp_path, START_TROUBLE[trouble])
    checks = make(check_here=here, command=script.command, start_seconds=0.5)
    begin = time.monotonic()
    assert checks.matches(STORED, PASSWORD)
    assert checks.matches(STORED, PASSWORD)
    assert time.monotonic() - begin < 40
    assert len(here.asked) == 2
    assert len(script.lines()) <= 1, "a start that failed is not repeated at once"


@pytest.mark.parametrize("error", [BlockingIOError(11, "no more processes"), OSError(12, "no memory")])
def test_a_forbidden_fork_does_not_fail_the_check(make: Make, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
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


def test_a_missing_interpreter_does_not_fail_the_check(make: Make) -> None:
    here = Here()
    assert make(check_here=here, command=("/nowhere/python",)).matches(STORED, PASSWORD)
    assert len(here.asked) == 1


def test_settings_that_the_helper_cannot_load_do_not_fail_the_check(make: Make) -> None:
    here = Here()
    assert make(lambda: "[passlib]\nschemes = known_here_only\n", here).matches(STORED, PASSWORD)
    assert len(here.asked) == 1


# --- What the helper is ---------------------------------------------------------------------------


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
