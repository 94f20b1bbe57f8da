"""Measurements of the API, and the production-size data they need.

Importing it puts the platform on the import path: the checkout that SAMPLE_PLATFORM names, else the embedded stand-in.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PLATFORM = os.path.abspath(os.environ.get("SAMPLE_PLATFORM") or ROOT / "embedded_platform")

if PLATFORM not in sys.path:
    sys.path.append(PLATFORM)
