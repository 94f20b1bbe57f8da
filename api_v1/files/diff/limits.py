"""What bounds a diff: the input that is compared, and the output that is shown."""

from __future__ import annotations

#: Bytes of each file that are compared. A caller need not read more than one byte beyond (see `diff`).
MAX_BYTES = 64 * 1024 * 1024

#: Lines of each file that are compared, not counting those before the first and after the last difference.
MAX_LINES = 200_000

#: Limits of the contract: context lines, hunks, lines in a hunk, characters in a line's text.
MAX_CONTEXT = 50
MAX_HUNKS = 500
MAX_HUNK_LINES = 500
MAX_TEXT = 1000

#: Total size of the output. In the unified form: bytes of its lines. In the structured form: characters of the lines'
#: texts, plus `LINE_COST` for each line, which is about what JSON adds.
MAX_OUTPUT = 8 * 1024 * 1024
LINE_COST = 100

#: How often the patience search runs on nested gaps: on all the lines first, then on each gap between matches that is
#: too large for a longest common subsequence. Each round costs linear time.
MAX_DEPTH = 8

#: The largest table of a longest common subsequence, in bits: 25 million take 3 MB and some 10 ms.
MAX_CELLS = 25_000_000
