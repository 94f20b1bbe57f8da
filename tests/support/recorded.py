"""The recorded schema of the real platform's tables."""

from __future__ import annotations

import json
from typing import Any

from tests.support.paths import DATA

SCHEMA: dict[str, dict[str, Any]] = json.loads((DATA / "platform_schema.json").read_text())
OWN_PREFIX = "api_v1_"
