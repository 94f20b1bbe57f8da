"""Stands in for the platform's application: `app`, `config`, its hooks, error pages, a few URLs.

Importing it reads the configuration and connects to nothing. Each request opens the database,
checks every table and looks up the user before any view runs, as on the platform.
"""

import logging
import os
import secrets
from importlib import import_module
from typing import Any

from config_parser import parse_config
from database import create_session
from exceptions import IncompleteConfigException
from flask import Flask, abort, g, session
from markupsafe import escape
from mod_auth.models import User
from mod_test.models import Test
from sqlalchemy import select
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix

# Relationships and foreign keys need every table, whether or not a page here uses it.
for name in ("auth", "home", "regression", "sample", "test", "upload", "customized", "ci"):
    import_module(f"mod_{name}.models")

app = Flask(__name__)
app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]

config = parse_config("config")
if not config.get("DATABASE_URI"):
    raise IncompleteConfigException("DATABASE_URI is missing")
app.config.from_mapping(config)
app.config.update(
    DEBUG=os.environ.get("DEBUG", False),
    SQLALCHEMY_DATABASE_URI=config["DATABASE_URI"],
    BUILD_COMMIT="0" * 40,
    SECRET_KEY=secrets.token_bytes(24),
    CSRF_SESSION_KEY=secrets.token_bytes(24),
)

# The stand-in has no bucket; a test that needs one assigns it here.
storage_client_bucket: Any = None

log = logging.getLogger("Platform")


@app.before_request
def prepare_request() -> None:
    """Open the session of the request, and set the other attributes of `g` that views use."""
    g.menu_entries = {}
    g.db = create_session(config["DATABASE_URI"])
    g.mailer = None
    g.version = "0.1"
    g.log = log
    g.github = {
        "ci_key": config["GITHUB_CI_KEY"],
        "bot_token": config["GITHUB_TOKEN"],
        "repository_owner": config["GITHUB_OWNER"],
        "repository": config["GITHUB_REPOSITORY"],
    }
    g.build_commit = app.config["BUILD_COMMIT"]


@app.before_request
def load_user() -> None:
    """Load the logged-in user; without a cookie, query user 0, which does not exist."""
    g.user = g.db.scalar(select(User).where(User.id == session.get("user_id", 0)))


@app.teardown_appcontext
def close_session(error: BaseException | None) -> None:
    """Close the session, and roll back changes that were not committed."""
    if "db" in g:
        g.db.remove()


def page(title: str, text: str) -> str:
    """Write a small HTML page."""
    return f"<!doctype html><title>{escape(title)}</title><h1>{escape(title)}</h1><p>{escape(text)}"


@app.errorhandler(400)
@app.errorhandler(404)
@app.errorhandler(500)
def show_error(error: HTTPException) -> tuple[str, int]:
    """Handle the errors for which the platform has pages; Werkzeug handles all others."""
    return page(error.name, error.description or ""), error.code or 500


@app.errorhandler(403)
def show_forbidden(error: HTTPException) -> tuple[str, int]:
    """Name the refused user. Like the platform's page, this one fails if no user was loaded."""
    name = g.user.name if g.user else "a guest"
    return page(error.name, f"You are {name}."), 403


@app.route("/")
def index() -> str:
    """Show the home page."""
    return page("Sample platform", "A stand-in for development and tests.")


@app.route("/health/live")
def health_live() -> dict[str, str]:
    """Report that the process is alive."""
    return {"status": "alive"}


@app.route("/test/<int:test_id>")
def show_test(test_id: int) -> str:
    """Show a run."""
    test = g.db.get(Test, test_id) or abort(404)
    return page(f"Test {test.id}", f"{test.commit} on {test.platform.description}")
