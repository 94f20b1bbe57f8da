"""The stored form of observed results."""

from __future__ import annotations

from itertools import combinations

import pytest

from api_v1.verdicts import failure_details
from api_v1.verdicts.observed import digest, hash_key
from tests.support.factories import hash_of

A, B = hash_of("a"), hash_of("b")

RESULTS: list[tuple[int | None, dict[int, str]]] = [
    *((code, {}) for code in (None, 0, 1, 11, -11)),
    *((0, files) for files in ({1: A}, {1: B}, {2: A}, {1: A, 2: A}, {1: A, 2: B}, {1: B, 2: A}, {12: A}, {1: ""})),
    *((0, {1: text}) for text in (A.upper(), f"{A} ", "ü", "error", '"], [2, "')),
    (1, {1: A}),
]


def test_different_results_have_different_digests() -> None:
    for one, other in combinations(RESULTS, 2):
        assert digest(*one) != digest(*other), (one, other)


def test_equal_results_have_equal_digests() -> None:
    assert digest(0, {1: A, 2: B}) == digest(0, {2: B, 1: A})
    assert len(digest(0, {})) == 32


@pytest.mark.parametrize("got", [A, A.upper(), "0" * 64])
def test_a_hash_is_stored_as_it_is(got: str) -> None:
    assert hash_key(got) == got


@pytest.mark.parametrize("got", ["", "error", "a" * 63, "a" * 65, f"{A}\n", "g" * 64, "ü" * 64, "x" * 5000, "１" * 64])
def test_other_texts_are_stored_as_digests_that_fit(got: str) -> None:
    key = hash_key(got)
    assert len(key) <= 64 and key.isascii() and key.startswith("~")
    assert key == hash_key(got) != hash_key(f"{got}x")


def test_results_are_read_in_portions_that_hold_each_once() -> None:
    few = {(run, test) for run in range(1, 300) for test in range(run % 7)}
    many = {(run, test) for run in range(300, 420) for test in range(60)}
    one_test = {(run, 500) for run in range(1000, 8000)}
    for wanted in (set(), few, many, one_test, few | many | one_test):
        portions = list(failure_details._portions(wanted))
        named = [
            (run, test)
            for portion in portions
            for runs, tests in portion
            for run in runs
            for test in (tests if tests is not None else [test for of_run, test in wanted if of_run == run])
        ]
        assert sorted(named) == sorted(wanted)
        for portion in portions:
            size = sum(len(runs) * (failure_details.NAMED if tests is None else len(tests)) for runs, tests in portion)
            assert size <= failure_details.AT_ONCE
