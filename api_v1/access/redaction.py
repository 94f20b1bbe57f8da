"""The redaction of credentials and locations in text that the API sends.

It takes time linear in the length of any text: every quantifier is bounded, and a long text is truncated before it is
searched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from api_v1.access.tokens import ALPHABET, PREFIX

REDACTED, HIDDEN = "[redacted]", "[hidden]"

#: The number of characters before and after a part of a text in which `Redactor.part` looks for tokens that overlap the
#: part: more than the longest head of a reporting URL and the longest token together.
MARGIN = 1024

#: The maximum number of characters of a message that are redacted: many times what is sent, because redacting shortens
# it.
LONGEST = 16 * 1024

#: The same for messages whose locations are hidden, which is slower.
LONGEST_WITH_LOCATIONS = 4 * 1024

#: The minimum length of a known secret: shorter values occur inside of ordinary words.
SHORTEST_SECRET = 8

_PERCENT = "%(?:25){0,4}"
#: A slash or backslash: plain, percent-encoded up to five times, as JSON and as HTML escape it.
_SEPARATOR = rf"(?:/|\\u00(?:2f|5c)|\\|{_PERCENT}(?:2f|5c)|&#(?:x0{{0,2}}(?:2f|5c)|0{{0,2}}(?:47|92));)"
#: More than one separator, and `.` between them, name the same place.
_SEPARATORS = rf"{_SEPARATOR}(?:{_SEPARATOR}|\.|{_PERCENT}2e){{0,8}}"
#: The URL a worker reports to, up to the run's secret, which follows (docs/platform.md, "Worker reports").
_REPORT_URL = re.compile(
    rf"progress(?:-|{_PERCENT}2d)reporter{_SEPARATORS}\d{{1,20}}{_SEPARATORS}", re.IGNORECASE | re.ASCII
)
_WORKER_TOKEN = re.compile(r"[^\s/\\\"'?&<>]{1,256}", re.ASCII)

#: Our own bearer tokens, also when only a part of one is there.
_BEARER_HEAD = re.compile(rf"{PREFIX[:-1]}(?:_|{_PERCENT}5[fF])")
_BEARER_TOKEN = re.compile(rf"[{ALPHABET}]{{8,64}}")

#: The text before a credential in messages and command lines.
_CREDENTIAL_HEAD = re.compile(
    r"(?:\bbearer\s{1,8}|\bauthorization:\s{0,8}\w{1,32}\s{1,8}"
    r"|(?:token|password|passwd|secret|api[_-]?key|private[_-]?key|signature)['\"]?\s{0,8}[=:]\s{0,8}['\"]?)"
    r"(?=[^\s'\"&,;)}]{6})",
    re.IGNORECASE,
)
_CREDENTIAL = re.compile(rf"[^\s'\"&,;)}}]{{6,{LONGEST + MARGIN}}}")
_FOREIGN_TOKEN = re.compile(r"\b(?:gh[opsur]_|github_pat_|ya29\.|AIza)[\w.-]{10,1024}", re.IGNORECASE)

#: URLs, hosts, addresses and absolute paths, in the order in which they are tried.
_LOCATION = re.compile(
    r"\b[a-z][a-z0-9+.-]{0,30}://[^\s'\"<>)]{1,8192}"  # URLs
    r"|(?<=host=')[^']{1,8192}|(?<=host=\")[^\"]{1,8192}"
    r"|\b[\w.+-]{1,64}@[\w.-]{1,255}\w"  # accounts, which name a host
    r"|(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?(?![\w.]{0,64}\d)"  # IPv4
    r"|\[[0-9a-f]{0,4}:[0-9a-f:.]{0,45}\](?::\d{1,5})?"  # IPv6, in brackets and without
    r"|(?<![\w:])(?:(?:[0-9a-f]{0,4}:){3,7}[0-9a-f]{0,4}|::[0-9a-f]{1,4})(?![\w:])"
    r"|\blocalhost\b(?::\d{1,5})?"
    r"|\b(?:[a-z0-9_-]{1,63}\.){1,16}"
    r"(?:com|org|net|io|dev|app|cloud|gov|edu|info|internal|local|localdomain|lan|corp|test|example)\b(?::\d{1,5})?"
    r"|\bprojects/[^\s'\"<>):,]{1,8192}"  # resources of the machines' provider
    r"|(?<![\w/.])~?/[\w.~%+@-][^\s'\"<>):,]{0,8192}"
    r"|\b[a-z]:[\\/][^\s'\"<>),]{1,8192}|\\\\[\w.$-]{1,255}\\[^\s'\"<>),]{1,8192}",  # Windows
    re.IGNORECASE,
)

#: A range of a text: the first character, and the one after the last.
_Span = tuple[int, int]


class Redactor:
    """Replaces tokens in text: those in workers' reporting URLs, our own bearer tokens, and known secrets.

    Args:
        known: secrets to replace wherever they occur, such as the token of the text's run; None and values shorter than
            `SHORTEST_SECRET` characters are ignored.
    """

    def __init__(self, known: Iterable[str | None] = ()) -> None:
        self._known = tuple(sorted({secret for secret in known if secret and len(secret) >= SHORTEST_SECRET}))

    def suspects(self, text: str) -> bool:
        """Return quickly whether a text may contain a token; False is certain."""
        # A case-insensitive pattern would be many times slower.
        return "reporter" in text.lower() or PREFIX[:-1] in text or any(secret in text for secret in self._known)

    def redact(self, text: str) -> str:
        """Return a text without tokens."""
        return self.part(text)

    def part(self, text: str, before: str = "", after: str = "") -> str:
        """Return a part of a longer text without tokens, including those that begin or end outside of the part.

        The redacted parts of a text, concatenated, are the redacted text.

        Args:
            text: the part.
            before: the `MARGIN` characters before the part, or fewer at the start of the text.
            after: the `MARGIN` characters after the part, or fewer at the end of the text.
        """
        whole = before + text + after
        if not self.suspects(whole):
            return text
        return _replaced(whole, len(before), len(before) + len(text), self._tokens(whole), REDACTED)

    def start(self, text: str) -> str:
        """Return the first `LONGEST` characters of a text without tokens."""
        return self.part(text[:LONGEST], after=text[LONGEST : LONGEST + MARGIN])

    def credentials(self, text: str, most: int = LONGEST) -> str:
        """Return the first `most` characters of a text without tokens, passwords and keys of any kind.

        This is for messages that quote exceptions and command lines, and not for logs, which contain words such as
        `token = `.
        """
        whole = text[: most + MARGIN]
        spans = [*self._tokens(whole), *_credentials(whole)]
        return _replaced(whole, 0, min(len(text), most), spans, REDACTED)

    def _tokens(self, text: str) -> Iterator[_Span]:
        """Yield the spans of all tokens; they may overlap, because each pattern searches the whole text."""
        for head_pattern, pattern in ((_REPORT_URL, _WORKER_TOKEN), (_BEARER_HEAD, _BEARER_TOKEN)):
            for head in head_pattern.finditer(text):
                if token := pattern.match(text, head.end()):
                    # Of our own tokens the prefix is replaced too.
                    yield head.start() if pattern is _BEARER_TOKEN else token.start(), token.end()
        for secret in self._known:
            start = text.find(secret)
            while start >= 0:
                yield start, start + len(secret)
                start = text.find(secret, start + 1)


def hide_locations(text: str) -> str:
    """Return the first `LONGEST_WITH_LOCATIONS` characters of a text without URLs, hosts and absolute paths."""
    whole = text[: LONGEST_WITH_LOCATIONS + MARGIN]
    spans = (match.span() for match in _LOCATION.finditer(whole))
    return _replaced(whole, 0, min(len(text), LONGEST_WITH_LOCATIONS), spans, HIDDEN)


def _credentials(text: str) -> Iterator[_Span]:
    end = 0
    for head in _CREDENTIAL_HEAD.finditer(text):
        # A head inside of the previous credential marks no other one: both would end at the same character.
        if head.end() >= end and (credential := _CREDENTIAL.match(text, head.end())):
            end = credential.end()
            yield credential.span()
    yield from (match.span() for match in _FOREIGN_TOKEN.finditer(text))


def _replaced(text: str, start: int, end: int, spans: Iterable[_Span], mark: str) -> str:
    """Return a part of a text with a mark in place of each span; overlapping spans get one mark.

    A span that begins before the part has its mark there, outside of the part.
    """
    shown = []
    at = 0
    for first, last in sorted(spans):
        if first >= end:
            break
        if first >= at:
            if first >= start:
                shown += [text[max(at, start) : first], mark]
            at = last
        else:
            at = max(at, last)
    shown.append(text[max(at, start) : end])
    return "".join(shown)
