"""The access log has one line of JSON for each request, and no secret."""

from __future__ import annotations

import json
import logging

import pytest

from tests.support.client import Api
from tests.support.request_path import SECRET


def test_the_log_has_one_line_of_json_for_each_request_and_no_secret(
    each_api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    headers = each_api.bearer()
    secret = headers["Authorization"].removeprefix("Bearer ")
    body = {"email": f"{SECRET}@example.org", "password": SECRET, "token_name": SECRET}
    answers = [
        each_api.get("/runs", query={"branch": SECRET}, headers=headers | {"X-Request-ID": "abc"}),
        each_api.get("/runs/5", headers=headers),
        each_api.get(f"/runs/{SECRET}", headers=headers),
        each_api.get(f"/{SECRET}", query={"password": SECRET, "token": secret}),
        each_api.post("/auth/tokens", json=body),
        each_api.get("/runs", headers={"Authorization": f"Bearer {secret[:-1]}"}),
    ]
    lines = [json.loads(record.message) for record in caplog.records if record.name == "api_v1.access"]
    prefix = each_api.prefix
    assert [(line["request_id"], line["status"]) for line in lines] == [
        (answer.headers["X-Request-ID"], answer.status_code) for answer in answers
    ]
    assert [(line["method"], line["route"], line["path_ids"]) for line in lines] == [
        ("GET", f"{prefix}/runs", []),
        ("GET", f"{prefix}/runs/<run_id>", ["5"]),
        ("GET", f"{prefix}/runs/<run_id>", []),
        ("GET", f"{prefix}/<api_v1_any:rest>", []),
        ("POST", f"{prefix}/auth/tokens", []),
        ("GET", f"{prefix}/runs", []),
    ]
    assert [("user_id" in line, "token_id" in line) for line in lines] == [(True, True)] * 3 + [(False, False)] * 3
    assert all(line["ms"] >= 0 and line["remote_addr"] == "127.0.0.1" for line in lines)
    assert SECRET not in caplog.text
    assert secret[:-1] not in caplog.text
