"""Read the log of a run page by page. The entry point is `page`.

The worker's script, the tester and CCExtractor write the log together, as plain text (docs/platform.md, "The run log").
The bytes of the log pass through these steps. Each step can start in the middle of the log, so that a page costs the
same at any position:

- `segments` splits bytes into raw lines, and long lines into parts.
- `structure` derives level, source and time of a line, and the sample whose part of the log it is in.
- `records` builds the lines of the answer: without tokens, of at most 4000 characters.
- `selection` applies filters, adds lines of context, and assigns lines to samples.
- `cursors` encodes the position at which a page ended.
- `pages` combines these steps.
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
