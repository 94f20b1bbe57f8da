"""What differs between two caption files, in words: `describe` is the way in.

A diff by lines of two caption files hides what happened: captions that are 734 ms late change every second line. Here
captions are compared with captions:

- `content`: bytes to lines of text; encoding and line endings.
- `formats`: lines to captions, for each format that CCExtractor writes. A file in none of them is read line by line.
- `alignment`: which caption of one file is which of the other.
- `residue`: what else differs: notation, and what stands between captions.
- `timing`: offsets and rates over ranges of captions.
- `changes`: what the kinds of change are.
- `comparison`: which of them there are.
- `sentences`: the one sentence that says it.

Every file is described, whatever is in it; time and memory are bounded by `MAX_BYTES`, `MAX_LINES` and `MAX_CUES`.
"""

from api_v1.files.captions.changes import MAX_CHANGES, CaptionChange, CaptionDiff, Kind, Range, Unit
from api_v1.files.captions.comparison import describe
from api_v1.files.captions.content import MAX_BYTES, MAX_LINES
from api_v1.files.captions.formats import MAX_CUES

__all__ = [
    "MAX_BYTES",
    "MAX_CHANGES",
    "MAX_CUES",
    "MAX_LINES",
    "CaptionChange",
    "CaptionDiff",
    "Kind",
    "Range",
    "Unit",
    "describe",
]
