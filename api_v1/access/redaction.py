"""Keep credentials out of text that leaves the API.

Time is linear in the length of the text, whatever the text is: every quantifier is bounded, and what is shown of a long
text is cut out of it before it is searched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from api_v1.access.tokens import ALPHABET, PREFIX

REDACTED, HIDDEN = "[redacted]", "[hidden]"

#: How many characters around a part of a text decide what of the part is a token (see `Redactor.part`): more than the
#: longest start of a reporting URL and the longest token together.
MARGIN = 1024

#: How much of a message is looked at, in characters: many times what is shown of one, because redacting shortens it.
LONGEST = 16 * 1024

#: The same for messages whose locations are hidden, which takes longer.
LONGEST_WITH_LOCATIONS = 4 * 1024

#: Shorter values are not replaced wherever they occur: they would be found inside of ordinary words.
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

#: What a program was let in with, as messages and command lines show it.
_CREDENTIAL_HEAD = re.compile(
    r"(?:\bbearer\s{1,8}|\bauthorization:\s{0,8}\w{1,32}\s{1,8}"
    r"|(?:token|password|passwd|secret|api[_-]?key|private[_-]?key|signature)['\"]?\s{0,8}[=:]\s{0,8}['\"]?)"
    r"(?=[^\s'\"&,;)}]{6})",
    re.IGNORECASE,
)
_CREDENTIAL = re.compile(rf"[^\s'\"&,;)}}]{{6,{LONGEST + MARGIN}}}")
_FOREIGN_TOKEN = re.compile(r"\b(?:gh[opsur]_|github_pat_|ya29\.|AIza)[\w.-]{10,1024}", re.IGNORECASE)

#: What tells where something lies, in the order in which it is looked for.
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

#: Where something is in a text: the first character, and the one after the last.
_Span = tuple[int, int]


class Redactor:
    """Replaces tokens in text: in reporting URLs of workers, our own bearer tokens, and secrets that are known.

    Args:
        known: secrets to replace wherever they occur, such as the token of the run that a text is of; None and values
            shorter than `SHORTEST_SECRET` characters are left out.
    """

    def __init__(self, known: Iterable[str | None] = ()) -> None:
        self._known = tuple(sorted({secret for secret in known if secret and len(secret) >= SHORTEST_SECRET}))

    def suspects(self, text: str) -> bool:
        """Tell at a glance whether a text may have a token in it; False is certain."""
        # A pattern that ignores case is many times as slow.
        return "reporter" in text.lower() or PREFIX[:-1] in text or any(secret in text for secret in self._known)

    def redact(self, text: str) -> str:
        """Return a whole text without tokens."""
        return self.part(text)

    def part(self, text: str, before: str = "", after: str = "") -> str:
        """Return a part of a longer text without tokens, also without those that begin or end outside of the part.

        All parts of a text, put together, are the whole text redacted.

        Args:
            before: the characters before the part, `MARGIN` of them or all that there are.
            after: the characters behind the part, likewise.
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

        For messages that quote exceptions and command lines. Not for logs, which have words like `token = ` in them.
        """
        whole = text[: most + MARGIN]
        spans = [*self._tokens(whole), *_credentials(whole)]
        return _replaced(whole, 0, min(len(text), most), spans, REDACTED)

    def _tokens(self, text: str) -> Iterator[_Span]:
        """Find all tokens, each by itself: whether there is one does not depend on what was found before it."""
        for head_pattern, pattern in ((_REPORT_URL, _WORKER_TOKEN), (_BEARER_HEAD, _BEARER_TOKEN)):
            for head in head_pattern.finditer(text):
                if token := pattern.match(text, head.end()):
                    # Of our own the prefix goes too: it tells what was there, but nothing about where.
                    yield head.start() if pattern is _BEARER_TOKEN else token.start(), token.end()
        for secret in self._known:
            start = text.find(secret)
            while start >= 0:
                yield start, start + len(secret)
                start = text.find(secret, start + 1)


def hide_locations(text: str) -> str:
    """Return the first `LONGEST_WITH_LOCATIONS` characters of a text without what tells where something lies.

    These are URLs, hosts, addresses and absolute paths, as exceptions quote them.
    """
    whole = text[: LONGEST_WITH_LOCATIONS + MARGIN]
    spans = (match.span() for match in _LOCATION.finditer(whole))
    return _replaced(whole, 0, min(len(text), LONGEST_WITH_LOCATIONS), spans, HIDDEN)


def _credentials(text: str) -> Iterator[_Span]:
    end = 0
    for head in _CREDENTIAL_HEAD.finditer(text):
        # One that begins inside of the one before ends with it: it is of the same characters.
        if head.end() >= end and (credential := _CREDENTIAL.match(text, head.end())):
            end = credential.end()
            yield credential.span()
    yield from (match.span() for match in _FOREIGN_TOKEN.finditer(text))


def _replaced(text: str, start: int, end: int, spans: Iterable[_Span], mark: str) -> str:
    """Return a part of a text with a mark in place of each span; what overlaps is one.

    A span that begins before the part has its mark there.
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
