"""Without logging of the host, every line on stderr is a JSON object."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from api_v1.web import json_logs
from api_v1.web.json_logs import Entry


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """A logger that nobody configured."""
    made = logging.Logger("api_v1.of_a_test")
    yield made
    for handler in made.handlers:
        handler.close()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_every_line_is_a_json_object(logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    json_logs.to_stderr(logger)
    logger.warning('a "quoted" %s', "line\nbreak")
    logger.info(Entry(route="/runs", status=200))
    try:
        raise ValueError("told")
    except ValueError:
        logger.exception("failed")
    text, fields, error = lines(capsys)
    assert (text["level"], text["logger"], text["message"]) == ("WARNING", "api_v1.of_a_test", 'a "quoted" line\nbreak')
    assert str(text["time"]).endswith(("Z", "+00:00"))
    assert {name: fields[name] for name in ("route", "status", "level")} == {
        "route": "/runs",
        "status": 200,
        "level": "INFO",
    }
    assert "message" not in fields
    assert "ValueError: told" in str(error["exc_info"])


def test_the_logging_of_the_host_is_left_alone(logger: logging.Logger) -> None:
    theirs = logging.NullHandler()
    logger.addHandler(theirs)
    json_logs.to_stderr(logger)
    assert logger.handlers == [theirs]


def test_an_entry_is_json_in_any_format() -> None:
    assert json.loads(str(Entry(status=200, at=ValueError("no JSON")))) == {"status": 200, "at": "no JSON"}
