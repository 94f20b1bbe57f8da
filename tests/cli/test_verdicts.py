"""`flask api-v1 verdicts`."""

from __future__ import annotations

import pytest
from flask import Flask

from api_v1.database.session import db
from api_v1.verdicts import stored
from tests.support import factories
from tests.support.cli import Cli, stored_states


@pytest.mark.parametrize("option", [[], ["--all"]])
def test_rebuild_leaves_nothing_to_derive(app: Flask, cli: Cli, option: list[str]) -> None:
    with app.app_context():
        factories.run(db.session)
        factories.run(db.session, "preparation", "testing", "completed")
        db.session.commit()
    cli("verdicts", "rebuild", *option)
    with app.app_context():
        assert [status for _, status in stored_states()] == ["queued", "error"]
        assert not stored.pending(db.session)
