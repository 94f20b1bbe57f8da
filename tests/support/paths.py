"""Paths of the checkout and of the recorded data."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
DATA = Path(__file__).parent / "data"
#: The published contract, reduced to its structure.
CONTRACT_FILE = DATA / "openapi-1.2.0.structure.json"
