"""How an operation serves a request."""

from __future__ import annotations

from typing import Any

import pytest

from api_v1.database import connections
from api_v1.web import validation
from tests.support.client import Api
from tests.support.triggering import three_tests
from tests.support.writing import BODY, accepted, post


def test_the_time_of_the_database_does_not_run_while_the_body_arrives(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    three_tests(api)
    load = validation.load_body

    def slowly(*arguments: Any, **more: Any) -> Any:
        connections.begin_time(0)
        return load(*arguments, **more)

    monkeypatch.setattr(validation, "load_body", slowly)
    accepted(post(api, "/runs", BODY))
