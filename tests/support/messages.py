"""Messages of marshmallow that several tests expect."""

from __future__ import annotations

BETWEEN = "Must be greater than or equal to {} and less than or equal to {}."
