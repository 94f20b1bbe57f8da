"""The table of operations, scopes and roles (docs/operations.md), generated from the registry of operations."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from api_v1.access.policy import Access, RoleName
from api_v1.web.operation import REGISTRY, Operation

_INTRODUCTION = """\
# Operations

Which scope a token needs for an operation, and which roles its owner may have. "none" needs no token; "any" needs a
token with any scope. `api-v1 operations` prints this page from the registry of operations.
"""


def page() -> str:
    """Return the page as Markdown: a table of all registered operations for each tag."""
    tags = dict.fromkeys(operation.tag for operation in REGISTRY.values())
    return "\n".join([_INTRODUCTION, *(line for tag in tags for line in _section(tag))])


def unusable_scopes(role: str | None, scopes: Iterable[str]) -> list[str]:
    """Return those of some scopes with which a role may call no operation."""
    accesses = (operation.access for operation in REGISTRY.values())
    usable = {access.scope for access in accesses if access.allows_role(role)}
    return [scope for scope in scopes if scope not in usable]


def allowed(role: str | None, scopes: Collection[str]) -> list[str]:
    """Return the operations that a token with these scopes, of an owner of this role, may call: `GET /runs`."""
    operations = REGISTRY.values()
    return [f"{one.method} {one.path}" for one in operations if one.access.allows(role, scopes)]


def _section(tag: str) -> Iterator[str]:
    yield f"## {tag}\n"
    yield _row("operation", "summary", "scope", *RoleName)
    yield _row(*["---"] * (3 + len(RoleName)))
    for operation in REGISTRY.values():
        if operation.tag == tag:
            yield _row(f"`{operation.method} {operation.path}`", operation.summary, *_access(operation))
    yield ""


def _access(operation: Operation) -> Iterator[str]:
    """Say which scope is needed, and for each role whether it may call."""
    access = operation.access
    yield _scope(access)
    for role in RoleName:
        yield "yes" if access.allows_role(role) else "no"


def _scope(access: Access) -> str:
    if access.public:
        return "none"
    return "any" if access.scope is None else f"`{access.scope.value}`"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
