"""`GET /metrics`: off without a token, then in Prometheus' text format."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import database
import pytest
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families

import api_v1
from api_v1.database.platform import Base
from api_v1.database.session import db
from tests.support.client import Api
from tests.support.fixtures import platform_config
from tests.support.paths import ROOT

TOKEN = "a-token-of-a-monitor"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}

MakeApp = Callable[..., Flask]


@pytest.fixture
def make_app(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeApp]:
    """Makes an app, in a process that has no engine yet."""
    monkeypatch.setattr(database, "db_engine", None)

    def make(**changed: Any) -> Flask:
        app = api_v1.create_app(platform_config("sqlite:///:memory:", repository) | changed)
        with app.app_context():
            Base.metadata.create_all(db.engine)
        return app

    yield make
    if database.db_engine is not None:
        database.db_engine.dispose()


def samples(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    """The values by name and labels."""
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scraped(app: Flask) -> dict[tuple[str, tuple[str, ...]], float]:
    response = app.test_client().get("/metrics", headers=HEADERS)
    assert response.status_code == 200
    assert response.content_type.startswith("text/plain; version=")
    return samples(response.text)


def test_there_are_no_metrics_without_a_token(make_app: MakeApp) -> None:
    assert make_app().test_client().get("/metrics", headers=HEADERS).status_code == 404


@pytest.mark.parametrize("header", [None, "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer ü"])
def test_metrics_need_their_token(make_app: MakeApp, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    response = make_app(API_V1_METRICS_TOKEN=TOKEN).test_client().get("/metrics", headers=headers)
    assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")


def test_requests_are_counted_by_operation_and_status(make_app: MakeApp) -> None:
    app = make_app(API_V1_METRICS_TOKEN=TOKEN)
    before = scraped(app)
    for _ in range(3):
        Api(app).get("/system/health", query={"probe": "live"})
    Api(app).get("/runs")
    Api(app).get("/nothing")
    after = scraped(app)
    grown = {key: value - before.get(key, 0) for key, value in after.items() if key[0] == "api_v1_requests_total"}
    assert {key[1]: value for key, value in grown.items() if value} == {
        ("get_health", "200"): 3,
        ("list_runs", "401"): 1,
        ("none", "404"): 1,
    }
    count = ("api_v1_request_duration_seconds_count", ("get_health",))
    assert after[count] - before.get(count, 0) == 3
    assert after["api_v1_bucket_circuit", ()] == 0


def test_metrics_show_how_far_the_stored_states_are(make_app: MakeApp) -> None:
    app = make_app(API_V1_METRICS_TOKEN=TOKEN)
    assert scraped(app)["api_v1_refresh_backlog_runs", ()] == 0
    with app.app_context():
        db.drop_all()
    found = {name for name, _ in scraped(app)}
    assert "api_v1_requests_total" in found or "api_v1_bucket_circuit" in found
    assert "api_v1_refresh_backlog_runs" not in found


def test_a_taken_url_is_refused(make_app: MakeApp, repository: Path) -> None:
    app = Flask("host")
    app.config.from_mapping(platform_config("sqlite:///:memory:", repository) | {"API_V1_METRICS_TOKEN": TOKEN})
    app.add_url_rule("/metrics", "theirs", lambda: "")
    with pytest.raises(api_v1.StartupError, match="API_V1_METRICS_TOKEN"):
        api_v1.init_app(app)


@pytest.mark.parametrize("token", ["short", "sixteen letters and a blank", "ümlaut-in-a-token"])
def test_a_token_that_is_guessed_or_fits_in_no_header_is_refused(make_app: MakeApp, token: str) -> None:
    with pytest.raises(api_v1.settings.SettingError) as refused:
        make_app(API_V1_METRICS_TOKEN=token)
    assert token not in str(refused.value)


PROCESS = """
import sys
import api_v1
from tests.support.fixtures import platform_config
from pathlib import Path
config = platform_config("sqlite:///:memory:", Path(sys.argv[1])) | {"API_V1_METRICS_TOKEN": sys.argv[2]}
app = api_v1.create_app(config)
app.test_client().get("/api/v1/system/health?probe=live")
print(app.test_client().get("/metrics", headers={"Authorization": f"Bearer {sys.argv[2]}"}).text)
"""


def test_several_processes_count_together(repository: Path, tmp_path: Path) -> None:
    environ = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "ignore", "-c", PROCESS, str(repository), TOKEN]
    for processes in (1, 2):
        done = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, check=True)
        assert samples(done.stdout)["api_v1_requests_total", ("get_health", "200")] == processes
