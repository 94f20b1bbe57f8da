"""Puts the platform on the import path: the checkout that SAMPLE_PLATFORM names, else the embedded stand-in."""

import os
import sys
from pathlib import Path

from hypothesis import settings

from tests.support.thorough import EXAMPLES

ROOT = Path(__file__).parent
# Behind our own root, because the platform too has a package named `tests`.
sys.path[:0] = [str(ROOT), os.environ.get("SAMPLE_PLATFORM") or str(ROOT / "embedded_platform")]

# Or the client asks for the bucket once, in a thread of its own, which tests that count requests may meet or not.
os.environ["DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA"] = "true"

pytest_plugins = [
    "tests.support.fixtures",
    "tests.support.bucket",
    "tests.support.database_servers",
    "tests.support.people",
    "tests.support.log_ins",
    "tests.support.reviews",
    "tests.support.statuses",
]

# What is no scenario is cheap, and tried more often.
# The same examples in every run, so that what passed passes; `--hypothesis-profile random` looks further.
settings.register_profile("random", deadline=None, database=None, max_examples=4 * EXAMPLES)
settings.register_profile("repeatable", settings.get_profile("random"), derandomize=True)
settings.load_profile("repeatable")
