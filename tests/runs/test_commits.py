"""Abbreviated commits: completed by the one full commit of the same repository, else sent as they are stored."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import factories
from tests.support.client import Api
from tests.support.factories import hash_of
from tests.support.reading import FINISHED, get
from tests.support.statements import statements

FULL = "abc1234" + hash_of("a")[:33]
OTHER = "abc1235" + hash_of("b")[:33]
FORK, WITHOUT_GIT = "https://github.com/Somebody/Fork.git", "https://github.com/somebody/fork"

#: What is stored of a run, what the other runs of the database are, and what is sent.
CASES: dict[str, tuple[tuple[str, str], list[tuple[str, str]], str | None]] = {
    "one full commit": (("abc1234", FORK), [(FULL, FORK)], FULL),
    "in several runs": (("abc1234", FORK), [(FULL, FORK), (FULL, FORK), (FULL.upper(), FORK)], FULL),
    "another case": (("ABC1234", FORK), [(FULL, FORK)], FULL),
    "the url without .git": (("abc1234", FORK), [(FULL, WITHOUT_GIT)], FULL),
    "more digits": ((FULL[:39], FORK), [(FULL, FORK)], FULL),
    "two full commits": (("abc1234", FORK), [(FULL, FORK), (FULL[:12] + "0" * 28, FORK)], "abc1234"),
    "of another repository": (("abc1234", FORK), [(FULL, "https://github.com/somebody/else.git")], "abc1234"),
    "another commit": (("abc1234", FORK), [(OTHER, FORK)], "abc1234"),
    "no other run": (("abc1234", FORK), [], "abc1234"),
    "an abbreviation of the abbreviation": (("abc1234", FORK), [("abc12345", FORK)], "abc1234"),
    "a full commit": ((FULL, FORK), [(OTHER, FORK)], FULL),
    "too short": (("abc123", FORK), [(FULL, FORK)], None),
    "too long": ((FULL + "0", FORK), [], None),
    "no commit": (("master", FORK), [], None),
    "empty": (("", FORK), [], None),
    "a wildcard": (("abc123%", FORK), [(FULL, FORK)], None),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_sent_of_a_commit(case: str, api: Api) -> None:
    (commit, github), others, sent = CASES[case]
    with api.rows() as session:
        test = factories.regression_test(session)
        for other, fork in others:
            factories.run(session, *FINISHED, commit=other, github=fork, branch="other")
        run = factories.run(session, *FINISHED, commit=commit or "x", github=github, branch="abbreviated", tests=[test])
        run.commit = commit
        factories.result(session, run, test)
        run_id, sample_id = run.id, test.sample_id
    (listed,) = get(api, "/runs", "branch=abbreviated")["data"]
    one = get(api, f"/runs/{run_id}")
    (branch,) = get(api, "/branches", "name=abbreviated")["data"]
    (entry,) = get(api, f"/samples/{sample_id}/history")["data"]
    found = [one["commit_sha"], listed["commit_sha"], branch["head_sha"], entry["commit_sha"]]
    assert found == [sent] * 4
    assert one.get("commit_short") == (sent and sent[:7])
    assert one["links"].get("github", "").rpartition("/")[2] == (sent or "")
    # What is sent can be asked for.
    for length in {7, 8, 20, 39, 40}.intersection(range(7, len(sent or "") + 1)):
        beginning = (sent or "")[:length]
        other = beginning[:-1] + ("0" if beginning[-1] != "0" else "1")
        for prefix, expected in ((beginning.swapcase(), [run_id]), (other, [])):
            asked = get(api, "/runs", f"commit_prefix={prefix}&branch=abbreviated")
            assert ([run["run_id"] for run in asked["data"]], asked["pagination"]["total"]) == (expected, len(expected))
    if not sent:
        assert get(api, "/runs", f"commit_prefix={FULL[:7]}&branch=abbreviated")["data"] == []
    if sent and len(sent) == 40:
        asked = get(api, "/runs", f"commit_sha={sent.swapcase()}&branch=abbreviated")
        assert ([run["run_id"] for run in asked["data"]], asked["pagination"]["total"]) == ([run_id], 1)
    elif others and len(others[0][0]) == 40:
        assert get(api, "/runs", f"commit_sha={others[0][0]}&branch=abbreviated")["data"] == []


def test_many_abbreviations_cost_one_statement(api: Api) -> None:
    def cost(path: str) -> int:
        get(api, path, "limit=100")
        with statements(api) as sent:
            get(api, path, "limit=100")
        return len(sent)

    def add(number: int) -> None:
        with api.rows() as session:
            for _ in range(number):
                commit: Any = hash_of(f"commit{factories.number()}")[:40]
                factories.run(session, *FINISHED, commit=commit)
                factories.run(session, *FINISHED, commit=commit[:8])

    add(1)
    few = cost("/runs")
    add(30)
    assert cost("/runs") == few
    page = get(api, "/runs", "limit=100")
    assert {len(run["commit_sha"]) for run in page["data"]} == {40}
