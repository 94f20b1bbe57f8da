"""Cursors: signed, bound to a log and its filters, without content."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from api_v1.files.logs import (
    Signer,
    cursors,
)
from api_v1.files.stored_file import Source
from tests.support.logs import NUMBERED, SAMPLE, SIGNER, URL, messages, one, refusal

FOREIGN, DAMAGED, REPLACED = "of another run", "Not a cursor", "was replaced"


def cursor_of(source: Source | bytes = NUMBERED, **query: Any) -> str:
    cursor = one(source, **({"limit": 10} | query)).next_cursor
    assert cursor is not None
    return cursor


def test_a_cursor_is_short_and_goes_in_a_url() -> None:
    cursor = cursor_of(contains="line", context=3, sample=None)
    assert len(cursor) == cursors.LENGTH and cursor.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize("position", range(cursors.LENGTH))
def test_a_cursor_with_another_character_is_refused(position: int) -> None:
    cursor = cursor_of()
    other = "A" if cursor[position] != "A" else "B"
    changed = cursor[:position] + other + cursor[position + 1 :]
    assert DAMAGED in refusal(NUMBERED, cursor=changed)["cursor"]


@pytest.mark.parametrize(
    "damaged",
    [
        *("", "x", "ä", "\ud800", "=" * cursors.LENGTH, "A" * cursors.LENGTH, "A" * 255, "a b"),
        *("{cursor}=", "{cursor} ", "{cursor}AAAA", "{cut}"),
    ],
)
def test_a_malformed_cursor_is_refused(damaged: str) -> None:
    cursor = cursor_of()
    given_ = damaged.replace("{cursor}", cursor).replace("{cut}", cursor[:-4])
    assert DAMAGED in refusal(NUMBERED, cursor=given_)["cursor"]


def test_a_cursor_of_another_key_or_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert DAMAGED in refusal(NUMBERED, cursor=cursor_of(), signer=Signer(b"another"))["cursor"]
    cursor = cursor_of()
    monkeypatch.setattr(cursors, "VERSION", cursors.VERSION + 1)
    assert DAMAGED in refusal(NUMBERED, cursor=cursor)["cursor"]


def test_the_key_is_required_and_not_shown() -> None:
    assert "tests" not in repr(SIGNER)
    with pytest.raises(ValueError, match="key"):
        Signer(b"")


@pytest.mark.parametrize(
    "changed",
    [
        {"run_id": 18},
        {"level": "error"},
        {"source_filter": "worker"},
        {"contains": "LINE"},
        {"contains": "line", "context": 1},
        {"sample": SAMPLE},
        {"contains": None},
    ],
    ids=str,
)
def test_a_cursor_of_another_run_or_other_filters_is_refused(changed: dict[str, Any]) -> None:
    query: dict[str, Any] = {"run_id": 17, "contains": "line"}
    cursor = cursor_of(**query)
    assert one(NUMBERED, cursor=cursor, **query).lines
    assert FOREIGN in refusal(NUMBERED, cursor=cursor, **(query | changed))["cursor"]


def test_the_limit_may_change_between_pages() -> None:
    assert messages(NUMBERED, cursor=cursor_of(), limit=500)[0] == "[INFO] line 10"


@pytest.mark.parametrize("data", [b"", NUMBERED[:20], NUMBERED.replace(b"line", b"LINE"), b"x" * 20_000])
def test_a_cursor_into_a_log_that_was_replaced_is_refused(data: bytes) -> None:
    assert REPLACED in refusal(data, cursor=cursor_of())["cursor"]


def test_a_cursor_holds_no_text() -> None:
    sealed = base64.urlsafe_b64decode(cursor_of(URL.encode() + b"\nnext", limit=1, contains=""))
    assert b"T0ken" not in sealed
