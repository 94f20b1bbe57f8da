"""A database that is not there, and what responses say of pages."""

from __future__ import annotations

import re
from collections.abc import Callable

from werkzeug.test import TestResponse

from tests.support.client import Api

SECRET = "hunter2"

#: Nothing listens there.
DEAD = f"mysql+pymysql://someone:{SECRET}@127.0.0.1:1/nothing?charset=utf8mb4"
MakeApi = Callable[[str], Api]


def links(response: TestResponse) -> dict[str, str]:
    """The targets of a `Link` header, without the server, by relation."""
    found = re.findall(r'<http://localhost([^>]+)>; rel="(\w+)"', response.headers.get("Link", ""))
    return {relation: target for target, relation in found}


def is_mounted(api: Api) -> bool:
    """Whether the API is inside the platform."""
    return "index" in api.app.view_functions or "home.index" in api.app.view_functions
