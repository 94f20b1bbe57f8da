"""`enum.StrEnum` for Python 3.10, which the platform runs; the standard library has it from 3.11 on."""

from __future__ import annotations

import sys
from enum import Enum

if sys.version_info >= (3, 11):
    from enum import StrEnum
else:

    class StrEnum(str, Enum):
        """An enumeration whose members are text, also where they are formatted."""

        __str__ = str.__str__


__all__ = ["StrEnum"]
