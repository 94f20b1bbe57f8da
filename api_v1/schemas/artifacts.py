"""The files of a run (contract schema `Artifact`)."""

from __future__ import annotations

from marshmallow import fields, validate

from api_v1.schemas.common import Count, ResponseSchema, Truncated, storage_status_field, verified_field
from api_v1.verdicts.meanings import listed
from api_v1.web import links
from api_v1.web.pages import PageQuery
from api_v1.web.validation import choice

ARTIFACT_TYPES = {
    "build_log": "the log of the run",
    "sample_output": "what a test wrote, where it differs",
    "expected_output": "what a test's output was compared with",
    "diff": "the difference of these two",
    "media_info": "MediaInfo's report on a sample",
    "binary": "the tested program",
}


class ArtifactQuery(PageQuery):
    """Page and filter of a run's artifacts."""

    type = fields.String(
        validate=choice(ARTIFACT_TYPES),
        metadata={"description": f"Only artifacts of this type. {listed(ARTIFACT_TYPES)}"},
    )


class Artifact(ResponseSchema):
    """A file of a run."""

    artifact_id = fields.String(
        required=True,
        validate=validate.Length(max=100),
        metadata={"description": "The same in every answer; its form has no meaning."},
    )
    run_id = fields.Integer(required=True, validate=validate.Range(min=1))
    sample_id = fields.Integer(
        required=True,
        allow_none=True,
        validate=validate.Range(min=1),
        metadata={"description": "The media sample; null for log and binary, which are of the whole run."},
    )
    type = fields.String(
        required=True,
        validate=choice(ARTIFACT_TYPES),
        metadata={"description": f"What it is. {listed(ARTIFACT_TYPES)}"},
    )
    filename = Truncated(255, required=True)
    content_type = fields.String(required=True, validate=validate.Length(max=100))
    size_bytes = Count(
        required=True,
        allow_none=True,
        metadata={"description": "The size in bytes; null for a diff, and where no file was found."},
    )
    storage_status = storage_status_field()
    verified = verified_field()
    download_url = fields.Function(
        links.of_artifact,
        metadata={
            "type": "string",
            "format": "uri",
            "nullable": True,
            "description": "A signed URL, valid for at most 15 minutes, of an object that was just verified to exist. "
            "Of this API instead: /logs for the log, /diff for a diff, /expected and /actual for a file that only the "
            "local folder has. Null for what is missing, and for other files that only the local folder has.",
        },
        allow_none=True,
        required=True,
    )
