"""Keep credentials out of text that leaves the API."""

from __future__ import annotations

import re

#: The URL a worker reports to; its last part is the run's secret (platform, "Worker protocol").
_REPORT_URL = re.compile(r"(/progress-reporter/+\d+/+)[^\s/\"'?&]+", re.IGNORECASE)

#: What tells where something lies, in the order in which it is looked for.
_PLACE = re.compile(
    r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>)]+"  # URLs
    r"|(?<=host=')[^']+|(?<=host=\")[^\"]+"
    r"|\b[\w.+-]+@[\w.-]+\w"  # accounts, which name a host
    r"|(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?(?![\w.]*\d)"  # IPv4
    r"|\[[0-9a-f]*:[0-9a-f:.]*\](?::\d+)?"  # IPv6, in brackets and without
    r"|(?<![\w:])(?:(?:[0-9a-f]{0,4}:){3,7}[0-9a-f]{0,4}|::[0-9a-f]+)(?![\w:])"
    r"|\blocalhost\b(?::\d+)?"
    r"|\b(?:[a-z0-9_-]+\.)+"
    r"(?:com|org|net|io|dev|app|cloud|gov|edu|info|internal|local|localdomain|lan|corp|test|example)\b(?::\d+)?"
    r"|\bprojects/[^\s'\"<>):,]+"  # resources of the machines' provider
    r"|(?<![\w/.])~?/[\w.~%+@-][^\s'\"<>):,]*"
    r"|\b[a-z]:[\\/][^\s'\"<>),]+|\\\\[\w.$-]+\\[^\s'\"<>),]+",  # Windows
    re.IGNORECASE,
)

#: What a program was let in with, as messages and command lines show it.
_CREDENTIAL = re.compile(
    r"(?P<head>\bbearer\s+|\bauthorization:\s*\w+\s+|\b[\w-]*(?:token|password|passwd|secret|api[_-]?key|private[_-]?key|signature)"
    r"['\"]?\s*[=:]\s*['\"]?)[^\s'\"&,;)}]{6,}"
    r"|\b(?:gh[opsur]_|github_pat_|ya29\.|AIza)[\w.-]{10,}",
    re.IGNORECASE,
)

_WORD = "/progress-reporter"
#: A URL with each part as short as can be. How far into it a text got is all that matters for what follows.
_SHORTEST = f"{_WORD}/1/x"
_CUT_WORD = "|".join(re.escape(_WORD[:length]) for length in range(len(_WORD) - 1, 0, -1))
_UNFINISHED = re.compile(
    rf"(?:{_WORD}(?P<slash>/+(?P<digits>\d+(?P<second_slash>/+)?)?)?|(?P<cut>{_CUT_WORD}))\Z", re.IGNORECASE
)


def redact(text: str) -> str:
    """Replace the token in a worker's reporting URL."""
    if "/" not in text:  # a search that ignores case is fifty times as slow as this one
        return text
    return _REPORT_URL.sub(r"\1[redacted]", text)


def redact_places(text: str) -> str:
    """Replace what tells where something lies: URLs, hosts, addresses and absolute paths, as exceptions quote them."""
    return _PLACE.sub("[hidden]", text)


def redact_credentials(text: str) -> str:
    """Replace passwords, tokens and keys, as exceptions and command lines quote them."""
    return _CREDENTIAL.sub(lambda match: f"{match['head'] or ''}[redacted]", redact(text))


def redact_part(text: str, progress: int = 0) -> tuple[str, int]:
    """Redact a text that comes in parts: the results, put together, are what `redact` makes of the whole.

    Args:
        text: the next part.
        progress: what the call for the part before returned; 0 for the first part.

    Returns:
        The text without tokens, and how far into a URL it ends (0 to 22), for the next call.
    """
    begun = _SHORTEST[:progress]
    whole = begun + text
    return redact(whole)[len(redact(begun)) :], _progress(whole)


def _progress(text: str) -> int:
    """Return how many characters of the shortest URL the end of a text amounts to."""
    end = 0
    for match in _REPORT_URL.finditer(text):
        end = match.end()
    if end and end == len(text):
        return len(_SHORTEST)
    unfinished = _UNFINISHED.search(text, end)
    if unfinished is None:
        return 0
    if unfinished["cut"]:
        return len(unfinished["cut"])
    parts = (unfinished["slash"], unfinished["digits"], unfinished["second_slash"])
    return len(_WORD) + sum(part is not None for part in parts)
