"""Edits that break what the contract promises, and edits that do not."""

from __future__ import annotations

from tests.support.contract.edits import (
    ACTUAL,
    CANCEL,
    CREATE,
    LIMIT,
    RUN,
    RUN_BODY,
    RUNS,
    RUNS_200,
    RUNS_SCHEMA,
    SORT,
    Edit,
    add,
    all_of,
    drop,
    move,
    put,
    query,
)

# --- Drift, each kind with what its sentence must name --------------------------------------------


DRIFTS: dict[str, tuple[Edit, tuple[str, ...]]] = {
    # tags, security, extensions
    "tag renamed": (
        put(*RUNS, "tags", value=["Run"]),
        ("GET /runs: tags", '["Runs"]', '["Run"]'),
    ),
    "made public": (
        put(*RUNS, "security", value=[]),
        ("GET /runs: security", '[{"bearerAuth": []}]', "the document has []"),
    ),
    "token made optional": (
        put(*RUNS, "security", value=[{"bearerAuth": []}, {}]),
        ("GET /runs: security", 'has [{"bearerAuth": []}, {}]'),
    ),
    "made secret": (
        drop("paths", "/system/health", "get", "security"),
        ("GET /system/health: security", "the contract has []", '[{"bearerAuth": []}]'),
    ),
    "other scheme": (
        all_of(
            put("components", "securitySchemes", "cookie", value={"type": "apiKey"}),
            put(*RUNS, "security", value=[{"cookie": []}]),
        ),
        ("GET /runs: security", '[{"cookie": []}]'),
    ),
    "undeclared scheme": (
        drop("components", "securitySchemes", "bearerAuth"),
        ("GET /runs: security", "'bearerAuth' is declared nowhere"),
    ),
    "scope changed": (
        put(*RUNS, "x-required-scope", value="runs:write"),
        ("GET /runs: extension x-required-scope", '"runs:read"', '"runs:write"'),
    ),
    "scope removed": (
        drop(*RUNS, "x-required-scope"),
        ("GET /runs: extension x-required-scope", "the document has nothing"),
    ),
    "scope added": (
        put("paths", "/auth/tokens/current", "delete", "x-required-scope", value="runs:read"),
        ("DELETE /auth/tokens/current: extension x-required-scope", "the contract has nothing"),
    ),
    "role removed": (
        put(*CREATE, "x-required-roles", value=["admin", "tester"]),
        ("POST /runs: extension x-required-roles", '"contributor"', '["admin", "tester"]'),
    ),
    "roles added": (
        put(*RUNS, "x-required-roles", value=["admin"]),
        ("GET /runs: extension x-required-roles", "the contract has nothing"),
    ),
    "extension removed": (
        drop("paths", "/auth/tokens", "post", "x-rate-limit"),
        ("POST /auth/tokens: extension x-rate-limit", '"5/15min per IP"'),
    ),
    # parameters
    "parameter removed": (
        drop(*SORT),
        ("GET /runs: query parameter sort", "-created_at", "the document has nothing"),
    ),
    "parameter renamed": (
        put(*SORT, "name", value="order"),
        ("GET /runs: query parameter sort", "the document has nothing"),
    ),
    "parameter moved": (
        put(*SORT, "in", value="header"),
        ("GET /runs: header parameter sort", "the contract has nothing"),
    ),
    "parameter newly required": (
        put(*SORT, "required", value=True),
        ("GET /runs: query parameter sort required", "has false", "has true"),
    ),
    "parameter no longer required": (
        put("components", "parameters", "OutputId", "required", value=False),
        ("query parameter output_id required", "has true", "has false"),
    ),
    "required query parameter added": (
        add(*RUNS, "parameters", value=query("team", required=True)),
        ("GET /runs: query parameter team", "the contract has nothing", '"required": true'),
    ),
    "unknown header parameter added": (
        add(*RUNS, "parameters", value={**query("X-Team"), "in": "header"}),
        ("GET /runs: header parameter x-team", "the contract has nothing"),
    ),
    "known header parameter required": (
        put(*CREATE, "parameters", value=[{**query("Idempotency-Key", required=True), "in": "header"}]),
        ("POST /runs: header parameter idempotency-key", "the contract has nothing"),
    ),
    "cookie parameter added": (
        add(*RUNS, "parameters", value={**query("session"), "in": "cookie"}),
        ("GET /runs: cookie parameter session", "the contract has nothing"),
    ),
    "required parameter added to the path": (
        put("paths", "/runs", "parameters", value=[query("team", required=True)]),
        ("GET /runs: query parameter team", "the contract has nothing"),
    ),
    "parameter maximum changed": (
        put(*LIMIT, "schema", "maximum", value=200),
        ("GET /runs: query parameter limit maximum", "has 100", "has 200"),
    ),
    "parameter maximum removed": (
        drop(*LIMIT, "schema", "maximum"),
        ("GET /samples: query parameter limit maximum", "has 100", "the document has nothing"),
    ),
    "parameter default changed": (
        put(*LIMIT, "schema", "default", value=20),
        ("components.parameters.Limit: default", "has 50", "has 20"),
    ),
    "parameter default added": (
        put("components", "parameters", "Platform", "schema", "default", value="linux"),
        ("query parameter platform default", "the contract has nothing", '"linux"'),
    ),
    "parameter retyped": (
        put(*LIMIT, "schema", "type", value="number"),
        ("query parameter limit type", '"integer"', '"number"'),
    ),
    "parameter pattern changed": (
        put("components", "parameters", "CommitSha", "schema", "pattern", value="^[a-f0-9]+$"),
        ("query parameter commit_sha pattern", "{40}", "[a-f0-9]+"),
    ),
    "parameter enum narrowed": (
        drop(*SORT, "schema", "enum", 0),
        ("GET /runs: query parameter sort enum", '"created_at"'),
    ),
    "parameter enum widened": (
        add("components", "parameters", "Platform", "schema", "enum", value="macos"),
        ("query parameter platform enum", '"macos"'),
    ),
    "parameter format removed": (
        drop("components", "parameters", "CreatedAfter", "schema", "format"),
        ("query parameter created_after format", '"date-time"'),
    ),
    "parameter made nullable": (
        put(*SORT, "schema", "nullable", value=True),
        ("GET /runs: query parameter sort nullable", "has false", "has true"),
    ),
    "parameter style changed": (
        put(*SORT, "style", value="pipeDelimited"),
        ("GET /runs: query parameter sort style", '"form"', '"pipeDelimited"'),
    ),
    # request bodies
    "body newly required": (
        put(*CANCEL, "requestBody", "required", value=True),
        ("POST /runs/{run_id}/cancel: request body required", "has false", "has true"),
    ),
    "body no longer required": (
        put(*CREATE, "requestBody", "required", value=False),
        ("POST /runs: request body required", "has true", "has false"),
    ),
    "body removed": (
        drop(*CREATE, "requestBody"),
        ("POST /runs: request body", "the document has nothing"),
    ),
    "body added": (
        put(*RUNS, "requestBody", value={"content": {"application/json": {"schema": {}}}}),
        ("GET /runs: request body", "the contract has nothing"),
    ),
    "body media type renamed": (
        move(*CREATE, "requestBody", "content", "application/json", to="text/json"),
        ("POST /runs: request body application/json", "the document has nothing"),
    ),
    "body media type added": (
        put(*CREATE, "requestBody", "content", "text/plain", value={"schema": {}}),
        ("POST /runs: request body text/plain", "the contract has nothing"),
    ),
    "request field removed": (
        drop(*RUN_BODY, "properties", "environment_id"),
        ("POST /runs: request body application/json $.environment_id", "has nothing"),
    ),
    "request field added": (
        put(*RUN_BODY, "properties", "label", value={"type": "string"}),
        ("POST /runs: request body application/json $.label", "the contract has nothing"),
    ),
    "request field renamed": (
        move(*RUN_BODY, "properties", "branch", to="ref"),
        ("POST /runs: request body application/json $.branch", "the document has nothing"),
    ),
    "request field newly required": (
        add(*RUN_BODY, "required", value="branch"),
        ("POST /runs: request body application/json $.branch", '"optional"', '"required"'),
    ),
    "request field no longer required": (
        drop(*RUN_BODY, "required", 0),
        ("POST /runs: request body application/json $.repository", '"required"', '"optional"'),
    ),
    "request opened": (
        drop(*RUN_BODY, "additionalProperties"),
        ("POST /runs: request body application/json $ additionalProperties", "has false"),
    ),
    "request items changed": (
        put(*RUN_BODY, "properties", "regression_test_ids", "items", "minimum", value=0),
        ("$.regression_test_ids[] minimum", "has 1", "has 0"),
    ),
    "request array no longer unique": (
        drop(*RUN_BODY, "properties", "regression_test_ids", "uniqueItems"),
        ("$.regression_test_ids uniqueItems", "has true", "has false"),
    ),
    "request default order": (
        put(
            "components",
            "schemas",
            "TokenCreateRequest",
            "properties",
            "scopes",
            "default",
            value=["runs:read"],
        ),
        ("POST /auth/tokens: request body application/json $.scopes default", '["runs:read"]'),
    ),
    # responses
    "status removed": (
        drop(*RUNS, "responses", "400"),
        ("GET /runs: response 400", "the document has nothing"),
    ),
    "default removed": (
        drop(*RUNS, "responses", "default"),
        ("GET /runs: response default", "the document has nothing"),
    ),
    "status renamed": (
        move(*CREATE, "responses", "202", to="201"),
        ("POST /runs: response 202", "the document has nothing"),
    ),
    "responses removed": (
        drop(*RUNS, "responses"),
        ("GET /runs: response 200", "the document has nothing"),
    ),
    "header removed": (
        drop(*RUNS_200, "headers", "X-RateLimit-Reset"),
        ("GET /runs: response 200 header X-RateLimit-Reset", "the document has nothing"),
    ),
    "header retyped": (
        put("components", "headers", "RateLimitLimit", "schema", "type", value="string"),
        ("GET /runs: response 200 header X-RateLimit-Limit type", '"integer"', '"string"'),
    ),
    "header of a shared response removed": (
        drop("components", "responses", "RateLimited", "headers", "Retry-After"),
        ("GET /runs: response 429 header Retry-After", "the document has nothing"),
    ),
    "content removed": (
        drop(*RUNS_200, "content"),
        ("GET /runs: response 200 application/json", "the document has nothing"),
    ),
    "content added": (
        put(*ACTUAL, "responses", "204", "content", value={"application/json": {"schema": {}}}),
        ("response 204 application/json", "the contract has nothing"),
    ),
    "media type added": (
        put(*RUNS_200, "content", "text/csv", value={"schema": {}}),
        ("GET /runs: response 200 text/csv", "the contract has nothing"),
    ),
    "response field removed": (
        drop(*RUN, "properties", "commit_short"),
        ("GET /runs: response 200 application/json $.data[].commit_short", "has nothing"),
    ),
    "required response field removed": (
        all_of(drop(*RUN, "properties", "run_id"), drop(*RUN, "required", 0)),
        ("GET /runs/{run_id}: response 200 application/json $.run_id", "has nothing"),
    ),
    "response field renamed": (
        move(*RUN, "properties", "branch", to="ref"),
        ("components.schemas.Run: .branch", "the document has nothing"),
    ),
    "response field retyped": (
        put(*RUN, "properties", "run_id", "type", value="string"),
        ("GET /runs/{run_id}: response 200 application/json $.run_id type", '"string"'),
    ),
    "response field made nullable": (
        put(*RUN, "properties", "created_at", "nullable", value=True),
        ("$.created_at nullable", "has false", "has true"),
    ),
    "response field no longer nullable": (
        drop(*RUN, "properties", "branch", "nullable"),
        ("$.branch nullable", "has true", "has false"),
    ),
    "response field no longer required": (
        drop(*RUN, "required", 0),
        ("components.schemas.Run: .run_id", '"required"', '"optional"'),
    ),
    "response enum widened": (
        add(*RUN, "properties", "status", "enum", value="lost"),
        ("$.data[].status enum", '"lost"'),
    ),
    "response closed": (
        put(*RUN, "additionalProperties", value=False),
        ("components.schemas.Run: additionalProperties", "has {}", "has false"),
    ),
    "values of a map retyped": (
        put(*RUN, "properties", "links", "additionalProperties", "format", value="url"),
        ("$.links.* format", '"uri"', '"url"'),
    ),
    "map closed": (
        put("components", "schemas", "ErrorResponse", "properties", "details", value={}),
        ("response default application/json $.details type", '"object"', "has nothing"),
    ),
    "page item changed": (
        put(*RUNS_SCHEMA, "allOf", 1, "properties", "data", "items", value={"type": "object"}),
        ("GET /runs: response 200 application/json $.data[].run_id", "has nothing"),
    ),
    "page envelope changed": (
        drop(*RUNS_SCHEMA, "allOf", 0),
        ("GET /runs: response 200 application/json $.pagination", "has nothing"),
    ),
    "boolean for a number": (
        put(*LIMIT, "schema", "minimum", value=True),
        ("query parameter limit minimum", "has 1", "has true"),
    ),
    "choice added": (
        put(*RUN, "properties", "branch", "oneOf", value=[{"type": "string"}]),
        ("components.schemas.Run: .branch oneOf", "the contract has nothing"),
    ),
    # components, and documents that cannot be read
    "security scheme changed": (
        put("components", "securitySchemes", "bearerAuth", "scheme", value="basic"),
        ("components.securitySchemes.bearerAuth: scheme", '"bearer"', '"basic"'),
    ),
    "component response changed": (
        drop("components", "responses", "Forbidden", "content"),
        ("components.responses.Forbidden: application/json", "the document has nothing"),
    ),
    "component header changed": (
        put("components", "headers", "RateLimitReset", "schema", "format", value="int32"),
        ("components.headers.RateLimitReset: format", '"int32"'),
    ),
    "reference to nothing": (
        put(*RUNS, "parameters", 0, "$ref", value="#/components/parameters/Limits"),
        ("GET /runs: cannot be compared", "'#/components/parameters/Limits' leads nowhere"),
    ),
    "response reference to nothing": (
        put(*RUNS, "responses", "400", "$ref", value="#/components/responses/Bad"),
        ("GET /runs: response 400: cannot be compared", "leads nowhere"),
    ),
    "contradicting allOf": (
        put(*RUNS_SCHEMA, "allOf", 1, "type", value="array"),
        ("GET /runs: response 200: cannot be compared", "contradicts itself on type"),
    ),
}


# --- Additions that clients do not notice ---------------------------------------------------------


ADDITIONS: dict[str, Edit] = {
    "optional query parameter": add(*RUNS, "parameters", value=query("regression_id")),
    "optional query parameter of a path": put("paths", "/runs", "parameters", value=[query("regression_id")]),
    "idempotency key": put(*CREATE, "parameters", value=[{**query("Idempotency-Key"), "in": "header"}]),
    "conditional request": add(*RUNS, "parameters", value={**query("If-None-Match"), "in": "header"}),
    "response field": put(*RUN, "properties", "label", value={"type": "string"}),
    "required response field": all_of(
        put(*RUN, "properties", "label", value={"type": "string"}),
        add(*RUN, "required", value="label"),
    ),
    "response field newly required": add(*RUN, "required", value="branch"),
    "nested response field": put(
        "components", "schemas", "Page", "properties", "pagination", "properties", "page", value={}
    ),
    "field of a free-form object": put(
        "components",
        "schemas",
        "Sample",
        "properties",
        "media_info",
        "properties",
        value={"codec": {"type": "string"}},
    ),
    "field beside a page": put(*RUNS_SCHEMA, "allOf", 1, "properties", "generated_at", value={"type": "string"}),
    "response header": put(*RUNS_200, "headers", "Link", value={"schema": {"type": "string"}}),
    "first response header": put(
        *CREATE, "responses", "202", "headers", value={"Location": {"schema": {"type": "string"}}}
    ),
    "response status": put(*RUNS, "responses", "304", value={"description": "Not modified"}),
    "operation": put("paths", "/openapi.json", value={"get": {"responses": {"200": {}}}}),
    "method of a known path": put("paths", "/runs", "head", value={"responses": {"200": {}}}),
    "extension": put(*RUNS, "x-stability", value="stable"),
    "extension of a schema": put(*RUN, "x-source", value="runs"),
    "component": put("components", "schemas", "Review", value={"type": "object"}),
    "scheme": put("components", "securitySchemes", "other", value={"type": "apiKey"}),
}
