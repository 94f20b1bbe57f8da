"""The log of a run, page by page: `page` is the way in.

The log is plain text, written by the worker's script, the tester and CCExtractor together (docs/platform.md,
"The run log"). Its bytes, wherever they are stored, go through these steps, each of which can go on from the middle of
the log, so that a page costs the same wherever it is:

- `segments`: bytes to raw lines; long ones in parts.
- `structure`: what the text of a line says: level, source, time, whose part of the log it is in.
- `records`: lines as they are answered, without tokens, none longer than 4000 characters.
- `selection`: filters, lines of context, the parts of samples.
- `cursors`: where a page ended.
- `pages`: all of it together.
"""

from api_v1.files.logs.cursors import Signer
from api_v1.files.logs.pages import BUDGET, MAX_CONTEXT, MAX_TAIL, LogLine, LogPage, page
from api_v1.files.logs.structure import Level, Origin, SampleMark

__all__ = [
    "BUDGET",
    "MAX_CONTEXT",
    "MAX_TAIL",
    "Level",
    "LogLine",
    "LogPage",
    "Origin",
    "SampleMark",
    "Signer",
    "page",
]
