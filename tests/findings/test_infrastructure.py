"""Infrastructure errors: the message for each cancellation, and what callers of each kind may see of it."""

from __future__ import annotations

import time
from typing import Any

import pytest
import sqlalchemy as sa

from api_v1.access.redaction import Redactor, hide_locations
from api_v1.access.tokens import new_secret
from api_v1.database import platform
from api_v1.findings.infrastructure import kind_of
from tests.support import factories
from tests.support.client import Api
from tests.support.fixtures import on_one_database

ACTIONS = "Check the GitHub Actions logs for details."
LINUX, WINDOWS = "'Build CCExtractor on Linux'", "'Build CCExtractor on Windows'"

#: What the platform stores, by kind (docs/platform.md, "Messages of canceled runs"); what varies is filled in.
MESSAGES = [
    ("queue", "Invalid PR number"),
    ("queue", "Tests have been cancelled"),
    ("vm_provisioning", "VM creation failed. Please contact the administrator."),
    ("vm_provisioning", "VM creation failed (UNKNOWN). Please contact the administrator."),
    ("vm_provisioning", "VM creation failed (API_ERROR). Please contact the administrator."),
    (
        "vm_provisioning",
        "VM creation failed (ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS). Please contact the administrator.",
    ),
    ("vm_provisioning", "Required GCP resource not found. Please contact the administrator."),
    ("vm_provisioning", "A VM with this name already exists. Please contact the administrator."),
    ("vm_provisioning", "GCP operation timed out. The test will be retried automatically."),
    ("vm_provisioning", "Failed to create VM: {'errors': [{'code': 'QUOTA_EXCEEDED'}]}"),
    ("merge", "Commit could not be merged"),
    ("build", "Cancelling tests as Github Action(s) failed"),
    ("build", f"Build failed: {LINUX} finished with conclusion 'failure'. {ACTIONS}"),
    ("build", f"Build failed: {WINDOWS} finished with conclusion 'timed_out'. {ACTIONS}"),
    (
        "build",
        f"No build available: {LINUX} never ran for commit 1a2b3c4 (commit is 26.5 hours old). The workflow was "
        "likely not triggered due to path filters, or the commit predates the workflow configuration.",
    ),
    (
        "build",
        f"No build will be created: commit 1a2b3c4 does not modify any files that trigger the {WINDOWS} workflow. "
        "Only documentation or non-code files were changed.",
    ),
    ("build", "build"),
    ("build", "No build artifact found for this commit"),
    (
        "storage",
        f"Artifact not found: {LINUX} completed successfully, but no artifact was found. The artifact may have expired "
        "(GitHub deletes artifacts after a retention period) or was not uploaded properly.",
    ),
    ("storage", "Artifact download timed out"),
    ("storage", "Artifact download failed: HTTP 404"),
    ("storage", "Artifact download failed: ('Connection aborted.', RemoteDisconnected())"),
    ("storage", "Build succeeded but artifact not yet available - please retry"),
    ("storage", "artifact"),
    ("worker", "Could not complete test, time limit exceeded"),
    ("worker", "Duplicate Entries"),
    ("worker", ""),
    ("worker", "Runtime exceeded"),
    ("worker", "Task timed out"),
    ("worker", "Task failed: exit status 1"),
]

DELIBERATE = [
    "Canceled by user",
    "Canceled by admin",
    "Canceled by user: pushed again",
    "Canceled by admin: a reason\nof two lines",
    "PR closed",
    "PR is closed",
    "Tests canceled",
    "Not ran - no code changes",
    "PR closed or updated",
    "PR converted to draft",
    "Tests cancelled",
]

#: What no pattern knows is the worker's, also where it only resembles one.
UNKNOWN = [
    *("Something else", "building", "the artifact", "Canceled by administrator", "Invalid PR number 7"),
    *("PR closed yesterday", "Not ran", "build\nfailed", "Tests canceled by hand"),
]


@pytest.mark.parametrize(("kind", "message"), MESSAGES)
def test_every_message_has_its_type(kind: str, message: str) -> None:
    assert kind_of(message) == kind
    assert kind_of(f"  {message}\n") == kind


@pytest.mark.parametrize("message", DELIBERATE)
def test_a_deliberate_cancellation_is_no_error(message: str) -> None:
    assert kind_of(message) is None


@pytest.mark.parametrize("message", UNKNOWN)
def test_an_unknown_message_is_a_worker_error(message: str) -> None:
    assert kind_of(message) == "worker"


# Through HTTP


def canceled(api: Api, *messages: str, before: tuple[str, ...] = ("preparation", "testing")) -> int:
    with api.rows() as session:
        run = factories.run(session, *before)
        for message in messages:
            row = factories.advance(session, run, "canceled", at=factories.START)
            row.message = message
        session.flush()
        return int(run.id)


def get(api: Api, run_id: int, **query: Any) -> list[Any]:
    response = api.get(f"/runs/{run_id}/infrastructure-errors", query=query, headers=api.bearer())
    assert response.status_code == 200, response.text
    found: list[Any] = response.json["data"]
    return found


def one(api: Api, message: str, **query: Any) -> Any:
    (error,) = get(api, canceled(api, message), **query)
    return error


def test_an_error_has_all_fields(each_api: Api) -> None:
    run_id = canceled(each_api, "Artifact download timed out")
    (error,) = get(each_api, run_id)
    progress_id = error["location"]["progress_id"]
    assert error == {
        "error_id": f"{run_id}-infrastructure-{progress_id}",
        "run_id": run_id,
        "type": "storage",
        "severity": "error",
        "message": "Artifact download timed out",
        "location": {"progress_id": progress_id},
        "occurred_at": "2026-01-01T12:00:00Z",
    }


def test_messages_of_a_run_are_listed_in_order(each_api: Api) -> None:
    every = [message for _, message in MESSAGES]
    run_id = canceled(each_api, *DELIBERATE, *every)
    found = get(each_api, run_id, limit=100)
    assert [error["type"] for error in found] == [kind for kind, _ in MESSAGES]
    assert [error["message"] for error in found] == [message or "The worker gave no reason." for message in every]
    assert len({error["error_id"] for error in found}) == len(found)


@on_one_database
def test_errors_are_filtered_and_paged(api: Api) -> None:
    run_id = canceled(api, *(message for _, message in MESSAGES))
    every = get(api, run_id, limit=100)
    for kind in ("queue", "vm_provisioning", "checkout", "merge", "build", "worker", "web_server", "storage"):
        assert get(api, run_id, type=kind, limit=100) == [error for error in every if error["type"] == kind]
    assert get(api, run_id, severity="critical") == []
    assert get(api, run_id, severity="error", limit=100) == every
    assert get(api, run_id, limit=4, offset=2) == every[2:6]
    assert get(api, run_id, offset=1000) == []


@on_one_database
@pytest.mark.parametrize(
    ("before", "severity"),
    [
        ((), "critical"),
        (("preparation",), "critical"),
        (("preparation", "testing"), "error"),
        (("preparation", "testing", "completed"), "error"),
    ],
)
def test_a_run_that_never_reached_testing_is_critical(api: Api, before: tuple[str, ...], severity: str) -> None:
    (error,) = get(api, canceled(api, "Duplicate Entries", before=before))
    assert error["severity"] == severity


@on_one_database
def test_only_cancellations_are_errors(api: Api) -> None:
    with api.rows() as session:
        run = factories.run(session, "preparation", "testing", "completed")
        run_id = run.id
    assert get(api, run_id) == []


# What is told to whom

HIDDEN = [
    "Failed to create VM: /srv/platform/mod_ci/controllers.py: no such file",
    "Failed to create VM: C:\\platform\\controllers.py",
    "Failed to create VM: \\\\fileserver\\share\\x",
    "Artifact download failed: https://user:pass@files.example.org:8443/a?token=abc",
    "Artifact download failed: HTTPSConnectionPool(host='files.intranet', port=443): Max retries exceeded",
    "Artifact download failed: Failed to resolve 'files.example.org' ([Errno -2] Name or service not known)",
    "Artifact download failed: [Errno 111] Connect call failed ('10.1.2.3', 8443)",
    "Artifact download failed: 10.1.2.3:8443 refused",
    "Artifact download failed: [fe80::1ff:fe23:4567:890a]:443 refused",
    "Artifact download failed: fe80::1ff:fe23:4567:890a refused",
    "Artifact download failed: localhost:5432 refused",
    "Task failed: mail from ci@files.example.org",
    "Task failed: The resource 'projects/secret-project/zones/us-west4-b' was not found",
    "Task failed: Authorization: Bearer abcdefgh12345678",
    "Task failed: password=hunter2hunter2",
    "Task failed: {'token': 'hunter2hunter2'}",
    "Task failed: ghp_0123456789abcdefABCDEF0123456789abcd",
    "Task failed: POST /progress-reporter/17/hunter2hunter2",
]
LEAKS = [
    *("/srv", "controllers", "fileserver", "files.", "10.1.2.3", "fe80", "localhost", "secret-project", "hunter2"),
    *("abcdefgh12345678", "ghp_", "user:pass", "token=abc", "C:\\"),
]
CREDENTIALS = ["hunter2", "abcdefgh12345678", "ghp_"]


@on_one_database
@pytest.mark.parametrize("message", HIDDEN)
def test_locations_and_credentials_are_hidden(api: Api, message: str) -> None:
    error = one(api, message)
    assert not [leak for leak in LEAKS if leak in error["message"]]
    assert error["message"].startswith(message.partition(":")[0])
    assert "stack" not in error


@on_one_database
@pytest.mark.parametrize("message", HIDDEN)
def test_credentials_are_hidden_from_all(api: Api, message: str) -> None:
    error = one(api, f"Task failed\n{message}", include_stack="true")
    assert not [leak for leak in CREDENTIALS if leak in "".join(error["stack"])]


@on_one_database
@pytest.mark.parametrize("include_stack", ["true", "false"])
def test_the_runs_token_and_our_own_are_hidden_from_all(api: Api, include_stack: str) -> None:
    run_id, secret = canceled(api, "later"), new_secret()
    with api.rows() as session:
        token = session.scalars(sa.select(platform.Test.token).where(platform.Test.id == run_id)).one() or ""
        session.execute(
            sa.update(platform.TestProgress)
            .where(platform.TestProgress.test_id == run_id)
            .values(message=f"Task failed: {token} {secret}\n{token}\n%2Fprogress-reporter%2F{run_id}%2F{token}/x")
        )
    (error,) = get(api, run_id, include_stack=include_stack)
    assert error["message"] == "Task failed: [redacted] [redacted]"
    assert token not in str(error) and secret[5:] not in str(error)


@on_one_database
def test_a_long_message_takes_no_longer_than_its_length_accounts_for(api: Api) -> None:
    run_id = canceled(api, *["a-" * 7000] * 3, "x" * 990 + " 10.1.2.3 " + "y" * 60_000)
    started = time.perf_counter()
    errors = get(api, run_id)
    response = api.get(f"/runs/{run_id}/progress", headers=api.bearer())
    assert time.perf_counter() - started < 5
    assert response.status_code == 200 and len(errors) == 4
    assert errors[3]["message"].startswith("x" * 990 + " [hidden]")


@pytest.mark.parametrize("message", [message for _, message in MESSAGES])
def test_the_platforms_own_sentences_are_shown_whole(message: str) -> None:
    assert hide_locations(Redactor().credentials(message)) == message


@on_one_database
def test_the_stack_is_shown_on_request(api: Api) -> None:
    message = "Task failed: /srv/a.py\nTraceback:\n  File /srv/a.py\r\nValueError"
    quiet, full = one(api, message), one(api, message, include_stack="true")
    assert quiet["message"] == "Task failed: [hidden]" and "stack" not in quiet
    assert full["message"] == "Task failed: /srv/a.py"
    assert full["stack"] == ["Traceback:", "  File /srv/a.py", "ValueError"]
    assert one(api, "one line", include_stack="true")["stack"] == []


@on_one_database
def test_a_stack_is_cut_to_the_contracts_limits(api: Api) -> None:
    message = "x" * 3000 + "\n" + "\n".join("y" * 3000 for _ in range(99))
    error = one(api, message, include_stack="true")
    assert (len(error["message"]), len(error["stack"]), {len(line) for line in error["stack"]}) == (1000, 50, {2000})


@on_one_database
@pytest.mark.parametrize("message", ["", " ", "\n\n"])
def test_a_missing_reason_of_a_worker_is_reported_as_such(api: Api, message: str) -> None:
    assert one(api, message)["message"] == "The worker gave no reason."


@on_one_database
def test_a_reason_after_an_empty_line_is_shown(api: Api) -> None:
    assert one(api, "\nTask failed")["message"] == "Task failed"


@on_one_database
def test_a_cancellation_by_the_api_is_no_error(api: Api) -> None:
    run_id = canceled(api)
    assert api.post(f"/runs/{run_id}/cancel", json={}, headers=api.bearer()).status_code < 300
    assert get(api, run_id) == []
