"""The index: what is at the prefix itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import api_v1
from tests.support.client import Api
from tests.support.fixtures import on_one_database, platform_config


@on_one_database
@pytest.mark.parametrize("path", ["", "/"])
def test_the_index_leads_to_what_is_public(each_api: Api, path: str) -> None:
    response: Any = each_api.get(path)
    root = f"http://localhost{each_api.prefix}"
    info = each_api.document["info"]
    assert (response.status_code, response.json) == (
        200,
        {
            "name": info["title"],
            "version": info["version"],
            "links": {
                "self": f"{root}/",
                "document": f"{root}/openapi.json",
                "health": f"{root}/system/health",
                "log_in": f"{root}/auth/tokens",
            },
            "begin_with": f"{root}/pull-requests/{{number}}",
        },
    )
    for name in ("self", "document", "health"):
        followed = each_api.get(response.json["links"][name].removeprefix(root))
        assert followed.status_code == 200, name
    assert each_api.head(path).headers["ETag"] == response.headers["ETag"]
    assert each_api.post(path).headers["Allow"] == "GET, HEAD, OPTIONS"


@on_one_database
def test_the_index_and_the_document_lead_to_the_documentation(app: object, database_uri: str, repository: Path) -> None:
    docs = "https://ci.example.org/docs"
    api = Api(api_v1.create_app(platform_config(database_uri, repository, API_V1_DOCS_URL=docs)))
    index: Any = api.get("/").json
    assert index["links"]["docs"] == docs
    assert api.document["externalDocs"] == {"url": docs}


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/", 404), ("GET", "/runs", 404), ("POST", "/api/v2/runs", 404)]
)
def test_the_standalone_app_answers_in_json_outside_of_the_prefix(
    api: Api, method: str, path: str, status: int
) -> None:
    response = api.app.test_client(use_cookies=False).open(path, method=method)
    assert (response.status_code, response.mimetype) == (status, "application/json")
    body = response.get_json()
    assert (body["code"], body["details"]) == ("not_found", {})
    assert "/api/v1" in body["message"]
