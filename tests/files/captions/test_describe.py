"""Captions as they are and as they should not be: each format by an example, sentences, hostile files and limits."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from webvtt import WebVTT

from api_v1.demo.captions import Cue as DemoCue
from api_v1.demo.captions import Damage, dialogue, render, render_damaged
from api_v1.files import captions as package
from api_v1.files.captions import CaptionDiff, Kind, Unit, content, formats
from api_v1.files.captions.changes import MAX_TEXT
from api_v1.files.captions.formats import Cue, Source
from tests.support.captions import WRITERS, write
from tests.support.thorough import thorough

EXTENSIONS = (*sorted(WRITERS), "scc", "", "unknown")


def describe(expected: bytes | str, actual: bytes | str, extension: str = "srt") -> CaptionDiff:
    one, other = (text.encode() if isinstance(text, str) else text for text in (expected, actual))
    found = package.describe(one, other, extension)
    assert found is not None
    return found


def kinds(found: CaptionDiff) -> dict[str, int]:
    return {str(kind): count for kind, count in found.counts.items()}


# --- the demo's outputs ---------------------------------------------------------------------------

SAID = {
    Damage.SHIFTED: ({"timing_shift": 80}, "80 captions from 41 on are 734 ms late; the rest is equal."),
    Damage.MISSING_CUE: ({"missing_cue": 1}, "Caption 61 is missing; the rest is equal."),
    Damage.WRONG_CHARACTER: ({"text": 1}, None),
    Damage.CRLF: ({"line_endings": 1}, "Lines end in CRLF instead of LF; the captions are equal."),
    Damage.LATIN1: ({"encoding": 1}, "The encoding is cp1252 instead of utf-8; the captions are equal."),
    Damage.VARIANT: ({"timing_shift": 1}, "Caption 120 ends 33 ms early; the rest is equal."),
    Damage.EXTRA_CUE: ({"extra_cue": 1}, None),
}


@pytest.fixture(scope="module")
def cues() -> tuple[DemoCue, ...]:
    return dialogue("described", 120)


@pytest.mark.parametrize("damage", Damage)
@pytest.mark.parametrize("extension", [".srt", ".ttxt", ".vtt"])
def test_what_goes_wrong_in_the_demo(cues: tuple[DemoCue, ...], extension: str, damage: Damage) -> None:
    found = describe(render(cues, extension), render_damaged(cues, extension, damage), extension)
    counts, sentence = SAID[damage]
    assert kinds(found) == counts
    if damage is Damage.MISSING_CUE and extension == ".srt":
        sentence = "Caption 61 is missing (so that 59 numbers changed); the rest is equal."
    assert sentence is None or found.sentence == sentence
    assert (found.unit, found.expected_count) == (Unit.CAPTION, 120)


def test_a_report_is_compared_by_its_lines(cues: tuple[DemoCue, ...]) -> None:
    found = describe(render(cues, ".txt"), render_damaged(cues, ".txt", Damage.MISSING_CUE), ".txt")
    assert found.sentence == 'Line 6 reads "Captions: 119" instead of "Captions: 120"; the rest is equal.'
    assert found.unit is Unit.LINE


# --- sentences ------------------------------------------------------------------------------------


def file(*texts: str, times: dict[int, int] | None = None, step: int = 4_000) -> str:
    """An srt of these captions, numbered from 1; `times`: by how much some are later."""
    late = times or {}
    return write(
        [
            Cue(text, step * index + late.get(index, 0), step * index + 1_500 + late.get(index, 0), index)
            for index, text in enumerate(texts, 1)
        ],
        "srt",
    ).decode()


TEXTS = tuple(f"caption {letter}" for letter in "abcdefghij")

SENTENCES = [
    (file(*TEXTS, times=dict.fromkeys(range(1, 11), -40)), "All 10 captions are 40 ms early."),
    (
        file(*TEXTS, times={2: 50, 3: 50, 4: 50, 7: 600}),
        "Captions 2 to 4 are 50 ms late and caption 7 is 600 ms late; the rest is equal.",
    ),
    (
        file(*TEXTS, times={1: 10, 2: 10, 3: 10, 4: 20, 5: 20, 6: 20, 7: 400, 8: 400, 9: 400, 10: 400}),
        "Captions 1 to 3 are 10 ms late, 4 captions from 7 on are 400 ms late and 1 more shift.",
    ),
    (
        file(*TEXTS[:4], *TEXTS[6:]),
        "Captions 5 to 6 are missing (so that 4 numbers changed) and 4 captions from 7 on are 8000 ms early; "
        "the rest is equal.",
    ),
    (
        file("caption #", *TEXTS[1:5], "Something else", *TEXTS[6:]),
        '2 captions have other words, the first is 1: "caption #" instead of "caption a"; the rest is equal.',
    ),
    (file("caption  a", *TEXTS[1:]), "Caption 1 differs in whitespace; the rest is equal."),
    (file("<i>caption a</i>", *TEXTS[1:]), "Caption 1 differs in formatting; the rest is equal."),
    (
        file(*(f"<i>{text}</i>" for text in TEXTS[:2]), *TEXTS[2:9], "<b>caption j</b>"),
        "3 captions differ in formatting, the first is 1; the rest is equal.",
    ),
    (
        file(*TEXTS).replace("10\n0", "12\n0"),
        "Caption 10 has another number (12 instead of 10); the rest is equal.",
    ),
    ("note\n" + file(*TEXTS), "1 line outside the captions differs; the captions are equal."),
    (file(*TEXTS) + "\n", "The files differ in whitespace between captions; the rest is equal."),
    (file(*TEXTS).replace("\n", "\r\n", 3), "Lines end in CRLF and LF instead of LF; the captions are equal."),
    ("", "All 10 captions are missing."),
    (
        "note\n\ufeff" + file("<b>caption #</b>", *TEXTS[1:9]).replace("\n", "\r\n"),
        'Caption 10 is missing, caption 1 reads "<b>caption #</b>" instead of "caption a", caption 1 differs in '
        "formatting and 3 more kinds of change; the rest is equal.",
    ),
]


@pytest.mark.parametrize(("actual", "sentence"), SENTENCES)
def test_sentences(actual: str, sentence: str) -> None:
    assert describe(file(*TEXTS), actual).sentence == sentence


def test_a_drift_names_the_frame_rates() -> None:
    cues = [Cue(text, 4_000 * index, 4_000 * index + 1_500) for index, text in enumerate(TEXTS)]
    slow = [cue._replace(start=round((cue.start or 0) * 25 / 24), end=round((cue.end or 0) * 25 / 24)) for cue in cues]
    found = describe(write(cues, "ttxt"), write(slow, "ttxt"), "ttxt")
    assert found.sentence == "All 10 captions drift by a factor of 1.041667 (25/24), up to 1562 ms late."


def test_a_caption_that_is_cut_short_is_quoted_where_it_differs() -> None:
    text = "word " * 40
    found = describe(file(text + "here"), file(text + "there"))
    assert found.sentence == 'Caption 1 reads "… word word word there" instead of "… word word word here".'
    assert found.changes[0].before == (text + "here")[:300]


def test_moved_line_endings_are_line_endings() -> None:
    assert kinds(describe("1\r\na\nb\n", "1\na\r\nb\n", "txt")) == {"line_endings": 1}


# --- what is neither a text nor a time ------------------------------------------------------------

SRT = "1\n00:00:01,500 --> 00:00:02,500\na b\n\n2\n00:00:04,500 --> 00:00:05,500\nc d\n\n"
VTT = f"WEBVTT\n\nNOTE n\n\n{SRT.replace(',', '.')}"
TTXT = "00:00:01,500|00:00:02,500|POP|a b\n00:00:04,500|00:00:05,500|POP|c d\n"
ASS = (
    "[Events]\nDialogue: 0,0:00:01.50,0:00:02.50,Default,,0,0,0,,a\\Nb\n"
    "Dialogue: 0,0:00:04.50,0:00:05.50,Default,,0,0,0,,c\n"
)
SMI = (
    "<SAMI><BODY>\n<SYNC start=15><P class=X>a<br>b</P><P class=Y>z</P></SYNC>\n"
    "<SYNC start=25><P class=X>&nbsp;</P></SYNC>\n<SYNC start=45><P class=X>c</P></SYNC>\n"
    "<SYNC start=55><P class=X>&nbsp;</P></SYNC>\n</BODY></SAMI>\n"
)
FIRST, SECOND = 'begin="00:00:01.500" end="00:00:02.500"', 'begin="00:00:04.500" end="00:00:05.500"'
TTML = f"<tt>\n<p {FIRST}>a b</p>\n<p {SECOND}>c d</p>\n</tt>\n"

#: Of each format a file, what becomes what in it (all of them, if it is there several times), and the kinds of change.
OTHERWISE = [
    ("srt", SRT, {",5": ".5"}, {"notation": 2}),
    ("srt", SRT, {"1\n0": "01\n0"}, {"notation": 1}),
    ("srt", SRT, {"01,500": "01,5"}, {"notation": 1}),
    ("srt", SRT, {",5": ".5", "c d": "c e"}, {"notation": 2, "text": 1}),
    ("srt", SRT, {"04,500": "04.900"}, {"notation": 1, "timing_shift": 1}),
    ("srt", SRT, {" --> ": "  -->  "}, {"whitespace": 1}),
    ("srt", SRT, {"a b\n\n": "a b\n\n\n", "c d": "c e"}, {"whitespace": 1, "text": 1}),
    ("vtt", VTT, {"00:00:": "00:"}, {"notation": 2}),
    ("vtt", VTT, {"NOTE n\n\n": "", "\n2\n": "\nNOTE n\n\n2\n"}, {"outside": 1}),
    ("ttxt", TTXT, {"00:00:05,500|": ""}, {"end_time": 1}),
    ("ttxt", TTXT, {",": "."}, {"notation": 2}),
    ("ass", ASS, {"\\N": "\\n"}, {"notation": 1}),
    ("smi", SMI, {"<SYNC start=25><P class=X>&nbsp;</P></SYNC>\n": ""}, {"end_time": 1}),
    ("smi", SMI, {"class=Y": "class=Z"}, {"notation": 1}),
    ("smi", SMI, {"class=Y": "class=Z", "a<br>b": "a<br>c"}, {"notation": 1, "text": 1}),
    ("smi", SMI, {"</BODY></SAMI>\n": ""}, {"outside": 1}),
    ("smi", SMI, {"</P></SYNC>": ""}, {"notation": 2}),
    ("smi", SMI, {"<SYNC ": "<SYNC lang=x "}, {"notation": 2}),
    ("smi", SMI, {"<br>": "<BR/>"}, {"notation": 1}),
    ("smi", SMI, {"&nbsp;": " "}, {"notation": 2}),
    ("smi", SMI, {"class=Y": "class=Z", "\n": "\r\n"}, {"notation": 1, "line_endings": 1}),
    ("smi", SMI, {"</BODY></SAMI>\n": "", "\n": "\r\n"}, {"outside": 1, "line_endings": 1}),
    ("ttml", TTML, {' end="00:00:02.500"': ""}, {"end_time": 1}),
    ("ttml", TTML, {FIRST: " ".join(FIRST.split()[::-1])}, {"notation": 1}),
    ("ttml", TTML, {'"00:00:0': '"', '500"': '500s"'}, {"notation": 2}),
]


@pytest.mark.parametrize(("extension", "expected", "becomes", "counts"), OTHERWISE)
def test_another_notation_is_said(
    extension: str, expected: str, becomes: dict[str, str], counts: dict[str, int]
) -> None:
    actual = expected
    for before, after in becomes.items():
        assert before in actual
        actual = actual.replace(before, after)
    for found in (describe(expected, actual, extension), describe(actual, expected, extension)):
        assert kinds(found) == counts
        in_all = 2 in counts.values() and "outside" not in counts
        assert not (in_all and "equal" in found.sentence)
        assert ("captions are equal" in found.sentence) is (set(counts) <= {"outside", "line_endings"})


def test_an_end_that_one_file_lacks_and_a_notation_are_named() -> None:
    dropped = SMI.replace("<SYNC start=25><P class=X>&nbsp;</P></SYNC>\n", "")
    assert describe(SMI, dropped, "smi").sentence == "Caption 1 has no end time; the rest is equal."
    assert describe(dropped, SMI, "smi").sentence == "Caption 1 has an unexpected end time; the rest is equal."
    said = 'Caption 1 differs in notation: "01" instead of "1"; the rest is equal.'
    assert describe(SRT, SRT.replace("1\n0", "01\n0"), "srt").sentence == said


def test_bytes_that_cp1252_does_not_define_are_a_text() -> None:
    assert kinds(describe(b"caf\x81\n", b"caf\x8d\n", "txt")) == {"text": 1}


# --- formats --------------------------------------------------------------------------------------

READ = {
    "srt": ("7\n00:00:01,500 --> 01:00:02,250  X1:10\n  a\n\nb\n\n", Cue("  a\n\nb", 1_500, 3_602_250, 7, "X1:10")),
    "vtt": (
        "WEBVTT\n\nSTYLE\n::cue {}\n\nq1\n00:01.500 --> 00:02.250 line:5%\na\n",
        Cue("a", 1_500, 2_250, None, "q1 line:5%"),
    ),
    "ttxt": ("00:00:01,500|00:00:02,250|CC1|POP|a|b\n", Cue("a|b", 1_500, 2_250, None, "CC1|POP|")),
    "txt": ("20110512101500,250|20110512101501,250|TLT|a\n", Cue("a", 1305195300250, 1305195301250, None, "TLT|")),
    "smi": (
        "<SAMI><SYNC start=15><P class=X>a<br>b</P></SYNC><SYNC start=25><P class=X>&nbsp;</P></SYNC>",
        Cue("a\nb", 15, 25, None, "class=X"),
    ),
    "ttml": (
        '<tt><p begin="00:00:01.500" end="00:00:02.250" region="r">a<br/>b</p></tt>',
        Cue("a\nb", 1_500, 2_250, None, "region=r"),
    ),
    "xml": ('<captions><caption><time start="00:00:01,500" end="00:00:02,250"/>a</caption>', Cue("a", 1_500, 2_250)),
    "ass": (
        "Dialogue: 0,0:00:01.50,0:00:02.25,Default,,1,2,3,,a,b\\Nc\n",
        Cue("a,b\nc", 1_500, 2_250, None, "0,Default,,1,2,3,"),
    ),
}


@pytest.mark.parametrize("extension", READ)
def test_each_format_is_read_whole(extension: str) -> None:
    text, cue = READ[extension]
    found = formats.captions(text.splitlines(), extension)
    assert found is not None
    assert found.cues == [cue]
    pieces = zip([*(source.text for source in found.sources), ""], found.gaps, strict=True)
    assert "".join(gap + source for source, gap in pieces) == text.removesuffix("\n") + "\n"


def test_a_cue_without_text_is_a_caption() -> None:
    text = "1\n00:00:01,000 --> 00:00:02,000\n\n2\n00:00:03,000 --> 00:00:04,000\nb\n"
    found = formats.captions(text.splitlines(), "srt")
    assert found is not None
    assert [cue.text for cue in found.cues] == ["", "b"]


def test_subrip_is_read_as_webvtt_py_reads_it() -> None:
    text = render(dialogue("referee", 200), ".srt").decode()
    found = formats.captions(text.splitlines(), "srt")
    assert found is not None
    read = [
        (str(cue.start_time), str(cue.end_time), cue.text) for cue in WebVTT.from_buffer(StringIO(text), "srt").captions
    ]
    assert read == [(_clock(cue.start), _clock(cue.end), cue.text) for cue in found.cues]


def _clock(time: int | None) -> str:
    seconds, rest = divmod(time or 0, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{rest:03}"


@pytest.mark.parametrize("extension", [".bin", "raw", ".DVDRAW", "rcwt"])
def test_binary_formats_are_not_compared(extension: str) -> None:
    assert package.describe(b"a", b"b", extension) is None


def test_binary_content_is_not_compared() -> None:
    assert package.describe(b"a", b"\0", "srt") is None


# --- whatever is in the files ---------------------------------------------------------------------

PIECES = [
    *(
        b"1\n",
        b"00:00:01,000 --> 00:00:02,000\n",
        b"00:00:01.000 --> 00:00:02.000 line:x\n",
        b"-->",
        b"\n\n",
        b"WEBVTT\n\n",
    ),
    *(
        b"<SYNC start=5>",
        b"<SYNC>",
        b"<SYNC start=x>",
        b"<P class=",
        b"&nbsp;",
        b"<p begin='1.5s' end=2>",
        b"</p>",
        b"<",
    ),
    *(
        b"00:00:01,000|00:00:02,000|POP|a\n",
        b"99999999999999,000|a\n",
        b"Dialogue: 0,1,2,3,4,5,6,7,8,9\n",
        b"\xff",
        b"\xef\xbb\xbf",
    ),
    *(
        "é\u2028".encode(),
        b"\r",
        b"\r\n",
        b"{\\i1}",
        b"9" * 5_000,
        b"<spu start='1.5'>",
        b"</spu>",
        b"STYLE\n",
        b"NOTE\n",
        b"\x0c",
    ),
]
contents = st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join))


@given(contents, contents, st.sampled_from(EXTENSIONS))
@example(b"", b"\n", "srt")
@example(
    b"9" * 5_000 + b":00:01.000 --> 00:00:02.000\n",
    b"WEBVTT\n\n" + b"9" * 5_000 + b":00:01.000 --> 00:00:02.000\n",
    "vtt",
)
def test_any_bytes_are_described(expected: bytes, actual: bytes, extension: str) -> None:
    found = package.describe(expected, actual, extension)
    if found is not None:
        assert bool(found.changes) is (expected != actual)
        assert found.sentence.endswith(".") and len(found.sentence) < 1_000
        assert sum(found.counts.values()) == sum(change.count for change in found.changes)


SYNC = b"<SYNC start=1><P>"
SIZE = 300_000
HOSTILE = {
    "empty lines": b"1\n00:00:01,000 --> 00:00:02,000\na" + b"\n" * SIZE + b"b",
    "blanks": b" " * SIZE + b"-->",
    "digits": b"1" * SIZE + b"\n" + b"00:00:01,000 --> 00:00:02,000\n" + b"1" * SIZE,
    "numbers": b"1\n" * SIZE,
    "arrows": b"00:00:01,000 -->" * (SIZE // 16),
    "open tags": b"00:00:01,000 --> 00:00:02,000\n" + b"<a" * SIZE,
    "open braces": b"00:00:01,000 --> 00:00:02,000\n" + b"{\\" * SIZE,
    "open sync": SYNC + b"<sync start=1 " * (SIZE // 14),
    "comments": SYNC + b"<!--" * SIZE,
    "breaks": SYNC + b"<br" + b"\n" * SIZE,
    "attributes": SYNC + b"<p " + b"a=" * SIZE,
    "bars": b"00:00:01,000" + b"|" * SIZE,
    "paragraphs": b"<p begin='1.5s'>" * (SIZE // 16),
    "commas": b"Dialogue:" + b"," * SIZE,
}


@thorough
@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("extension", ["srt", "vtt", "ttxt", "smi", "xml", "ass", "txt"])
def test_hostile_files_take_linear_time(content: bytes, extension: str) -> None:
    """Or this would not end: a search that is quadratic in 300,000 characters takes minutes."""
    prefix = b"WEBVTT\n\n" if extension == "vtt" else b""
    assert describe(prefix + content, prefix + b"x" + content, extension).sentence


# --- limits ---------------------------------------------------------------------------------------


def test_few_changes_are_listed_and_all_are_counted() -> None:
    texts = [f"caption {number}" for number in range(150)]
    found = describe(file(*texts), file(*(text.upper() for text in texts)))
    assert kinds(found) == {"text": 150}
    assert len(found.changes) == package.MAX_CHANGES
    assert found.truncated


@pytest.mark.parametrize("extension", ["srt", "vtt", "ttxt", "smi", "xml", "ass", "txt"])
def test_captions_beyond_the_limit_are_left_out(monkeypatch: pytest.MonkeyPatch, extension: str) -> None:
    monkeypatch.setattr(formats, "MAX_CUES", 5)
    cues = [Cue(f"caption {index}", 4_000 * index, 4_000 * index + 1_500, index) for index in range(1, 20)]
    found = describe(write(cues, extension), write(cues[1:], extension), extension)
    # Of what follows the fifth caption nothing is known.
    missing = [change for change in found.changes if change.kind is Kind.MISSING_CUE]
    assert [change.count for change in missing] == [1]
    assert found.truncated and found.expected_count == 5
    assert "only the beginning" in found.sentence


@pytest.mark.parametrize("extension", ["srt", "txt"])
def test_texts_that_differ_late_are_shown_where_they_differ(extension: str) -> None:
    texts = [f"{'word ' * 200}{end} {'more ' * 200}" for end in ("here", "there")]
    expected, actual = (write([Cue(text, 1_000, 2_000, 1)], extension) for text in texts)
    found = describe(expected, actual, extension)
    [change] = found.changes
    assert "here more" in (change.before or "") and "there more" in (change.after or "")
    assert max(len(change.before or ""), len(change.after or "")) <= MAX_TEXT
    assert all(f'"… word word word {end} more' in found.sentence for end in ("here", "there"))


def test_letters_that_cannot_be_seen_are_told_apart() -> None:
    found = describe(file("hello \x01 there"), file("hello \x02 there"))
    assert r'"hello \x02 there" instead of "hello \x01 there"' in found.sentence


@pytest.mark.parametrize("extension", ["ttxt", "xml", "ass"])
def test_captions_beyond_the_limit_are_not_read(monkeypatch: pytest.MonkeyPatch, extension: str) -> None:
    monkeypatch.setattr(formats, "MAX_CUES", 5)
    read: list[Source] = []

    def source(*of: Any) -> Source:
        read.append(Source(*of))
        return read[-1]

    monkeypatch.setattr(formats, "Source", source)
    cues = [Cue(f"caption {index}", 4_000 * index, 4_000 * index + 1_500, index) for index in range(1, 200)]
    describe(write(cues, extension), write(cues[1:], extension), extension)
    assert 10 <= len(read) <= 12


@pytest.mark.parametrize(("limit", "value"), [("MAX_LINES", 9), ("MAX_BYTES", 200)])
def test_what_is_beyond_the_limit_of_a_file_is_left_out(
    monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    whole = describe(file(*TEXTS), file(*TEXTS[:9], "other"))
    monkeypatch.setattr(content, limit, value)
    found = describe(file(*TEXTS), file(*TEXTS[:9], "other"))
    assert (kinds(whole), kinds(found)) == ({"text": 1}, {})
    assert found.truncated and not whole.truncated
    assert found.sentence == "What was compared of the files is equal."


def test_a_character_is_not_cut_in_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "MAX_BYTES", 100)
    read = content.read(("a" + "é" * 100).encode())
    assert (read.encoding, read.lines) == ("utf-8", ["a" + "é" * 49])
