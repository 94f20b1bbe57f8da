"""A database of production size, generated from a fixed seed and bulk-loaded into MariaDB.

    python -m benchmarks.dataset --database-uri mysql+pymysql://root@127.0.0.1/api_v1_bench

The rows resemble seven years of the platform's history: pushes, mostly to pull requests, each tested on two platforms;
three runs out of four with failures of the same few tests; and at the end runs that are running or queued. Equal
arguments generate equal rows.

`--scale` keeps an evenly spread part of the history, and always the newest runs. The kept runs have the same ids and
rows as at full scale, so that a database of one tenth differs from the full one only in size.

The password of every account is `benchmark`.

`catalogue` generates samples, tests and baselines, `runs` the runs with their results, `tables` the rows of each table,
and `loading` loads them.
"""

from benchmarks.dataset.loading import checksum, load, platform_metadata, verify
from benchmarks.dataset.runs import CANCELLATIONS, RUNS, SEED, Cancellation, Dataset, Outcome, Run
from benchmarks.dataset.tables import TABLES

__all__ = [
    "CANCELLATIONS",
    "RUNS",
    "SEED",
    "TABLES",
    "Cancellation",
    "Dataset",
    "Outcome",
    "Run",
    "checksum",
    "load",
    "platform_metadata",
    "verify",
]
