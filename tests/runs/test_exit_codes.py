"""What exit codes mean."""

from __future__ import annotations

import pytest

from api_v1.runs.exit_codes import name_of, named


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (None, "none"),
        (0, "0"),
        (1, "1"),
        (10, "10 (no captions found)"),
        (139, "139 (segmentation fault)"),
        (-11, "-11 (segmentation fault)"),
        (0xC0000005, "3221225477 (segmentation fault)"),
        (-1073741819, "-1073741819 (segmentation fault)"),
        (134, "134 (aborted)"),
        (137, "137 (killed)"),
        (-1, "-1"),
        (2, "2 (no input files)"),
        (130, "130 (interrupted)"),
        (2**40, str(2**40)),
    ],
)
def test_codes_are_named_where_somebody_knows(code: int | None, text: str) -> None:
    assert named(code) == text
    name = name_of(code)
    assert text.endswith(f" ({name})") if name is not None else "(" not in text
