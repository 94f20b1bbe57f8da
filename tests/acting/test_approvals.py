"""Baseline approvals: requested, reviewed, reverted; over HTTP and on the command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import Result

from api_v1.database import platform
from api_v1.database.platform import DbSession, RegressionTestOutput
from api_v1.database.tables import BaselineChange
from api_v1.web.validation import MAX_ID
from tests.acting.test_triggering import FINISHED, accepted, added, contents, refused
from tests.support import factories
from tests.support.client import Api
from tests.support.factories import hash_of
from tests.support.fixtures import on_one_database

REASON = "The new timing is right, see issue 1234."


@dataclass(frozen=True)
class Dispute:
    """An output of a finished run that is not the baseline; its file is stored."""

    run_id: int
    sample_id: int
    regression_id: int
    output_id: int
    old: str
    new: str

    @property
    def path(self) -> str:
        """Where approval is requested."""
        return f"/runs/{self.run_id}/samples/{self.sample_id}/baseline-approval"

    def body(self, **changes: Any) -> dict[str, Any]:
        """A request for approval, apart from the changes; a field changed to `...` is left out."""
        body = {"regression_id": self.regression_id, "output_id": self.output_id, "reason": REASON} | changes
        return {name: value for name, value in body.items() if value is not ...}


def dispute(session: DbSession, folder: Path, sample: Any = None, **output: Any) -> Dispute:
    """Make a dispute; the session must be committed."""
    test = factories.regression_test(session, sample)
    expected = factories.output(session, test, **output)
    run = factories.run(session, *FINISHED, tests=[test])
    new = store(folder, f"new{expected.id}")
    factories.result(session, run, test, (expected, new))
    return Dispute(run.id, test.sample_id, test.id, expected.id, expected.correct, new)


def store(folder: Path, text: str, extension: str = ".srt") -> str:
    """Store a file as an output that a run produced; return its hash."""
    (folder / "TestResults").mkdir(parents=True, exist_ok=True)
    (folder / "TestResults" / (hash_of(text) + extension)).write_text(text)
    return hash_of(text)


@dataclass(frozen=True)
class Court:
    """Two admins and a contributor, each with a token, and a dispute."""

    api: Api
    dispute: Dispute
    admin: dict[str, str]
    other: dict[str, str]
    contributor: dict[str, str]

    def request(self, who: dict[str, str] | None = None, of: Dispute | None = None, **changes: Any) -> dict[str, Any]:
        """Request approval as the contributor, or somebody else."""
        of = of or self.dispute
        response = self.api.post(of.path, json=of.body(**changes), headers=who or self.contributor)
        approval: dict[str, Any] = accepted(response)
        return approval

    def review(self, approval: Any, decision: str = "approve", who: dict[str, str] | None = None, **more: Any) -> Any:
        """Review as the admin, or somebody else."""
        body = {"decision": decision, "reason": "I compared both files."} | more
        path = f"/baseline-approvals/{approval['approval_id']}/review"
        return self.api.post(path, json=body, headers=who or self.admin)

    def revert(self, approval: Any, **more: Any) -> Any:
        """Revert as the admin."""
        body = {"reason": "The timing was wrong after all."} | more
        path = f"/baseline-approvals/{approval['approval_id']}/revert"
        return self.api.post(path, json=body, headers=self.admin)

    def get(self, approval: Any) -> dict[str, Any]:
        """The approval as it is now."""
        path = f"/baseline-approvals/{approval['approval_id']}"
        body: dict[str, Any] = self.api.get(path, headers=self.contributor).json
        return body

    def baseline(self, output_id: int | None = None) -> str | None:
        """What an output, by default the disputed one, is compared with now."""
        with self.api.rows() as session:
            return session.get_one(RegressionTestOutput, output_id or self.dispute.output_id).correct

    def set_baseline(self, value: str | None) -> None:
        """Change the disputed output behind the API's back."""
        with self.api.rows() as session:
            session.get_one(RegressionTestOutput, self.dispute.output_id).correct = value


def court_of(api: Api) -> Court:
    """Three people and what they disagree on."""
    with api.rows() as session:
        case = dispute(session, platform.repository(api.app.config))
    return Court(api, case, api.bearer(), api.bearer(), api.bearer("contributor"))


@pytest.fixture
def court(api: Api) -> Court:
    return court_of(api)


@pytest.fixture(params=["required", "self", "auto"])
def mode(request: pytest.FixtureRequest, api: Api) -> Iterator[str]:
    """Each way to review in turn."""
    with review_mode(api, request.param):
        yield request.param


class review_mode:
    """Let an app have another setting of API_V1_BASELINE_REVIEW for a while."""

    def __init__(self, api: Api, mode: str) -> None:
        self.extensions = api.app.extensions
        self.usual = self.extensions["api_v1"]
        settings = dataclasses.replace(self.usual.settings, baseline_review=mode)
        self.changed = dataclasses.replace(self.usual, settings=settings)

    def __enter__(self) -> None:
        self.extensions["api_v1"] = self.changed

    def __exit__(self, *_: Any) -> None:
        self.extensions["api_v1"] = self.usual


# --- Request ---------------------------------------------------------------------------------


def test_a_request_waits_for_review(each_api: Api) -> None:
    court = court_of(each_api)
    case = court.dispute
    with each_api.rows() as session:
        before = contents(session)

    approval = court.request(reason=f"  {REASON}\n")

    asked = {"run_id", "sample_id", "regression_id", "output_id"}
    assert {name: approval[name] for name in asked} == {name: getattr(case, name) for name in asked}
    assert (approval["status"], approval["reason"]) == ("pending_review", REASON)
    assert (approval["expected_hash"], approval["actual_hash"]) == (case.old, case.new)
    assert approval["requested_by"].endswith("@example.org")
    assert approval["apply_to_variants"] is False
    undecided = ("reviewed_by", "review_reason", "reviewed_at", "reverted_by", "reverted_at")
    assert [approval[name] for name in undecided] == [None] * 5
    assert court.get(approval) == approval
    assert court.baseline() == case.old
    with each_api.rows() as session:
        assert added(before, contents(session)) == {"api_v1_baseline_approval": 1, "api_v1_audit": 1}


def test_run_sample_test_and_output_must_belong_together(court: Court) -> None:
    with court.api.rows() as session:
        folder = platform.repository(court.api.app.config)
        other = dispute(session, folder)
        sibling = factories.regression_test(session, session.get_one(platform.Sample, court.dispute.sample_id))
        not_in_run, before = sibling.id, contents(session)
    own = court.dispute
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
        response = court.api.post(case.path, json=case.body(**changes), headers=court.contributor)
        assert refused(response, 404, "not_found")["resource"] == resource
    with court.api.rows() as session:
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
def test_without_a_differing_file_there_is_nothing_to_approve(court: Court, got: str) -> None:
    value = {"the baseline": court.dispute.old}.get(GOTS[got], GOTS[got])
    with court.api.rows() as session:
        file = session.scalars(sa.select(platform.TestResultFile)).one()
        if value == "nothing":
            session.delete(file)
        elif value == "sentinel":
            file.expected, file.got = "", "error"
        else:
            file.got = value
    response = court.api.post(court.dispute.path, json=court.dispute.body(), headers=court.contributor)
    details = refused(response, 422, "unprocessable")
    assert details == {"run_id": court.dispute.run_id, "output_id": court.dispute.output_id}


def test_a_file_that_no_store_has_cannot_be_approved(court: Court) -> None:
    folder = platform.repository(court.api.app.config)
    (folder / "TestResults" / f"{court.dispute.new}.srt").unlink()
    store(folder, "new", ".txt")
    response = court.api.post(court.dispute.path, json=court.dispute.body(), headers=court.contributor)
    details = refused(response, 422, "unprocessable")
    assert details == {"output_id": court.dispute.output_id, "actual_hash": court.dispute.new}


def test_an_output_without_baseline_gets_its_first(court: Court) -> None:
    court.set_baseline(None)
    approval = court.request(apply_to_variants=True)
    assert approval["expected_hash"] is None
    review = court.review(approval).json
    assert [(change["old_hash"], change["new_hash"]) for change in review["changes"]] == [(None, court.dispute.new)]
    assert court.baseline() == court.dispute.new
    assert court.revert(approval).status_code == 200
    assert court.baseline() is None


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
def test_what_is_no_reason_is_refused_everywhere(court: Court, reason: Any) -> None:
    approval = court.request()
    change: dict[str, Any] = {"reason": reason}
    requested = court.api.post(court.dispute.path, json=court.dispute.body(**change), headers=court.contributor)
    if reason is ...:
        assert list(refused(requested, 400, "validation_error")["fields"]) == ["reason"]
        return
    reviewed, reverted = court.review(approval, **change), court.revert(approval, **change)
    for response in (requested, reviewed, reverted):
        assert list(refused(response, 400, "validation_error")["fields"]) == ["reason"]
    assert court.get(approval) == approval


@on_one_database
@pytest.mark.parametrize(
    "reason", ["xy" * 5, "Größe paßt", "这是一个合理的原因说明文字", "word" * 125, "fixed in test"]
)
def test_what_is_a_reason_is_kept(court: Court, reason: str) -> None:
    assert court.request(reason=reason)["reason"] == reason


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
def test_what_is_not_understood_is_refused_by_name(court: Court, field: str, value: Any) -> None:
    body = court.dispute.body(**{field: value})
    response = court.api.post(court.dispute.path, json=body, headers=court.contributor)
    assert list(refused(response, 400, "validation_error")["fields"]) == [field]


def test_a_second_request_is_the_first(court: Court) -> None:
    first = court.request()
    with court.api.rows() as session:
        before = contents(session)
    again = court.request(court.admin, reason="Another reason of somebody else.")
    assert again == first
    with court.api.rows() as session:
        assert contents(session) == before


def test_another_run_with_the_same_file_repeats_the_request(court: Court) -> None:
    first = court.request()
    own = court.dispute
    with court.api.rows() as session:
        test = session.get_one(platform.RegressionTest, own.regression_id)
        run = factories.run(session, *FINISHED, tests=[test])
        factories.result(session, run, test, (session.get_one(RegressionTestOutput, own.output_id), own.new))
        later = dataclasses.replace(own, run_id=run.id)
    assert court.request(of=later) == first


@pytest.mark.parametrize("decision", ["reject", "approve"])
def test_a_decided_request_can_be_made_again(court: Court, decision: str) -> None:
    first = court.request()
    assert court.review(first, decision).status_code == 200
    if decision == "approve":
        assert court.revert(first).status_code == 200
    second = court.request()
    assert second["approval_id"] != first["approval_id"]
    assert second["status"] == "pending_review"


# --- Look ------------------------------------------------------------------------------------


def test_approvals_are_listed_newest_first_and_filtered(court: Court) -> None:
    folder = platform.repository(court.api.app.config)
    with court.api.rows() as session:
        cases = [court.dispute, *(dispute(session, folder) for _ in range(3))]
    made = [court.request(of=case) for case in cases]
    court.review(made[0])
    court.review(made[1], "reject")

    def listed(query: dict[str, Any], total: int | None = None) -> list[int]:
        page = court.api.get("/baseline-approvals", query=query, headers=court.contributor).json
        assert page["pagination"]["total"] == (len(page["data"]) if total is None else total)
        assert all(row == court.get(row) for row in page["data"])
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
def test_a_filter_that_is_not_understood_is_refused(court: Court, query: str) -> None:
    response = court.api.get("/baseline-approvals", query=query, headers=court.contributor)
    assert list(refused(response, 400, "validation_error")["fields"]) == [query.partition("=")[0]]


@on_one_database
def test_an_approval_that_is_not_there_is_not_found(court: Court) -> None:
    nothing = {"approval_id": 4711}
    for response in (court.review(nothing), court.revert(nothing)):
        assert refused(response, 404, "not_found") == {"resource": "baseline_approval", "id": 4711}


# --- Review ----------------------------------------------------------------------------------


def test_approving_replaces_the_baseline_and_nothing_else(each_api: Api) -> None:
    court = court_of(each_api)
    case = court.dispute
    approval = court.request()
    verdict = each_api.get(f"/runs/{case.run_id}", headers=court.admin).json
    with each_api.rows() as session:
        before = contents(session)

    response = court.review(approval)

    assert response.status_code == 200
    change = {"regression_id": case.regression_id, "output_id": case.output_id}
    assert response.json["changes"] == [change | {"old_hash": case.old, "new_hash": case.new}]
    assert (response.json["dry_run"], response.json["would_flip"]) == (False, [])
    decided = response.json["approval"]
    assert decided == court.get(approval)
    assert (decided["status"], decided["review_reason"]) == ("approved", "I compared both files.")
    assert decided["reviewed_at"] and decided["reviewed_by"] != approval["requested_by"]
    assert court.baseline() == case.new
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
    assert each_api.get(f"/runs/{case.run_id}", headers=court.admin).json == verdict


def test_rejecting_leaves_everything(court: Court) -> None:
    approval = court.request()
    review = court.review(approval, "reject").json
    assert (review["approval"]["status"], review["changes"]) == ("rejected", [])
    assert court.baseline() == court.dispute.old
    assert refused(court.revert(approval), 409, "conflict") == {"status": "rejected"}


@pytest.mark.parametrize("first", ["approve", "reject"])
@pytest.mark.parametrize("second", ["approve", "reject"])
@pytest.mark.parametrize("dry_run", [False, True])
def test_what_is_decided_is_decided(court: Court, first: str, second: str, dry_run: bool) -> None:
    approval = court.request()
    court.review(approval, first)
    decided = court.get(approval)
    details = refused(court.review(approval, second, court.other, dry_run=dry_run), 409, "conflict")
    assert details == {"status": decided["status"]}
    assert court.get(approval) == decided


@pytest.mark.parametrize("now", ["another file", "the new file", None])
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_baseline_that_changed_since_the_request_is_a_conflict(court: Court, now: str | None, dry_run: bool) -> None:
    approval = court.request()
    current = {"another file": hash_of("another"), "the new file": court.dispute.new, None: None}[now]
    court.set_baseline(current)
    details = refused(court.review(approval, dry_run=dry_run), 409, "conflict")
    assert details == {
        "output_id": court.dispute.output_id,
        "expected_hash": court.dispute.old,
        "current_hash": current,
    }
    assert (court.get(approval), court.baseline()) == (approval, current)
    assert court.review(approval, "reject").status_code == 200, "it can still be put away"


def test_an_output_that_is_gone_is_a_conflict(court: Court) -> None:
    approval = court.request()
    with court.api.rows() as session:
        session.execute(sa.delete(platform.TestResultFile))
        session.execute(sa.delete(RegressionTestOutput))
    assert refused(court.review(approval), 409, "conflict")["current_hash"] is None


def test_who_may_review_is_a_setting(court: Court, mode: str) -> None:
    by_admin = court.request(court.admin)
    assert by_admin["status"] == ("approved" if mode == "auto" else "pending_review")
    if mode == "auto":
        assert court.baseline() == court.dispute.new
        assert by_admin["reviewed_by"] == by_admin["requested_by"]
        assert by_admin["review_reason"] == REASON
        assert court.revert(by_admin).status_code == 200
    elif mode == "required":
        for decision in ("approve", "reject"):
            details = refused(court.review(by_admin, decision), 403, "forbidden")
            assert details == {"requested_by": by_admin["requested_by"], "rule": "required"}
        assert court.baseline() == court.dispute.old
        assert court.review(by_admin, who=court.other).status_code == 200
    else:
        assert court.review(by_admin).status_code == 200
        assert court.baseline() == court.dispute.new


def test_a_contributors_request_always_waits(court: Court, mode: str) -> None:
    approval = court.request()
    assert approval["status"] == "pending_review"
    assert court.baseline() == court.dispute.old
    assert court.review(approval).status_code == 200


def test_in_auto_mode_an_admin_settles_a_pending_request_by_repeating_it(court: Court) -> None:
    pending = court.request()
    with review_mode(court.api, "auto"):
        settled = court.request(court.admin, reason="I agree with the contributor.")
    assert (settled["approval_id"], settled["status"]) == (pending["approval_id"], "approved")
    assert (settled["reason"], settled["review_reason"]) == (REASON, "I agree with the contributor.")
    assert court.baseline() == court.dispute.new


@on_one_database
@pytest.mark.parametrize(
    ("field", "value"),
    [("decision", "maybe"), ("decision", None), ("dry_run", "yes"), ("dry_run", None), ("mode", "x")],
)
def test_a_review_that_is_not_understood_is_refused(court: Court, field: str, value: Any) -> None:
    response = court.review(court.request(), **{field: value})
    assert list(refused(response, 400, "validation_error")["fields"]) == [field]


# --- Variants --------------------------------------------------------------------------------


def test_variants_are_replaced_where_they_expect_the_very_same_file(court: Court) -> None:
    case = court.dispute
    with court.api.rows() as session:
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

    approval = court.request(apply_to_variants=True)
    preview = court.review(approval, dry_run=True).json["changes"]
    changes = court.review(approval).json["changes"]

    assert preview == changes
    assert [change["output_id"] for change in changes] == sorted([case.output_id, *follow])
    assert {(change["old_hash"], change["new_hash"]) for change in changes} == {(case.old, case.new)}
    assert {court.baseline(id_) for id_ in follow} == {court.baseline()} == {case.new}
    assert {name: court.baseline(id_) for name, id_ in stay.items()} == before

    undone = court.revert(approval).json["changes"]
    assert [(change["old_hash"], change["new_hash"]) for change in undone] == [(case.new, case.old)] * 4
    assert {court.baseline(id_) for id_ in (case.output_id, *follow)} == {case.old}


def test_without_the_flag_variants_stay(court: Court) -> None:
    with court.api.rows() as session:
        test = factories.regression_test(session, session.get_one(platform.Sample, court.dispute.sample_id))
        twin = factories.output(session, test, court.dispute.old).id
    assert len(court.review(court.request()).json["changes"]) == 1
    assert court.baseline(twin) == court.dispute.old


# --- Dry run ---------------------------------------------------------------------------------


def test_a_dry_run_changes_nothing_and_names_what_would_flip(court: Court) -> None:
    case = court.dispute
    approval = court.request()
    with court.api.rows() as session:
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

    preview = court.review(approval, dry_run=True).json

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
    with court.api.rows() as session:
        assert contents(session) == before


def test_accepted_variants_do_not_flip(court: Court) -> None:
    """They pass whatever the baseline is."""
    case = court.dispute
    approval = court.request()
    with court.api.rows() as session:
        test = session.get_one(platform.RegressionTest, case.regression_id)
        run = factories.run(session, *FINISHED, tests=[test])
        factories.result(session, run, test, (session.get_one(RegressionTestOutput, case.output_id), None))
        for accepted_hash in (case.old, case.new):
            session.add(platform.RegressionTestOutputFiles(accepted_hash, case.output_id))
    assert court.review(approval, dry_run=True).json["would_flip"] == []


def test_a_dry_run_of_a_rejection_changes_nothing(court: Court) -> None:
    approval = court.request()
    preview = court.review(approval, "reject", dry_run=True).json
    assert (preview["changes"], preview["would_flip"]) == ([], [])
    assert court.get(approval) == approval


# --- Revert ----------------------------------------------------------------------------------


def test_reverting_puts_the_baseline_back_once(each_api: Api) -> None:
    court = court_of(each_api)
    case = court.dispute
    approval = court.request()
    court.review(approval, who=court.other)

    undone = court.revert(approval).json

    assert undone["changes"] == [
        {
            "regression_id": case.regression_id,
            "output_id": case.output_id,
            "old_hash": case.new,
            "new_hash": case.old,
        }
    ]
    assert (undone["approval"], undone["dry_run"]) == (court.get(approval), False)
    assert undone["approval"]["status"] == "approved"
    assert undone["approval"]["reverted_by"] and undone["approval"]["reverted_at"]
    assert court.baseline() == case.old
    assert refused(court.revert(approval), 409, "conflict") == {"status": "reverted"}
    with each_api.rows() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(BaselineChange)) == 1


@pytest.mark.parametrize("status", ["pending_review", "rejected"])
def test_only_what_was_approved_can_be_reverted(court: Court, status: str) -> None:
    approval = court.request()
    if status == "rejected":
        court.review(approval, "reject")
    assert refused(court.revert(approval), 409, "conflict") == {"status": status}


@pytest.mark.parametrize("change", ["another baseline", "the old baseline", "output deleted"])
def test_a_baseline_that_moved_on_is_not_put_back(court: Court, change: str) -> None:
    approval = court.request()
    court.review(approval)
    if change == "output deleted":
        with court.api.rows() as session:
            session.execute(sa.delete(platform.TestResultFile))
            session.execute(sa.delete(RegressionTestOutput))
    else:
        court.set_baseline({"another baseline": hash_of("another"), "the old baseline": court.dispute.old}[change])
    assert refused(court.revert(approval), 409, "conflict") == {"output_ids": [court.dispute.output_id]}
    assert court.get(approval)["reverted_at"] is None


def test_of_two_approvals_the_later_is_reverted_first(court: Court) -> None:
    case = court.dispute
    first = court.request()
    court.review(first)
    with court.api.rows() as session:
        test = session.get_one(platform.RegressionTest, case.regression_id)
        run = factories.run(session, *FINISHED, tests=[test])
        newer = store(platform.repository(court.api.app.config), f"newer{run.id}")
        factories.result(session, run, test, (session.get_one(RegressionTestOutput, case.output_id), newer))
        later = dataclasses.replace(case, run_id=run.id)
    second = court.request(of=later)
    assert second["expected_hash"] == case.new
    court.review(second)
    assert refused(court.revert(first), 409, "conflict")
    for approval in (second, first):
        assert court.revert(approval).status_code == 200
    assert court.baseline() == case.old


# --- The command line ------------------------------------------------------------------------


def shell(api: Api, *arguments: str, fails: bool = False) -> Result:
    """Run `flask api-v1 approvals …`."""
    result = api.app.test_cli_runner().invoke(args=["api-v1", "approvals", *arguments])
    assert (result.exit_code != 0) is fails, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    return result


@pytest.fixture
def boss(court: Court) -> str:
    """The email of an admin who requested nothing."""
    with court.api.rows() as session:
        factories.user(session, email="boss@example.org")
        factories.user(session, "contributor", email="helper@example.org")
    return "boss@example.org"


def test_approvals_are_listed_and_shown_on_the_command_line(court: Court) -> None:
    approval = court.request()
    number = approval["approval_id"]
    (line,) = shell(court.api, "list").output.splitlines()
    who = approval["requested_by"]
    assert line.split("\t") == [
        number,
        f"run {court.dispute.run_id}",
        f"output {court.dispute.output_id}",
        who,
        REASON,
    ]
    assert shell(court.api, "list", "--status", "approved").output == ""
    shown = dict(line.split(": ", 1) for line in shell(court.api, "show", number).output.splitlines())
    assert shown == {name: str(value) for name, value in approval.items()}
    assert "not found" in shell(court.api, "show", "4711", fails=True).output


def test_an_admin_decides_on_the_command_line(court: Court, boss: str) -> None:
    number = court.request()["approval_id"]
    options = ("--as", boss, "--reason", "I compared both files.")
    preview = shell(court.api, "approve", number, *options, "--dry-run").output
    assert "dry_run: True" in preview and court.dispute.new in preview
    assert court.baseline() == court.dispute.old
    shell(court.api, "approve", number, *options)
    assert court.baseline() == court.dispute.new
    approval = court.get({"approval_id": number})
    assert (approval["status"], approval["reviewed_by"]) == ("approved", boss)
    assert "approved already" in shell(court.api, "reject", number, *options, fails=True).output
    shell(court.api, "revert", number, *options)
    assert court.baseline() == court.dispute.old
    assert "reverted" in shell(court.api, "revert", number, *options, fails=True).output
    assert court.get({"approval_id": number})["reverted_by"] == boss


def test_an_admin_rejects_on_the_command_line(court: Court, boss: str) -> None:
    approval = court.request()
    shell(court.api, "reject", approval["approval_id"], "--as", boss, "--reason", "It cuts the last line.")
    assert court.get(approval)["status"] == "rejected"


@on_one_database
@pytest.mark.parametrize("command", ["approve", "reject", "revert"])
def test_the_command_line_keeps_the_rules(court: Court, boss: str, command: str) -> None:
    approval = court.request(court.admin)
    number, requester = approval["approval_id"], approval["requested_by"]
    good = "I compared both files."
    refusals = {
        ("--as", "helper@example.org", "--reason", good): "no admin",
        ("--as", "nobody@example.org", "--reason", good): "no admin",
        ("--as", boss, "--reason", "test test test"): "placeholder",
        ("--as", boss, "--reason", "short"): "10",
        ("--as", boss, "--reason", "x" * 501): "500",
        ("--as", boss): "--reason",
        ("--reason", good): "--as",
    }
    if command != "revert":
        refusals["--as", requester, "--reason", good] = "other than the requester"
    for options, text in refusals.items():
        assert text in shell(court.api, command, number, *options, fails=True).output
    assert "not found" in shell(court.api, command, "4711", "--as", boss, "--reason", good, fails=True).output
    assert court.get(approval) == approval
