"""`flask api-v1 audit`."""

from __future__ import annotations

import ast
import json
import re

import pytest

from api_v1.acting import audit_log
from tests.support.cli import Cli
from tests.support.paths import ROOT


@pytest.fixture
def filled(cli: Cli) -> Cli:
    """The command line, after two records."""
    cli("token", "create", "ann@example.org", "laptop")
    cli("cursors", "rotate")
    return cli


def test_the_log_is_a_table_newest_first(filled: Cli) -> None:
    header, *lines = filled("audit").stdout.splitlines()
    assert re.split("  +", header) == ["ID", "TIME", "ACTOR", "ACTION", "TARGET", "REASON"]
    assert [re.split("  +", line)[2:] for line in lines] == [
        ["command-line", "cursors.rotate", "key:cursors", "-"],
        ["command-line", "token.create", "token:laptop", "-"],
    ]


def test_json_has_what_changed(filled: Cli) -> None:
    records = json.loads(filled("audit", "--json").stdout)
    assert [record["action"] for record in records] == ["cursors.rotate", "token.create"]
    assert records[1]["after"]["user"] == "ann@example.org"


@pytest.mark.parametrize(
    ("options", "actions"),
    [
        (["--action", "token.create"], ["token.create"]),
        (["--action", "run.cancel"], []),
        (["--target", "key:cursors"], ["cursors.rotate"]),
        (["--target", "run:17"], []),
        (["--actor", "command-line"], ["cursors.rotate", "token.create"]),
        (["--actor", "ANN@example.org"], []),
    ],
)
def test_filters(filled: Cli, options: list[str], actions: list[str]) -> None:
    assert [record["action"] for record in json.loads(filled("audit", *options, "--json").stdout)] == actions


def test_a_cut_list_says_how_many_there_are(filled: Cli) -> None:
    assert filled("audit", "--limit", "1").stderr == "1 of 2; --limit shows more.\n"


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--action", "run.cancle", "is not one of"),
        ("--target", "rnu:17", "must be approval:…, key:…, run:…, token:…"),
        ("--target", "17", "such as run:17"),
        ("--actor", "nobody@example.org", "no user with the email nobody@example.org"),
    ],
)
def test_an_unknown_value_is_refused(filled: Cli, option: str, value: str, reason: str) -> None:
    """A misspelt filter would look as if nothing had happened."""
    result = filled("audit", option, value, fails=True)
    assert (result.exit_code, result.stdout) == (2, "")
    assert reason in result.stderr


def test_every_action_that_the_code_records_is_listed() -> None:
    actions, targets = set(), set()
    for path in (ROOT / "api_v1").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("audit_log.record", "_record"):
                text = ast.unparse(node)
                actions |= set(re.findall(r"'((?:baseline|cursors|run|token)\.[a-z_]+)'", text))
                targets |= set(re.findall(r"'([a-z]+):", text))
    # What is decided on an approval is put together from the decision.
    assert actions | {"baseline.approve", "baseline.reject"} == set(audit_log.ACTIONS)
    assert targets == set(audit_log.TARGETS)
