"""Runs and tests to act on."""

from __future__ import annotations

from collections.abc import Sequence

from tests.support import factories
from tests.support.client import Api
from tests.support.writing import FINISHED


def three_tests(api: Api) -> list[int]:
    with api.rows() as session:
        made = [factories.regression_test(session).id for _ in range(3)]
        factories.regression_test(session, active=False)
        unset = factories.regression_test(session)
        unset.active = None
        return made


LIVES: dict[str, Sequence[str]] = {
    "queued": (),
    "preparing": ("preparation",),
    "testing": ("preparation", "testing"),
    "alive again": ("testing", "canceled", "preparation"),
}


ENDS: dict[str, Sequence[str]] = {
    "completed": FINISHED,
    "canceled": ("preparation", "canceled"),
    "completed after it was canceled": ("testing", "canceled", "completed"),
}
