"""Stands in for the platform's database layer: declarative base, sessions and enum columns."""

import traceback
from collections.abc import Callable, Iterator, KeysView
from typing import Any, ClassVar, cast

from exceptions import EnumParsingException, FailedToSpawnDBSession
from sqlalchemy import Dialect, Engine, ForeignKey, String, create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Session, scoped_session, sessionmaker
from sqlalchemy.pool import StaticPool
from sqlalchemy.types import TypeDecorator

IN_MEMORY = "sqlite:///:memory:"

db_engine: Engine | None = None


class Base(DeclarativeBase):
    """The base of every model; `query` uses the session that `create_session` created last."""

    query: ClassVar[Any] = None


def create_session(db_string: str, drop_tables: bool = False) -> scoped_session[Session]:
    """Return a new registry of sessions on the shared engine, and create missing tables.

    The first call creates the engine; later calls ignore `db_string`.
    """
    global db_engine
    try:
        if db_engine is None:
            db_engine = _new_engine(db_string)
        session = scoped_session(sessionmaker(bind=db_engine))
        Base.query = session.query_property()
        if drop_tables:
            Base.metadata.drop_all(bind=db_engine)
        Base.metadata.create_all(bind=db_engine)
    except SQLAlchemyError as error:
        traceback.print_exc()
        raise FailedToSpawnDBSession("the database is not available") from error
    return session


def _new_engine(db_string: str) -> Engine:
    if db_string == IN_MEMORY:
        # One connection for all threads: a second one would be a second, empty database.
        return create_engine(db_string, poolclass=StaticPool, connect_args={"check_same_thread": False})
    return create_engine(db_string)


def foreign_key(column: str, ondelete: str) -> ForeignKey:
    """Return a foreign key to `table.column` with cascading updates, as nearly all have."""
    return ForeignKey(column, onupdate="CASCADE", ondelete=ondelete)


class EnumSymbol:
    """A member of a `DeclEnum`. It is compared by identity: no text is equal to it."""

    def __init__(self, cls_: type, name: str, value: str, description: str) -> None:
        self.cls_ = cls_
        self.name = name
        self.value = value
        self.description = description

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[type, str]]:
        """Pickle and copy by name, so that the copy is the same object."""
        return getattr, (self.cls_, self.name)

    def __iter__(self) -> Iterator[str]:
        return iter((self.value, self.description))

    def __repr__(self) -> str:
        return f"<{self.name}>"


def member(value: str, description: str) -> EnumSymbol:
    """Declare a member. The metaclass replaces the pair by an `EnumSymbol`."""
    return cast(EnumSymbol, (value, description))


class EnumMeta(type):
    """Replaces the pairs in a class body by symbols, and iterates over them."""

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> None:
        super().__init__(name, bases, namespace)
        cls._symbols: dict[str, EnumSymbol] = {}
        for key, pair in namespace.items():
            # Python 3.13 adds another tuple, `__static_attributes__`.
            if isinstance(pair, tuple) and not key.startswith("__"):
                symbol = EnumSymbol(cls, key, *pair)
                cls._symbols[symbol.value] = symbol
                setattr(cls, key, symbol)

    def __iter__(cls) -> Iterator[EnumSymbol]:
        return iter(cls._symbols.values())


class DeclEnum(metaclass=EnumMeta):
    """The base of the enums that are stored in columns."""

    @classmethod
    def from_string(cls, value: str) -> EnumSymbol:
        """Find a member by its stored value (not by its name)."""
        try:
            return cls._symbols[value]
        except KeyError as error:
            print(f"{value!r} is not a value of {cls.__name__}")
            raise EnumParsingException(f"{value!r} is not a value of {cls.__name__}") from error

    @classmethod
    def values(cls) -> KeysView[str]:
        """Return the stored values."""
        return cls._symbols.keys()

    @classmethod
    def db_type(cls) -> "DeclEnumType":
        """Return the column type for members of this enum."""
        return DeclEnumType(cls)


class DeclEnumType(TypeDecorator[EnumSymbol]):
    """Stores a symbol as its value. Binding a text is an error."""

    impl = String(50)
    cache_ok = True

    def __init__(self, enum: type[DeclEnum]) -> None:
        super().__init__()
        self.enum = enum

    def process_bind_param(self, value: EnumSymbol | None, dialect: Dialect) -> str | None:
        """Convert a symbol to its value."""
        return None if value is None else value.value

    def process_result_value(self, value: str | None, dialect: Dialect) -> EnumSymbol | None:
        """Convert a stored value to its symbol."""
        return None if value is None else self.enum.from_string(value.strip())
