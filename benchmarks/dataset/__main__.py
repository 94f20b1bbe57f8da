"""The command `python -m benchmarks.dataset`."""

from __future__ import annotations

import argparse
import sys

from benchmarks import dataset
from benchmarks.dataset import RUNS, SEED, Dataset, load, verify


def main(arguments: list[str] | None = None) -> int:
    """Load or verify a database as the command line says."""
    summary = (dataset.__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dataset", description=summary)
    parser.add_argument("--database-uri", required=True, help="its name begins with api_v1_bench")
    parser.add_argument("--runs", type=int, default=RUNS, help="length of the history")
    parser.add_argument("--scale", type=float, default=1.0, help="part of the history to keep")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument(
        "--verify",
        action="store_true",
        help="load nothing; print the row counts and checksums of the existing database",
    )
    options = parser.parse_args(arguments)
    try:
        if options.verify:
            verify(options.database_uri)
        else:
            load(options.database_uri, Dataset(options.runs, options.scale, options.seed))
    except ValueError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
