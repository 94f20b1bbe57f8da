"""Random small databases with every trap of the platform's rows, drawn by hypothesis."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from tests.support.factories import START, hash_of
from tests.support.oracle import SAMPLES, File, Output, RegressionTest, Result, Run, Scenario
from tests.support.thorough import EXAMPLES

#: Looking for a smaller scenario that fails as well takes minutes: only for who asks for it.
PHASES = (Phase.explicit, Phase.generate) + ((Phase.shrink,) if os.environ.get("TEST_SHRINK") else ())
_KNOWN = [hash_of(name) for name in ("one", "two", "three")]
_OTHER = hash_of("other")


def examples(share: float = 1) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return the decorator of a property that is tried on a share of EXAMPLES; its mark is `scenarios`."""
    settled = settings(
        max_examples=max(1, round(EXAMPLES * share)),
        phases=PHASES,
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    return lambda test: pytest.mark.scenarios(settled(test))


#: Every way in which a run's progress can go, with the ones that should not occur and do.
PROGRESS = (
    "",
    "preparation",
    "preparation testing",
    "preparation testing completed",
    "preparation testing completed",
    "preparation testing completed",
    "completed",
    "preparation testing completed completed",
    "preparation testing canceled",
    "canceled",
    "canceled canceled",
    "preparation testing completed canceled",
    "preparation canceled completed",
    "canceled testing",
    "preparation testing completed testing",
)

#: Exit codes, got and expected; completed runs should not all fail by them.
_CODES = ((0, 0), (0, 0), (0, 0), (7, 7), (-1, -1), (None, None), (1, 0), (0, -1), (None, 0), (0, None))
_GOOD_CODES = _CODES[:6]

#: What was got of an output; see `_file`.
_GOOD_FILES = ("equal", "equal", "variant")
_NO_FILES = ("absent", "absent", "sentinel", "ERROR for nothing")

_FILES = (
    *_GOOD_FILES,
    *_NO_FILES,
    *("variant", "variant in capitals", "variant and a blank", "accepted elsewhere"),
    *("correct", "empty", "other", "error"),
)

#: What kind of results a run has, so that every state of a run is frequent.
_FORTUNES = ("mixed", "mixed", "good", "good", "good in part", "mute", "mute", "nothing")
_times = st.integers(0, 5).map(lambda minutes: START + timedelta(minutes=minutes))


@st.composite
def scenarios(draw: st.DrawFn, sentinels: bool = True, most_runs: int = 6) -> Scenario:
    """Draw a scenario.

    Args:
        sentinels: whether rows that stand for "no file" are stored; the platform's own page cannot show all of them.
    """
    outputs = iter(range(41, 80))
    tests = tuple(draw(_test(21 + n, outputs)) for n in range(draw(st.integers(1, 4))))
    runs = tuple(draw(_run(101 + n, tests, sentinels)) for n in range(draw(st.integers(1, most_runs))))
    return Scenario(tests, runs, strays=draw(st.booleans()))


@st.composite
def _test(draw: st.DrawFn, test_id: int, output_ids: Iterable[int]) -> RegressionTest:
    numbers = iter(output_ids)
    return RegressionTest(
        id=test_id,
        sample_id=draw(st.sampled_from(SAMPLES[:2])),
        active=draw(st.sampled_from((True, True, False, None))),
        expected_rc=draw(st.sampled_from((0, 7, None))),
        categories=draw(st.sampled_from(((), (82,), (81,), (81, 82), (82, 82)))),
        outputs=tuple(draw(_output(next(numbers))) for _ in range(draw(st.sampled_from((1, 0, 2, 3))))),
    )


@st.composite
def _output(draw: st.DrawFn, output_id: int) -> Output:
    a, b, c = _KNOWN
    sets: tuple[tuple[str | None, ...], ...] = ((a,), (), (b, b), (a, b), (a.upper(), c), (None, c), ("", b))
    return Output(
        id=output_id,
        ignore=draw(st.sampled_from((False, False, True, None))),
        correct=draw(st.sampled_from((*_KNOWN, hash_of("correct"), None))),
        variants=draw(st.sampled_from(sets)),
    )


@st.composite
def _run(draw: st.DrawFn, run_id: int, tests: tuple[RegressionTest, ...], sentinels: bool) -> Run:
    history = draw(st.sampled_from(PROGRESS)).split()
    fortune = draw(st.sampled_from(_FORTUNES))
    results: dict[int, Result] = {}
    files: list[File] = []
    for test in tests:
        if result := draw(_result(fortune)):
            results[test.id] = result
        files += draw(_files(test, tests, result, fortune, sentinels))
    return Run(
        id=run_id,
        host=draw(st.sampled_from(("linux", "windows"))),
        progress=tuple((status, draw(_times)) for status in history),
        recorded=draw(st.none() | _times),
        custom=draw(_custom([test.id for test in tests])),
        results=results,
        files=tuple(files),
        machines=draw(st.sampled_from((0, 0, 0, 1, 2))),
    )


def _custom(ids: list[int]) -> st.SearchStrategy[tuple[int | None, ...]]:
    some = st.lists(st.sampled_from(ids), min_size=1, max_size=5).map(tuple)
    with_null = some.map(lambda chosen: (None, *chosen))
    return st.just(()) | st.just(tuple(ids)) | some | with_null | st.just((None,))


@st.composite
def _result(draw: st.DrawFn, fortune: str) -> Result | None:
    if fortune == "nothing" or (fortune not in ("good", "mute") and not draw(st.integers(0, 3))):
        return None
    codes = draw(st.sampled_from(_CODES if fortune == "mixed" else _GOOD_CODES))
    return Result(codes[0], codes[1], draw(st.sampled_from((1200, 0, None, -5))))


@st.composite
def _files(
    draw: st.DrawFn,
    test: RegressionTest,
    tests: tuple[RegressionTest, ...],
    result: Result | None,
    fortune: str,
    sentinels: bool,
) -> list[File]:
    if result is None and draw(st.booleans()):
        return []
    possible = {"mixed": _FILES, "mute": _NO_FILES}.get(fortune, _GOOD_FILES)
    kinds = [kind for kind in possible if sentinels or kind != "sentinel"]
    found = [_file(test.id, output, draw(st.sampled_from(kinds))) for output in test.outputs]
    if sentinels and fortune in ("mixed", "mute") and not draw(st.integers(0, 2)):
        found.append(File(test.id, -1, "", draw(st.sampled_from((None, "error")))))
    if fortune == "mixed" and not draw(st.integers(0, 5)):
        others = [output for other in tests if other is not test for output in other.outputs]
        found += [_file(test.id, output, draw(st.sampled_from(kinds))) for output in others[:1]]
    return [file for file in found if file is not None]


def _file(test_id: int, output: Output, kind: str) -> File | None:
    """A result file of an output, None for "absent"."""
    if kind == "absent":
        return None
    variant = next((variant for variant in output.variants if variant), None)
    elsewhere = next((known for known in _KNOWN if known not in output.variants), _OTHER)
    got = {
        "equal": None,
        "variant": variant,
        "variant in capitals": (variant or _OTHER).upper(),
        "variant and a blank": f"{variant or _OTHER} ",
        "accepted elsewhere": elsewhere,
        "correct": output.correct or _OTHER,
        "empty": "",
        "other": _OTHER,
        "error": "error",
        "sentinel": "error",
        "ERROR for nothing": "ERROR",
    }[kind]
    nothing = kind in ("sentinel", "ERROR for nothing")
    return File(test_id, output.id, "" if nothing else output.correct or hash_of("earlier"), got)
