"""Strict validation of queries, bodies and path ids.

Query strings and bodies are loaded by marshmallow schemas whose fields accept one spelling each. The fields here refuse
what marshmallow accepts (measured on 4.x): `Integer` reads ' 5 ' and full-width digits, `Boolean` reads 'on',
`Regexp` lets a final newline pass, `DateTime` reads bare dates.
"""

from __future__ import annotations

import difflib
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flask import Request
from marshmallow import RAISE, Schema, ValidationError, fields, validate
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import RequestEntityTooLarge

from api_v1 import date_times
from api_v1.errors import FIELDS_SHOWN, TEXT_SHOWN, NotFound, ValidationFailed
from api_v1.web.errors import PayloadTooLarge, UnsupportedEncoding, UnsupportedMediaType

logger = logging.getLogger(__name__)

#: The largest id the platform's INTEGER columns can hold.
MAX_ID = 2**31 - 1

#: A number that no id, size or position has, and that every database can still add another one to. A larger one counts
#: as this one.
NOTHING_HAS = 2**62

#: The largest request body, in bytes.
MAX_BODY = 64 * 1024

_DIGITS = re.compile(r"[0-9]{1,19}", re.ASCII)
_NUMBER = re.compile(r"(-?)([0-9]+)", re.ASCII)
#: Matches a space that was the plus sign of a UTC offset before the query string was decoded.
_LOST_PLUS = re.compile(r" (?=\d\d:?\d\d$)")


class RequestSchema(Schema):
    """Base of the schemas for queries and bodies; it refuses unknown fields."""

    class Meta:
        unknown = RAISE

    error_messages = {"unknown": "Unknown field."}


class QueryInteger(fields.Integer):
    """An integer in a query string: ASCII digits only; see `NOTHING_HAS`."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        match = _NUMBER.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise self.make_error("invalid")
        # Python refuses to read thousands of digits.
        digits = match[2].lstrip("0") or "0"
        size = min(int(digits), NOTHING_HAS) if len(digits) < 20 else NOTHING_HAS
        return -size if match[1] else size


class BodyId(fields.Integer):
    """An id in a JSON body that is looked up; see `NOTHING_HAS`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(strict=True, validate=validate.Range(min=1), **options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        return min(super()._deserialize(value, attr, data, **kwargs), NOTHING_HAS)


class QueryBoolean(fields.Boolean):
    """`true` or `false` in a query string."""

    truthy = {"true"}
    falsy = {"false"}
    default_error_messages = {"invalid": "Must be true or false."}


class JsonBoolean(fields.Boolean):
    """true or false in a JSON body, as JSON spells them."""

    default_error_messages = {"invalid": "Must be true or false."}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, bool):
            raise self.make_error("invalid")
        return value


class Text(fields.String):
    """A string that can be stored: it has no NUL, which file names cannot contain, and no unpaired surrogate."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, attr, data, **kwargs)
        if "\0" in text:
            raise ValidationError("Must not contain NUL.")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValidationError("Must be valid Unicode.") from None
        return text


class FullMatch(validate.Regexp):
    """A pattern that must match the whole value, including a final newline.

    Args:
        pattern: the error begins with it, as the contract's example does.
        meaning: says in words what it matches, and where else to look; the error ends with it.
    """

    def __init__(self, pattern: str, meaning: str) -> None:
        super().__init__(pattern, error=f"Must match pattern {pattern}: {meaning}.")

    def __call__(self, value: Any) -> Any:
        """Return the value if the whole of it matches."""
        if not isinstance(value, str) or re.fullmatch(self.regex, value) is None:  # type: ignore[arg-type]
            raise ValidationError(self.error)
        return value


class GitHubRepository(validate.Validator):
    """Refuses names that the pattern of a repository allows, but that lead elsewhere in the URL of a repository."""

    def __call__(self, value: str) -> str:
        """Return the name if it is that of a repository."""
        names = value.split("/")
        if not {"", ".", ".."}.isdisjoint(names) or names[-1].lower().endswith(".git"):
            raise ValidationError("Must be owner/repo; neither may be . or .., and repo has no .git at its end.")
        return value


class Unique(validate.Validator):
    """Refuses equal items; `uniqueItems` in the document."""

    def __call__(self, value: Iterable[Any]) -> Any:
        """Return the items if none is there twice."""
        items = list(value)
        if len(set(items)) != len(items):
            raise ValidationError("Must not contain an item twice.")
        return value


class UtcDateTime(fields.DateTime):
    """An ISO 8601 date-time: loaded as UTC if it has no offset, and dumped in UTC with `Z`.

    In Python it is naive and in UTC, as in the platform's columns.
    """

    default_error_messages = {"invalid": "Must be an ISO 8601 date-time such as 2026-01-31T12:00:00Z."}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, str):
            raise self.make_error("invalid")
        try:
            return date_times.parse(_LOST_PLUS.sub("+", value))
        except ValueError:
            raise self.make_error("invalid") from None

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> Any:
        return None if value is None else date_times.iso(value)


def choice(values: Iterable[str]) -> validate.OneOf:
    """Return a validator that accepts one of the values and lists them all in its error."""
    listed = list(values)
    return validate.OneOf(listed, error=f"Must be one of [{', '.join(listed)}]")


def path_id(resource: str, value: str) -> int:
    """Return an id of the path as an integer.

    Raises:
        NotFound: no id can have this value.
    """
    if _DIGITS.fullmatch(value) and 1 <= int(value) <= MAX_ID:
        return int(value)
    raise NotFound(resource, value)


def load_query(schema: Schema | None, args: MultiDict[str, str]) -> dict[str, Any]:
    """Load a query string; without a schema every parameter is unknown.

    Raises:
        ValidationFailed: a parameter is unknown, repeated or wrong; it has the reason for each.
    """
    known = list(schema.fields) if schema is not None else []
    problems = {name: "Give it once." for name in known if len(args.getlist(name)) > 1}
    given = {name: args[name] for name in known if name in args and name not in problems}
    loaded: dict[str, Any] = {}
    if schema is not None:
        try:
            loaded = schema.load(given)
        except ValidationError as error:
            problems = _reasons(error.messages) | problems
    problems |= _unknown(args, known, "parameter")
    if problems:
        raise ValidationFailed(problems)
    return loaded


def load_body(schema: Schema, request: Request, *, required: bool) -> dict[str, Any]:
    """Load a JSON body; an absent optional one counts as `{}`.

    Raises:
        PayloadTooLarge: it has more than 64 KiB.
        UnsupportedEncoding: it is compressed.
        UnsupportedMediaType: its media type is not JSON.
        ValidationFailed: it is missing, incomplete, not JSON, not an object, or does not fit the schema.
    """
    raw = _read_body(request)
    if not raw and not required:
        return _load(schema, {})
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise UnsupportedEncoding()
    if request.mimetype != "application/json" and (raw or request.mimetype):
        raise UnsupportedMediaType(details={"content_type": request.mimetype[:100]})
    try:
        # json.loads would guess UTF-16 or UTF-32 from bytes.
        body = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_object, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ValidationFailed({"_body": _json_error(error)}) from None
    if not isinstance(body, dict):
        raise ValidationFailed({"_body": "Must be a JSON object."})
    return _load(schema, body)


def _read_body(request: Request) -> bytes:
    """Return the body as it was sent.

    Raises:
        PayloadTooLarge: it has more than 64 KiB.
        ValidationFailed: it cannot be read to its end.
    """
    # One byte more, because Werkzeug truncates a body without Content-Length at the limit and raises nothing.
    request.max_content_length = MAX_BODY + 1
    try:
        raw = request.get_data()
    except RequestEntityTooLarge:
        raise PayloadTooLarge(details={"max_bytes": MAX_BODY}) from None
    except Exception as error:  # each server has its own errors, gunicorn's for wrong chunks are no OSError
        logger.info("a request body could not be read: %s", type(error).__name__)
        raise ValidationFailed({"_body": "Could not be read to its end."}) from None
    if len(raw) > MAX_BODY:
        raise PayloadTooLarge(details={"max_bytes": MAX_BODY})
    # Servers that end the stream themselves, such as gunicorn, do not tell when the connection ends before the body.
    if request.content_length is not None and len(raw) < request.content_length:
        raise ValidationFailed({"_body": "Is shorter than its Content-Length."})
    return raw


def _json_error(error: ValueError | RecursionError) -> str:
    """Return why a body is not JSON, and where."""
    if isinstance(error, _BadJson):
        return str(error)
    if isinstance(error, json.JSONDecodeError):
        return f"Must be valid JSON; line {error.lineno}, column {error.colno}: {error.msg.removesuffix(' at')}."
    if isinstance(error, UnicodeDecodeError):
        return f"Must be valid JSON in UTF-8; byte {error.start + 1} is not."
    return "Is nested too deeply." if isinstance(error, RecursionError) else "Has a number of too many digits."


class _BadJson(ValueError):
    """A body that Python reads and the API refuses; the message is the reason."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object, and refuse repeated keys, because nobody can tell which value was meant."""
    body = dict(pairs)
    if len(body) != len(pairs):
        raise _BadJson("Must not name a field twice.")
    return body


def _no_constant(name: str) -> None:
    """Refuse NaN and Infinity, which Python accepts although JSON has no such numbers."""
    raise _BadJson(f"Must be valid JSON, which has no {name}.")


def _load(schema: Schema, body: Mapping[str, Any]) -> dict[str, Any]:
    unknown = _unknown(body, list(schema.fields), "field")
    try:
        loaded: dict[str, Any] = schema.load({name: value for name, value in body.items() if name not in unknown})
    except ValidationError as error:
        # What is wrong with a known field comes first, because an error names only so many.
        raise ValidationFailed(_reasons(error.messages) | unknown) from None
    if unknown:
        raise ValidationFailed(unknown)
    return loaded


def _unknown(names: Iterable[str], known: Sequence[str], kind: str) -> dict[str, str]:
    """Return the names that are not known, each with the reason; those that an error shows have a hint.

    The first one that resembles no known name lists them all. The others do not, because the answer would outgrow the
    request (docs/decisions.md, "Strict input").
    """
    reasons: dict[str, str] = {}
    all_known = f"known are {', '.join(sorted(known))}" if known else "there are none here"
    unlisted, listed = f"Unknown {kind}.", f"Unknown {kind}; {all_known}."
    for name in names:
        if name not in known:
            compared = len(reasons) < FIELDS_SHOWN and len(name) <= TEXT_SHOWN
            near = difflib.get_close_matches(name, known, n=1) if compared else []
            without_hint = unlisted if listed in reasons.values() else listed
            reasons[name] = f"Unknown {kind}; did you mean {near[0]}?" if near else without_hint
    return reasons


def _reasons(messages: Any, place: str = "") -> dict[str, str]:
    """Flatten marshmallow's nested messages to `{"scopes.0": "reason"}`."""
    if isinstance(messages, list):
        return {place or "_body": " ".join(str(message) for message in messages)}
    reasons = {}
    for name, inner in messages.items():
        name = "_body" if name == "_schema" else name
        reasons.update(_reasons(inner, f"{place}.{name}" if place else str(name)))
    return reasons
