"""Parts of statements are built once, also when several threads ask for them first."""

from __future__ import annotations

import ast
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import api_v1
from api_v1.database.built_once import built_once

ROOT = Path(api_v1.__file__).parent

#: What may be made twice, and is cached only because it takes long.
NO_STATEMENTS = {"_storage_client", "_signer", "examples", "_options"}


def test_threads_that_ask_at_once_get_the_same() -> None:
    entered = threading.Barrier(2, timeout=0.2)

    @built_once
    def part(name: str) -> list[str]:
        # Two builders would meet here.
        with suppress(threading.BrokenBarrierError):
            entered.wait()
        return [name]

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(part, ["rows", "rows"])
    assert one is other and part("rows") is one and part("others") is not one


def test_a_part_may_need_another_one() -> None:
    @built_once
    def inner() -> list[int]:
        return [1]

    @built_once
    def outer() -> list[list[int]]:
        return [inner(), inner()]

    one, other = outer()
    assert one is other


def test_no_statement_is_cached_otherwise() -> None:
    cached = set()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                by = {ast.unparse(decorator).split("(")[0] for decorator in node.decorator_list}
                cached |= (
                    {node.name} if by & {"functools.cache", "functools.lru_cache", "cache", "lru_cache"} else set()
                )
    assert cached == NO_STATEMENTS
