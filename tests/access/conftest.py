"""Fixtures of the tests of password checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from api_v1.access.password_checks import PasswordChecks
from api_v1.database import platform
from tests.support.password_checks import CONTEXT, Make, never


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes checks, and ends their helpers after the test."""
    made: list[PasswordChecks] = []

    def make_checks(
        context: Callable[[], str | None] = lambda: CONTEXT,
        check_here: Callable[[str, str], bool] = never,
        **more: Any,
    ) -> PasswordChecks:
        made.append(PasswordChecks(context, check_here, **more))
        return made[-1]

    yield make_checks
    for checks in made:
        checks.close()


@pytest.fixture(scope="module")
def platform_checks() -> Iterator[PasswordChecks]:
    """Checks by the platform's settings, in the helper only."""
    checks = PasswordChecks(platform.password_context, never)
    yield checks
    checks.close()
