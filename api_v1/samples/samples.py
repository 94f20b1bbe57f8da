"""Media samples and the definitions of the regression tests that use them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from api_v1.database import sql
from api_v1.database.built_once import built_once
from api_v1.database.platform import (
    DbSession,
    OutputType,
    RegressionTest,
    RegressionTestOutput,
    RegressionTestOutputFiles,
    Tag,
    Upload,
    sample_tags,
)
from api_v1.database.platform import Sample as SampleRow
from api_v1.errors import NotFound, StorageUnavailable
from api_v1.files.storage import RESULTS, Storage, media_type
from api_v1.hashes import stored_hash
from api_v1.paging import Page, paginate
from api_v1.runs.labels import Labels, in_category, tagged
from api_v1.samples import media_info
from api_v1.verdicts.narrowing import REGRESSION_IDS

#: Where CCExtractor can write to.
OUTPUT_TYPES = tuple(OutputType.values())


@dataclass(frozen=True)
class Sample:
    """A media file that regression tests run on.

    Attributes:
        media_info: None in lists, or if there is no report.
        media_info_verified: whether all stores were asked for the report; None in lists.
    """

    sample_id: int
    sha256: str | None
    name: str
    extension: str
    tags: Sequence[str]
    notes: str | None
    media_info: Mapping[str, Any] | None = None
    media_info_verified: bool | None = None


@dataclass(frozen=True)
class BaselineReference:
    """A reference to the current baseline file of an output: an `OutputFile` without content."""

    sample_id: int | None
    regression_id: int
    output_id: int
    filename: str
    storage_status: str
    verified: bool
    size_bytes: int | None
    run_id: int | None = None
    encoding: str = "base64"
    content: str = ""
    truncated: bool = True
    next_byte_offset: int = 0

    @property
    def content_type(self) -> str:
        """The media type, by the extension."""
        return media_type(self.filename)


@dataclass(frozen=True)
class Definition:
    """What a regression test runs and expects (contract schema `RegressionTest`)."""

    regression_id: int
    sample_id: int | None
    command: str
    active: bool
    category: str | None
    tags: Sequence[str]
    expected_outputs: Sequence[BaselineReference]


@dataclass(frozen=True)
class ExpectedOutput:
    """An output of a regression test.

    Attributes:
        ignored: whether it need not be produced.
        baseline_hash: that of the approved baseline; None where none of 64 hex digits is stored.
        filename_suffix: what is appended to the name of the output file, before the extension.
        accepted_hashes: those of the accepted variants.
    """

    output_id: int
    ignored: bool
    baseline_hash: str | None
    extension: str
    filename_suffix: str
    accepted_hashes: Sequence[str]


@dataclass(frozen=True)
class DefinitionDetails(Definition):
    """What a regression test runs and expects, with all outputs: also those that are ignored or have no baseline."""

    output_type: str | None
    expected_exit_code: int | None
    outputs: Sequence[ExpectedOutput]


def page(session: DbSession, *, limit: int, offset: int = 0, **filters: Any) -> Page[Sample]:
    """Return a page of the samples, by id.

    Args:
        filters: status (active: some active test uses the sample), name (a part), tag, sha256, extension; absent ones
            do not filter.
    """
    query, number = _listing(frozenset(filters), filters.get("status") == "active")
    rows = session.execute(query, {**filters, "limit": limit, "offset": offset}).all()
    total = session.scalar(number, filters)
    tags = _tags(session, [row.id for row in rows])
    return Page([_sample(row, tags) for row in rows], total or 0)


def get(session: DbSession, storage: Storage, sample_id: int) -> Sample:
    """Return a sample with its MediaInfo report.

    Args:
        storage: where its report is.

    Raises:
        NotFound: there is no such sample.
    """
    row = session.execute(_ONE, {"sample_id": sample_id}).first()
    if row is None:
        raise NotFound("sample", sample_id)
    sample = _sample(row, _tags(session, [sample_id]))
    try:
        report = media_info.read(storage, row.sha)
    except StorageUnavailable:  # the rest of the answer does not need the report
        return replace(sample, media_info_verified=False)
    return replace(sample, media_info=report, media_info_verified=True)


_NOTES = (
    sa.select(Upload.notes)
    .where(Upload.sample_id == SampleRow.id)
    .order_by(Upload.id)
    .limit(1)
    .correlate(SampleRow)
    .scalar_subquery()
    .label("notes")
)
_COLUMNS = (SampleRow.id, SampleRow.sha, SampleRow.original_name, SampleRow.extension, _NOTES)


_ONE = sa.select(*_COLUMNS).where(SampleRow.id == sa.bindparam("sample_id"))


@built_once
def _listing(filters: frozenset[str], active: bool) -> tuple[sa.Select[Any], sa.Select[Any]]:
    """Build the statements for a page of samples and for their number; the filters' values are parameters."""
    used = sa.exists().where(RegressionTest.sample_id == SampleRow.id, RegressionTest.active.is_(True))
    rules: dict[str, Callable[[str], sa.ColumnElement[bool]]] = {
        "status": lambda _name: used if active else ~used,
        "name": lambda name: sql.contains(SampleRow.original_name, sql.parameter(name)),
        "tag": lambda name: SampleRow.id.in_(tagged(sql.parameter(name))),
        "sha256": lambda name: sql.equals_ignoring_case(SampleRow.sha, sql.parameter(name)),
        "extension": lambda name: sql.equals_ignoring_case(SampleRow.extension, sql.parameter(name)),
    }
    conditions = [rules[name](name) for name in filters]
    return paginate(sa.select(*_COLUMNS).where(*conditions).order_by(SampleRow.id)), (
        sa.select(sa.func.count()).select_from(SampleRow).where(*conditions)
    )


_TAGS = (
    sa.select(sample_tags.c.sample_id, Tag.name)
    .join(Tag, Tag.id == sample_tags.c.tag_id)
    .where(sample_tags.c.sample_id.in_(sa.bindparam("sample_ids", expanding=True)))
    .order_by(Tag.name)
)


def _tags(session: DbSession, sample_ids: Sequence[int]) -> dict[int, list[str]]:
    rows = session.execute(_TAGS, {"sample_ids": sample_ids})
    tags: defaultdict[int, list[str]] = defaultdict(list)
    for sample_id, name in rows:
        tags[sample_id].append(name)
    return tags


def _sample(row: Any, tags: Mapping[int, list[str]]) -> Sample:
    return Sample(
        sample_id=row.id,
        sha256=stored_hash(row.sha),
        name=row.original_name,
        extension=row.extension,
        tags=tags.get(row.id, []),
        notes=row.notes or None,
    )


def definitions(
    session: DbSession, storage: Storage, *, limit: int, offset: int = 0, **filters: Any
) -> Page[Definition]:
    """Return a page of the regression tests, by id.

    Args:
        storage: where the baselines are.
        filters: active, category, tag, sample_id, command (a part), output_type; absent ones do not filter.
    """
    if "output_type" in filters:
        filters["output_type"] = OutputType.from_string(filters["output_type"])
    query, number = _definitions(frozenset(filters))
    rows = session.execute(query, {**filters, "limit": limit, "offset": offset}).all()
    total = session.scalar(number, filters)
    return Page([Definition(**values) for values in _described(session, storage, rows)], total or 0)


def definition(session: DbSession, storage: Storage, regression_id: int) -> DefinitionDetails:
    """Return a regression test with all of its outputs.

    Args:
        storage: where the baselines are.

    Raises:
        NotFound: there is no such test.
    """
    row = session.execute(_DEFINITION, {"regression_id": regression_id}).first()
    if row is None:
        raise NotFound("regression_test", regression_id)
    [values] = _described(session, storage, [row])
    return DefinitionDetails(
        **values,
        output_type=row.output_type if row.output_type in OUTPUT_TYPES else None,
        expected_exit_code=row.expected_rc,
        outputs=_outputs(session, regression_id),
    )


_DEFINITION = sa.select(
    RegressionTest.id,
    RegressionTest.sample_id,
    RegressionTest.command,
    RegressionTest.active,
    RegressionTest.expected_rc,
    # As it is stored: a type of another version of the platform is no error of the whole answer.
    sa.type_coerce(RegressionTest.output_type, sa.String).label("output_type"),
).where(RegressionTest.id == sa.bindparam("regression_id"))


def _described(session: DbSession, storage: Storage, rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Return the fields of a `Definition` for each of some tests, in two statements."""
    labels = Labels.load(session, [row.id for row in rows])
    baselines = _baselines(session, storage, {row.id: row.sample_id for row in rows})
    return [
        {
            "regression_id": row.id,
            "sample_id": row.sample_id,
            "command": row.command,
            "active": bool(row.active),
            "category": labels.category(row.id),
            "tags": labels.tags(row.id),
            "expected_outputs": baselines[row.id],
        }
        for row in rows
    ]


_OUTPUTS = (
    sa.select(
        RegressionTestOutput.id,
        RegressionTestOutput.ignore,
        RegressionTestOutput.correct,
        RegressionTestOutput.correct_extension,
        RegressionTestOutput.expected_filename,
        RegressionTestOutputFiles.file_hashes,
    )
    .outerjoin(
        RegressionTestOutputFiles, RegressionTestOutputFiles.regression_test_output_id == RegressionTestOutput.id
    )
    .where(RegressionTestOutput.regression_id == sa.bindparam("regression_id"))
    .order_by(RegressionTestOutput.id, RegressionTestOutputFiles.id)
)


def _outputs(session: DbSession, regression_id: int) -> list[ExpectedOutput]:
    """Return the outputs of a test, each with the accepted variants that are stored as hashes."""
    variants: defaultdict[int, list[str]] = defaultdict(list)
    rows = {}
    for row in session.execute(_OUTPUTS, {"regression_id": regression_id}):
        rows[row.id] = row
        accepted = stored_hash(row.file_hashes)
        if accepted is not None and accepted not in variants[row.id]:
            variants[row.id].append(accepted)
    return [
        ExpectedOutput(
            output_id=row.id,
            ignored=row.ignore is not False,
            baseline_hash=stored_hash(row.correct),
            extension=row.correct_extension,
            filename_suffix=row.expected_filename or "",
            accepted_hashes=variants[row.id],
        )
        for row in rows.values()
    ]


@built_once
def _definitions(filters: frozenset[str]) -> tuple[sa.Select[Any], sa.Select[Any]]:
    """Build the statements for a page of tests and for their number; the filters' values are parameters."""
    test = RegressionTest
    rules: dict[str, Callable[[str], sa.ColumnElement[bool]]] = {
        "active": lambda name: sa.func.coalesce(test.active, sa.false()) == sa.bindparam(name, type_=sa.Boolean),
        "category": lambda name: test.id.in_(in_category(sql.parameter(name))),
        "tag": lambda name: test.sample_id.in_(tagged(sql.parameter(name))),
        "sample_id": lambda name: test.sample_id == sa.bindparam(name),
        "command": lambda name: sql.contains(test.command, sql.parameter(name)),
        "output_type": lambda name: test.output_type == sa.bindparam(name),
    }
    conditions = [rules[name](name) for name in filters]
    query = sa.select(test.id, test.sample_id, test.command, test.active).where(*conditions).order_by(test.id)
    return paginate(query), sa.select(sa.func.count()).select_from(test).where(*conditions)


_BASELINES = (
    sa.select(
        RegressionTestOutput.id,
        RegressionTestOutput.regression_id,
        RegressionTestOutput.correct,
        RegressionTestOutput.correct_extension,
    )
    .where(RegressionTestOutput.regression_id.in_(REGRESSION_IDS), RegressionTestOutput.correct.is_not(None))
    .order_by(RegressionTestOutput.id)
)


def _baselines(
    session: DbSession, storage: Storage, sample_of: Mapping[int, int | None]
) -> dict[int, list[BaselineReference]]:
    """Return the baselines of regression tests, by test; outputs without a baseline are left out."""
    rows = session.execute(_BASELINES, {"regression_ids": list(sample_of)}).all()
    names = [row.correct + row.correct_extension for row in rows]
    files = storage.find_all([f"{RESULTS}/{name}" for name in names])
    found: dict[int, list[BaselineReference]] = {regression_id: [] for regression_id in sample_of}
    for row, name, file in zip(rows, names, files, strict=True):
        found[row.regression_id].append(
            BaselineReference(
                sample_id=sample_of[row.regression_id],
                regression_id=row.regression_id,
                output_id=row.id,
                filename=name,
                storage_status=file.status,
                verified=file.verified,
                size_bytes=file.size,
            )
        )
    return found
