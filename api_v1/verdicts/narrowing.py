"""Conditions that narrow a query of the rule to some runs or tests, and the parameters that such queries share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

#: Given the column of the run's id and that of the test's id, return the condition to narrow a query by.
Narrow = Callable[[Any, Any], sa.ColumnElement[bool]]

#: The one run, the runs, and the regression tests that a statement is about.
RUN_ID = sa.bindparam("run_id", type_=sa.Integer)
RUN_IDS = sa.bindparam("ids", expanding=True, type_=sa.Integer)
REGRESSION_IDS = sa.bindparam("regression_ids", expanding=True, type_=sa.Integer)


def to_run(run_id: Any, _regression_id: Any = None) -> sa.ColumnElement[bool]:
    """Narrow a query to the run that the parameter `run_id` names."""
    narrowed: sa.ColumnElement[bool] = run_id == RUN_ID
    return narrowed


def to_runs(run_id: Any, _regression_id: Any = None) -> sa.ColumnElement[bool]:
    """Narrow a query to the runs that the parameter `ids` names."""
    narrowed: sa.ColumnElement[bool] = run_id.in_(RUN_IDS)
    return narrowed
