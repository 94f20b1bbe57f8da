"""Stands in for the platform's users and their roles."""

from database import Base, DeclEnum, EnumSymbol, member
from passlib.apps import custom_app_context as pwd_context
from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column


class Role(DeclEnum):
    """The role of a user."""

    admin = member("admin", "Admin")
    user = member("user", "User")
    contributor = member("contributor", "Contributor")
    tester = member("tester", "Tester")


class User(Base):
    """An account."""

    __tablename__ = "user"
    __table_args__ = {"mysql_engine": "InnoDB"}

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None] = mapped_column(String(50), unique=True)
    email: Mapped[str | None] = mapped_column(String(255), unique=True)
    github_token: Mapped[str | None] = mapped_column(Text)
    password: Mapped[str] = mapped_column(String(255))
    role: Mapped[EnumSymbol | None] = mapped_column(Role.db_type())

    def __init__(
        self,
        name: str | None,
        role: EnumSymbol | None = Role.user,
        email: str | None = None,
        password: str = "",
        github_token: str | None = None,
    ) -> None:
        """Store `password` unchanged: the caller hashes it."""
        self.name = name
        self.role = role
        self.email = email
        self.password = password
        self.github_token = github_token

    @staticmethod
    def generate_hash(password: str) -> str:
        """Hash a password with passlib's cost for administrators (about 0.25 s)."""
        return pwd_context.hash(password, category="admin")

    def is_password_valid(self, password: str) -> bool:
        """Check a password; exceptions of passlib are not caught (for example, if the stored text is not a hash)."""
        return pwd_context.verify(password, self.password)

    def update_password(self, new_password: str) -> None:
        """Store the hash of a new password."""
        self.password = self.generate_hash(new_password)

    @property
    def is_admin(self) -> bool:
        """Tell whether this user is an administrator."""
        return self.role == Role.admin

    def has_role(self, name: str) -> bool:
        """Tell whether this user has the role with this value; an administrator has all roles."""
        assert self.role is not None, "the platform fails on a user without role"
        return self.is_admin or self.role.value == name
