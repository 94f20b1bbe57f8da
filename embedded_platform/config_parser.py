"""Stands in for the platform's reader of its configuration module."""

from importlib import import_module
from typing import Any

from exceptions import MissingConfigError


def parse_config(obj: str) -> dict[str, Any]:
    """Import the module with this dotted name and keep its upper-case names."""
    try:
        module = import_module(obj)
    except ModuleNotFoundError as error:
        raise MissingConfigError(f"there is no configuration module {obj!r}") from error
    return {name: value for name, value in vars(module).items() if name.isupper()}
