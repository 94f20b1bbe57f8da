"""A request sends a bounded number of statements to the database, whatever the amount of data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from api_v1.access import keys
from api_v1.access.keys import Purpose
from api_v1.database import platform
from api_v1.database.session import db
from api_v1.database.tables import AuditRecord, BaselineApproval, Token, now
from api_v1.verdicts import refresher
from api_v1.web.operation import REGISTRY
from tests.support import factories
from tests.support.client import Api

TEXT = "1\n00:00:01,000 --> 00:00:02,000\n{}\n\n"

Query = dict[str, Any]

#: The filters of a list that has none.
PLAIN: list[Query] = [{}]

OF_ONE_TEST: list[Query] = [{"regression_id": "{test}", "output_id": "{output}"}]

#: Of every reading operation: the most statements it may send, and queries to send it with. The first statement finds
#: the caller. Names in braces stand for ids.
STATEMENTS: dict[str, tuple[int, list[Query]]] = {
    "list_runs": (
        6,
        [
            *PLAIN,
            *(
                {"status": status}
                for status in ("queued", "running", "pass", "fail", "canceled", "error", "incomplete")
            ),
            {"branch": "master"},
            {"platform": "linux"},
            {"commit_sha": "a" * 40},
            {"commit_prefix": "a" * 7},
            {"commit_prefix": "a" * 39},
            {"pull_request": "7"},
            {"repository": "CCExtractor/ccextractor"},
            {"created_after": "2020-01-01T00:00:00Z", "created_before": "2030-01-01T00:00:00Z"},
            *(
                {"sort": sort}
                for sort in ("created_at", "-created_at", "started_at", "-started_at", "run_id", "-run_id")
            ),
            {"status": "fail", "branch": "master", "platform": "linux", "sort": "started_at"},
            {"offset": "1000"},
        ],
    ),
    "get_run": (3, PLAIN),
    "get_run_summary": (5, PLAIN),
    "list_run_progress": (5, [*PLAIN, {"status": "testing"}, {"status": "queued"}, {"offset": "1000"}]),
    "get_run_config": (5, PLAIN),
    "list_run_samples": (
        6,
        [*PLAIN, {"status": "fail"}, {"status": "pass"}, {"name": "sample"}, {"tag": "tag"}, {"category": "General"}],
    ),
    "get_run_sample": (6, [{"regression_id": "{test}"}]),
    "list_samples": (
        6,
        [*PLAIN, {"status": "active"}, {"name": "sample"}, {"tag": "tag"}, {"sha256": "a" * 64}, {"extension": "ts"}],
    ),
    "get_sample": (6, PLAIN),
    "list_sample_history": (
        7,
        [
            *PLAIN,
            *(
                {"status": status}
                for status in ("queued", "running", "pass", "fail", "canceled", "error", "incomplete")
            ),
            {"branch": "master"},
            {"platform": "linux"},
            {"created_after": "2020-01-01T00:00:00Z", "created_before": "2030-01-01T00:00:00Z"},
            {"status": "fail", "branch": "master", "platform": "linux", "created_after": "2020-01-01T00:00:00Z"},
            *({"sample_status": status} for status in ("pass", "fail", "skipped", "missing_output")),
            {"regression_id": "{test}"},
            {"pull_request": "5"},
            {"repository": "CCExtractor/ccextractor"},
            {"repository": "CCExtractor/ccextractor", "sample_status": "fail", "regression_id": "{test}"},
        ],
    ),
    "list_regression_tests": (
        6,
        [
            *PLAIN,
            {"active": "true"},
            {"category": "General"},
            {"tag": "tag"},
            {"sample_id": "{sample_id}"},
            {"command": "srt"},
            {"output_type": "file"},
        ],
    ),
    "get_queue": (6, [*PLAIN, {"platform": "linux"}, {"status": "queued"}, {"status": "running"}]),
    "list_branches": (6, [*PLAIN, {"repository": "CCExtractor/ccextractor"}, {"name": "master"}, {"active": "true"}]),
    "list_environments": (6, [*PLAIN, {"platform": "linux"}, {"active": "true"}]),
    "get_health": (4, PLAIN),
    "get_document": (1, PLAIN),
    "get_index": (1, PLAIN),
    "list_tokens": (4, PLAIN),
    "get_current_token": (3, PLAIN),
    "list_run_errors": (
        6,
        [*PLAIN, {"type": "diff_mismatch"}, {"severity": "error"}, {"sample_id": "{sample_id}"}],
    ),
    "list_infrastructure_errors": (6, [*PLAIN, {"severity": "error"}]),
    "list_error_groups": (6, [*PLAIN, {"group_by": "type"}, {"severity": "error"}]),
    "list_run_log": (7, [*PLAIN, {"contains": "line"}, {"tail": "5"}, {"around": "failure"}]),
    "list_sample_log": (7, [{"regression_id": "{test}"}, {"around": "failure"}]),
    "list_run_artifacts": (6, [*PLAIN]),
    "get_expected_output": (6, OF_ONE_TEST),
    "get_actual_output": (6, OF_ONE_TEST),
    "get_diff": (6, OF_ONE_TEST),
    "list_baseline_approvals": (6, [*PLAIN, {"status": "pending_review"}, {"run_id": "{run_id}"}]),
    "get_baseline_approval": (4, PLAIN),
    "get_regression_test": (6, PLAIN),
    "get_regression_test_health": (
        8,
        [*PLAIN, {"platform": "linux"}, {"branch": "other"}, {"repository": "someone/ccextractor"}],
    ),
    "list_failure_clusters": (
        8,
        [
            {"created_before": "2026-01-10T00:00:00Z"},
            {"created_after": "2025-12-01T00:00:00Z", "created_before": "2026-02-01T00:00:00Z"},
            {"created_before": "2026-01-10T00:00:00Z", "platform": "linux", "repository": "CCExtractor/ccextractor"},
        ],
    ),
    "compare_run": (8, [*PLAIN, {"base": "previous"}, {"base": "{other_id}"}, {"change": "broken_here"}]),
    "get_failure_report": (8, [*PLAIN, {"max_bytes": "4096"}]),
    "get_pull_request": (8, [*PLAIN, {"repository": "CCExtractor/ccextractor"}]),
    "list_audit_log": (6, [*PLAIN, {"action": "run.cancel"}, {"created_after": "2020-01-01T00:00:00Z"}]),
}

READING = {endpoint: operation for endpoint, operation in REGISTRY.items() if operation.method == "GET"}


def test_every_reading_operation_is_listed() -> None:
    assert set(STATEMENTS) == set(READING), "give new operations a number of statements here"


@pytest.fixture
def headers(api: Api) -> dict[str, str]:
    """The bearer token of an admin."""
    with api.rows() as session:
        made = factories.bearer(session)
        # Its use is noted once a minute, which may be any request of the test.
        session.execute(sa.update(Token).values(last_used_at=now() + timedelta(days=1)))
        # The first page of a log that anybody reads makes the key of cursors.
        keys.get(session, Purpose.CURSORS)
        return made


def grow(api: Api, repository: Path, runs: int, tests: int) -> dict[str, int]:
    """Add tests of one sample each (the first ones of one), and runs in which they all fail alike; return ids."""
    with api.rows() as session:
        first = factories.sample(session, tags=["tag"])
        cases = [factories.regression_test(session, first if number < 2 else None) for number in range(tests)]
        names = [factories.hash_of(f"{number} {expected}") for number in range(tests) for expected in (True, False)]
        outputs = [factories.output(session, case, names[2 * number]) for number, case in enumerate(cases)]
        made = []
        # One more, to compare the others with.
        for number in range(1 + runs):
            begun = factories.START + timedelta(hours=number)
            progress = ("preparation", "testing", "completed")
            run = factories.run(session, *progress, tests=cases, created_at=begun, started=begun)
            for case, (index, output) in zip(cases, enumerate(outputs), strict=True):
                factories.result(session, run, case, (output, names[2 * index + 1]), exit_code=1)
            made.append(run)
            approval = {"run_id": run.id, "sample_id": first.id, "regression_id": cases[0].id}
            session.add(
                BaselineApproval(**approval, **APPROVAL, output_id=outputs[0].id, requested_by="ann@example.org")
            )
            session.add(AuditRecord(actor="ann@example.org", action="run.cancel", target=f"run:{run.id}"))
            factories.run(session, created_at=begun, tests=cases)
            of_pull_request = factories.run(session, *progress, tests=cases, created_at=begun, pull_request=NUMBER)
            for case, (index, output) in zip(cases, enumerate(outputs), strict=True):
                factories.result(session, of_pull_request, case, (output, names[2 * index + 1 - number % 2]))
        for folder, name, text in [("LogFiles", f"{made[-1].id}.txt", "a line\n" * 200)] + [
            ("TestResults", f"{name}.srt", TEXT.format(name)) for name in names
        ]:
            (repository / folder).mkdir(exist_ok=True)
            (repository / folder / name).write_text(text)
        ids = {
            "run_id": made[-1].id,
            "regression_id": cases[0].id,
            "other_id": made[0].id,
            "sample_id": first.id,
            "test": cases[0].id,
            "output": outputs[0].id,
            "number": NUMBER,
        }
        ids["approval_id"] = session.scalars(sa.select(sa.func.max(BaselineApproval.id))).one()
        session.commit()
        refresher.rebuild(session.get_bind().engine)
    return ids


NUMBER = 7

APPROVAL = {"status": "pending_review", "actual_hash": "a" * 64, "apply_to_variants": False, "reason": "because"}


@contextmanager
def recorded(engine: sa.Engine) -> Iterator[list[str]]:
    """The statements that are sent meanwhile."""
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    yield statements
    sa.event.remove(engine, "before_cursor_execute", note)


def test_requests_send_few_statements(api: Api, headers: dict[str, str], repository: Path) -> None:
    """More data and a longer page take as many statements as little."""
    counts: dict[str, list[int]] = {}
    for runs, tests, limit in [(1, 3, 1), (6, 12, 100)]:
        ids = grow(api, repository, runs, tests)
        api.get("/runs", headers=headers)
        for name, statements in measure(api, headers, ids, limit):
            counts.setdefault(name, []).append(len(statements))
    most = {name: STATEMENTS[name.split()[0]][0] for name in counts}
    assert {name: found for name, found in counts.items() if max(found) > most[name]} == {}
    # A page of artifacts without a diff on it has no diffs to look after, and needs one less.
    varying = {name: found for name, found in counts.items() if len(set(found)) > 1}
    assert {name for name in varying if not name.startswith("list_run_artifacts")} == set()


def measure(api: Api, headers: dict[str, str], ids: dict[str, int], limit: int) -> Iterator[tuple[str, list[str]]]:
    """Send every request of the table, and record its statements."""
    with api.app.app_context():
        engine = db.engine
    for endpoint, (_, queries) in STATEMENTS.items():
        operation = READING[endpoint]
        path = operation.path.format(**ids)
        paged = operation.query is not None and "limit" in operation.query.fields
        for template in queries:
            query = {name: str(value).format(**ids) for name, value in template.items()}
            with recorded(engine) as statements:
                response = api.get(path, query=query | ({"limit": limit} if paged else {}), headers=headers)
            assert response.status_code == 200, (path, query, response.json)
            yield f"{endpoint} {template}", statements


def test_every_reading_operation_sends_the_fields_that_are_asked_for(
    api: Api, headers: dict[str, str], repository: Path
) -> None:
    """It sends no other ones, in the same number of statements."""
    ids = grow(api, repository, 2, 2)
    api.get("/runs", headers=headers)
    with api.app.app_context():
        engine = db.engine
    empty = set()
    for endpoint, (_, queries) in STATEMENTS.items():
        path = READING[endpoint].path.format(**ids)
        query = {name: str(value).format(**ids) for name, value in queries[0].items()}
        with recorded(engine) as all_statements:
            whole: Any = api.get(path, query=query, headers=headers)
        is_list = "data" in whole.json and "pagination" in whole.json
        if is_list and not whole.json["data"]:
            empty.add(endpoint)
            continue
        names = sorted(whole.json["data"][0] if is_list else whole.json)[::2]
        with recorded(engine) as statements:
            part: Any = api.get(path, query=query | {"fields": ",".join(names)}, headers=headers)
        assert (part.status_code, len(statements)) == (200, len(all_statements)), (path, part.json)

        def chosen(body: dict[str, Any], names: list[str] = names) -> dict[str, Any]:
            # What changes with each request is not compared.
            return {name: body[name] for name in names if name in body and name != "checked_at"}

        if is_list:
            assert [*map(chosen, part.json["data"])] == [*map(chosen, whole.json["data"])], path
            assert {name for item in part.json["data"] for name in item} == set(names), path
            assert part.json | {"data": []} == whole.json | {"data": []}, path
        else:
            assert chosen(part.json) == chosen(whole.json) and set(part.json) == set(names), path
        assert part.headers.get("ETag") != whole.headers["ETag"], path
    assert empty <= {"list_infrastructure_errors", "list_sample_log"}


def test_a_stale_run_costs_the_next_list_and_no_later_one(api: Api, headers: dict[str, str], repository: Path) -> None:
    ids = grow(api, repository, 2, 2)
    with api.app.app_context():
        engine = db.engine
    api.get("/runs", headers=headers)
    with Session(engine) as session:
        result = platform.TestResult
        session.execute(sa.update(result).where(result.test_id == ids["run_id"]).values(exit_code=0))
        session.commit()
    counts = []
    for _ in range(3):
        with recorded(engine) as statements:
            api.get("/runs", headers=headers)
        counts.append(len(statements))
    assert counts[0] > counts[1] == counts[2] <= 6
