"""Compare an expected with an actual output file, exactly and line by line (contract schema `Diff`).

docs/decisions.md, "Diffs", has the form of the answer. The rules of the comparison:

- A line ends at LF only, as for GNU diff and patch, so that both forms of the answer number lines alike.
- Lines are compared as bytes with their endings, so no change is missed, not even one of the ending alone.
- A CR before the LF belongs to the ending (CRLF); any other CR is a character of the line.
- A line's text plus its ending, in the encoding of its file, is the line again, byte for byte, unless the text was cut
  or the line contains one of the five bytes that cp1252 does not define, which show as U+FFFD.
- A line that is in both files shows the text of the expected file.

The limits (`limits`): `MAX_BYTES` and `MAX_LINES` cut the input; `MAX_HUNKS`, `MAX_TEXT` and `MAX_OUTPUT` cut the
output; `truncated` reports either. Only a cut of the input affects the counts of the summary; lines close to such a cut
may count as changed because their counterparts are behind it. A hunk of more than `MAX_HUNK_LINES` lines is split, and
loses none. The common beginning and end of the files cost almost nothing, so most large files are compared whole.

The steps: `content` detects the encodings, `window` selects the lines to compare, `patience` finds the changes, `hunks`
and `unified` show them, `differences` names the ways in which the files differ, and `comparing` combines all of these.
"""

from api_v1.files.diff import limits
from api_v1.files.diff.comparing import Diff, Status, diff
from api_v1.files.diff.content import Encoding, is_binary
from api_v1.files.diff.differences import Difference
from api_v1.files.diff.hunks import Hunk, Kind, Line, Summary
from api_v1.files.diff.patience import Change, changes
from api_v1.files.diff.window import Ending

__all__ = [
    "Change",
    "Diff",
    "Difference",
    "Encoding",
    "Ending",
    "Hunk",
    "Kind",
    "Line",
    "Status",
    "Summary",
    "changes",
    "diff",
    "is_binary",
    "limits",
]
