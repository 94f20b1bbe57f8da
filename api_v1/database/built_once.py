"""Parts of statements that are built once in each process: to build one takes as long as to run it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

_Build = TypeVar("_Build", bound=Callable[..., Any])

#: One for all functions, because they call each other.
_building = threading.RLock()


def built_once(build: _Build, *, most: int | None = None) -> _Build:
    """Cache what a function builds for its arguments, and never build it twice.

    With `functools.cache` alone two threads that ask first, at once, get different subqueries of one name. A statement
    with both of them is refused by the database, and would be kept as long as the process runs.

    Args:
        most: for how many different arguments; None for any number.
    """
    cached = functools.lru_cache(maxsize=most)(build)

    @functools.wraps(build)
    def once(*args: Hashable) -> Any:
        with _building:
            return cached(*args)

    return cast(_Build, once)
