"""Benchmarks of the API, and the generator of their production-size data.

Importing this package puts the platform on the import path: the checkout in SAMPLE_PLATFORM, or the embedded stand-in.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PLATFORM = os.path.abspath(os.environ.get("SAMPLE_PLATFORM") or ROOT / "embedded_platform")

if PLATFORM not in sys.path:
    sys.path.append(PLATFORM)
