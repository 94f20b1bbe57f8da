"""Measurements of the API against a database of production size."""

import os
import sys
from pathlib import Path

# The package imports the platform: the checkout that SAMPLE_PLATFORM names, else the embedded stand-in.
sys.path.append(
    os.path.abspath(os.environ.get("SAMPLE_PLATFORM") or Path(__file__).parent.parent / "embedded_platform")
)
