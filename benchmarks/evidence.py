"""The files of a run of the benchmarks' database: outputs that differ, and its log."""

from __future__ import annotations

from pathlib import Path
from random import Random

import sqlalchemy as sa
from flask import Flask

#: Captions of an output, and bytes of a log, of usual size.
CAPTIONS = 700
LOG_BYTES = 900 * 1024

_WORDS = "the captions of this file are about nothing and go on for an hour or so until it ends".split()


def write(app: Flask, run_id: int, folder: Path) -> None:
    """Write the expected and the actual files of a run's failing tests, and its log."""
    from api_v1.database.platform import RegressionTest, RegressionTestOutput, Sample, TestResultFile
    from api_v1.database.session import db

    file, output, test = TestResultFile, RegressionTestOutput, RegressionTest
    with app.app_context():
        outputs = db.session.execute(
            sa.select(file.expected, file.got, output.correct_extension)
            .join(output, output.id == file.regression_test_output_id)
            .where(file.test_id == run_id, file.got.is_not(None))
        ).all()
        samples = db.session.execute(
            sa.select(Sample.original_name, Sample.extension).join(test, test.sample_id == Sample.id).order_by(test.id)
        ).all()
    for folder_name in ("TestResults", "LogFiles"):
        (folder / folder_name).mkdir(parents=True, exist_ok=True)
    for number, (expected, got, extension) in enumerate(outputs):
        (folder / "TestResults" / f"{expected}{extension}").write_text(captions(number))
        (folder / "TestResults" / f"{got}{extension}").write_text(captions(number, late_from=CAPTIONS // 2))
    entries = [f"{name}.{extension}" for name, extension in samples]
    (folder / "LogFiles" / f"{run_id}.txt").write_text(log(entries))


def captions(seed: int, late_from: int = CAPTIONS) -> str:
    """Return a subtitle file, whose captions are late from one on."""
    draws = Random(seed)
    shown = []
    for number in range(CAPTIONS):
        at = 3_000 * number + (734 if number >= late_from else 0)
        text = " ".join(draws.choices(_WORDS, k=8))
        shown.append(f"{number + 1}\n{time_of(at)} --> {time_of(at + 2_500)}\n{text}\n\n")
    return "".join(shown)


def time_of(milliseconds: int) -> str:
    """Return a time as subtitles write it."""
    seconds, rest = divmod(milliseconds, 1_000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02},{rest:03}"


def log(samples: list[str]) -> str:
    """Return a log of usual size, with an entry for each sample."""
    noise = "[ERROR] PCR discontinuity in PID 0x0100 at packet 4711\n"
    lines = LOG_BYTES // max(1, len(samples)) // len(noise)
    return "".join(
        f"[INFO] Starting with entry {number} of {len(samples)}\n[ERROR] Opening file: /repository/{name}\n"
        f"{noise * lines}[INFO] Finished entry {number} with exit code: 0\n"
        for number, name in enumerate(samples, 1)
    )
