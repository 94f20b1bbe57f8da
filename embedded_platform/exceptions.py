"""Stands in for the platform's own exceptions."""


class FailedToSpawnDBSession(Exception):
    """The database cannot be reached or set up."""


class EnumParsingException(Exception):
    """A text is the value of no member of an enum (deliberately not a ValueError)."""


class MissingConfigError(Exception):
    """The configuration module does not exist."""


class IncompleteConfigException(Exception):
    """The configuration lacks a key the platform cannot start without."""
