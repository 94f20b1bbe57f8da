"""Settings and mounting: what start-up accepts, and the message for what it refuses."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import database
import pytest
from flask import Blueprint, Flask
from flask_limiter import Limiter

import api_v1
from api_v1 import settings
from api_v1.access.policy import PUBLIC
from api_v1.settings import SettingError, Settings
from api_v1.web import operation as declarations
from api_v1.web.operation import REGISTRY, ResponseSpec
from tests.support.client import Api
from tests.support.fixtures import platform_config

MEMORY = "sqlite:///:memory:"


@pytest.fixture
def config(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The platform's configuration, for a process that has no engine yet."""
    monkeypatch.setattr(database, "db_engine", None)
    yield platform_config(MEMORY, repository)
    if database.db_engine is not None:
        database.db_engine.dispose()


@pytest.fixture
def host(config: dict[str, Any]) -> Flask:
    """An app that has the platform's configuration and nothing else."""
    app = Flask("host")
    app.config.from_mapping(config)
    return app


# --- Settings --------------------------------------------------------------------------------


def test_defaults_are_the_contracts() -> None:
    assert dataclasses.asdict(settings.load({}, {})).items() >= {
        "limit_reads": "120 per minute",
        "limit_writes": "30 per minute",
        "limit_anonymous": "60 per minute",
        "limit_tokens": "5 per 15 minutes",
        "limit_storage": "memory://",
    }.items()  # fmt: skip


@pytest.mark.parametrize(
    ("config", "environ", "expected"),
    [
        ({"API_V1_LIMIT_READS": "7 per hour"}, {}, "7 per hour"),
        ({}, {"API_V1_LIMIT_READS": "8 per hour"}, "8 per hour"),
        ({"API_V1_LIMIT_READS": "7 per hour"}, {"API_V1_LIMIT_READS": "8 per hour"}, "7 per hour"),
        ({"API_V1_LIMIT_READS": "7 per hour"}, {"API_V1_LIMIT_READS": "nonsense"}, "7 per hour"),
        ({"LIMIT_READS": "9 per hour", "api_v1_limit_reads": "9 per hour"}, {"PATH": "x"}, "120 per minute"),
    ],
)
def test_the_config_wins_over_the_environment(config: dict[str, Any], environ: dict[str, str], expected: str) -> None:
    assert settings.load(config, environ).limit_reads == expected


def test_the_real_environment_is_read(host: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    del host.config["API_V1_LIMIT_READS"]
    monkeypatch.setenv("API_V1_LIMIT_READS", "9 per hour")
    api_v1.init_app(host)
    assert host.extensions["api_v1"].settings.limit_reads == "9 per hour"


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("REMEMBER_TABLES", "true", True),
        ("REMEMBER_TABLES", " False ", False),
        ("REMEMBER_TABLES", "0", False),
        ("REMEMBER_TABLES", False, False),
        ("TRUSTED_PROXIES", "2", 2),
        ("TRUSTED_PROXIES", 0, 0),
        ("LIMIT_TOKENS", "5/15minutes", "5/15minutes"),
        ("LIMIT_STORAGE", "redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("PUBLIC_URL", "", ""),
        ("PUBLIC_URL", "https://ci.example.org/api/v1/", "https://ci.example.org/api/v1"),
        ("PUBLIC_URL", "http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_a_valid_value_is_read(name: str, value: object, read: object) -> None:
    found = getattr(settings.load({settings.PREFIX + name: value}, {}), name.lower())
    assert (found, type(found)) == (read, type(read))


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("LIMIT_READS", "many", "set it to a rate limit such as '120 per minute', or leave it out"),
        ("LIMIT_READS", "", "set it to a rate limit"),
        ("LIMIT_READS", None, "set it to a rate limit"),
        ("LIMIT_READS", 120, "set it to a rate limit"),
        ("LIMIT_TOKENS", "5 per fortnight", "set it to a rate limit such as '5 per 15 minutes'"),
        ("LIMIT_STORAGE", "localhost:6379", "set it to a storage URL such as 'redis://localhost:6379/0'"),
        ("REMEMBER_TABLES", "perhaps", "set it to true or false"),
        ("REMEMBER_TABLES", 2, "set it to true or false"),
        ("TRUSTED_PROXIES", "-1", "set it to a whole number of proxies"),
        ("TRUSTED_PROXIES", "one", "set it to a whole number of proxies"),
        ("TRUSTED_PROXIES", 1.5, "set it to a whole number of proxies"),
        *(
            ("PUBLIC_URL", url, "set it to a URL such as 'https://sampleplatform.ccextractor.org/api/v1'")
            for url in (
                *("ci.example.org", "/api/v1", "//ci.example.org", "ftp://ci.example.org", "https://", "https:///api"),
                *(
                    "https://a..b",
                    "https://user@ci.example.org",
                    "https://ci.example.org:port",
                    "https://ci example.org",
                ),
                *("https://ci.example.org?a=b", "https://ci.example.org/#a", "https://ci.example.org/a b", None),
                *("https://ci.example.org/api/v1?", "https://ci.example.org//api", " https://ci.example.org\n"),
            )
        ),
    ],
)
def test_an_invalid_value_is_refused_with_a_remedy(name: str, value: object, remedy: str) -> None:
    with pytest.raises(SettingError, match=f"^API_V1_{name} cannot be .*{re.escape(remedy)}"):
        settings.load({settings.PREFIX + name: value}, {})


@pytest.mark.parametrize("where", ["config", "environ"])
@pytest.mark.parametrize(
    ("name", "hint"),
    [("API_V1_LIMIT_READ", "did you mean API_V1_LIMIT_READS?"), ("API_V1_QQQQQQQQQQQQ", "known are API_V1_")],
)
def test_an_unknown_name_is_refused_with_a_hint(name: str, hint: str, where: str) -> None:
    given: dict[str, dict[str, str]] = {"config": {}, "environ": {}} | {where: {name: "1"}}
    with pytest.raises(SettingError, match=f"^{name} is no setting of api_v1; {re.escape(hint)}"):
        settings.load(**given)


def test_a_secret_is_shown_nowhere() -> None:
    url = "redis://someone:hunter2@localhost/0"
    assert "hunter2" not in repr(settings.load({"API_V1_LIMIT_STORAGE": url}, {}))
    with pytest.raises(SettingError, match=r"^API_V1_LIMIT_STORAGE cannot be its value") as refusal:
        settings.load({"API_V1_LIMIT_STORAGE": url.replace("redis", "reddis")}, {})
    assert "hunter2" not in str(refusal.value)


def test_every_setting_says_what_it_means_and_accepts_its_default() -> None:
    for item in dataclasses.fields(Settings):
        assert item.metadata["meaning"].endswith(".") and item.metadata["accepts"]
        assert item.metadata["check"](item.default) == item.default


# --- Mounting --------------------------------------------------------------------------------


def test_another_prefix_works(host: Flask) -> None:
    api_v1.init_app(host, "/deep/inside")
    api = Api(host)
    assert api.get("/openapi.json").status_code == 200
    assert api.get("/runs").status_code == 401
    assert api.delete("/runs").status_code == 405
    assert api.get("").json == api.get("/").json
    for nothing in ("//", "/nothing/at/all", "//runs"):
        assert api.get(nothing).status_code == 404
    assert host.test_client().get("/api/v1/runs").mimetype == "text/html"


@pytest.mark.parametrize("prefix", ["api/v1", "/api/v1/", "/", ""])
def test_a_prefix_is_a_path_without_a_slash_at_its_end(prefix: str, host: Flask) -> None:
    with pytest.raises(api_v1.StartupError, match="must begin with a slash and not end with one"):
        api_v1.init_app(host, prefix)


def test_mounting_twice_is_refused(host: Flask) -> None:
    api_v1.init_app(host)
    with pytest.raises(api_v1.StartupError, match=r"call api_v1\.init_app once"):
        api_v1.init_app(host, "/api/v2")


def test_a_blueprint_of_our_name_is_refused(host: Flask) -> None:
    host.register_blueprint(Blueprint("api_v1", "other"))
    with pytest.raises(api_v1.StartupError, match=r"A blueprint named 'api_v1' is registered already.*rename"):
        api_v1.init_app(host)


@pytest.mark.parametrize("taken", ["/api/v1", "/api/v1/", "/api/v1/runs", "/api/v1/<path:rest>"])
def test_a_url_in_use_is_refused(taken: str, host: Flask) -> None:
    host.add_url_rule(taken, "theirs", lambda **_: "")
    with pytest.raises(api_v1.StartupError, match=f"^The URL {taken} is taken by the endpoint 'theirs'; remove"):
        api_v1.init_app(host)


@pytest.mark.parametrize("free", ["/api", "/api/v10", "/api/v1x", "/<path:any>"])
def test_a_url_beside_the_prefix_is_allowed(free: str, host: Flask) -> None:
    host.add_url_rule(free, "theirs", lambda **_: "theirs")
    api_v1.init_app(host)
    assert host.test_client().get(free.replace("<path:any>", "x")).text == "theirs"
    assert Api(host).get("/nothing/there").status_code == 404


def test_a_refused_start_leaves_the_app_as_it_was(host: Flask) -> None:
    host.config["API_V1_NONSENSE"] = 1
    with pytest.raises(SettingError):
        api_v1.init_app(host)
    del host.config["API_V1_NONSENSE"]
    api_v1.init_app(host)
    assert Api(host).get("/runs").status_code == 401


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Declares an operation for the length of one test."""

    def make(name: str, **more: Any) -> None:
        def run() -> None:
            """Do nothing."""

        run.__name__ = name
        declarations.operation("GET", f"/{name}", tag="System", responses={204: ResponseSpec("Nothing")}, **more)(run)

    registered = dict(REGISTRY)
    yield make
    REGISTRY.clear()
    REGISTRY.update(registered)


def test_an_operation_cannot_be_declared_without_its_access(declare: Callable[..., None]) -> None:
    with pytest.raises(TypeError, match="required keyword-only argument: 'access'"):
        declare("forgotten")
    assert "forgotten" not in REGISTRY


def test_two_operations_of_one_name_are_refused(declare: Callable[..., None]) -> None:
    declare("twice", access=PUBLIC)
    with pytest.raises(RuntimeError, match="Two operations are named twice; rename"):
        declare("twice", access=PUBLIC)


# --- An app of its own -----------------------------------------------------------------------


def test_a_missing_database_uri_is_reported(config: dict[str, Any]) -> None:
    del config["DATABASE_URI"]
    with pytest.raises(api_v1.StartupError, match=r"^DATABASE_URI is not set; the platform's configuration names"):
        api_v1.create_app(config)


def test_a_missing_config_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "config", None)
    with pytest.raises(ImportError, match=r"^api_v1.create_app\(\) reads the platform's config.py, and found none"):
        api_v1.create_app()


def test_the_platforms_config_module_is_read(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    module = type(sys)("config")
    vars(module).update(config, API_V1_LIMIT_READS="11 per hour", SERVER_NAME="elsewhere.example.org")
    monkeypatch.setitem(sys.modules, "config", module)
    app = api_v1.create_app()
    assert app.extensions["api_v1"].settings.limit_reads == "11 per hour"
    assert Api(app).get("/runs", headers={"Host": "anything.example.org"}).status_code == 401


@pytest.mark.parametrize(("hops", "seen"), [(0, "127.0.0.1"), (1, "203.0.113.9"), (2, "198.51.100.7")])
def test_the_address_is_taken_from_as_many_proxies_as_are_trusted(
    hops: int, seen: str, config: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "api_v1.access")
    app = api_v1.create_app(config | {"API_V1_TRUSTED_PROXIES": hops})
    Api(app).get("/nothing", headers={"X-Forwarded-For": "192.0.2.1, 198.51.100.7, 203.0.113.9"})
    assert f'"remote_addr": "{seen}"' in caplog.text


# --- Threads ---------------------------------------------------------------------------------


def test_threads_beside_the_platforms_pages_are_warned_of_once(host: Flask, caplog: pytest.LogCaptureFixture) -> None:
    host.add_url_rule("/theirs", "theirs", lambda: "theirs")
    api_v1.init_app(host)
    pages = host.test_client()
    for _ in range(3):
        assert pages.get("/theirs", environ_overrides={"wsgi.multithread": True}).status_code == 200
    (warning,) = [record for record in caplog.records if "several threads" in record.message]
    assert (warning.levelname, warning.name) == ("WARNING", "api_v1.web.hooks")
    assert "gunicorn without --threads" in warning.message


@pytest.mark.parametrize("mount", [api_v1.init_app, api_v1.observe])
def test_one_thread_is_not_warned_of(
    host: Flask, mount: Callable[[Flask], None], caplog: pytest.LogCaptureFixture
) -> None:
    host.add_url_rule("/theirs", "theirs", lambda: "theirs")
    mount(host)
    assert host.test_client().get("/theirs").status_code == 200
    assert "threads" not in caplog.text


def test_threads_beside_observed_pages_are_warned_of(host: Flask, caplog: pytest.LogCaptureFixture) -> None:
    host.add_url_rule("/theirs", "theirs", lambda: "theirs")
    api_v1.observe(host)
    host.test_client().get("/theirs", environ_overrides={"wsgi.multithread": True})
    assert "several threads" in caplog.text


def test_threads_without_the_platforms_pages_are_fine(config: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    api = Api(api_v1.create_app(config))
    assert api.get("/openapi.json", environ_overrides={"wsgi.multithread": True}).status_code == 200
    assert "threads" not in caplog.text


# --- The platform's own limiter --------------------------------------------------------------


def test_the_platforms_rate_limits_stay_its_own(host: Flask) -> None:
    theirs = {
        "RATELIMIT_ENABLED": True,
        "RATELIMIT_DEFAULT": "1 per hour",
        "RATELIMIT_APPLICATION": "2 per hour",
        "RATELIMIT_STORAGE_URI": "memory://",
        "RATELIMIT_HEADERS_ENABLED": True,
        "RATELIMIT_HEADER_LIMIT": "X-Theirs",
    }
    host.config.update(theirs)
    host.add_url_rule("/theirs", "theirs", lambda: "theirs")
    api_v1.init_app(host)
    assert {name: value for name, value in host.config.items() if name.startswith("RATELIMIT_")} == theirs

    api, pages = Api(host), host.test_client()
    for _ in range(4):
        response = api.get("/runs")
        assert response.status_code == 401
        assert response.headers["X-RateLimit-Limit"] == "100000"
        assert pages.get("/theirs").status_code == 200, "our limiter limits a page of the platform"


def test_a_disabled_limiter_of_the_platform_does_not_disable_ours(host: Flask) -> None:
    host.config.update(RATELIMIT_ENABLED=False, API_V1_LIMIT_ANONYMOUS="1 per hour")
    api_v1.init_app(host)
    assert [Api(host).get("/runs").status_code for _ in range(2)] == [401, 429]


def test_the_platforms_limiter_still_limits_its_pages(host: Flask) -> None:
    host.config.update(RATELIMIT_DEFAULT="1 per hour", RATELIMIT_STORAGE_URI="memory://")
    host.add_url_rule("/theirs", "theirs", lambda: "theirs")
    Limiter(key_func=lambda: "everybody", app=host)
    api_v1.init_app(host)
    pages = host.test_client()
    assert [pages.get("/theirs").status_code for _ in range(2)] == [200, 429]
    assert [Api(host).get("/runs").status_code for _ in range(3)] == [401] * 3
