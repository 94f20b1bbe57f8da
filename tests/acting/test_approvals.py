"""Requests for a new baseline: what is accepted, kept, refused and listed."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import sqlalchemy as sa

from api_v1.database import platform
from api_v1.database.platform import RegressionTestOutput
from api_v1.web.validation import MAX_ID
from tests.support import factories
from tests.support.client import Api
from tests.support.factories import hash_of
from tests.support.fixtures import on_one_database
from tests.support.reviews import REASON, ReviewScenario, mismatched_output, review_scenario, store
from tests.support.writing import added, contents, refused

# --- Request --------------------------------------------------------------------------------------


def test_a_request_waits_for_review(each_api: Api) -> None:
    scenario = review_scenario(each_api)
    case = scenario.mismatch
    with each_api.rows() as session:
        before = contents(session)

    approval = scenario.request(reason=f"  {REASON}\n")

    asked = {"run_id", "sample_id", "regression_id", "output_id"}
    assert {name: approval[name] for name in asked} == {name: getattr(case, name) for name in asked}
    assert (approval["status"], approval["reason"]) == ("pending_review", REASON)
    assert (approval["expected_hash"], approval["actual_hash"]) == (case.old, case.new)
    assert approval["requested_by"].endswith("@example.org")
    assert approval["apply_to_variants"] is False
    undecided = ("reviewed_by", "review_reason", "reviewed_at", "reverted_by", "reverted_at")
    assert [approval[name] for name in undecided] == [None] * 5
    assert scenario.get(approval) == approval
    assert scenario.baseline() == case.old
    with each_api.rows() as session:
        assert added(before, contents(session)) == {"api_v1_baseline_approval": 1, "api_v1_audit": 1}


def test_a_request_links_to_its_diff_and_to_what_can_be_done_about_it(scenario: ReviewScenario) -> None:
    api = scenario.api

    def followed(approval: dict[str, Any]) -> dict[str, Any]:
        return {name: url.removeprefix(f"http://localhost{api.prefix}") for name, url in approval["links"].items()}

    approval = scenario.request()
    pending = followed(approval)
    assert pending.keys() == {"self", "diff", "review"}
    assert api.get(pending["self"], headers=scenario.admin).json == approval
    output = f"regression_id={approval['regression_id']}&output_id={approval['output_id']}"
    assert pending["diff"] == scenario.mismatch.path.replace("baseline-approval", f"diff?{output}")
    body = {"decision": "approve", "reason": "I compared both files."}
    reviewed = api.post(pending["review"], json=body, headers=scenario.admin).json["approval"]
    assert followed(reviewed) == followed(scenario.get(approval))
    assert followed(reviewed).keys() == {"self", "diff", "revert"}
    undo = api.post(followed(reviewed)["revert"], json={"reason": "It was wrong after all."}, headers=scenario.admin)
    assert followed(undo.json["approval"]).keys() == {"self", "diff"}


def test_run_sample_test_and_output_must_belong_together(scenario: ReviewScenario) -> None:
    with scenario.api.rows() as session:
        folder = platform.repository(scenario.api.app.config)
        other = mismatched_output(session, folder)
        sibling = factories.regression_test(session, session.get_one(platform.Sample, scenario.mismatch.sample_id))
        not_in_run, before = sibling.id, contents(session)
    own = scenario.mismatch
    for case, changes, resource in [
        (dataclasses.replace(own, run_id=other.run_id), {}, "sample"),
        (dataclasses.replace(own, run_id=4711), {}, "run"),
        (dataclasses.replace(own, sample_id=other.sample_id), {}, "sample"),
        (own, {"regression_id": other.regression_id}, "regression_test"),
        (own, {"regression_id": not_in_run}, "regression_test"),
        (own, {"output_id": other.output_id}, "output"),
        (own, {"output_id": MAX_ID}, "output"),
        (own, {"output_id": 10**30}, "output"),
        (own, {"regression_id": 10**30}, "regression_test"),
    ]:
        response = scenario.api.post(case.path, json=case.body(**changes), headers=scenario.contributor)
        assert refused(response, 404, "not_found")["resource"] == resource
    with scenario.api.rows() as session:
        assert contents(session) == before


GOTS: dict[str, Any] = {
    "the worker said equal": None,
    "the file is the baseline": "the baseline",
    "nothing was produced": "nothing",
    "no hash": "error",
    "an empty hash": "",
    "a sentinel": "sentinel",
}


@pytest.mark.parametrize("got", GOTS)
def test_a_result_without_a_differing_file_cannot_be_approved(scenario: ReviewScenario, got: str) -> None:
    value = {"the baseline": scenario.mismatch.old}.get(GOTS[got], GOTS[got])
    with scenario.api.rows() as session:
        file = session.scalars(sa.select(platform.TestResultFile)).one()
        if value == "nothing":
            session.delete(file)
        elif value == "sentinel":
            file.expected, file.got = "", "error"
        else:
            file.got = value
    response = scenario.api.post(scenario.mismatch.path, json=scenario.mismatch.body(), headers=scenario.contributor)
    details = refused(response, 422, "unprocessable")
    assert details == {"run_id": scenario.mismatch.run_id, "output_id": scenario.mismatch.output_id}


def test_a_file_that_no_store_has_cannot_be_approved(scenario: ReviewScenario) -> None:
    folder = platform.repository(scenario.api.app.config)
    (folder / "TestResults" / f"{scenario.mismatch.new}.srt").unlink()
    store(folder, "new", ".txt")
    response = scenario.api.post(scenario.mismatch.path, json=scenario.mismatch.body(), headers=scenario.contributor)
    details = refused(response, 422, "unprocessable")
    assert details == {"output_id": scenario.mismatch.output_id, "actual_hash": scenario.mismatch.new}


def test_an_output_without_baseline_gets_its_first_baseline(scenario: ReviewScenario) -> None:
    scenario.set_baseline(None)
    with scenario.api.rows() as session:
        session.scalars(sa.select(platform.TestResultFile)).one().expected = ""
    approval = scenario.request(apply_to_variants=True)
    assert approval["expected_hash"] is None
    review = scenario.review(approval).json
    assert [(change["old_hash"], change["new_hash"]) for change in review["changes"]] == [(None, scenario.mismatch.new)]
    assert scenario.baseline() == scenario.mismatch.new
    assert scenario.revert(approval).status_code == 200
    assert scenario.baseline() is None


NO_REASONS = [
    ...,
    None,
    "",
    "too short",
    "x" * 501,
    "xxxxxxxxxxxx",
    " " * 20,
    "   short    ",
    "-----------",
    "X-x-X-x-X-x",
    "asdf asdf asdf",
    "Test test TEST",
    "n/a n/a n/a n/a",
    "No reason!!",
    "placeholder",
    "Lorem ipsum",
    "1234567890",
    "nul\0 in the middle",
    12345678901,
]


@on_one_database
@pytest.mark.parametrize("reason", NO_REASONS)
def test_a_meaningless_reason_is_refused_everywhere(scenario: ReviewScenario, reason: Any) -> None:
    approval = scenario.request()
    change: dict[str, Any] = {"reason": reason}
    requested = scenario.api.post(
        scenario.mismatch.path, json=scenario.mismatch.body(**change), headers=scenario.contributor
    )
    if reason is ...:
        assert list(refused(requested, 400, "validation_error")["fields"]) == ["reason"]
        return
    reviewed, reverted = scenario.review(approval, **change), scenario.revert(approval, **change)
    for response in (requested, reviewed, reverted):
        assert list(refused(response, 400, "validation_error")["fields"]) == ["reason"]
    assert scenario.get(approval) == approval


@on_one_database
@pytest.mark.parametrize(
    "reason", ["xy" * 5, "Größe paßt", "这是一个合理的原因说明文字", "word" * 125, "fixed in test"]
)
def test_a_meaningful_reason_is_kept(scenario: ReviewScenario, reason: str) -> None:
    assert scenario.request(reason=reason)["reason"] == reason


@on_one_database
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("regression_id", ...),
        ("regression_id", 0),
        ("regression_id", "1"),
        ("output_id", ...),
        ("output_id", 1.5),
        ("output_id", None),
        ("apply_to_variants", "true"),
        ("apply_to_variants", None),
        ("status", "approved"),
    ],
)
def test_an_invalid_field_is_refused_by_name(scenario: ReviewScenario, field: str, value: Any) -> None:
    body = scenario.mismatch.body(**{field: value})
    response = scenario.api.post(scenario.mismatch.path, json=body, headers=scenario.contributor)
    assert list(refused(response, 400, "validation_error")["fields"]) == [field]


def test_a_second_request_returns_the_first_and_is_audited_with_its_reason(scenario: ReviewScenario) -> None:
    first = scenario.request()
    with scenario.api.rows() as session:
        before = contents(session)
    again = scenario.request(scenario.admin, reason="Another reason of somebody else.")
    assert again == first
    with scenario.api.rows() as session:
        assert added(before, contents(session)) == {"api_v1_audit": 1}
    query = {"target": f"approval:{first['approval_id']}"}
    entries = scenario.api.get("/audit-log", query=query, headers=scenario.admin).json["data"]
    assert [(entry["action"], entry["reason"]) for entry in entries] == [
        ("baseline.request", "Another reason of somebody else."),
        ("baseline.request", REASON),
    ]
    assert entries[0]["actor"] != entries[1]["actor"] == first["requested_by"]


@pytest.mark.parametrize("pending", [False, True])
def test_a_second_request_with_other_apply_to_variants_is_a_conflict(scenario: ReviewScenario, pending: bool) -> None:
    first = scenario.request(apply_to_variants=pending)
    with scenario.api.rows() as session:
        before = contents(session)
    response = scenario.ask(scenario.admin, apply_to_variants=not pending)
    details = refused(response, 409, "conflict")
    assert details == {"approval_id": first["approval_id"], "apply_to_variants": pending}
    assert f"Approval {first['approval_id']} is pending" in response.json["message"]
    with scenario.api.rows() as session:
        assert contents(session) == before


def test_a_request_for_the_same_file_of_another_run_returns_the_first(scenario: ReviewScenario) -> None:
    first = scenario.request()
    assert scenario.request(of=scenario.later_run()) == first


def test_an_older_run_cannot_roll_back_a_newer_baseline(scenario: ReviewScenario) -> None:
    own = scenario.mismatch
    newer = scenario.later_run("newer")
    assert scenario.review(scenario.request(of=newer)).status_code == 200
    with scenario.api.rows() as session:
        before = contents(session)
    details = refused(scenario.ask(), 409, "conflict")
    assert details == {
        "run_id": own.run_id,
        "output_id": own.output_id,
        "expected_hash": own.old,
        "current_hash": newer.new,
        "actual_hash": own.new,
    }
    assert scenario.baseline() == newer.new
    with scenario.api.rows() as session:
        assert contents(session) == before


def test_what_was_approved_already_is_said_to_be_the_baseline(scenario: ReviewScenario) -> None:
    own = scenario.mismatch
    approval = scenario.request()
    scenario.review(approval)
    response = scenario.ask()
    details = refused(response, 409, "conflict")
    assert (details["expected_hash"], details["current_hash"]) == (own.old, own.new)
    sentence = f"The run's file is the baseline of output {own.output_id} already"
    assert response.json["message"] == f"{sentence}, by approval {approval['approval_id']}."
    again = scenario.ask(of=scenario.later_run())
    assert refused(again, 422, "unprocessable") == {"run_id": details["run_id"] + 1, "output_id": own.output_id}
    assert again.json["message"].startswith(sentence)


def test_a_file_that_is_the_baseline_by_nobodys_approval_is_said_to_be_that(scenario: ReviewScenario) -> None:
    scenario.set_baseline(scenario.mismatch.new)
    response = scenario.ask()
    refused(response, 409, "conflict")
    assert response.json["message"].endswith("already.")


def test_the_file_of_another_test_does_not_stand_for_an_outputs_own(scenario: ReviewScenario) -> None:
    """A worker may report a file of another test's output."""
    own = scenario.mismatch
    with scenario.api.rows() as session:
        other = factories.regression_test(session)
        session.scalars(sa.select(platform.TestResultFile)).one().regression_test_id = other.id
    assert refused(scenario.ask(), 422, "unprocessable") == {"run_id": own.run_id, "output_id": own.output_id}


def test_after_the_baseline_moved_the_same_file_can_be_asked_for_anew(each_api: Api) -> None:
    scenario = review_scenario(each_api)
    old = scenario.request()
    assert old["outdated"] is False
    scenario.set_baseline(hash_of("moved"))
    assert scenario.get(old) == old | {"outdated": True}

    again = scenario.later_run()
    new = scenario.request(of=again)

    assert new["approval_id"] != old["approval_id"]
    assert (new["expected_hash"], new["actual_hash"]) == (hash_of("moved"), old["actual_hash"])
    listed = each_api.get("/baseline-approvals", headers=scenario.admin).json["data"]
    assert [(one["approval_id"], one["outdated"]) for one in listed] == [
        (new["approval_id"], False),
        (old["approval_id"], True),
    ]
    refused(scenario.review(old), 409, "conflict")
    preview = scenario.review(old, "reject", dry_run=True).json
    assert preview["approval"] == old | {"outdated": True}
    rejected = scenario.review(old, "reject").json["approval"]
    assert (rejected["status"], rejected["outdated"]) == ("rejected", False)
    assert scenario.review(new).status_code == 200
    assert scenario.baseline() == again.new


def test_the_request_for_a_deleted_output_is_outdated(scenario: ReviewScenario) -> None:
    approval = scenario.request()
    with scenario.api.rows() as session:
        session.execute(sa.delete(platform.TestResultFile))
        session.execute(sa.delete(RegressionTestOutput))
    assert scenario.get(approval)["outdated"] is True


@pytest.mark.parametrize("decision", ["reject", "approve"])
def test_a_decided_request_can_be_made_again(scenario: ReviewScenario, decision: str) -> None:
    first = scenario.request()
    assert scenario.review(first, decision).status_code == 200
    if decision == "approve":
        assert scenario.revert(first).status_code == 200
    second = scenario.request()
    assert second["approval_id"] != first["approval_id"]
    assert second["status"] == "pending_review"


# --- Look -----------------------------------------------------------------------------------------


def test_approvals_are_listed_newest_first_and_filtered(scenario: ReviewScenario) -> None:
    folder = platform.repository(scenario.api.app.config)
    with scenario.api.rows() as session:
        cases = [scenario.mismatch, *(mismatched_output(session, folder) for _ in range(3))]
    made = [scenario.request(of=case) for case in cases]
    scenario.review(made[0])
    scenario.review(made[1], "reject")

    def listed(query: dict[str, Any], total: int | None = None) -> list[int]:
        page = scenario.api.get("/baseline-approvals", query=query, headers=scenario.contributor).json
        assert page["pagination"]["total"] == (len(page["data"]) if total is None else total)
        assert all(row == scenario.get(row) for row in page["data"])
        return [[each["approval_id"] for each in made].index(row["approval_id"]) for row in page["data"]]

    assert listed({}) == [3, 2, 1, 0]
    assert listed({"limit": 2, "offset": 1}, total=4) == [2, 1]
    assert listed({"offset": 10}, total=4) == []
    assert listed({"status": "pending_review"}) == [3, 2]
    assert listed({"status": "approved"}) == [0]
    assert listed({"status": "rejected"}) == [1]
    assert listed({"run_id": cases[2].run_id}) == [2]
    assert listed({"regression_id": cases[3].regression_id}) == [3]
    assert listed({"output_id": cases[1].output_id, "status": "rejected"}) == [1]
    assert listed({"output_id": cases[1].output_id, "status": "approved"}) == []
    assert listed({"run_id": MAX_ID}) == []


@on_one_database
@pytest.mark.parametrize("query", ["status=pending", "run_id=0", "run_id=x", "limit=101", "sample_id=1"])
def test_an_invalid_filter_is_refused(scenario: ReviewScenario, query: str) -> None:
    response = scenario.api.get("/baseline-approvals", query=query, headers=scenario.contributor)
    assert list(refused(response, 400, "validation_error")["fields"]) == [query.partition("=")[0]]


@on_one_database
def test_an_unknown_approval_is_not_found(scenario: ReviewScenario) -> None:
    nothing = {"approval_id": 4711}
    for response in (scenario.review(nothing), scenario.revert(nothing)):
        assert refused(response, 404, "not_found") == {"resource": "baseline_approval", "id": 4711}
