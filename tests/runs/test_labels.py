"""A test in several categories is shown in one of them: the first by name, the same in all answers."""

from __future__ import annotations

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

from api_v1.database.platform import Category
from api_v1.findings import error_items
from api_v1.runs import results
from tests.support.factories import START
from tests.support.oracle import RegressionTest, Result, Run, Scenario

RUN_ID = 101


def test_results_and_error_groups_show_the_same_category(app: Flask, engine: sa.Engine) -> None:
    test = RegressionTest(21, 11, True, 0, (81, 82), ())
    run = Run(RUN_ID, "linux", (("completed", START),), START, (21,), {21: Result(1, 0, 1200)}, (), 0)
    with Session(engine) as session:
        Scenario((test,), (run,)).insert(session)
        # By the collation of MySQL "a" comes first, by code points "B".
        for category, name in ((81, "a"), (82, "B")):
            session.execute(sa.update(Category).where(Category.id == category).values(name=name))
        (result,) = results.page(session, RUN_ID, limit=1).data
        (group,) = error_items.summary(session, RUN_ID, group_by="category", limit=2).data
        session.rollback()
    assert (result.category, group.key) == ("B", "B")
