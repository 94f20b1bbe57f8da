"""Who may call what: scopes, roles, and the access that an operation declares.

The vocabulary is the contract's (`x-required-scope`, `x-required-roles`); the roles are those of the platform's `Role`.
An operation cannot be declared without its access: deny by default.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from api_v1.access.tokens import Caller
from api_v1.enums import StrEnum
from api_v1.errors import Forbidden, Unauthorized


class Scope(StrEnum):
    """What a token may be used for: `<what>:<read or write>`."""

    RUNS_READ = "runs:read"
    RUNS_WRITE = "runs:write"
    RESULTS_READ = "results:read"
    BASELINES_WRITE = "baselines:write"
    SYSTEM_READ = "system:read"


class RoleName(StrEnum):
    """The values of the platform's `Role`."""

    ADMIN = "admin"
    CONTRIBUTOR = "contributor"
    TESTER = "tester"
    USER = "user"


@dataclass(frozen=True)
class Access:
    """The access rule of one operation.

    Attributes:
        public: whether it needs no token.
        scope: the scope that the token must have, None for any valid token.
        roles: the owner of the token must have one of these roles now; empty for any role.
    """

    public: bool = False
    scope: Scope | None = None
    roles: tuple[RoleName, ...] = ()

    def allows_role(self, role: str | None) -> bool:
        """Tell whether the owner of a token may have this role."""
        return not self.roles or role in self.roles

    def allows(self, role: str | None, scopes: Collection[str]) -> bool:
        """Tell whether a token with these scopes, of an owner of this role, is let in."""
        has_scope = self.scope is None or self.scope in scopes
        return self.public or (has_scope and self.allows_role(role))

    def check(self, caller: Caller | None) -> None:
        """Check the caller.

        Raises:
            Unauthorized: the caller has no valid token.
            Forbidden: the token lacks the scope, or its owner the role.
        """
        if self.public:
            return
        if caller is None:
            raise Unauthorized()
        if self.scope is not None and self.scope not in caller.scopes:
            raise Forbidden(details={"required_scope": self.scope.value, "token_scopes": list(caller.scopes)})
        if not self.allows_role(caller.role):
            raise Forbidden(
                "Your role does not allow this operation.",
                {"required_roles": [role.value for role in self.roles], "user_role": caller.role},
            )


PUBLIC = Access(public=True)
ANY_TOKEN = Access()


def needs(scope: Scope, *roles: RoleName) -> Access:
    """Require a token with this scope and, if any role is named, an owner with one of the roles."""
    return Access(scope=scope, roles=roles)
