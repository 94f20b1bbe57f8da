"""api_v1: the CCExtractor sample platform's runs, results and logs as a strict, fast, JSON-only REST API.

Mounted into the platform, two lines at the end of its `run.py`:

    import api_v1
    api_v1.init_app(app)

Or in a process of its own, over the same models and the same database: `gunicorn 'api_v1:create_app()'`.

A request passes the hooks of `web` (identify, rate limit, authorize) and reaches an operation declared in `routes`. The
operation validates its input by `schemas`, calls a domain folder such as `runs` or `findings`, and shapes the result by
`schemas`. `web` turns every exception into a JSON error. See docs/architecture.md.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from api_v1 import cli, routes, settings
from api_v1.database.locked_tables import LockedTables
from api_v1.database.platform import (
    guard_table_checks,
    hide_tables_from_autogenerate,
    load_config,
    platform_engine,
    prepare_bucket,
)
from api_v1.database.session import db
from api_v1.files.storage import Storage
from api_v1.settings import Settings
from api_v1.verdicts import audit, observer, refresher
from api_v1.web import absolute_urls, handlers, health, hooks, json_logs, metrics, openapi, waiting
from api_v1.web.operation import REGISTRY
from api_v1.web.rate_limits import Limits

__all__ = ["StartupError", "create_app", "init_app", "observe", "routes"]

NAME = "api_v1"
DEFAULT_PREFIX = "/api/v1"


class StartupError(RuntimeError):
    """The API cannot be mounted; the message says what to do."""


@dataclass(frozen=True)
class Api:
    """The API's objects of one app, in `app.extensions["api_v1"]`."""

    prefix: str
    settings: Settings
    limits: Limits
    health: health.Checks
    storage: Storage
    tables: LockedTables
    document: dict[str, Any]
    auditor: audit.Auditor
    waiters: waiting.Waiters
    gzip: bool


def init_app(app: Flask, url_prefix: str = DEFAULT_PREFIX) -> None:
    """Mount the API into an app that has the platform's configuration.

    Args:
        app: the platform's app, after its own blueprints are registered.
        url_prefix: the common prefix of the API's URLs.

    Raises:
        SettingError: an `API_V1_*` setting is wrong or unknown.
        StartupError: the configuration names no database, or the blueprint's name or URLs are taken.
    """
    _mount(app, url_prefix)
    hooks.warn_of_threads(app)


def _mount(app: Flask, url_prefix: str, *, standalone: bool = False) -> None:
    """Give an app the API; see `init_app`."""
    json_logs.to_stderr(logging.getLogger(NAME))
    checked = settings.load(app.config)
    _refuse_collisions(app, url_prefix, with_metrics=bool(checked.metrics_token))

    _connect(app, checked)
    observer.observe()
    refresher.set_budget(checked.refresh_budget_ms)

    blueprint = Blueprint(NAME, __name__, url_prefix=url_prefix)
    hooks.install(app, blueprint)
    for operation in REGISTRY.values():
        view = operation.view()
        for rule in operation.rules:
            blueprint.add_url_rule(
                rule,
                operation.endpoint,
                view,
                methods=[operation.method],
                provide_automatic_options=False,
                # Otherwise `/api//v1/runs`, a URL of the platform, would redirect to the API.
                merge_slashes=False,
            )
    app.register_blueprint(blueprint)
    hooks.add_fallback_route(app, blueprint, url_prefix)
    absolute_urls.install(app, url_prefix)

    limits = Limits(app, blueprint, checked)
    prepare_bucket(app.config)
    storage = Storage(app.config)
    with app.app_context():
        checks = health.checks(db.engine, app.config, storage, limits.limiter.storage, limits.shared)
        tables = LockedTables(db.engine)
        auditor = audit.Auditor(db.engine, checked.audit_ms)
        metrics.install(app, db.engine, checked.metrics_token)
    document = openapi.document(checked, url_prefix)
    waiters = waiting.Waiters(checked.waiters)
    gzip = checked.gzip == "always" or (checked.gzip == "standalone" and standalone)
    app.extensions[NAME] = Api(url_prefix, checked, limits, checks, storage, tables, document, auditor, waiters, gzip)
    app.cli.add_command(cli.group)


def observe(app: Flask) -> None:
    """Record the changes that a process of the platform makes, without mounting the API: the API runs standalone.

    Args:
        app: the platform's app; its settings are checked as by `init_app`.

    Raises:
        SettingError: an `API_V1_*` setting is wrong or unknown.
        StartupError: the configuration names no database.
    """
    json_logs.to_stderr(logging.getLogger(NAME))
    _guard_platform(app, settings.load(app.config))
    observer.observe()
    hooks.warn_of_threads(app)


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Make an app of the API alone, without the platform's pages and its per-request set-up.

    Args:
        config: the platform's configuration; by default its `config.py`.

    Raises:
        ImportError: there is no `config.py`, or no platform on the import path.
        SettingError, StartupError: see `init_app`.
    """
    app = Flask(NAME, static_folder=None)
    app.config.from_mapping(load_config() if config is None else config)
    # The platform's SERVER_NAME is for its pages; the API serves every host name that reaches the process.
    app.config["SERVER_NAME"] = None
    app.config["APPLICATION_ROOT"] = app.config.get("APPLICATION_ROOT") or "/"
    _mount(app, DEFAULT_PREFIX, standalone=True)
    handlers.register_outside(app, DEFAULT_PREFIX)
    hops = app.extensions[NAME].settings.trusted_proxies
    if hops:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops)  # type: ignore[method-assign]
    return app


def _refuse_collisions(app: Flask, url_prefix: str, *, with_metrics: bool) -> None:
    """Raise when the blueprint's name or one of its URLs is taken."""
    if NAME in app.blueprints:
        raise StartupError(
            f"A blueprint named {NAME!r} is registered already; call api_v1.init_app once, and rename the other one."
        )
    if not url_prefix.startswith("/") or url_prefix.endswith("/"):
        raise StartupError(f"url_prefix is {url_prefix!r}; it must begin with a slash and not end with one.")
    for rule in app.url_map.iter_rules():
        if with_metrics and rule.rule == metrics.PATH:
            raise StartupError(
                f"The URL {rule.rule} is taken by the endpoint {rule.endpoint!r}; remove that registration, or leave "
                "API_V1_METRICS_TOKEN unset."
            )
        if rule.rule == url_prefix or rule.rule.startswith(url_prefix + "/"):
            raise StartupError(
                f"The URL {rule.rule} is taken by the endpoint {rule.endpoint!r}; remove that registration, or mount "
                "api_v1 elsewhere with url_prefix."
            )


def _connect(app: Flask, checked: Settings) -> None:
    """Connect Flask-SQLAlchemy to the platform's database."""
    _guard_platform(app, checked)
    app.config.setdefault("SQLALCHEMY_DATABASE_URI", app.config["DATABASE_URI"])
    db.init_app(app)


def _guard_platform(app: Flask, checked: Settings) -> None:
    """Prevent the platform's requests from creating the API's tables, and its `flask db migrate` from seeing them."""
    if not app.config.get("DATABASE_URI"):
        raise StartupError("DATABASE_URI is not set; the platform's configuration names its database there.")
    guard_table_checks(platform_engine(app.config["DATABASE_URI"]), remember=checked.remember_tables)
    if "migrate" in app.extensions:
        hide_tables_from_autogenerate(app.extensions["migrate"].configure_args)
