"""`GET /metrics` in Prometheus' text format, by its official client: off unless `API_V1_METRICS_TOKEN` is set.

It is outside the API's prefix and has a token of its own, because a monitor is no user of the platform. Where
`PROMETHEUS_MULTIPROC_DIR` names a folder, all processes of a machine count together.
"""

from __future__ import annotations

import hmac
import logging
import os
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from flask import Flask, Response, current_app, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from api_v1.database import connections, outages
from api_v1.database.tables import now
from api_v1.files.circuit_breaker import CLOSED, HALF_OPEN, OPEN
from api_v1.verdicts import stored
from api_v1.web import access_log, operation, request_context

logger = logging.getLogger(__name__)

PATH = "/metrics"

#: Seconds that the questions to the database may take.
DATABASE_SECONDS = 1.0

_registry = CollectorRegistry()

REQUESTS = Counter("api_v1_requests", "Requests, by operation and status.", ["operation", "status"], registry=_registry)
DURATIONS = Histogram(
    "api_v1_request_duration_seconds",
    "Time from the start of a request to its response, by operation; without those that waited.",
    ["operation"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
    registry=_registry,
)
CIRCUIT = Gauge(
    "api_v1_bucket_circuit",
    "Circuit breaker of the bucket: 0 closed, 1 half open, 2 open; the worst of all processes.",
    multiprocess_mode="livemax",
    registry=_registry,
)

_CIRCUIT_STATES = {CLOSED: 0, HALF_OPEN: 1, OPEN: 2}

#: The value of the label `operation` for URLs and methods that no operation has.
NO_OPERATION = "none"


def count(response: Response) -> None:
    """Count the current request and its response, if metrics are on."""
    api = current_app.extensions["api_v1"]
    if not api.settings.metrics_token:
        return
    declared = operation.current()
    name = NO_OPERATION if declared is None else declared.endpoint
    REQUESTS.labels(name, str(response.status_code)).inc()
    if not request_context.has_waited():
        DURATIONS.labels(name).observe(access_log.elapsed_ms() / 1000)
    CIRCUIT.set(_CIRCUIT_STATES[api.storage.bucket.circuit.state])


def install(app: Flask, engine: sa.Engine, token: str) -> None:
    """Serve the metrics, if a token is set.

    Args:
        app: the app that has the API.
        engine: that of the API.
        token: the bearer token that a monitor sends.
    """
    if token:
        app.add_url_rule(PATH, "api_v1_metrics", lambda: _serve(engine, token), methods=["GET"])


def _serve(engine: sa.Engine, token: str) -> Response:
    sent = request.headers.get("Authorization", "").partition(" ")
    if sent[0].lower() != "bearer" or not hmac.compare_digest(sent[2].strip().encode(), token.encode()):
        return Response("A bearer token is required.\n", 401, {"WWW-Authenticate": "Bearer"}, mimetype="text/plain")
    registry = CollectorRegistry()
    registry.register(_States(engine))
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        text = generate_latest(registry)
    else:
        text = generate_latest(registry) + generate_latest(_registry)
    return Response(text, headers={"Cache-Control": "no-store"}, content_type=CONTENT_TYPE_LATEST)


class _States(Collector):
    """How far the stored states are; without the database these metrics are absent."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterable[Any]:
        """Return the metrics as they are now."""
        try:
            with connections.limited_time(DATABASE_SECONDS), self._engine.connect() as connection:
                found = stored.pending(connection)
                known, runs = stored.progress(connection, found)
                audited_at = stored.audit_ended_at(connection)
        except outages.DATABASE_ERRORS as error:
            logger.warning("the metrics of the stored states are left out: %s", outages.in_short(error))
            return
        waiting = (runs - known) if found.position != 0 else len(found.runs)
        yield GaugeMetricFamily(
            "api_v1_refresh_backlog_runs", "Runs whose state has to be derived again.", value=waiting
        )
        if audited_at is not None:
            age = (now() - audited_at).total_seconds()
            yield GaugeMetricFamily(
                "api_v1_audit_age_seconds", "Time since the audit last compared every run.", value=age
            )
