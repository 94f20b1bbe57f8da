"""The samples, regression tests and expected outputs of the runs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy.orm import Session

from api_v1.database.platform import (
    Category,
    CCExtractorVersion,
    InputType,
    OutputType,
    RegressionTest,
    RegressionTestOutput,
    RegressionTestOutputFiles,
    Sample,
    Tag,
    Upload,
    UploadPlatform,
    User,
)
from api_v1.demo import media
from api_v1.demo.captions import Cue, Damage, dialogue, render, render_damaged
from api_v1.demo.files import Files

VERSIONS = (("0.92", "2021-08-10"), ("0.93", "2021-08-16"), ("0.94", "2021-12-14"))

TAGS = {
    "cea-608": "Line 21 captions",
    "cea-708": "Digital television captions",
    "teletext": "Subtitles on teletext pages",
    "dvb": "DVB bitmap subtitles",
    "damaged": "The stream has errors",
    "Déjà vu": "Seen in an earlier report as well",
}

CATEGORIES = {
    "Broken": "Streams that are damaged or hold no captions",
    "CEA-708": "Digital television captions",
    "DVB": "DVB subtitles",
    "General": "Everything that fits nowhere else",
    "Options": "Command line options",
    "Teletext": "Teletext subtitles",
}


@dataclass(frozen=True)
class SamplePlan:
    """A recording to insert."""

    name: str
    extension: str
    picture: media.Picture
    tags: tuple[str, ...]
    captions: tuple[str, ...] = ("EIA-608",)
    cues: int = 120
    notes: str | None = None
    """The uploader's notes; None if no upload is recorded."""
    media_info: str = "complete"
    """`complete`, `broken` (not well-formed) or `missing`."""


SAMPLES = (
    SamplePlan("KVVU_news_at_ten", "ts", media.HD, ("cea-608", "cea-708"), ("EIA-608", "CEA-708")),
    SamplePlan("BBC_One_London_888", "ts", media.PAL, ("teletext",), ("Teletext",), 180, "Clean."),
    SamplePlan("France2_journal_dvbsub", "ts", media.PAL, ("dvb",), ("DVB Subtitle",), 95),
    SamplePlan("DVD_both_fields", "mpg", media.NTSC, ("cea-608",), notes="CC1 and CC3 are used."),
    SamplePlan("Web_episode_tx3g", "mp4", media.WEB, (), ("Timed Text",), 200, ""),
    SamplePlan(
        "Hauppauge_CBS_evening",
        "mpg",
        media.NTSC,
        ("cea-608", "Déjà vu"),
        notes="Recorded from air.\nThe first minute has no captions.",
    ),
    SamplePlan("NBC_media_center", "wtv", media.HD, ("cea-608",), cues=150),
    SamplePlan("Documentary_two_tracks", "mkv", media.WEB, (), ("SubRip", "SubRip"), 80),
    SamplePlan("RTE_multiplex", "ts", media.PAL, ("dvb", "teletext"), ("Teletext",), 140, "Mux 1"),
    SamplePlan("TVP1_teletext_777", "ts", media.PAL, ("teletext",), ("Teletext",), 110),
    SamplePlan("Vista_recording", "dvr-ms", media.NTSC, ("cea-608",), media_info="missing"),
    SamplePlan(
        "Antenna_drops_no_captions",
        "ts",
        media.HD,
        ("damaged",),
        captions=(),
        cues=0,
        notes="Signal loss every few seconds; there are no captions at all.",
        media_info="broken",
    ),
    SamplePlan("XDS_programme_guide", "mpg", media.NTSC, ("cea-608",), cues=60),
    SamplePlan("Satellite_feed_unused", "ts", media.HD, (), notes="No regression test uses it."),
)


@dataclass(frozen=True)
class OutputPlan:
    """An expected output file of a command."""

    extension: str
    suffix: str = ""
    ignore: bool = False
    variant: bool = False
    """Whether a second version is accepted too."""
    rebased: bool = False
    """Whether the oldest runs used another baseline."""
    lost: bool = False
    """Whether the file of the baseline was deleted."""


@dataclass(frozen=True)
class CommandPlan:
    """A regression test to insert; `sample` is a position in `SAMPLES`, counted from 1."""

    sample: int
    command: str
    categories: tuple[str, ...]
    outputs: tuple[OutputPlan, ...]
    expected_rc: int = 0
    active: bool = True
    input_type: str = "file"
    output_type: str = "file"


SRT, TTXT = OutputPlan(".srt"), OutputPlan(".ttxt")
SRT_VARIANT = OutputPlan(".srt", variant=True)
GENERAL, OPTIONS, TELETEXT, DVB = ("General",), ("Options",), ("Teletext",), ("DVB",)
BROKEN = ("Broken",)

BOTH_FIELDS = (OutputPlan(".srt", "_1"), OutputPlan(".srt", "_2"))
SERVICE_1 = (OutputPlan(".srt", ".p1.svc01"),)
REPORT = (OutputPlan(".txt", ignore=True),)
PROGRAM_2 = "--program-number 2 --delay 5000 --out=srt"
FROM_MINUTE_1 = "--stdout --quiet --startat 00:01:00 --out=srt"

COMMANDS = (
    CommandPlan(1, "--autoprogram --out=srt --utf8 --lf", GENERAL, (SRT,)),
    # Expects the same file as the previous command, so that one approval can apply to both.
    CommandPlan(1, "--autoprogram --out=srt --utf8 --lf --no-fontcolor", OPTIONS, (SRT,)),
    CommandPlan(1, "--autoprogram --out=ttxt --utf8 --ucla", GENERAL + OPTIONS, (TTXT,)),
    CommandPlan(1, "--service 1 --out=srt", ("CEA-708",), SERVICE_1, output_type="cea708"),
    CommandPlan(2, "--teletext --tpage 888 --out=srt", TELETEXT, (SRT_VARIANT,)),
    CommandPlan(2, "--teletext --tpage 888 --out=ttxt --datets", TELETEXT, (TTXT,)),
    CommandPlan(3, "--autoprogram --out=webvtt --utf8", DVB, (OutputPlan(".vtt"),)),
    CommandPlan(3, "--codec dvbsub --ocrlang fra --out=srt", DVB, (SRT,)),
    CommandPlan(4, "--output-field both --out=srt", GENERAL, BOTH_FIELDS),
    CommandPlan(4, "--out=ttxt --sentence-cap", OPTIONS, (TTXT,)),
    CommandPlan(5, "--out=srt --utf8", GENERAL, (SRT,)),
    CommandPlan(6, "--hauppauge --out=srt --lf", GENERAL, (SRT,)),
    CommandPlan(7, "--wtvmpeg2 --out=srt", GENERAL, (SRT_VARIANT,)),
    CommandPlan(7, "--out=report", OPTIONS, REPORT, output_type="report"),
    CommandPlan(8, "--mkvlang eng --out=srt", GENERAL, (SRT,)),
    CommandPlan(9, "--multiprogram --out=srt --out=ttxt", GENERAL, (SRT, TTXT), output_type="multiprogram"),
    CommandPlan(9, PROGRAM_2, OPTIONS, (OutputPlan(".srt", "_2"),)),
    CommandPlan(10, "--teletext --tpage 777 --out=srt", TELETEXT, (OutputPlan(".srt", rebased=True),)),
    CommandPlan(11, "--in=asf --out=srt", GENERAL, (SRT,), active=False),
    CommandPlan(12, "--autoprogram --out=srt", BROKEN, (SRT,), expected_rc=10),
    CommandPlan(12, "--out=null --quiet", BROKEN, (), output_type="null"),
    CommandPlan(13, "--out=ttxt --xds", GENERAL, (OutputPlan(".ttxt", lost=True),)),
    CommandPlan(13, FROM_MINUTE_1, OPTIONS, (SRT,), output_type="stdout"),
    CommandPlan(6, "--udp 7700 --out=srt --lf", GENERAL, (SRT,), active=False, input_type="udp"),
)


@dataclass(frozen=True)
class Output:
    """An inserted output and its captions."""

    id: int
    plan: OutputPlan
    cues: tuple[Cue, ...]
    correct: str
    earlier: str
    """The baseline of the oldest runs; equal to `correct` unless it was replaced."""

    def store_damaged(self, files: Files, damage: Damage, *, lost: bool = False) -> str:
        """Store the output of a faulty CCExtractor and return its hash."""
        content = render_damaged(self.cues, self.plan.extension, damage)
        return files.add_result(content, self.plan.extension, lost=lost)


@dataclass(frozen=True)
class Command:
    """An inserted regression test."""

    row: Any
    plan: CommandPlan
    position: int
    """Its position in `COMMANDS`, counted from 1."""
    media_name: str
    """The file name of its sample."""
    outputs: tuple[Output, ...]

    @property
    def id(self) -> int:
        """The id of the regression test."""
        number: int = self.row.id
        return number


def by_category(commands: Sequence[Command]) -> dict[str, list[Command]]:
    """Return regression tests by category, in the order in which the platform sends them: the newest one first."""
    names = sorted({name for command in commands for name in command.plan.categories}, reverse=True)
    return {name: [command for command in commands if name in command.plan.categories] for name in names}


def in_order_of_tester(commands: Sequence[Command]) -> Sequence[Command]:
    """Return regression tests in the order in which they get a result."""
    first = {command.position: command for of in by_category(commands).values() for command in of}
    return tuple(first.values())


@dataclass(frozen=True)
class Catalogue:
    """The inserted regression tests, in the order of `COMMANDS`."""

    commands: tuple[Command, ...]

    @cached_property
    def active(self) -> tuple[Command, ...]:
        """The tests of a run for which no tests were chosen."""
        return tuple(command for command in self.commands if command.plan.active)

    def pick(self, numbers: Sequence[int]) -> tuple[Command, ...]:
        """Return commands by position, counted from 1."""
        return tuple(self.commands[number - 1] for number in numbers)


def insert_catalogue(session: Session, files: Files, uploaders: Sequence[User]) -> Catalogue:
    """Insert everything that runs refer to.

    Args:
        session: the session in which to insert; it is flushed.
        files: receives the media files and the baselines.
        uploaders: the accounts to which the uploads are assigned in turn.
    """
    samples = _insert_samples(session, files)
    _insert_uploads(session, samples, uploaders)
    categories = [Category(name, description) for name, description in CATEGORIES.items()]
    session.add_all(categories)
    rows = [_regression_test(plan, samples[plan.sample - 1]) for plan in COMMANDS]
    session.add_all(rows)
    session.flush()
    by_name = {category.name: category for category in categories}
    for row, plan in zip(rows, COMMANDS, strict=True):
        # Flush each row, because the link table has no key that would determine the order of its rows.
        for name in plan.categories:
            by_name[name].regression_tests.append(row)
            session.flush()
    commands = []
    for position, (row, plan) in enumerate(zip(rows, COMMANDS, strict=True), 1):
        recording, media_name = SAMPLES[plan.sample - 1], samples[plan.sample - 1].filename
        outputs = tuple(_insert_output(session, files, row.id, recording, output) for output in plan.outputs)
        commands.append(Command(row, plan, position, media_name, outputs))
    return Catalogue(tuple(commands))


def _insert_samples(session: Session, files: Files) -> list[Sample]:
    tags = {name: Tag(name, description) for name, description in TAGS.items()}
    session.add_all(tags.values())
    session.flush()
    samples = []
    for plan in SAMPLES:
        content = media.content(plan.name)
        sample = Sample(hashlib.sha256(content).hexdigest(), plan.extension, plan.name)
        session.add(sample)
        sample.tags.extend(tags[name] for name in plan.tags)
        session.flush()
        files.add(f"TestFiles/{sample.filename}", content)
        _describe(files, sample, plan)
        samples.append(sample)
    return samples


def _describe(files: Files, sample: Sample, plan: SamplePlan) -> None:
    """Add the MediaInfo file of a sample, in the planned condition."""
    if plan.media_info == "missing":
        return
    path = f"TestFiles/{sample.filename}"
    xml = media.mediainfo_xml(path, plan.extension, plan.picture, plan.captions)
    if plan.media_info == "broken":
        xml = xml[: len(xml) // 2]
    files.add(f"TestFiles/media/{sample.sha}.xml", xml.encode())


def _insert_uploads(session: Session, samples: list[Sample], uploaders: Sequence[User]) -> None:
    versions = [
        CCExtractorVersion(name, f"{day}T00:00:00Z", hashlib.sha1(name.encode()).hexdigest()) for name, day in VERSIONS
    ]
    session.add_all(versions)
    session.flush()
    platforms = list(UploadPlatform)
    for number, (sample, plan) in enumerate(zip(samples, SAMPLES, strict=True)):
        if plan.notes is not None:
            uploader = uploaders[number % len(uploaders)]
            version = versions[number % len(versions)]
            platform = platforms[number % len(platforms)]
            upload = Upload(uploader.id, sample.id, version.id, platform, "--out=srt", plan.notes)
            session.add(upload)
    session.flush()


def _regression_test(plan: CommandPlan, sample: Sample) -> RegressionTest:
    formats = " and ".join(output.extension[1:] for output in plan.outputs)
    return RegressionTest(
        sample.id,
        plan.command,
        InputType.from_string(plan.input_type),
        OutputType.from_string(plan.output_type),
        None,
        plan.expected_rc,
        plan.active,
        f"{formats or 'nothing'} from {sample.original_name}",
    )


def _insert_output(
    session: Session, files: Files, regression_id: int, recording: SamplePlan, plan: OutputPlan
) -> Output:
    cues = dialogue(recording.name + plan.suffix, recording.cues)
    correct = files.add_result(render(cues, plan.extension), plan.extension, lost=plan.lost)
    row = RegressionTestOutput(regression_id, correct, plan.extension, plan.suffix, plan.ignore)
    session.add(row)
    session.flush()
    earlier = correct
    if plan.rebased:
        earlier = files.add_result(render(cues[1:], plan.extension), plan.extension)
    output = Output(row.id, plan, cues, correct, earlier)
    if plan.variant:
        accepted = output.store_damaged(files, Damage.VARIANT)
        session.add(RegressionTestOutputFiles(accepted, row.id))
        session.flush()
    return output
