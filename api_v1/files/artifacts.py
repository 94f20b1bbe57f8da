"""The files of a run and their download URLs (contract schema `Artifact`)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from api_v1.database.built_once import built_once
from api_v1.database.paged_query import PagedQuery
from api_v1.database.platform import DbSession, RegressionTest, RegressionTestOutput, Sample, TestResult, TestResultFile
from api_v1.files.bucket import CONTENT_SECONDS
from api_v1.files.deadline import Deadline
from api_v1.files.storage import DEGRADED, LOGS, MEDIA, MISSING, OK, RESULTS, Found, Storage, media_type
from api_v1.paging import Page
from api_v1.runs import results
from api_v1.runs.results import RunHeader
from api_v1.verdicts import run_sets
from api_v1.verdicts.narrowing import RUN_ID
from api_v1.verdicts.rule import Phase, stored_file

BUILD_LOG, BINARY, MEDIA_INFO = "build_log", "binary", "media_info"
EXPECTED, ACTUAL, DIFF = "expected_output", "sample_output", "diff"

#: The file name of the tested binary, which newer platforms keep, by the run's platform.
_BINARIES = {"linux": "ccextractor", "windows": "ccextractorwinfull.exe"}


#: The types that belong to an output of a test, which this API serves by itself.
_OF_OUTPUTS = (EXPECTED, ACTUAL, DIFF)


@dataclass(frozen=True)
class Artifact:
    """A file of a run, or a diff, which has no file.

    Attributes:
        regression_id, output_id: the output of an expected, actual or diff artifact; None for others.
        signed_url: a URL of the bucket; None for a log, which is not redacted there, and for what cannot be signed.
        served: whether an operation of this API answers with the content.
    """

    artifact_id: str
    run_id: int
    sample_id: int | None
    type: str
    filename: str
    content_type: str
    size_bytes: int | None
    storage_status: str
    verified: bool
    regression_id: int | None
    output_id: int | None
    signed_url: str | None
    served: bool


def page(
    session: DbSession, storage: Storage, run_id: int, *, limit: int, offset: int = 0, type: str | None = None
) -> Page[Artifact]:
    """Return a page of a run's artifacts: log, binary, media reports, then the files of its tests.

    Files that the run should have are listed whether or not a store has them (`storage_status`, `verified`). Optional
    files (see `_left_out`) are left out if every store answers that it lacks them. The files of a page are looked up
    together.

    Raises:
        NotFound: there is no such run.
    """
    header = results.header(session, run_id)
    until = Deadline(CONTENT_SECONDS)
    matches = _matches(header.platform, type is not None, _left_out(storage, run_id, header, until))
    rows, total = matches.fetch(session, limit, offset, {"run_id": run_id, "type": type})
    names = {name for row in rows for name in _names(row, run_id)}
    found = {file.name: file for file in storage.find_all(sorted(names), until)}
    in_set = _in_set(session, run_id, header.phase, {row.regression_id for row in rows if row.type in _OF_OUTPUTS})
    return Page([_artifact(storage, run_id, row, found, in_set) for row in rows], total)


@built_once
def _matches(host: str, of_type: bool, left_out: frozenset[str]) -> PagedQuery:
    entries = _entries(host, left_out).subquery("entries").c
    query = sa.select(*entries).order_by(entries.rank, entries.sample_id, entries.regression_id, entries.output_id)
    return PagedQuery(query.where(entries.type == sa.bindparam("type")) if of_type else query)


def _in_set(session: DbSession, run_id: int, phase: Phase, regression_ids: Collection[int]) -> set[int]:
    """Return the given tests that are in the run's set; others can have files too, but no operation serves them."""
    if not regression_ids:
        return set()
    tests = run_sets.tests(phase).subquery("tests").c
    chosen = sa.select(tests.regression_id).where(tests.regression_id.in_(regression_ids), tests.sample_id.is_not(None))
    return set(session.scalars(chosen, {"run_id": run_id}))


def _left_out(storage: Storage, run_id: int, header: RunHeader, until: Deadline) -> frozenset[str]:
    """Return the optional types whose one file is in no store.

    Only newer platforms keep the binary. The log arrives when the run ends, and of a canceled run it may never.
    """
    optional = [BINARY] if header.phase is Phase.COMPLETED else [BINARY, BUILD_LOG]
    files = storage.find_all([_PATHS[kind](_BINARIES[header.platform], run_id) for kind in optional], until)
    return frozenset(kind for kind, file in zip(optional, files, strict=True) if file.status == MISSING)


def _entries(host: str, left_out: frozenset[str]) -> sa.CompoundSelect[Any]:
    """Select the possible files of a run: type, rank, sample_id, regression_id, output_id, name, other_name.

    `is_tests_own` is 1 if the output is one of the test, as the operations for outputs require.
    """
    zero = sa.literal(0)
    file, output, test = TestResultFile, RegressionTestOutput, RegressionTest

    def columns(
        kind: str, rank: int, *, ids: Sequence[Any], name: Any, other: Any = None, is_tests_own: Any = zero
    ) -> Sequence[Any]:
        labels = ("sample_id", "regression_id", "output_id")
        return (
            sa.literal(kind).label("type"),
            sa.literal(rank).label("rank"),
            *(column.label(label) for column, label in zip(ids, labels, strict=True)),
            name.label("name"),
            (sa.literal("") if other is None else other).label("other_name"),
            is_tests_own.label("is_tests_own"),
        )

    def of_files(kind: str, rank: int, name: Any, other: Any = None) -> sa.Select[Any]:
        ids = (test.sample_id, file.regression_test_id, file.regression_test_output_id)
        is_tests_own = sa.case((output.regression_id == test.id, 1), else_=0)
        return (
            sa.select(*columns(kind, rank, ids=ids, name=name, other=other, is_tests_own=is_tests_own))
            .select_from(file)
            .join(test, test.id == file.regression_test_id)
            .join(output, output.id == file.regression_test_output_id)
            .where(file.test_id == RUN_ID, stored_file())
        )

    nobody = (zero, zero, zero)
    run_log = sa.cast(RUN_ID, sa.String)
    samples = (
        sa.select(test.sample_id)
        .join(TestResult, TestResult.regression_test_id == test.id)
        .where(TestResult.test_id == RUN_ID)
    )
    expected, actual = file.expected + output.correct_extension, file.got + output.correct_extension
    of_run = {
        BUILD_LOG: sa.select(*columns(BUILD_LOG, 0, ids=nobody, name=run_log)),
        BINARY: sa.select(*columns(BINARY, 1, ids=nobody, name=sa.literal(_BINARIES[host]))),
    }
    return sa.union_all(
        *(query for kind, query in of_run.items() if kind not in left_out),
        sa.select(*columns(MEDIA_INFO, 2, ids=(Sample.id, zero, zero), name=Sample.sha)).where(
            Sample.id.in_(samples), Sample.sha != ""
        ),
        of_files(EXPECTED, 3, expected).where(file.expected != ""),
        of_files(ACTUAL, 4, actual).where(file.got.is_not(None), file.got != ""),
        of_files(DIFF, 5, expected, actual).where(file.got.is_not(None), file.got != "", file.expected != ""),
    )


#: By type, the object name of an entry, given the entry's name and the run.
_PATHS: dict[str, Callable[[str, int], str]] = {
    BUILD_LOG: lambda _name, run: f"{LOGS}/{run}.txt",
    BINARY: lambda name, run: f"test_artifacts/{run}/{name}",
    MEDIA_INFO: lambda name, _run: f"{MEDIA}/{name}.xml",
    EXPECTED: lambda name, _run: f"{RESULTS}/{name}",
    ACTUAL: lambda name, _run: f"{RESULTS}/{name}",
    DIFF: lambda name, _run: f"{RESULTS}/{name}",
}


def _names(row: Any, run_id: int) -> list[str]:
    """The object names of an entry: two for a diff."""
    names = [row.name] + ([row.other_name] if row.type == DIFF else [])
    return [_PATHS[row.type](name, run_id) for name in names]


def _artifact(storage: Storage, run_id: int, row: Any, found: dict[str, Found], in_set: Collection[int]) -> Artifact:
    files = [found[name] for name in _names(row, run_id)]
    is_diff, is_output = row.type == DIFF, row.type in _OF_OUTPUTS
    filename = f"{row.regression_id}-{row.output_id}.json" if is_diff else files[0].name.rpartition("/")[2]
    is_there = all(file.source for file in files)
    identity = "-".join(str(part) for part in (run_id, row.type, row.sample_id, row.regression_id, row.output_id))
    return Artifact(
        artifact_id=identity,
        run_id=run_id,
        sample_id=row.sample_id or None,
        type=row.type,
        filename=filename,
        content_type=media_type(filename),
        size_bytes=None if is_diff else files[0].size,
        storage_status=_worst(files),
        verified=all(file.verified for file in files),
        regression_id=row.regression_id if is_output else None,
        output_id=row.output_id if is_output else None,
        signed_url=None if is_diff or row.type == BUILD_LOG else storage.signed_url(files[0], filename),
        served=is_there
        and (row.type == BUILD_LOG or (is_output and bool(row.is_tests_own) and row.regression_id in in_set)),
    )


def _worst(files: Sequence[Found]) -> str:
    statuses = {file.status for file in files}
    return next(status for status in (MISSING, DEGRADED, OK) if status in statuses)
