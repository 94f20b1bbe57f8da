"""Schemas, fields and constants that several modules share."""

from __future__ import annotations

from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, post_dump, validate, validates_schema

from api_v1.verdicts.meanings import RUN_STATUSES, listed
from api_v1.web.validation import FullMatch, QueryInteger, Text, UtcDateTime, choice

PLATFORMS = ("linux", "windows")

HASH_PATTERN = "^[a-fA-F0-9]{64}$"
COMMIT_PATTERN = "^[a-fA-F0-9]{40}$"
COMMIT_PREFIX_PATTERN = "^[a-fA-F0-9]{7,40}$"
#: In responses: the platform stores abbreviations of some commits.
STORED_COMMIT_PATTERN = COMMIT_PREFIX_PATTERN
REPOSITORY_PATTERN = "^[a-zA-Z0-9_.-]+/[a-zA-Z0-9_.-]+$"


#: What a field of a response means, by its name, where its schema does not describe it otherwise.
_MEANINGS = {
    "run_id": "The run",
    "sample_id": "The media sample",
    "regression_id": "The regression test",
    "output_id": "The output of the regression test",
    "repository": "The GitHub repository, as owner/repo",
    "branch": "The branch; pull_request for runs of pull requests",
    "pull_request": "The number of the pull request",
    "platform": "The platform on which the tests run, linux or windows",
    "triggered_by": "The name of the user who triggered the run",
    "command": "The command-line options with which the test runs CCExtractor",
    "category": "The test's category, the first by name of several; left out without one",
    "tags": "The tags of the media sample, by name",
    "filename": "The name of the file, without a folder",
    "content_type": "The media type of the file, by its extension",
    "runtime_ms": "How long the test ran, in milliseconds",
    "duration_ms": "From started_at to completed_at, in milliseconds",
    "exit_code": "The exit code of CCExtractor",
    "expected_exit_code": "The exit code that the test expects",
    "created_at": "When it was created, in UTC",
    "started_at": "When the run began testing, in UTC",
    "severity": "How bad it is; critical is the worst",
    "token_name": "The name of the token",
}

#: What null means in such a field.
_NULLS = {
    "sample_id": "for a test whose sample is gone",
    "repository": "for a run without a fork on GitHub",
    "branch": "where the platform stores none",
    "pull_request": "for a run of a commit",
    "triggered_by": "where nobody is recorded",
    "runtime_ms": "without a result",
    "duration_ms": "while one of them is unknown",
    "exit_code": "without a result",
    "expected_exit_code": "without a result",
    "started_at": "while it has not",
}


class ResponseSchema(Schema):
    """Base of the schemas that serialise responses."""

    class Meta:
        unknown = EXCLUDE

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        """Describe a field that its schema does not describe by what its name means everywhere."""
        if "description" not in field_obj.metadata and field_name in _MEANINGS:
            null = f"; null {_NULLS[field_name]}" if field_obj.allow_none and field_name in _NULLS else ""
            # A new mapping, because the class shares its own with all of its instances.
            field_obj.metadata = {**field_obj.metadata, "description": f"{_MEANINGS[field_name]}{null}."}

    @post_dump
    def leave_out_none(self, dumped: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Leave out fields that are None although the contract does not allow null."""
        return {name: value for name, value in dumped.items() if value is not None or self.fields[name].allow_none}


def platform_filter() -> fields.String:
    """Return the query parameter that selects a platform."""
    return fields.String(validate=choice(PLATFORMS), metadata={"description": "Only this platform: linux or windows."})


def label_filter(kind: str) -> fields.String:
    """Return the query parameter that selects a category or a tag."""
    of = "tests whose media sample has this tag" if kind == "tag" else "tests of this category"
    description = f"Only {of}: the whole name, in any case."
    return Text(validate=validate.Length(max=50), metadata={"description": description})


def id_filter(of: str) -> fields.Integer:
    """Return the query parameter that selects by an id, which matches nothing if there is no such id."""
    return QueryInteger(validate=validate.Range(min=1), metadata={"description": f"Only those of this {of}."})


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
        metadata={"description": f"Only runs with this status. {listed(RUN_STATUSES)}"},
    )
    branch = Text(
        validate=validate.Length(max=100),
        metadata={
            "description": "Only runs of this branch: the whole name, in its case; pull_request for those of all pull "
            "requests."
        },
    )
    platform = platform_filter()


def entity_id(**options: Any) -> fields.Integer:
    """Return the field of an id in a response."""
    return fields.Integer(validate=validate.Range(min=1), **options)


def hash_field(meaning: str, null: str, **options: Any) -> fields.String:
    """Return the response field of a SHA-256, which is null where there is none.

    Args:
        meaning: the hash of what.
        null: when there is none.
        options: of the field.
    """
    return fields.String(
        required=True,
        allow_none=True,
        validate=validate.Regexp(HASH_PATTERN),
        metadata={"description": f"{meaning}; null {null}."},
        **options,
    )


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
            "description": "Of adjacent results of the same commit on the platform, in runs of any branch, of which "
            "the same was expected, the share that gave different verdicts; null below 5 such pairs."
        },
    )
    flake_pairs = Count(
        required=True,
        attribute="flakiness.pairs",
        metadata={"description": "The number of such pairs among the newest 2000 runs."},
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
    return TruncatedList(50, Truncated(50), required=True)


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


def commit_sha(*, shorter: str | None = None, **options: object) -> fields.String:
    """Return the request field of a full commit hash.

    Args:
        shorter: the parameter that takes fewer digits; None where there is none.
        options: of the field.
    """
    elsewhere = "" if shorter is None else f"; {shorter} takes the first 7 to 40"
    return Text(
        validate=FullMatch(COMMIT_PATTERN, f"40 hexadecimal digits{elsewhere}"),
        metadata={"description": "The full commit, 40 hexadecimal digits; as a filter, only runs of it."},
        **options,  # type: ignore[arg-type]
    )


def commit_prefix() -> fields.String:
    """Return the request field of the first digits of a commit."""
    return Text(
        validate=FullMatch(COMMIT_PREFIX_PATTERN, "7 to 40 hexadecimal digits"),
        metadata={"description": "The first 7 to 40 digits of a commit."},
    )


def stored_commit(**options: Any) -> fields.String:
    """Return the response field of a commit (docs/decisions.md, "Commit hashes")."""
    return fields.String(
        allow_none=True,
        validate=validate.Regexp(STORED_COMMIT_PATTERN),
        metadata={
            "description": "The full commit; an abbreviation where the platform stores one that not just one full "
            "commit of the repository completes; null where it stores no commit."
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
        validate=[
            FullMatch(REPOSITORY_PATTERN, "owner/repo, each of letters, digits, _, . and -"),
            validate.Length(max=100),
            *validators,
        ],
        metadata={"description": "The GitHub repository, as owner/repo, in any case; as a filter, only runs of it."},
        **options,  # type: ignore[arg-type]
    )
