"""The reason that somebody gives for a change."""

from __future__ import annotations

from api_v1.access.redaction import Redactor
from api_v1.errors import ValidationFailed

#: Texts that people type to get past a required field.
_PLACEHOLDERS = (
    "loremipsum",
    "placeholder",
    "noreason",
    "nonegiven",
    "notapplicable",
    "because",
    "test",
    "todo",
    "asdf",
    "qwerty",
    "1234567890",
    "na",
)
MIN_REASON = 10


def check_reason(reason: str) -> str:
    """Return a reason without the blanks around it, and without tokens.

    Raises:
        ValidationFailed: fewer than ten characters are left, or it is one repeated character or a known placeholder.
    """
    text = reason.strip()
    if len(text) < MIN_REASON:
        raise ValidationFailed({"reason": f"Must have at least {MIN_REASON} characters."})
    plain = "".join(character for character in text.lower() if character.isalnum())
    rest = plain
    for placeholder in _PLACEHOLDERS:
        rest = rest.replace(placeholder, "")
    if len(set(plain)) <= 1 or not rest:
        raise ValidationFailed({"reason": "Must say why; a placeholder does not."})
    return Redactor().redact(text)
