"""The embedded platform's tables, columns and enums are the recorded ones of the real platform."""

import copy
import json
import os
import pickle
from importlib import import_module
from typing import Any

import database
import exceptions
import mod_regression.models as regression
import mod_sample.models as sample
import mod_test.models as runs
import mod_upload.models as upload
import pytest
from sqlalchemy import Column, DateTime, Table, UniqueConstraint
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import Mapper, RelationshipProperty

from tests.support.paths import DATA
from tests.support.recorded import OWN_PREFIX, SCHEMA

pytestmark = pytest.mark.skipif(bool(os.environ.get("SAMPLE_PLATFORM")), reason="the real platform is in use")
ENUMS: dict[str, dict[str, Any]] = json.loads((DATA / "platform_enums.json").read_text())


# --- The recorded schema --------------------------------------------------------------------------


def class_path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__name__}"


def describe_column(column: Column[Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "name": column.name,
        "nullable": column.nullable,
        "primary_key": column.primary_key,
        "type": column.type.compile(dialect=mysql.dialect()),
    }
    if column.table.autoincrement_column is column:
        facts["autoincrement"] = True
    if column.default is not None:
        facts["default"] = column.default.arg  # type: ignore[attr-defined]
    if isinstance(column.type, database.DeclEnumType):
        facts["enum"] = class_path(column.type.enum)
    if column.foreign_keys:
        facts["foreign_keys"] = [
            {
                "column": key.column.name,
                "ondelete": key.ondelete,
                "onupdate": key.onupdate,
                "table": key.column.table.name,
            }
            for key in column.foreign_keys
        ]
    return facts


def describe_relationship(relationship: RelationshipProperty[Any]) -> dict[str, Any]:
    order_by = relationship.order_by
    return {
        "name": relationship.key,
        "target": relationship.mapper.class_.__name__,
        "direction": relationship.direction.name,
        "uselist": relationship.uselist,
        "back_populates": relationship.back_populates,
        "cascade": ", ".join(sorted(relationship.cascade)),
        "lazy": relationship.lazy,
        "order_by": [str(column) for column in order_by] if order_by else None,
        "passive_deletes": relationship.passive_deletes,
        "secondary": None if relationship.secondary is None else str(relationship.secondary),
    }


def describe_table(table: Table, mapper: Mapper[Any] | None) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "columns": [describe_column(column) for column in table.columns],
        "primary_key": [column.name for column in table.primary_key],
        "unique": sorted(
            [column.name for column in constraint.columns]
            for constraint in table.constraints
            if isinstance(constraint, UniqueConstraint)
        ),
        "indexes": [
            {
                "name": index.name,
                "columns": [column.name for column in index.columns],
                "unique": index.unique,
            }
            for index in table.indexes
        ],
        "mysql_engine": table.kwargs.get("mysql_engine"),
        "model": None,
    }
    if mapper is not None:
        facts["model"] = class_path(mapper.class_)
        facts["relationships"] = sorted(
            (describe_relationship(relationship) for relationship in mapper.relationships),
            key=lambda relationship: relationship["name"],
        )
    return facts


def test_tables_are_the_recorded_ones() -> None:
    names = {name for name in database.Base.metadata.tables if not name.startswith(OWN_PREFIX)}
    assert names == set(SCHEMA)


@pytest.mark.parametrize("name", SCHEMA)
def test_table_is_as_recorded(name: str) -> None:
    mappers = {str(mapper.local_table): mapper for mapper in database.Base.registry.mappers}
    assert describe_table(database.Base.metadata.tables[name], mappers.get(name)) == SCHEMA[name]


def test_association_tables_have_names() -> None:
    assert regression.regressionTestLinkTable.name == "regression_test_category"
    assert sample.sample_tag_association.name == "sample_tag_association"


def test_progress_time_is_declared_with_time_zone() -> None:
    column_type = runs.TestProgress.__table__.c.timestamp.type
    assert isinstance(column_type, DateTime) and column_type.timezone


# --- Enums ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ENUMS)
def test_enum_is_as_recorded(path: str) -> None:
    module, name = path.rsplit(".", 1)
    enum = getattr(import_module(module), name)
    members = [{"name": symbol.name, "value": symbol.value, "description": symbol.description} for symbol in enum]
    columns = [
        str(column)
        for table in database.Base.metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, database.DeclEnumType) and column.type.enum is enum
    ]
    assert members == ENUMS[path]["members"]
    assert sorted(columns) == ENUMS[path]["columns"]


def test_a_symbol_equals_only_itself() -> None:
    symbol = runs.TestPlatform.linux
    assert symbol is runs.TestPlatform.from_string("linux")
    assert symbol is pickle.loads(pickle.dumps(symbol)) is copy.deepcopy(symbol)
    assert symbol != upload.Platform.linux
    assert symbol != "linux"
    assert repr(symbol) == "<linux>"
    assert tuple(symbol) == ("linux", "Linux")
    assert list(runs.TestPlatform.values()) == ["linux", "windows"]


def test_from_string_takes_the_value_not_the_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert runs.TestType.from_string("pr") is runs.TestType.pull_request
    with pytest.raises(exceptions.EnumParsingException):
        runs.TestType.from_string("pull_request")
    assert "pull_request" in capsys.readouterr().out
    assert not issubclass(exceptions.EnumParsingException, ValueError)


def test_each_stage_has_its_progress_step() -> None:
    assert [runs.TestStatus.progress_step(status) for status in runs.TestStatus.stages()] == [
        0,
        1,
        2,
    ]
    assert runs.TestStatus.progress_step(runs.TestStatus.canceled) == -1
