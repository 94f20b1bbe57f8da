"""The labels of regression tests: their categories (a test may have several or none) and the tags of their samples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from api_v1.database import sql
from api_v1.database.built_once import built_once
from api_v1.database.platform import (
    Category,
    DbSession,
    RegressionTest,
    Tag,
    regression_test_category,
    sample_tags,
)
from api_v1.verdicts.narrowing import REGRESSION_IDS


def tagged(tag: Any) -> sa.Select[Any]:
    """Select the ids of the samples that have a tag, whatever its case."""
    links = sample_tags.c
    return sa.select(links.sample_id).join(Tag, Tag.id == links.tag_id).where(sql.equals_ignoring_case(Tag.name, tag))


def in_category(name: Any) -> sa.Select[Any]:
    """Select the ids of the regression tests of a category, whatever its case."""
    links = regression_test_category.c
    return (
        sa.select(links.regression_id)
        .join(Category, Category.id == links.category_id)
        .where(sql.equals_ignoring_case(Category.name, name), links.regression_id.is_not(None))
    )


def active_tests(session: DbSession, kind: str, name: str) -> Sequence[int]:
    """Return the ids of the active regression tests with a label of a kind, category or tag, in ascending order."""
    test = RegressionTest
    has_label = test.id.in_(in_category(name)) if kind == "category" else test.sample_id.in_(tagged(name))
    return session.scalars(sa.select(test.id).where(test.active.is_(True), has_label).order_by(test.id)).all()


def of_active_tests(session: DbSession, kind: str, most: int) -> Sequence[str]:
    """Return the labels of a kind, category or tag, that active regression tests have: the first ones by name."""
    test, links = RegressionTest, regression_test_category
    if kind == "category":
        query: Any = sa.select(Category.name).join(links, links.c.category_id == Category.id)
        query = query.join(test, test.id == links.c.regression_id)
    else:
        query = sa.select(Tag.name).join(sample_tags, sample_tags.c.tag_id == Tag.id)
        query = query.join(test, test.sample_id == sample_tags.c.sample_id)
    name = query.selected_columns.name
    query = query.where(test.active.is_(True), name.is_not(None)).distinct()
    names: Sequence[str] = session.scalars(query.order_by(name).limit(most)).all()
    return names


def _categories() -> sa.Select[Any]:
    """Select the categories of regression tests: regression_id, kind, name."""
    links = regression_test_category.c
    return (
        sa.select(links.regression_id, sa.literal("category").label("kind"), Category.name)
        .join(Category, Category.id == links.category_id)
        .where(links.regression_id.in_(REGRESSION_IDS))
    )


def _tags() -> sa.Select[Any]:
    """Select the tags of regression tests: regression_id, kind, name."""
    test = RegressionTest
    return (
        sa.select(test.id, sa.literal("tag"), Tag.name)
        .join(sample_tags, sample_tags.c.sample_id == test.sample_id)
        .join(Tag, Tag.id == sample_tags.c.tag_id)
        .where(test.id.in_(REGRESSION_IDS))
    )


@built_once
def _labels(with_tags: bool) -> sa.Select[Any] | sa.CompoundSelect[Any]:
    return sa.union_all(_categories(), _tags()) if with_tags else _categories()


@dataclass(frozen=True)
class Labels:
    """The categories and tags of some regression tests."""

    categories: Mapping[int, list[str]]
    sample_tags: Mapping[int, list[str]]

    @classmethod
    def load(cls, session: DbSession, regression_ids: Collection[int], *, with_tags: bool = True) -> Labels:
        """Read them, in one statement."""
        found: dict[str, defaultdict[int, set[str]]] = {
            "category": defaultdict(set),
            "tag": defaultdict(set),
        }
        for regression_id, kind, name in session.execute(_labels(with_tags), {"regression_ids": list(regression_ids)}):
            if name is not None:
                found[kind][regression_id].add(name)
        return cls(*({key: sorted(names) for key, names in kind.items()} for kind in found.values()))

    def category(self, regression_id: int) -> str | None:
        """Return the first of a test's categories by name, None without any."""
        return next(iter(self.categories.get(regression_id, ())), None)

    def tags(self, regression_id: int) -> list[str]:
        """Return the tags of a test's sample."""
        return self.sample_tags.get(regression_id, [])
