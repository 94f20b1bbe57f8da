"""`flask api-v1 approvals`: the rules of the API on the command line."""

from __future__ import annotations

import json
import re

import pytest
from click.testing import Result

from tests.support import factories
from tests.support.client import Api
from tests.support.fixtures import on_one_database
from tests.support.reviews import REASON, ReviewScenario


def shell(api: Api, *arguments: str, fails: bool = False) -> Result:
    """Run `flask api-v1 approvals …`."""
    result = api.app.test_cli_runner().invoke(args=["api-v1", "approvals", *arguments])
    assert (result.exit_code != 0) is fails, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    return result


@pytest.fixture
def reviewer(scenario: ReviewScenario) -> str:
    """The email of an admin who requested nothing."""
    with scenario.api.rows() as session:
        factories.user(session, email="boss@example.org")
        factories.user(session, "contributor", email="helper@example.org")
    return "boss@example.org"


def test_approvals_are_listed_and_shown_on_the_command_line(scenario: ReviewScenario) -> None:
    approval = scenario.request()
    # There is no host on the command line that they could begin with.
    del approval["links"]
    number = approval["approval_id"]
    header, line = shell(scenario.api, "list").output.splitlines()
    assert re.split("  +", header) == ["ID", "RUN", "TEST", "OUTPUT", "REQUESTED BY", "TIME", "OUTDATED", "REASON"]
    names = ("run_id", "regression_id", "output_id", "requested_by", "created_at")
    assert re.split("  +", line) == [number, *(str(approval[name]) for name in names), "no", REASON]
    assert json.loads(shell(scenario.api, "list", "--json").output) == [approval]
    nothing = shell(scenario.api, "list", "--status", "approved")
    assert (nothing.stdout, nothing.stderr) == ("", "No approval is approved.\n")
    shown = dict(line.split(": ", 1) for line in shell(scenario.api, "show", number).output.splitlines())
    words = {"None": "-", "True": "yes", "False": "no"}
    assert shown == {name: words.get(str(value), str(value)) for name, value in approval.items()}
    assert json.loads(shell(scenario.api, "show", number, "--json").output) == approval
    assert "not found" in shell(scenario.api, "show", "4711", fails=True).output


def test_an_admin_decides_on_the_command_line(scenario: ReviewScenario, reviewer: str) -> None:
    number = scenario.request()["approval_id"]
    options = ("--as", reviewer, "--reason", "I compared both files.")
    preview = shell(scenario.api, "approve", number, *options, "--dry-run").output.splitlines()
    assert preview[0].startswith(f"Would approve approval {number}: run {scenario.mismatch.run_id}, asked for by ")
    assert re.split("  +", preview[1]) == ["TEST", "OUTPUT", "BASELINE BEFORE", "BASELINE AFTER"]
    assert re.split("  +", preview[2])[1:] == [
        str(scenario.mismatch.output_id),
        scenario.mismatch.old,
        scenario.mismatch.new,
    ]
    assert preview[3].endswith("were they run again (stored verdicts stay):")
    assert re.split("  +", preview[4]) == ["RUN", "TEST", "OUTPUT", "NOW", "THEN"]
    as_json = json.loads(shell(scenario.api, "approve", number, *options, "--dry-run", "--json").output)
    assert (as_json["dry_run"], as_json["changes"][0]["new_hash"]) == (True, scenario.mismatch.new)
    assert scenario.baseline() == scenario.mismatch.old
    assert shell(scenario.api, "approve", number, *options).output.startswith(f"Approved approval {number}: ")
    assert scenario.baseline() == scenario.mismatch.new
    approval = scenario.get({"approval_id": number})
    assert (approval["status"], approval["reviewed_by"]) == ("approved", reviewer)
    assert "approved already" in shell(scenario.api, "reject", number, *options, fails=True).output
    shell(scenario.api, "revert", number, *options)
    assert scenario.baseline() == scenario.mismatch.old
    assert "reverted" in shell(scenario.api, "revert", number, *options, fails=True).output
    assert scenario.get({"approval_id": number})["reverted_by"] == reviewer


def test_an_admin_rejects_on_the_command_line(scenario: ReviewScenario, reviewer: str) -> None:
    approval = scenario.request()
    shell(scenario.api, "reject", approval["approval_id"], "--as", reviewer, "--reason", "It cuts the last line.")
    assert scenario.get(approval)["status"] == "rejected"


@on_one_database
@pytest.mark.parametrize("command", ["approve", "reject", "revert"])
def test_the_command_line_keeps_the_rules(scenario: ReviewScenario, reviewer: str, command: str) -> None:
    approval = scenario.request(scenario.admin)
    number, requester = approval["approval_id"], approval["requested_by"]
    good = "I compared both files."
    refusals = {
        ("--as", "helper@example.org", "--reason", good): "no admin",
        ("--as", "nobody@example.org", "--reason", good): "no admin",
        ("--as", reviewer, "--reason", "test test test"): "placeholder",
        ("--as", reviewer, "--reason", "short"): "10",
        ("--as", reviewer, "--reason", "x" * 501): "500",
        ("--as", reviewer): "--reason",
        ("--reason", good): "--as",
    }
    if command == "approve":
        refusals["--as", requester, "--reason", good] = "other than the requester"
    for options, text in refusals.items():
        assert text in shell(scenario.api, command, number, *options, fails=True).output
    assert "not found" in shell(scenario.api, command, "4711", "--as", reviewer, "--reason", good, fails=True).output
    assert scenario.get(approval) == approval
