"""Schemas, fields and constants that several modules share."""

from __future__ import annotations

from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, post_dump, validate, validates_schema

from api_v1.web.validation import FullMatch, Text, UtcDateTime, choice

PLATFORMS = ("linux", "windows")
RUN_STATUSES = ("queued", "running", "pass", "fail", "canceled", "error", "incomplete")
RESULT_STATUSES = ("pass", "fail", "skipped", "missing_output", "running", "not_started")

HASH_PATTERN = "^[a-fA-F0-9]{64}$"
COMMIT_PATTERN = "^[a-fA-F0-9]{40}$"
COMMIT_PREFIX_PATTERN = "^[a-fA-F0-9]{7,40}$"
#: In responses: the platform stores abbreviations of some commits.
STORED_COMMIT_PATTERN = COMMIT_PREFIX_PATTERN
REPOSITORY_PATTERN = "^[a-zA-Z0-9_.-]+/[a-zA-Z0-9_.-]+$"


class ResponseSchema(Schema):
    """Base of the schemas that serialise responses."""

    class Meta:
        unknown = EXCLUDE

    @post_dump
    def leave_out_none(self, dumped: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Leave out fields that are None although the contract does not allow null."""
        return {name: value for name, value in dumped.items() if value is not None or self.fields[name].allow_none}


class Period(Schema):
    """A time span with exclusive bounds."""

    created_after = UtcDateTime(
        metadata={"description": "ISO 8601 date-time. Returns what was created after this time (exclusive)."}
    )
    created_before = UtcDateTime(
        metadata={"description": "ISO 8601 date-time. Returns what was created before this time (exclusive)."}
    )

    @validates_schema
    def check_period(self, data: dict[str, Any], **_: Any) -> None:
        """Refuse an empty period, which is a mistake of the caller."""
        after, before = data.get("created_after"), data.get("created_before")
        if after is not None and before is not None and after >= before:
            raise ValidationError("Must be before created_before.", "created_after")


class RunFilter(Period):
    """The common filters of lists of runs and of their results."""

    status = fields.String(
        validate=choice(RUN_STATUSES),
        metadata={"description": "Normalized run status."},
    )
    branch = Text(validate=validate.Length(max=100))
    platform = fields.String(validate=choice(PLATFORMS))


def entity_id(**options: Any) -> fields.Integer:
    """Return the field of an id in a response."""
    return fields.Integer(validate=validate.Range(min=1), **options)


class Count(fields.Integer):
    """A count, or a duration in milliseconds."""

    def __init__(self, **options: Any) -> None:
        super().__init__(validate=validate.Range(min=0), **options)


class Truncated(fields.String):
    """A string that the contract limits and the platform does not; a longer one is truncated with an ellipsis."""

    def __init__(self, length: int, **options: Any) -> None:
        super().__init__(validate=validate.Length(max=length), **options)
        self._length = length

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> Any:
        if value is None or len(value) <= self._length:
            return value
        return value[: self._length - 1] + "…"


class TruncatedList(fields.List[Any]):
    """A list that the contract limits and the platform does not; a longer one is truncated."""

    def __init__(self, length: int, inner: Any, **options: Any) -> None:
        super().__init__(inner, validate=validate.Length(max=length), **options)
        self._length = length

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> Any:
        return super()._serialize(None if value is None else list(value)[: self._length], attr, obj, **kwargs)


class RunReference(ResponseSchema):
    """A run that an answer about something else names."""

    run_id = entity_id(required=True, metadata={"description": "The run."})
    commit_sha = fields.String(
        required=True,
        allow_none=True,
        validate=validate.Regexp(STORED_COMMIT_PATTERN),
        metadata={"description": "Its commit, as the platform stores it; null where that is none."},
    )
    created_at = UtcDateTime(required=True, metadata={"description": "When it was created."})


class FlakeFields(ResponseSchema):
    """How often a test flips, as the attribute `flakiness` says."""

    flake_score = fields.Float(
        required=True,
        allow_none=True,
        validate=validate.Range(0, 1),
        attribute="flakiness.score",
        metadata={
            "description": "Of adjacent results of the same commit on the platform, of which the same was expected, "
            "the share that gave different verdicts; null below 5 such pairs."
        },
    )
    flake_pairs = Count(
        required=True,
        attribute="flakiness.pairs",
        metadata={"description": "The number of such pairs among the newest 2000 runs, of any branch."},
    )
    flake_flips = Count(
        required=True, attribute="flakiness.flips", metadata={"description": "The pairs with different verdicts."}
    )
    flipped_on_master = fields.Boolean(
        required=True,
        attribute="flakiness.flipped_on_master",
        metadata={"description": "Whether its verdict changed within master's last 20 complete runs on the platform."},
    )


def tags_field() -> TruncatedList:
    """Return the field of a sample's tags."""
    return TruncatedList(50, Truncated(50))


def storage_status_field() -> fields.String:
    """Return the field that says which stores have a file."""
    return fields.String(
        required=True,
        validate=choice(("ok", "degraded", "missing")),
        metadata={
            "description": "ok: in every configured store. degraded: in one only, or a store did not answer (verified "
            "is false then). missing: in none."
        },
    )


def verified_field() -> fields.Boolean:
    """Return the field that says whether the storage status of a file is certain."""
    return fields.Boolean(
        required=True,
        metadata={
            "description": "Whether every configured store answered. While false, a file that was not found may exist."
        },
    )


def commit_sha(**options: object) -> fields.String:
    """Return the request field of a full commit hash."""
    return Text(
        validate=FullMatch(COMMIT_PATTERN),
        metadata={"description": "Full 40-character SHA-1 commit hash"},
        **options,  # type: ignore[arg-type]
    )


def commit_prefix() -> fields.String:
    """Return the request field of the first digits of a commit."""
    return Text(
        validate=FullMatch(COMMIT_PREFIX_PATTERN),
        metadata={"description": "The first 7 to 40 digits of a commit."},
    )


def stored_commit(**options: Any) -> fields.String:
    """Return the response field of a commit (docs/decisions.md, "Commit hashes")."""
    return fields.String(
        allow_none=True,
        validate=validate.Regexp(STORED_COMMIT_PATTERN),
        metadata={
            "description": "The full commit; an abbreviation where the platform stores one that not just one full "
            "commit of the repository completes."
        },
        **options,
    )


def repository(*validators: validate.Validator, **options: object) -> fields.String:
    """Return the request field of a GitHub repository.

    Args:
        validators: further ones.
        options: of the field.
    """
    return Text(
        validate=[FullMatch(REPOSITORY_PATTERN), validate.Length(max=100), *validators],
        metadata={"description": "GitHub repository in owner/repo format"},
        **options,  # type: ignore[arg-type]
    )
