"""Reviewing and reverting: who may, what changes, what is previewed and what conflicts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from api_v1.database import platform
from api_v1.database.platform import RegressionTestOutput
from api_v1.database.tables import BaselineChange
from tests.support import factories
from tests.support.client import Api
from tests.support.factories import hash_of
from tests.support.fixtures import on_one_database
from tests.support.reviews import REASON, ReviewScenario, review_mode, review_scenario
from tests.support.writing import FINISHED, contents, refused


@pytest.fixture(params=["required", "self", "auto"])
def mode(request: pytest.FixtureRequest, api: Api) -> Iterator[str]:
    """Each way to review in turn."""
    with review_mode(api, request.param):
        yield request.param


# --- Review ---------------------------------------------------------------------------------------


def test_approving_replaces_the_baseline_and_nothing_else(each_api: Api) -> None:
    scenario = review_scenario(each_api)
    case = scenario.mismatch
    approval = scenario.request()
    verdict = each_api.get(f"/runs/{case.run_id}", headers=scenario.admin).json
    with each_api.rows() as session:
        before = contents(session)

    response = scenario.review(approval)

    assert response.status_code == 200
    change = {"regression_id": case.regression_id, "output_id": case.output_id}
    assert response.json["changes"] == [change | {"old_hash": case.old, "new_hash": case.new}]
    assert (response.json["dry_run"], response.json["would_flip"]) == (False, [])
    decided = response.json["approval"]
    assert decided == scenario.get(approval)
    assert (decided["status"], decided["review_reason"]) == ("approved", "I compared both files.")
    assert decided["reviewed_at"] and decided["reviewed_by"] != approval["requested_by"]
    assert scenario.baseline() == case.new
    with each_api.rows() as session:
        after = contents(session)
        changed = {name: (after[name] - rows).total() for name, rows in before.items() if after[name] != rows}
        assert changed == {
            "regression_test_output": 1,
            "api_v1_baseline_approval": 1,
            "api_v1_baseline_change": 1,
            "api_v1_audit": 1,
        }
        # Earlier runs keep the baseline they ran against.
        assert session.scalars(sa.select(platform.TestResultFile.expected)).all() == [case.old]
    assert each_api.get(f"/runs/{case.run_id}", headers=scenario.admin).json == verdict


def test_rejecting_changes_no_baseline(scenario: ReviewScenario) -> None:
    approval = scenario.request()
    review = scenario.review(approval, "reject").json
    assert (review["approval"]["status"], review["changes"]) == ("rejected", [])
    assert scenario.baseline() == scenario.mismatch.old
    assert refused(scenario.revert(approval), 409, "conflict") == {"status": "rejected"}


@pytest.mark.parametrize("first", ["approve", "reject"])
@pytest.mark.parametrize("second", ["approve", "reject"])
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_decided_request_cannot_be_decided_again(
    scenario: ReviewScenario, first: str, second: str, dry_run: bool
) -> None:
    approval = scenario.request()
    scenario.review(approval, first)
    decided = scenario.get(approval)
    details = refused(scenario.review(approval, second, scenario.other, dry_run=dry_run), 409, "conflict")
    assert details == {"status": decided["status"]}
    assert scenario.get(approval) == decided


@pytest.mark.parametrize("now", ["another file", "the new file", None])
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_baseline_that_changed_since_the_request_is_a_conflict(
    scenario: ReviewScenario, now: str | None, dry_run: bool
) -> None:
    approval = scenario.request()
    current = {"another file": hash_of("another"), "the new file": scenario.mismatch.new, None: None}[now]
    scenario.set_baseline(current)
    details = refused(scenario.review(approval, dry_run=dry_run), 409, "conflict")
    assert details == {
        "output_id": scenario.mismatch.output_id,
        "expected_hash": scenario.mismatch.old,
        "current_hash": current,
    }
    assert (scenario.get(approval), scenario.baseline()) == (approval | {"outdated": True}, current)
    assert scenario.review(approval, "reject").status_code == 200, "it can still be put away"


def test_a_deleted_output_is_a_conflict(scenario: ReviewScenario) -> None:
    approval = scenario.request()
    with scenario.api.rows() as session:
        session.execute(sa.delete(platform.TestResultFile))
        session.execute(sa.delete(RegressionTestOutput))
    assert refused(scenario.review(approval), 409, "conflict")["current_hash"] is None


def test_who_may_review_is_a_setting(scenario: ReviewScenario, mode: str) -> None:
    by_admin = scenario.request(scenario.admin)
    assert by_admin["status"] == ("approved" if mode == "auto" else "pending_review")
    if mode == "auto":
        assert scenario.baseline() == scenario.mismatch.new
        assert by_admin["reviewed_by"] == by_admin["requested_by"]
        assert by_admin["review_reason"] == REASON
        assert scenario.revert(by_admin).status_code == 200
    elif mode == "required":
        details = refused(scenario.review(by_admin), 403, "forbidden")
        assert details == {"requested_by": by_admin["requested_by"], "rule": "required"}
        assert scenario.baseline() == scenario.mismatch.old
        assert scenario.review(by_admin, who=scenario.other).status_code == 200
    else:
        assert scenario.review(by_admin).status_code == 200
        assert scenario.baseline() == scenario.mismatch.new


@pytest.mark.parametrize("requester", ["admin", "contributor"])
def test_who_requested_may_look_and_withdraw(scenario: ReviewScenario, requester: str) -> None:
    who = getattr(scenario, requester)
    approval = scenario.request(who)
    preview = scenario.review(approval, who=who, dry_run=True).json
    assert [change["new_hash"] for change in preview["changes"]] == [scenario.mismatch.new]
    assert scenario.get(approval) == approval
    refused(scenario.review(approval, who=who), 403, "forbidden")
    withdrawn = scenario.review(approval, "reject", who=who, reason="I looked at the wrong run.").json["approval"]
    assert (withdrawn["status"], withdrawn["reviewed_by"]) == ("rejected", approval["requested_by"])
    assert scenario.get(approval) == withdrawn
    assert scenario.baseline() == scenario.mismatch.old


@pytest.mark.parametrize("decision", ["approve", "reject"])
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_contributor_decides_on_no_request_of_others(
    scenario: ReviewScenario, mode: str, decision: str, dry_run: bool
) -> None:
    with review_mode(scenario.api, "required"):
        approval = scenario.request(scenario.admin)
    response = scenario.review(approval, decision, scenario.contributor, dry_run=dry_run)
    assert refused(response, 403, "forbidden") == {
        "requested_by": approval["requested_by"],
        "required_roles": ["admin"],
        "user_role": "contributor",
    }
    assert scenario.get(approval) == approval


def test_a_contributor_approves_nothing_in_any_mode(scenario: ReviewScenario, mode: str) -> None:
    approval = scenario.request()
    details = refused(scenario.review(approval, who=scenario.contributor), 403, "forbidden")
    assert details["required_roles"] == ["admin"]
    refused(
        scenario.api.post(
            f"/baseline-approvals/{approval['approval_id']}/revert",
            json={"reason": "The timing was wrong after all."},
            headers=scenario.contributor,
        ),
        403,
        "forbidden",
    )
    assert scenario.get(approval) == approval


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_file_that_no_store_has_any_more_is_not_approved(scenario: ReviewScenario, dry_run: bool) -> None:
    approval = scenario.request()
    folder = platform.repository(scenario.api.app.config)
    (folder / "TestResults" / f"{scenario.mismatch.new}.srt").unlink()
    response = scenario.review(approval, dry_run=dry_run)
    details = refused(response, 409, "conflict")
    assert details == {"output_id": scenario.mismatch.output_id, "actual_hash": scenario.mismatch.new}
    assert "No store" in response.json["message"]
    assert (scenario.get(approval), scenario.baseline()) == (approval, scenario.mismatch.old)
    assert scenario.review(approval, "reject").status_code == 200, "it can still be put away"


def test_a_contributors_request_always_waits(scenario: ReviewScenario, mode: str) -> None:
    approval = scenario.request()
    assert approval["status"] == "pending_review"
    assert scenario.baseline() == scenario.mismatch.old
    assert scenario.review(approval).status_code == 200


def test_in_auto_mode_an_admin_settles_a_pending_request_by_repeating_it(scenario: ReviewScenario) -> None:
    pending = scenario.request()
    with review_mode(scenario.api, "auto"):
        settled = scenario.request(scenario.admin, reason="I agree with the contributor.")
    assert (settled["approval_id"], settled["status"]) == (pending["approval_id"], "approved")
    assert (settled["reason"], settled["review_reason"]) == (REASON, "I agree with the contributor.")
    assert scenario.baseline() == scenario.mismatch.new


@on_one_database
@pytest.mark.parametrize(
    ("field", "value"),
    [("decision", "maybe"), ("decision", None), ("dry_run", "yes"), ("dry_run", None), ("mode", "x")],
)
def test_an_invalid_review_is_refused(scenario: ReviewScenario, field: str, value: Any) -> None:
    response = scenario.review(scenario.request(), **{field: value})
    assert list(refused(response, 400, "validation_error")["fields"]) == [field]


# --- Variants -------------------------------------------------------------------------------------


def test_outputs_that_expect_the_same_file_are_replaced_with_apply_to_variants(scenario: ReviewScenario) -> None:
    case = scenario.mismatch
    with scenario.api.rows() as session:
        sample = session.get_one(platform.Sample, case.sample_id)
        twin = factories.regression_test(session, sample)
        own = session.get_one(platform.RegressionTest, case.regression_id)
        follow = [factories.output(session, test, case.old).id for test in (twin, own)]
        follow.append(factories.output(session, factories.regression_test(session, sample, active=False), case.old).id)
        stay = {
            "another extension": factories.output(session, twin, case.old, extension=".txt").id,
            "another file": factories.output(session, twin, hash_of("other")).id,
            "another sample": factories.output(session, factories.regression_test(session), case.old).id,
        }
        before = {name: session.get_one(RegressionTestOutput, id_).correct for name, id_ in stay.items()}

    approval = scenario.request(apply_to_variants=True)
    preview = scenario.review(approval, dry_run=True).json["changes"]
    changes = scenario.review(approval).json["changes"]

    assert preview == changes
    assert [change["output_id"] for change in changes] == sorted([case.output_id, *follow])
    assert {(change["old_hash"], change["new_hash"]) for change in changes} == {(case.old, case.new)}
    assert {scenario.baseline(id_) for id_ in follow} == {scenario.baseline()} == {case.new}
    assert {name: scenario.baseline(id_) for name, id_ in stay.items()} == before

    undone = scenario.revert(approval).json["changes"]
    assert [(change["old_hash"], change["new_hash"]) for change in undone] == [(case.new, case.old)] * 4
    assert {scenario.baseline(id_) for id_ in (case.output_id, *follow)} == {case.old}


def test_other_outputs_stay_without_apply_to_variants(scenario: ReviewScenario) -> None:
    with scenario.api.rows() as session:
        test = factories.regression_test(session, session.get_one(platform.Sample, scenario.mismatch.sample_id))
        twin = factories.output(session, test, scenario.mismatch.old).id
    assert len(scenario.review(scenario.request()).json["changes"]) == 1
    assert scenario.baseline(twin) == scenario.mismatch.old


# --- Dry run --------------------------------------------------------------------------------------


def test_a_dry_run_changes_nothing_and_names_what_would_flip(scenario: ReviewScenario) -> None:
    case = scenario.mismatch
    approval = scenario.request()
    with scenario.api.rows() as session:
        test = session.get_one(platform.RegressionTest, case.regression_id)
        output = session.get_one(RegressionTestOutput, case.output_id)
        gots = [None, case.new, hash_of("something else"), None]
        runs = [factories.run(session, *FINISHED, tests=[test]) for _ in gots]
        for run, got in zip(runs, gots, strict=True):
            factories.result(session, run, test, (output, got))
        # This one was compared with another baseline than today's.
        file = platform.TestResultFile
        session.execute(sa.update(file).where(file.test_id == runs[3].id).values(expected=hash_of("older")))
        first, second = (run.id for run in runs[:2])
        before = contents(session)

    preview = scenario.review(approval, dry_run=True).json

    of_output = {"regression_id": case.regression_id, "output_id": case.output_id}
    then_right = of_output | {"now_status": "diff_mismatch", "then_status": "match"}
    then_wrong = of_output | {"now_status": "match", "then_status": "diff_mismatch"}
    assert preview["would_flip"] == [
        {"run_id": second} | then_right,
        {"run_id": first} | then_wrong,
        {"run_id": case.run_id} | then_right,
    ]
    assert preview["changes"] == [
        {key: of_output[key] for key in of_output} | {"old_hash": case.old, "new_hash": case.new}
    ]
    assert (preview["dry_run"], preview["approval"]) == (True, approval)
    with scenario.api.rows() as session:
        assert contents(session) == before


def test_accepted_variants_do_not_flip(scenario: ReviewScenario) -> None:
    """They pass whatever the baseline is."""
    case = scenario.mismatch
    approval = scenario.request()
    with scenario.api.rows() as session:
        test = session.get_one(platform.RegressionTest, case.regression_id)
        run = factories.run(session, *FINISHED, tests=[test])
        factories.result(session, run, test, (session.get_one(RegressionTestOutput, case.output_id), None))
        for accepted_hash in (case.old, case.new):
            session.add(platform.RegressionTestOutputFiles(accepted_hash, case.output_id))
    assert scenario.review(approval, dry_run=True).json["would_flip"] == []


def test_a_dry_run_of_a_rejection_changes_nothing(scenario: ReviewScenario) -> None:
    approval = scenario.request()
    preview = scenario.review(approval, "reject", dry_run=True).json
    assert (preview["changes"], preview["would_flip"]) == ([], [])
    assert scenario.get(approval) == approval


# --- Revert ---------------------------------------------------------------------------------------


def test_reverting_puts_the_baseline_back_once(each_api: Api) -> None:
    scenario = review_scenario(each_api)
    case = scenario.mismatch
    approval = scenario.request()
    scenario.review(approval, who=scenario.other)

    undone = scenario.revert(approval).json

    assert undone["changes"] == [
        {
            "regression_id": case.regression_id,
            "output_id": case.output_id,
            "old_hash": case.new,
            "new_hash": case.old,
        }
    ]
    assert (undone["approval"], undone["dry_run"]) == (scenario.get(approval), False)
    assert undone["approval"]["status"] == "approved"
    assert undone["approval"]["reverted_by"] and undone["approval"]["reverted_at"]
    assert scenario.baseline() == case.old
    assert refused(scenario.revert(approval), 409, "conflict") == {"status": "reverted"}
    with each_api.rows() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(BaselineChange)) == 1


@pytest.mark.parametrize("status", ["pending_review", "rejected"])
def test_only_what_was_approved_can_be_reverted(scenario: ReviewScenario, status: str) -> None:
    approval = scenario.request()
    if status == "rejected":
        scenario.review(approval, "reject")
    assert refused(scenario.revert(approval), 409, "conflict") == {"status": status}


@pytest.mark.parametrize("change", ["another baseline", "the old baseline", "output deleted"])
def test_a_baseline_that_changed_since_is_not_reverted(scenario: ReviewScenario, change: str) -> None:
    approval = scenario.request()
    scenario.review(approval)
    if change == "output deleted":
        with scenario.api.rows() as session:
            session.execute(sa.delete(platform.TestResultFile))
            session.execute(sa.delete(RegressionTestOutput))
    else:
        scenario.set_baseline(
            {"another baseline": hash_of("another"), "the old baseline": scenario.mismatch.old}[change]
        )
    assert refused(scenario.revert(approval), 409, "conflict") == {"output_ids": [scenario.mismatch.output_id]}
    assert scenario.get(approval)["reverted_at"] is None


def test_the_later_of_two_approvals_is_reverted_first(scenario: ReviewScenario) -> None:
    case = scenario.mismatch
    first = scenario.request()
    scenario.review(first)
    second = scenario.request(of=scenario.later_run("newer"))
    assert second["expected_hash"] == case.new
    scenario.review(second)
    assert refused(scenario.revert(first), 409, "conflict")
    for approval in (second, first):
        assert scenario.revert(approval).status_code == 200
    assert scenario.baseline() == case.old


def test_what_others_approved_since_is_not_reverted_although_the_file_is_the_same(scenario: ReviewScenario) -> None:
    case = scenario.mismatch
    first = scenario.request()
    scenario.review(first)
    second = scenario.request(of=scenario.later_run("newer"))
    scenario.review(second)
    third = scenario.request(of=scenario.later_run())
    scenario.review(third)
    assert scenario.baseline() == case.new

    details = refused(scenario.revert(first), 409, "conflict")

    assert details == {"approval_ids": [second["approval_id"], third["approval_id"]]}
    assert (scenario.baseline(), scenario.get(first)["reverted_at"]) == (case.new, None)
    for approval in (third, second, first):
        assert scenario.revert(approval).status_code == 200
    assert scenario.baseline() == case.old
