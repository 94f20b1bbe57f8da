"""Media samples and the definitions of the regression tests that use them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from api_v1 import sql
from api_v1.errors import NotFound
from api_v1.paging import Page
from api_v1.platform import (
    DbSession,
    RegressionTest,
    RegressionTestOutput,
    Tag,
    Upload,
    sample_tags,
)
from api_v1.platform import Sample as SampleRow
from api_v1.services import media_info, storage
from api_v1.services.results import Labels, in_category, tagged
from api_v1.services.storage import Storage


@dataclass(frozen=True)
class Sample:
    """A media file that regression tests run on; `media_info` only where one sample was asked for."""

    sample_id: int
    sha256: str
    name: str
    extension: str
    tags: Sequence[str]
    notes: str | None
    media_info: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class BaselineReference:
    """A reference to today's baseline file of an output: an `OutputFile` of which no content is sent."""

    sample_id: int
    regression_id: int
    output_id: int
    filename: str
    storage_status: str
    size_bytes: int | None
    run_id: int | None = None
    encoding: str = "base64"
    content: str = ""
    truncated: bool = True
    next_byte_offset: int = 0

    @property
    def content_type(self) -> str:
        """The media type, by the extension."""
        return storage.media_type(self.filename)


@dataclass(frozen=True)
class Definition:
    """What a regression test runs and expects (contract schema `RegressionTest`)."""

    regression_id: int
    sample_id: int
    command: str
    active: bool
    category: str | None
    tags: Sequence[str]
    expected_outputs: Sequence[BaselineReference]


def page(session: DbSession, *, limit: int, offset: int = 0, **filters: Any) -> Page:
    """Return a page of the samples, by id.

    Args:
        filters: status (active: some active test uses the sample), name (a part), tag, sha256, extension; absent ones
            do not filter.
    """
    matches = sa.select(*_COLUMNS).where(*_conditions(filters))
    rows = session.execute(matches.order_by(SampleRow.id).limit(limit).offset(offset)).all()
    total = session.scalar(sa.select(sa.func.count()).select_from(matches.subquery()))
    tags = _tags(session, [row.id for row in rows])
    return Page([_sample(row, tags) for row in rows], total or 0)


def get(session: DbSession, stores: Storage, sample_id: int) -> Sample:
    """Return a sample with what is known of its media streams.

    Args:
        stores: where its report is.

    Raises:
        NotFound: there is no such sample.
    """
    row = session.execute(sa.select(*_COLUMNS).where(SampleRow.id == sample_id)).first()
    if row is None:
        raise NotFound("sample", sample_id)
    return _sample(row, _tags(session, [sample_id]), media_info.read(stores, row.sha))


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


def _conditions(filters: Mapping[str, Any]) -> list[sa.ColumnElement[bool]]:
    used = sa.exists().where(RegressionTest.sample_id == SampleRow.id, RegressionTest.active.is_(True))
    rules: dict[str, Callable[[Any], sa.ColumnElement[bool]]] = {
        "status": lambda value: used if value == "active" else ~used,
        "name": lambda value: sql.contains(SampleRow.original_name, value),
        "tag": lambda value: SampleRow.id.in_(tagged(value)),
        "sha256": lambda value: sql.equally(SampleRow.sha, value),
        "extension": lambda value: sql.equally(SampleRow.extension, value),
    }
    return [rules[name](value) for name, value in filters.items()]


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


def _sample(row: Any, tags: Mapping[int, list[str]], information: Mapping[str, Any] | None = None) -> Sample:
    return Sample(
        sample_id=row.id,
        sha256=row.sha,
        name=row.original_name,
        extension=row.extension,
        tags=tags.get(row.id, []),
        notes=row.notes or None,
        media_info=information,
    )


def definitions(session: DbSession, stores: Storage, *, limit: int, offset: int = 0, **filters: Any) -> Page:
    """Return a page of the regression tests, by id.

    Args:
        stores: where the baselines are.
        filters: active, category, tag, sample_id; absent ones do not filter.
    """
    test = RegressionTest
    rules: dict[str, Callable[[Any], sa.ColumnElement[bool]]] = {
        "active": lambda value: sa.func.coalesce(test.active, sa.false()) == value,
        "category": lambda value: test.id.in_(in_category(value)),
        "tag": lambda value: test.sample_id.in_(tagged(value)),
        "sample_id": lambda value: test.sample_id == value,
    }
    matches = sa.select(test.id, test.sample_id, test.command, test.active)
    matches = matches.where(*(rules[name](value) for name, value in filters.items()))
    rows = session.execute(matches.order_by(test.id).limit(limit).offset(offset)).all()
    total = session.scalar(sa.select(sa.func.count()).select_from(matches.subquery()))
    labels = Labels.load(session, [row.id for row in rows])
    baselines = _baselines(session, stores, {row.id: row.sample_id for row in rows})
    found = [
        Definition(
            regression_id=row.id,
            sample_id=row.sample_id,
            command=row.command,
            active=bool(row.active),
            category=labels.category(row.id),
            tags=labels.tags(row.id),
            expected_outputs=baselines[row.id],
        )
        for row in rows
    ]
    return Page(found, total or 0)


def _baselines(session: DbSession, stores: Storage, sample_of: Mapping[int, int]) -> dict[int, list[BaselineReference]]:
    """Return the baselines of regression tests that have one, by test."""
    output = RegressionTestOutput
    rows = session.execute(
        sa.select(output.id, output.regression_id, output.correct, output.correct_extension)
        .where(output.regression_id.in_(list(sample_of)), output.correct.is_not(None))
        .order_by(output.id)
    ).all()
    names = [row.correct + row.correct_extension for row in rows]
    files = stores.find_all([f"{storage.RESULTS}/{name}" for name in names])
    found: dict[int, list[BaselineReference]] = {regression_id: [] for regression_id in sample_of}
    for row, name, file in zip(rows, names, files, strict=True):
        found[row.regression_id].append(
            BaselineReference(
                sample_id=sample_of[row.regression_id],
                regression_id=row.regression_id,
                output_id=row.id,
                filename=name,
                storage_status=file.status,
                size_bytes=file.size,
            )
        )
    return found
