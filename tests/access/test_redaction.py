"""No credential stays in a redacted text, and redaction takes time in proportion to the text's length."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import time
import types
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marshmallow import Schema

import api_v1
from api_v1.access import redaction
from api_v1.access.redaction import LONGEST, LONGEST_WITH_LOCATIONS, MARGIN, Redactor, hide_locations
from api_v1.access.tokens import new_secret
from api_v1.files.logs import records, segments, structure
from api_v1.findings import infrastructure
from tests.support.thorough import thorough

TOKEN = "T0ken" * 12
KNOWN = "Kn0wnSecret0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN"
REDACTOR = Redactor(known=[KNOWN, None, "", "short"])


# --- What is replaced --------------------------------------------------------------------------

REPORTING_URLS = [
    "/progress-reporter/17/{}",
    "https://ci.example.org/progress-reporter/17/{}",
    "progress-reporter/17/{}",
    "/PROGRESS-Reporter/17/{}",
    "//progress-reporter//17//{}",
    "/progress-reporter/./17/./{}",
    "/progress-reporter/17/././/{}",
    "%2Fprogress-reporter%2F17%2F{}",
    "%2fprogress%2Dreporter%2f17%2f{}",
    "%252Fprogress-reporter%252F17%252F{}",
    "%25252Fprogress-reporter%25252f17%25252F{}",
    "/progress-reporter/%2e/17%2f{}",
    "\\/progress-reporter\\/17\\/{}",
    "\\\\/progress-reporter\\\\/17\\\\/{}",
    "\\progress-reporter\\17\\{}",
    "\\\\progress-reporter\\\\17\\\\{}",
    "%5Cprogress-reporter%5C17%5c{}",
    "\\u002fprogress-reporter\\u002F17\\u002f{}",
    "&#x2F;progress-reporter&#47;17&#x2f;{}",
]


@pytest.mark.parametrize("url", REPORTING_URLS)
@pytest.mark.parametrize(
    ("before", "after"), [("", ""), ('x "', '" y'), ("'", "'"), ("a ", "\nb"), ("", "?a=b"), ("", "/x")]
)
def test_the_token_of_a_reporting_url_is_replaced(url: str, before: str, after: str) -> None:
    for redactor in (Redactor(), REDACTOR):
        assert redactor.redact(before + url.format(TOKEN) + after) == before + url.format("[redacted]") + after


def test_a_percent_encoded_end_of_a_token_is_replaced_too() -> None:
    shown = Redactor().redact(f"url=%2Fprogress-reporter%2F17%2F{TOKEN}%3Fa%3Db&c=d")
    assert shown == "url=%2Fprogress-reporter%2F17%2F[redacted]&c=d"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (KNOWN, "[redacted]"),
        (f"token {KNOWN}, twice {KNOWN}{KNOWN}.", "token [redacted], twice [redacted][redacted]."),
        (f"/progress-reporter/17/{KNOWN}", "/progress-reporter/17/[redacted]"),
        (f"/progress-reporter/17/{TOKEN}{KNOWN}", "/progress-reporter/17/[redacted]"),
        (KNOWN[:-1], KNOWN[:-1]),
        ("a short word", "a short word"),
        ("None", "None"),
    ],
)
def test_known_secrets_are_replaced_everywhere(text: str, expected: str) -> None:
    assert REDACTOR.redact(text) == expected


@pytest.mark.parametrize("text", ["{}", "Bearer {}", "x{}y", "{} {}", "'{}'", "a={}&b", "{}.", "/{}/"])
def test_our_own_tokens_are_replaced(text: str) -> None:
    secret = new_secret()
    for whole in (secret, secret.replace("_", "%5F"), secret.replace("_", "%255f")):
        shown = Redactor().redact(text.replace("{}", whole))
        assert shown.replace("y", "") == text.replace("{}", "[redacted]").replace("y", "")
    assert secret[5:20] not in Redactor().redact(secret[:30])


def test_a_token_of_the_api_inside_another_token_like_text_is_replaced() -> None:
    secret = new_secret()
    assert secret[5:] not in Redactor().redact("ccx1_" + "a" * 20 + secret)


@pytest.mark.parametrize(
    "text", ["plain", "", "reporter", "/progress-reporter/17/", "progress report 17", "ccx1", "ccx1_x"]
)
def test_text_without_a_token_is_unchanged(text: str) -> None:
    assert REDACTOR.redact(text) == text
    assert REDACTOR.credentials(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("password=hunter2hunter2", "password=[redacted]"),
        ("MY-DB_PASSWORD : 'hunter2hunter2'", "MY-DB_PASSWORD : '[redacted]'"),
        ("token=abcdef;token=ghijkl", "token=[redacted];token=[redacted]"),
        ("token=abcdtoken=ghijkl;x", "token=[redacted];x"),
        ("Authorization: Basic dXNlcjpw", "Authorization: Basic [redacted]"),
        (f"key={KNOWN}", "key=[redacted]"),
        ("a token is missing", "a token is missing"),
    ],
)
def test_passwords_and_keys_are_replaced(text: str, expected: str) -> None:
    assert REDACTOR.credentials(text) == expected


# --- Parts and cuts ----------------------------------------------------------------------------

FRAGMENTS = [
    *(
        "/",
        "//",
        "\\/",
        "%2F",
        "%25",
        "2f",
        ".",
        "progress-reporter",
        "Progress-",
        "reporter",
        "17",
        "7/",
        "a",
        " ",
        "?",
    ),
    *(KNOWN[:30], KNOWN[30:], KNOWN[:1], KNOWN[1:], KNOWN, "ccx1_", "ccx", "1_", "0" * 9, "\n", "é", "%"),
]
texts = st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join)


@settings(max_examples=300)
@given(texts, st.lists(st.integers(1, 30), min_size=1, max_size=20))
def test_redacted_parts_add_up_to_the_redacted_whole(text: str, lengths: list[int]) -> None:
    shown, start = "", 0
    for length in [*lengths, len(text)]:
        end = start + length
        before, after = text[max(0, start - MARGIN) : start], text[end : end + MARGIN]
        shown += REDACTOR.part(text[start:end], before, after)
        start = end
    assert shown == REDACTOR.redact(text)


@pytest.mark.parametrize(
    "secret", [f"/progress-reporter/17/{TOKEN}", KNOWN, f"ccx1_{KNOWN[:49]}", f"%2Fprogress-reporter%2F17%2F{TOKEN}"]
)
def test_the_margin_is_enough_wherever_a_long_text_is_cut(secret: str) -> None:
    text = "x" * 3000 + " " + secret + " " + "y" * 3000
    expected = REDACTOR.redact(text)
    assert "[redacted]" in expected
    for cut in range(2990, 3010 + len(secret)):
        before, after = text[:cut], text[cut:]
        shown = REDACTOR.part(before, after=after[:MARGIN]) + REDACTOR.part(after, before=before[-MARGIN:])
        assert shown == expected


@pytest.mark.parametrize("back", [0, 1, 30, len(KNOWN) - 1, len(KNOWN)])
def test_a_cut_message_holds_no_half_token(back: int) -> None:
    text = "." * (LONGEST - back) + KNOWN + "." * LONGEST
    for shown in (REDACTOR.start(text), REDACTOR.credentials(text)):
        assert shown == "." * (LONGEST - back) + ("[redacted]" if back else "")
    password = "." * (LONGEST - back) + "password=hunter2hunter2"
    assert "hunter" not in REDACTOR.credentials(password)
    host = " " * (LONGEST_WITH_LOCATIONS - back) + "10.20.30.40 db.example.com"
    assert "10" not in hide_locations(host) and "db" not in hide_locations(host)


def test_a_text_shortened_by_redaction_holds_no_half_token() -> None:
    text = f"{KNOWN} " * (2 * LONGEST // 61)
    assert set(REDACTOR.start(text).split()) == {"[redacted]"}
    *shown, last = REDACTOR.credentials(f"password={KNOWN}\n" * (2 * LONGEST // 70)).split()
    assert set(shown) == {"password=[redacted]"} and "password=[redacted]".startswith(last)


# --- Time --------------------------------------------------------------------------------------


def modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(api_v1.__path__, "api_v1."):
        if not found.name.startswith("api_v1.database.migrations."):
            yield importlib.import_module(found.name)


def patterns_in(value: Any, depth: int = 3) -> Iterator[re.Pattern[Any]]:
    """Find the patterns of a value, in collections and validators too."""
    if isinstance(value, re.Pattern):
        yield value
    elif depth and isinstance(value, tuple | list | set | frozenset):
        for item in value:
            yield from patterns_in(item, depth - 1)
    elif depth and isinstance(value, dict):
        for item in value.values():
            yield from patterns_in(item, depth - 1)
    # In Python 3.10 `list[int]` passes for a class.
    elif inspect.isclass(value) and not isinstance(value, types.GenericAlias) and issubclass(value, Schema):
        for field in value._declared_fields.values():
            for validator in field.validators:
                yield from patterns_in(getattr(validator, "regex", None))


def compiled_in(module: ModuleType) -> int:
    """Count the calls of `re.compile` in the source of a module."""
    calls = (node for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.Call))
    return sum(ast.unparse(call.func) == "re.compile" for call in calls)


FOUND = {module: [*patterns_in(list(vars(module).values()))] for module in modules()}
PATTERNS = sorted({pattern for found in FOUND.values() for pattern in found}, key=lambda each: repr(each.pattern))


def test_every_pattern_of_the_package_is_tried() -> None:
    """None is made in a function, where the tests below would not find it."""
    assert {module.__name__ for module, found in FOUND.items() if compiled_in(module) > len(found)} == set()
    assert len(PATTERNS) > 30


UNITS = [
    *(
        "a",
        "a-",
        "a.",
        "a@",
        "a:",
        "a/",
        "a\\",
        "a_",
        "-",
        ".",
        ":",
        "/",
        "\\",
        "@",
        " ",
        "\t",
        "\n",
        "0",
        "0.",
        "0:",
        "f",
    ),
    *("%25", "%2f", "&#x2f;", "\\u002f", "progress-reporter", "progress-reporter/", "progress-reporter/1", "ccx1_"),
    *(
        "progress-reporter/1/",
        "ccx1_aaaaaaa",
        "token",
        "token=",
        "token='",
        "bearer ",
        "authorization: ",
        "gho_",
        "AIza",
    ),
    *("http:", "http://", "host='", "projects/", "~/", "c:\\", "\\\\a", "[:", "::", "1.1.1.1", "localhost", "a.com"),
    *(
        "\x1b[",
        "\x1b[0",
        "\x1b",
        "\0",
        "[INFO] ",
        "ERROR:",
        "2026-01-01 00:00:00 ",
        "-01-01 ",
        "\r",
        "\r\n",
        "name",
        "é",
    ),
    *("Starting with entry 1", "Artifact a", "Build failed:", "Canceled by user", "5f" * 32, "file:", "+00"),
]

#: Characters, and how many seconds a linear pattern never takes for so many, but a quadratic one does.
STAGES = ((16_000, 1.5), (128_000, 5.0), (1_000_000, 40.0))


def seconds(pattern: re.Pattern[Any], unit: str, length: int) -> float:
    text: Any = unit * (length // len(unit)) + "!"
    if isinstance(pattern.pattern, bytes):
        text = text.encode()
    started = time.perf_counter()
    pattern.fullmatch(text)
    for _ in pattern.finditer(text):
        pass
    return time.perf_counter() - started


@thorough
@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: repr(pattern.pattern)[:40])
def test_no_pattern_takes_more_than_linear_time(pattern: re.Pattern[Any]) -> None:
    """With a megabyte of the text that took it longest when they all were shorter."""
    units = UNITS
    for length, most in STAGES:
        taken = {}
        for unit in units:
            taken[unit] = seconds(pattern, unit, length)
            assert taken[unit] < most, (unit, length)
        units = sorted(units, key=lambda unit: -taken[unit])[:1]


def repeats(pattern: re.Pattern[Any]) -> list[Any]:
    """Return the upper bounds of a pattern's quantifiers."""
    parser = importlib.import_module("re._parser" if hasattr(re, "_parser") else "sre_parse")
    found = []

    def look(parsed: Any) -> None:
        for item in parsed:
            if isinstance(item, parser.SubPattern | tuple | list):
                look(item)
        if isinstance(parsed, tuple) and str(parsed[0]) in ("MAX_REPEAT", "MIN_REPEAT"):
            found.append(parsed[1][1])

    look(
        list(
            parser.parse(
                pattern.pattern, pattern.flags & ~re.UNICODE if isinstance(pattern.pattern, bytes) else pattern.flags
            )
        )
    )
    return [bound for bound in found if bound is parser.MAXREPEAT or bound == parser.MAXREPEAT]


@pytest.mark.parametrize("module", [redaction, structure, segments, records], ids=lambda module: module.__name__)
def test_every_quantifier_in_patterns_for_foreign_text_is_bounded(module: ModuleType) -> None:
    assert {pattern.pattern for pattern in FOUND[module] if repeats(pattern)} == set()
    assert repeats(re.compile("(?:ab|c{1,3}d*)"))


@pytest.mark.parametrize("unit", UNITS)
def test_a_megabyte_of_anything_is_redacted_in_time(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    started = time.perf_counter()
    REDACTOR.redact(text)
    REDACTOR.start(text)
    REDACTOR.credentials(text)
    hide_locations(text)
    infrastructure.kind_of(text)
    assert time.perf_counter() - started < 10
