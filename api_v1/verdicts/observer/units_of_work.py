"""Collect the changes of the flushes of a session."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import PassiveFlag, Session, attributes

from api_v1.database.platform import (
    Category,
    RegressionTest,
    RegressionTestOutput,
    RegressionTestOutputFiles,
    Sample,
    Test,
    regression_test_category,
)
from api_v1.verdicts.change_log import ChangeKey, Kind
from api_v1.verdicts.observer import collected

#: Models whose foreign key may be set by a relationship.
_MOVABLE: tuple[Any, ...] = (*collected.RUN_KEYS, RegressionTestOutput, RegressionTestOutputFiles)

#: Models of whose rows the ids may be known only after the flush.
_NAMED_LATER: tuple[Any, ...] = (Test, RegressionTest, *_MOVABLE)


@collected.guarded
def before_flush(session: Session, _context: Any, _instances: Any) -> None:
    """Collect what a flush is about to change, while old values and the rows to be deleted are still there."""
    keys: list[ChangeKey] = []
    for instance in (*session.new, *session.deleted):
        keys += collected.keys_or_everything(_of_instance(session, instance, None))
    for instance in session.dirty:
        changed = _changed_attributes(instance)
        if changed:
            keys += collected.keys_or_everything(_of_instance(session, instance, changed))
    new_runs = [instance for instance in session.new if isinstance(instance, Test)]
    if keys or any(isinstance(instance, _NAMED_LATER) for instance in session.new):
        found = collected.of_session(session)
        found.changes.update(keys)
        found.new_runs += new_runs


@collected.guarded
def after_flush(session: Session, _context: Any) -> None:
    """Collect the ids that the flush gave, to new rows and to rows that a relationship moved."""
    for instance in session.dirty:
        if isinstance(instance, _MOVABLE) and (changed := _changed_attributes(instance)):
            collected.of_session(session).changes.update(
                collected.keys_or_everything(_of_instance(session, instance, changed))
            )
    found = session.info.get(collected.KEY)
    if found is None:
        return
    for run in found.new_runs:
        run_id = attributes.instance_dict(run).get("id")
        if run_id is not None:
            found.inserted.add(run_id)
            found.changes.add(ChangeKey(Kind.RUN, run_id))
    found.new_runs = []
    for instance in session.new:
        # It has its id only now.
        values = attributes.instance_dict(instance)
        if isinstance(instance, RegressionTest):
            found.changes.add(collected.key(Kind.CATALOGUE, values.get("id")))
        elif (key := _of_run(instance)) is not None:
            found.changes.add(collected.key(Kind.RUN, values.get(key)))
        elif isinstance(instance, RegressionTestOutput):
            found.changes.add(collected.key(Kind.TEST, values.get("regression_id")))
        elif isinstance(instance, RegressionTestOutputFiles):
            found.changes.add(collected.key(Kind.OUTPUT, values.get("regression_test_output_id")))


def _of_run(instance: Any) -> str | None:
    return next((key for model, key in collected.RUN_KEYS.items() if isinstance(instance, model)), None)


def _changed_attributes(instance: Any) -> set[str]:
    """Return the relevant attributes that a modified instance changes, without loading anything."""
    state = sa.inspect(instance)
    relevant = next((names for model, names in collected.RELEVANT.items() if isinstance(instance, model)), None)
    names = state.mapper.attrs.keys() if relevant is None else relevant
    return {name for name in names if name in state.attrs and _history(instance, name).has_changes()}


def _history(instance: Any, name: str) -> Any:
    """Return the history of an attribute, without loading it."""
    return sa.inspect(instance).get_history(name, PassiveFlag.PASSIVE_NO_INITIALIZE)


def _of_instance(session: Session, instance: Any, changed: set[str] | None) -> Iterator[ChangeKey]:
    """Return the keys of what an instance changes.

    Args:
        changed: its changed attributes; None for one that is inserted or deleted.
    """
    if (key := _of_run(instance)) is not None:
        yield from (collected.key(Kind.RUN, run) for run in _values(session, instance, key))
    elif isinstance(instance, Test):
        yield collected.key(Kind.RUN, attributes.instance_dict(instance).get("id"))
    elif isinstance(instance, RegressionTestOutput):
        if changed != {"correct"} or _gains_or_loses_baseline(instance):
            yield from (collected.key(Kind.TEST, test) for test in _values(session, instance, "regression_id"))
        if instance in session.deleted:
            yield from collected.tests_with_files(session, sa.inspect(instance).identity or ())
    elif isinstance(instance, RegressionTestOutputFiles):
        outputs = _values(session, instance, "regression_test_output_id")
        yield from (collected.key(Kind.OUTPUT, output) for output in outputs)
    elif isinstance(instance, RegressionTest):
        test = sa.inspect(instance).identity
        if changed is not None:
            yield collected.key(Kind.CATALOGUE, test and test[0])
        elif instance in session.deleted:
            yield from collected.runs_of_tests(session, [test[0]] if test else [])
    elif isinstance(instance, Category):
        yield from _of_category(session, instance)
    elif isinstance(instance, Sample) and changed is None and instance in session.deleted:
        # The platform's models keep the sample's tests; a database that cascades deletes them.
        sample_id = sa.inspect(instance).identity
        yield from collected.runs_of_samples(session, sample_id or ())


def _values(session: Session, instance: Any, name: str) -> set[Any]:
    """Return the old and the new value of an attribute, and look up an old one that was not loaded."""
    state = sa.inspect(instance)
    history = _history(instance, name)
    values = {value for value in (*history.added, *history.unchanged, *history.deleted) if value is not None}
    known = bool(history.deleted or history.unchanged)
    if state.persistent and not known:
        column = getattr(type(instance), name)
        primary = sa.inspect(type(instance)).primary_key
        where = (key == value for key, value in zip(primary, state.identity, strict=True))
        values |= set(collected.look_up(session, sa.select(column).where(*where)))
    return values


def _gains_or_loses_baseline(output: Any) -> bool:
    """Whether an output is recorded where none was, or the other way round: that alone changes the error list."""
    history = _history(output, "correct")
    old, new = (values[0] if values else None for values in (history.deleted, history.added))
    return not history.deleted or bool(old) != bool(new)


def _of_category(session: Session, category: Any) -> Iterator[ChangeKey]:
    """Return the keys of the tests that are put into or out of a category; deleting it puts out all of them."""
    history = _history(category, "regression_tests")
    for test in (*history.added, *history.deleted):
        identity = sa.inspect(test).identity
        if identity:
            yield ChangeKey(Kind.CATALOGUE, identity[0])
    if category in session.deleted:
        link = regression_test_category.c
        links = sa.select(link.regression_id).where(link.category_id == sa.inspect(category).identity[0])
        yield from (collected.key(Kind.CATALOGUE, test) for test in collected.look_up(session, links))
