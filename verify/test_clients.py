"""Clients that are generated from the served document call every operation, and meet an error of each.

Two generators for Python and one for TypeScript are used. What they make is checked for its types, and so are the
calls, which are written from the examples of the document. Two linters read the document. What the machine lacks is
skipped.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import inspect
import json
import shutil
import subprocess
import sys
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlencode

import pytest

from api_v1 import demo
from api_v1.web.openapi_examples import JSON, query_text
from api_v1.web.operation import REGISTRY, Operation
from tests.support import servers
from tests.support.contract.document import Json, resolved
from tests.support.demo import config_in, seed_into
from tests.support.examples import CALLS, Call
from tests.support.platform_copy import run

#: What TypeScript and the linters need, in versions that Node.js 20 runs.
PACKAGES = ("openapi-typescript@7", "openapi-fetch@0", "typescript@5", "@redocly/cli@2", "@stoplight/spectral-cli@6")

#: Sent where an example sends no token: some generated functions demand one.
NO_TOKEN = "none"


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a demo that ends now."""
    folder = tmp_path_factory.mktemp("demo")
    seed_into(folder, datetime.now(timezone.utc))
    return folder


@dataclasses.dataclass(frozen=True)
class Served:
    """A served demo of its own, and the tokens of the examples by user and scopes."""

    server: servers.Gunicorn
    tokens: Mapping[tuple[str, tuple[str, ...]], str]

    @property
    def url(self) -> str:
        """What all URLs begin with."""
        return f"http://{self.server.address}/api/v1"

    def document(self) -> Json:
        """The document as it is served."""
        found: Json = self.server.get("/openapi.json").json()
        return found

    def token(self, call: Call) -> str:
        """The token with which an example is sent."""
        return self.tokens[call.who, call.scopes] if call.who is not None else NO_TOKEN


@contextmanager
def served(seeded: Path, folder: Path) -> Iterator[Served]:
    """Serve a copy of the demo."""
    copy = Path(shutil.copytree(seeded, folder / "demo"))
    with servers.gunicorn(copy, config_in(copy), "--threads", "4") as server:
        tokens: dict[tuple[str, tuple[str, ...]], str] = {}
        for who, scopes in {(call.who, call.scopes) for _, *calls in CALLS for call in calls if call.who is not None}:
            name = f"clients-{len(tokens)}"
            log_in = {"email": f"{who}@example.org", "password": demo.PASSWORD, "token_name": name, "scopes": scopes}
            tokens[who, scopes] = server.request("POST", "/auth/tokens", body=log_in).json()["token"]
        yield Served(server, tokens)


@pytest.fixture
def api(seeded: Path, tmp_path: Path) -> Iterator[Served]:
    """A served demo of the test's own, because its calls change it."""
    with served(seeded, tmp_path) as made:
        yield made


def written(api: Served, folder: Path) -> Path:
    """The document in a file."""
    path = folder / "openapi.json"
    path.write_text(json.dumps(api.document()))
    return path


def needs(module: str) -> None:
    """Skip the test where the environment lacks a package; the extra `verify` has them."""
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")


def answer_schema(document: Json, operation: Operation, status: int) -> str | None:
    """The name of the schema of an answer; None for an answer without a body."""
    responses = document["paths"][operation.path][operation.method.lower()]["responses"]
    content = resolved(document, responses[str(status)]).get("content")
    return content[JSON]["schema"]["$ref"].rpartition("/")[2] if content else None


def typed_calls(document: Json) -> Iterator[tuple[Operation, Call]]:
    """The calls of all examples that a client with types can make.

    It cannot send parameters that the document does not have: such a call is made without a token instead. Of an
    operation that needs none, only the successful call is left.
    """
    for name, *calls in CALLS:
        operation = REGISTRY[name]
        for call in calls:
            if is_typed(document, operation, call):
                yield operation, call
            elif not operation.access.public:
                yield operation, dataclasses.replace(calls[0], status=401, who=None)


def is_typed(document: Json, operation: Operation, call: Call) -> bool:
    """Whether the document knows each parameter and word of a call, and the call has each that is needed."""
    described = document["paths"][operation.path][operation.method.lower()]["parameters"]
    known = {one["name"]: one for one in (resolved(document, each) for each in described)}
    given = {**call.path, **call.query}
    needed = {name for name, one in known.items() if one.get("required")}
    return needed <= given.keys() <= known.keys() and all(
        value in known[name]["schema"].get("enum", [value])
        and (known[name]["schema"]["type"] == "boolean") == isinstance(value, bool)
        for name, value in given.items()
    )


def check_printed(printed: str) -> None:
    """Check that a program printed a success of each operation, and an error of each that needs a token."""
    lines = {tuple(line.rsplit(" ", 1)) for line in printed.splitlines()}
    for operation in REGISTRY.values():
        statuses = {int(status) for name, status in lines if name == f"{operation.method} {operation.path}"}
        assert min(statuses) < 300, operation.endpoint
        assert max(statuses) >= 400 or operation.access.public, operation.endpoint


# --- openapi-python-client ---------------------------------------------------------------------


HEAD = '''"""Every operation, and an error of each, by the generated client."""

import sys
from typing import TypeVar

from ci_client import AuthenticatedClient, models
from ci_client.types import Response


Body = TypeVar("Body")


def client(token: str) -> AuthenticatedClient:
    return AuthenticatedClient(base_url=sys.argv[1], token=token)


def check(name: str, answer: Response[Body], status: int) -> None:
    assert answer.status_code == status, (name, answer.status_code, answer.content)
    assert not getattr(answer.parsed, "additional_properties", None), (name, "has fields that the document lacks")
    print(name, status)

'''


class PythonCalls:
    """Writes the examples as calls of the functions that openapi-python-client made."""

    def __init__(self, api: Served) -> None:
        self._api = api
        self._document = api.document()
        self._imports: dict[str, str] = {}
        self._lines: list[str] = []

    def script(self) -> str:
        """Return a program that makes the calls of all examples, in order."""
        for operation, call in typed_calls(self._document):
            self._add(operation, call)
        return HEAD + "\n".join([*self._imports.values(), "", *self._lines, ""])

    def _add(self, operation: Operation, call: Call) -> None:
        name, answer = operation.endpoint, f"answer_{len(self._lines)}"
        tag = operation.tag.lower().replace(" ", "_")
        module = importlib.import_module(f"ci_client.api.{tag}.{name}")
        self._imports[name] = f"from ci_client.api.{tag} import {name}"
        given = {**call.path, **call.query} | ({} if call.body is None else {"body": call.body})
        hints = typing.get_type_hints(module.sync_detailed, vars(module))
        arguments = "".join(
            f", {self._name(module, key)}={self._literal(hints[self._name(module, key)], value)}"
            for key, value in given.items()
        )
        self._lines.append(f"{answer} = {name}.sync_detailed(client=client({self._api.token(call)!r}){arguments})")
        self._lines.append(f'check("{operation.method} {operation.path}", {answer}, {call.status})')
        schema = answer_schema(self._document, operation, call.status)
        if schema is not None:
            self._lines.append(f"assert isinstance({answer}.parsed, models.{schema}), {answer}")
        if schema == "ErrorResponse":
            self._lines.append(f"assert {answer}.parsed.code and {answer}.parsed.message")

    @staticmethod
    def _name(module: ModuleType, name: str) -> str:
        """The name of an argument: a keyword of Python has an underscore behind it."""
        return name if name in inspect.signature(module.sync_detailed).parameters else f"{name}_"

    @staticmethod
    def _literal(hint: Any, value: Any) -> str:
        """Write a value as the argument's type demands: a word as a member of its enumeration, a body as its model."""
        for kind in typing.get_args(hint) or (hint,):
            if inspect.isclass(kind) and issubclass(kind, Enum):
                return f"models.{kind.__name__}({value!r})"
            if isinstance(value, dict) and hasattr(kind, "from_dict"):
                return f"models.{kind.__name__}.from_dict({value!r})"
        return repr(value)


def test_openapi_python_client_calls_every_operation(
    api: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("openapi_python_client")
    document = written(api, tmp_path)
    options = ("--meta", "none", "--output-path", tmp_path / "ci_client")
    said = run(sys.executable, "-m", "openapi_python_client", "generate", "--path", document, *options, cwd=tmp_path)
    assert "WARNING" not in said.upper(), said

    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        (tmp_path / "calls.py").write_text(PythonCalls(api).script())
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "ci_client"]:
            del sys.modules[name]
    # What is generated is followed, for the types of the calls; some versions of httpx find fault with its own methods.
    check = ("-m", "mypy", "--strict", "--follow-imports=silent", "calls.py")
    assert "no issues" in run(sys.executable, *check, cwd=tmp_path)
    check_printed(run(sys.executable, "calls.py", api.url, cwd=tmp_path))


# --- datamodel-code-generator ------------------------------------------------------------------


def test_datamodel_code_generator_reads_every_answer(api: Served, tmp_path: Path) -> None:
    needs("datamodel_code_generator")
    options = "--output-model-type pydantic_v2.BaseModel --use-annotated --field-constraints --strict-nullable"
    more = "--set-default-enum-member --target-python-version 3.10 --formatters builtin --extra-fields forbid"
    arguments = ("--input", written(api, tmp_path), "--input-file-type", "openapi", "--output", tmp_path / "models.py")
    run(sys.executable, "-m", "datamodel_code_generator", *arguments, *options.split(), *more.split(), cwd=tmp_path)
    assert "no issues" in run(sys.executable, "-m", "mypy", "--strict", "models.py", cwd=tmp_path)

    specification = importlib.util.spec_from_file_location("ci_models", tmp_path / "models.py")
    assert specification is not None and specification.loader is not None
    models = importlib.util.module_from_spec(specification)
    sys.modules["ci_models"] = models
    specification.loader.exec_module(models)
    document, made = api.document(), 0
    for name, *calls in CALLS:
        for call in calls:
            answer = sent(api, REGISTRY[name], call, models, document)
            assert answer.status == call.status, (name, answer.body)
            schema = answer_schema(document, REGISTRY[name], call.status)
            if schema is not None and name != "get_document":
                getattr(models, schema).model_validate(answer.json())
            made += 1
    assert made == 2 * len(REGISTRY)


def sent(api: Served, operation: Operation, call: Call, models: Any, document: Json) -> servers.Answer:
    """Send an example, whose body is one for the model of the body."""
    if call.body is not None:
        described = document["paths"][operation.path][operation.method.lower()]["requestBody"]
        getattr(models, described["content"][JSON]["schema"]["$ref"].rpartition("/")[2]).model_validate(call.body)
    bearer = {"Authorization": f"Bearer {api.token(call)}"}
    return api.server.request(operation.method, url(operation, call), bearer, call.body)


def url(operation: Operation, call: Call) -> str:
    """The URL of an example below the prefix."""
    query = urlencode(query_text(call.query))
    return operation.path.format(**call.path) + (f"?{query}" if query else "")


# --- TypeScript and linters --------------------------------------------------------------------


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages for Node.js."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node.js is not installed")
    folder = tmp_path_factory.mktemp("node")
    (folder / "package.json").write_text(json.dumps({"name": "clients", "private": True, "type": "module"}))
    install = ("npm", "install", "--no-audit", "--no-fund", "--loglevel", "error", *PACKAGES)
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        pytest.skip(f"npm cannot install the packages: {done.stderr[-300:]}")
    return folder


TYPESCRIPT_HEAD = """\
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Schemas = components["schemas"];
const client = createClient<paths>({ baseUrl: "URL" });
const sent = (token: string) => ({ Authorization: `Bearer ${token}` });

function check(name: string, response: Response, status: number): void {
  if (response.status !== status) throw new Error(`${name}: ${response.status} instead of ${status}`);
  console.log(name, status);
}

function checkCode(name: string, error: { code?: string } | { status: string } | undefined): void {
  if (error === undefined || !("code" in error) || !error.code) throw new Error(`${name}: no code`);
}

"""


def typescript(api: Served) -> str:
    """Return a program that makes the calls of all examples."""
    document, lines = api.document(), [TYPESCRIPT_HEAD.replace("URL", api.url)]
    for operation, call in typed_calls(document):
        parameters = {"path": dict(call.path), "query": dict(call.query)}
        options: dict[str, Any] = {"params": {place: given for place, given in parameters.items() if given}}
        if call.body is not None:
            options["body"] = call.body
        text = json.dumps(options)[:-1] + f", headers: sent({json.dumps(api.token(call))}) }}"
        shown = json.dumps(f"{operation.method} {operation.path}")
        schema = answer_schema(document, operation, call.status)
        sending = f"await client.{operation.method}({json.dumps(operation.path)}, {text})"
        lines += [
            "{",
            f"  const {{ data, error, response }} = {sending};",
            f"  check({shown}, response, {call.status});",
        ]
        if schema == "ErrorResponse":
            lines.append(f"  checkCode({shown}, error);")
        elif schema is not None:
            lines.append(f'  const body: Schemas["{schema}"] | undefined = data;')
            lines.append(f"  if (body === undefined) throw new Error({shown});")
        lines.append("}")
    return "\n".join([*lines, ""])


def test_openapi_typescript_calls_every_operation(api: Served, node: Path, tmp_path: Path) -> None:
    tools = node / "node_modules" / ".bin"
    # A field that has a default may be left out of a request.
    options = ("--default-non-nullable", "false")
    run(tools / "openapi-typescript", written(api, tmp_path), "--output", node / "schema.d.ts", *options, cwd=node)
    (node / "calls.ts").write_text(typescript(api))
    strict = "--strict --noUncheckedIndexedAccess --target es2022 --module nodenext --moduleResolution nodenext"
    run(tools / "tsc", *strict.split(), "--lib", "es2022,dom", "calls.ts", cwd=node)
    check_printed(run("node", "calls.js", cwd=node))


def test_redocly_finds_nothing(api: Served, node: Path, tmp_path: Path) -> None:
    lint = (node / "node_modules" / ".bin" / "redocly", "lint", written(api, tmp_path))
    found = json.loads(run(*lint, "--extends", "recommended", "--format", "json", cwd=node))
    assert found["totals"] == {"errors": 0, "warnings": 0, "ignored": 0}, found["problems"]


def test_spectral_finds_nothing(api: Served, node: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text('extends: ["spectral:oas"]\n')
    lint = (node / "node_modules" / ".bin" / "spectral", "lint", written(api, tmp_path), "--ruleset", rules)
    assert json.loads(run(*lint, "--format", "json", "--quiet", "--fail-severity", "hint", cwd=node)) == []
