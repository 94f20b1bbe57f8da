"""Stands in for the platform's own exceptions."""


class FailedToSpawnDBSession(Exception):
    """The database cannot be reached or set up."""


class EnumParsingException(Exception):
    """No member of an enum has this value (deliberately not a ValueError)."""


class MissingConfigError(Exception):
    """The configuration module does not exist."""


class IncompleteConfigException(Exception):
    """The configuration lacks a required key."""
