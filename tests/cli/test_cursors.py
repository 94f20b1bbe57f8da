"""`flask api-v1 cursors`: rotate the key."""

from __future__ import annotations

import sqlalchemy as sa
from flask import Flask

from api_v1.access import keys
from api_v1.access.keys import Purpose
from api_v1.database.session import db
from api_v1.database.tables import AuditRecord, Secret
from tests.support.cli import Cli


def test_rotate_replaces_the_key_and_tells_nobody(app: Flask, cli: Cli) -> None:
    with app.app_context():
        before = keys.get(db.session, Purpose.CURSORS)
    result = cli("cursors", "rotate")
    with app.app_context():
        after = db.session.scalars(sa.select(Secret.value).where(Secret.purpose == "cursors")).one()
        record = db.session.execute(sa.select(*AuditRecord.__table__.c)).one()
    assert bytes.fromhex(after) != before
    assert (record.actor, record.action, record.target) == ("command-line", "cursors.rotate", "key:cursors")
    assert after not in result.output + str(record) and before.hex() not in result.output + str(record)


def test_rotate_makes_the_first_key_too(app: Flask, cli: Cli) -> None:
    cli("cursors", "rotate")
    with app.app_context():
        assert db.session.scalars(sa.select(Secret.purpose)).all() == ["cursors"]
