"""Who may call what: scopes, roles, and the access an operation declares.

The vocabulary is the contract's (`x-required-scope`, `x-required-roles`); the roles are those of the platform's `Role`.
An operation that declares nothing is refused at start-up: deny by default.
"""

from __future__ import annotations

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
        public: no token is needed.
        scope: the scope the token must have, None for any valid token.
        roles: the roles of which the token's owner must have one now, empty for any.
    """

    public: bool = False
    scope: Scope | None = None
    roles: tuple[RoleName, ...] = ()

    def check(self, caller: Caller | None) -> None:
        """Let the caller pass, or raise.

        Raises:
            Unauthorized: there is no valid token.
            Forbidden: the scope, or else the role, is missing.
        """
        if self.public:
            return
        if caller is None:
            raise Unauthorized()
        if self.scope is not None and self.scope not in caller.scopes:
            raise Forbidden(details={"required_scope": self.scope.value, "token_scopes": list(caller.scopes)})
        if self.roles and caller.role not in self.roles:
            raise Forbidden(
                "Your role does not allow this operation.",
                {"required_roles": [role.value for role in self.roles], "user_role": caller.role},
            )


PUBLIC = Access(public=True)
ANY_TOKEN = Access()

#: What an operation has that declares nothing; it stops the start-up.
UNDECLARED = Access(roles=("undeclared",))  # type: ignore[arg-type]


def needs(scope: Scope, *roles: RoleName) -> Access:
    """Declare that a token with this scope is needed, and one of these roles when any is named."""
    return Access(scope=scope, roles=roles)
