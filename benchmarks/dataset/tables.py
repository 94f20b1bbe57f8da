"""The rows of each table."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from benchmarks.dataset.catalogue import CATEGORIES, COMMANDS, SAMPLES, sha256
from benchmarks.dataset.runs import FORK_OWNERS, HISTORY_START, MAIN_FORK, PLATFORMS, Dataset, Outcome, Run

USERS = 25
TAGS = ("cea-608", "cea-708", "dvb", "teletext", "atsc", "hd", "sd", "pal", "ntsc", "damaged")
SAMPLE_EXTENSIONS = ("ts", "ts", "ts", "mpg", "mpg", "mp4", "mkv", "wtv", "dvr-ms", "asf", "bin")
NOTES = (
    "Captions are garbled after the first advertisement.",
    "Recorded from air; the first minute has no captions.",
    "Two languages, the second one appears only in the news.",
    "Timing drifts by about two seconds per hour.\nSee the attached screenshots.",
)
# Created once with the platform's own cost, because a new hash would have another salt each time.
PASSWORD_HASH = (
    "$6$rounds=1024000$benchmarkdataset$tWaq6eerQEbWT5D7UT29Xa2fy61mADsS3XUr9s3kT49"
    "NptpnHymzYZOi.7GZ7/yzkt4phdBfTgEwgCuOi1S3W/"
)

Row = tuple[Any, ...]
Rows = Callable[[Dataset], Iterator[Row]]
RowsOfRun = Callable[[Dataset, Run], Iterator[Row]]


@dataclass(frozen=True)
class Table:
    """A table, its columns, and the function that generates its rows."""

    name: str
    columns: tuple[str, ...]
    rows: Rows | None = None
    rows_of_run: RowsOfRun | None = None
    """Given instead of `rows` if the rows belong to runs."""

    def all_rows(self, dataset: Dataset, report: Callable[[float], None] = lambda part: None) -> Iterator[Row]:
        """Yield every row of the table, and pass the progress (0 to 1) to `report`."""
        if self.rows:
            yield from self.rows(dataset)
        if self.rows_of_run:
            count = len(dataset.kept_pushes) * len(PLATFORMS)
            for number, run_id in enumerate(dataset.run_ids, start=1):
                yield from self.rows_of_run(dataset, dataset.run(run_id))
                report(number / count)


TABLES: dict[str, Table] = {}
"""The tables to load, each after those to which it refers."""


def table(name: str, columns: str) -> Callable[[Rows], Rows]:
    """Register a function that generates all rows of a table."""

    def register(rows: Rows) -> Rows:
        TABLES[name] = Table(name, tuple(columns.split()), rows=rows)
        return rows

    return register


def table_by_run(name: str, columns: str) -> Callable[[RowsOfRun], RowsOfRun]:
    """Register a function that generates the rows of a run in a table."""

    def register(rows_of_run: RowsOfRun) -> RowsOfRun:
        TABLES[name] = Table(name, tuple(columns.split()), rows_of_run=rows_of_run)
        return rows_of_run

    return register


@table("user", "id name email github_token password role")
def users(dataset: Dataset) -> Iterator[Row]:
    roles = ["admin"] * 2 + ["contributor"] * 3 + ["tester"] * 3
    roles += ["user"] * (USERS - len(roles))
    for number, role in enumerate(roles[:-1], start=1):
        yield number, f"{role}{number}", f"{role}{number}@example.org", None, PASSWORD_HASH, role
    # A deactivated account as on the platform: without its name, and without a password hash.
    email = f"unknown{USERS}@ccextractor.org"
    yield USERS, f"Anonymous {USERS}", email, None, "kDk3vTqbcaXw0Wm5", roles[-1]


@table("ccextractor_version", "id version released commit")
def ccextractor_versions(dataset: Dataset) -> Iterator[Row]:
    for number in range(1, 9):
        released = HISTORY_START.date() + timedelta(days=300 * number)
        yield number, f"0.{86 + number}", released, sha256(f"{dataset.seed}:version:{number}")[:40]


@table("category", "id name description")
def categories(dataset: Dataset) -> Iterator[Row]:
    for number, (name, description) in enumerate(CATEGORIES, start=1):
        yield number, name, description


@table("tag", "id name description")
def tags(dataset: Dataset) -> Iterator[Row]:
    for number, name in enumerate(TAGS, start=1):
        yield number, name, f"Samples marked {name}"


@table("sample", "id sha extension original_name")
def samples(dataset: Dataset) -> Iterator[Row]:
    for number in range(1, SAMPLES + 1):
        extension = dataset.draws("sample", number).choice(SAMPLE_EXTENSIONS)
        yield number, sha256(f"{dataset.seed}:sample:{number}"), extension, f"recording {number}"


@table("sample_tag_association", "sample_id tag_id")
def sample_tags(dataset: Dataset) -> Iterator[Row]:
    for number in range(1, SAMPLES + 1):
        draws = dataset.draws("sample tags", number)
        for tag_id in sorted(draws.sample(range(1, len(TAGS) + 1), draws.randint(0, 3))):
            yield number, tag_id


@table("upload", "id user_id sample_id version_id platform parameters notes")
def uploads(dataset: Dataset) -> Iterator[Row]:
    for number in range(1, SAMPLES + 1):
        draws = dataset.draws("upload", number)
        user_id, version_id = draws.randint(1, USERS), draws.randint(1, 8)
        platform = draws.choice(("linux", "windows", "mac", "bsd"))
        notes = draws.choice(NOTES) if draws.random() < 0.4 else ""
        yield number, user_id, number, version_id, platform, draws.choice(COMMANDS), notes


@table("fork", "id github")
def forks(dataset: Dataset) -> Iterator[Row]:
    for number, owner in enumerate(FORK_OWNERS, start=MAIN_FORK):
        yield number, f"https://github.com/{owner}/ccextractor.git"


@table_by_run("test", "id platform test_type token fork_id branch commit pr_nr")
def runs(dataset: Dataset, run: Run) -> Iterator[Row]:
    push = run.push
    letters = dataset.draws(run.id, "token").choices(string.ascii_letters + string.digits, k=64)
    yield (
        run.id,
        run.platform,
        push.test_type,
        "".join(letters),
        push.fork_id,
        push.branch,
        push.commit,
        push.pr_nr,
    )


@table(
    "regression_test",
    "id sample_id command input_type output_type expected_rc active"
    " last_passed_on_windows last_passed_on_linux description",
)
def regression_tests(dataset: Dataset) -> Iterator[Row]:
    windows, linux = last_passed(dataset, "windows"), last_passed(dataset, "linux")
    for test in dataset.catalogue.tests:
        yield (
            test.id,
            test.sample_id,
            test.command,
            "file",
            "stdout" if "--stdout" in test.command else "file",
            test.expected_rc,
            int(test.active),
            windows.get(test.id),
            linux.get(test.id),
            f"Regression test {test.id}" if test.id % 3 else "",
        )


def last_passed(dataset: Dataset, platform: str) -> dict[int, int]:
    """Return for each active test the newest completed run of the main branch in which it did not fail."""
    passed: dict[int, int] = {}
    for run in _newest_main_runs(dataset, platform):
        for result in dataset.results(run):
            if not result.failing:
                passed.setdefault(result.test_id, run.id)
        if len(passed) >= len(dataset.catalogue.active):
            break
    return passed


def _newest_main_runs(dataset: Dataset, platform: str) -> Iterator[Run]:
    """Yield the completed runs of the main branch on a platform, newest first."""
    for run_id in reversed(list(dataset.run_ids)):
        run = dataset.run(run_id)
        if run.platform == platform and run.stage == "completed" and run.push.is_main_commit:
            yield run


@table("regression_test_category", "regression_id category_id")
def category_links(dataset: Dataset) -> Iterator[Row]:
    for test in dataset.catalogue.tests:
        for category_id in test.categories:
            yield test.id, category_id


@table(
    "regression_test_output",
    "id regression_id correct correct_extension expected_filename ignore",
)
def outputs(dataset: Dataset) -> Iterator[Row]:
    for test in dataset.catalogue.tests:
        for output in test.outputs:
            ignore = None if output.ignore is None else int(output.ignore)
            yield output.id, test.id, output.correct, output.extension, output.suffix, ignore


@table("regression_test_output_files", "id file_hashes regression_test_output_id")
def variants(dataset: Dataset) -> Iterator[Row]:
    number = 0
    for test in dataset.catalogue.tests:
        for output in test.outputs:
            for variant in output.variants:
                number += 1
                yield number, variant, output.id


@table_by_run("test_fork", "user_id test_id")
def run_owners(dataset: Dataset, run: Run) -> Iterator[Row]:
    if run.push.owner_id is not None:
        yield run.push.owner_id, run.id


@table_by_run("customized_test", "test_id regression_id")
def sets(dataset: Dataset, run: Run) -> Iterator[Row]:
    """Yield the recorded set of a run; the platform repeats it for each delivery of a webhook."""
    if not run.has_set:
        return
    tests = dataset.tests_of(run)
    draws = dataset.draws(run.id, "set")
    repeats = 1 if run.push.is_custom else draws.choices((1, 2, 3), weights=(93, 6, 1))[0]
    for _ in range(repeats):
        for test in tests:
            yield run.id, test.id


@table("test_progress", "id test_id status timestamp message")
def progress(dataset: Dataset) -> Iterator[Row]:
    runs = map(dataset.run, dataset.run_ids)
    events = sorted(event for run in runs for event in dataset.events(run))
    for number, event in enumerate(events, start=1):
        yield number, event.run_id, event.status, event.at, event.message


@table("gcp_instance", "name test_id timestamp timestamp_prep_finished")
def machines(dataset: Dataset) -> Iterator[Row]:
    """Yield the machine of each running run; a queued run has none yet."""
    for run in map(dataset.run, dataset.run_ids):
        if run.outcome in (Outcome.PREPARING, Outcome.TESTING):
            begun = {event.status: event.at for event in reversed(dataset.events(run))}
            created = begun["preparation"] - timedelta(seconds=75)
            yield f"{run.platform}-{run.id}", run.id, created, begun.get("testing")


@table("maintenance_mode", "id platform disabled")
def maintenance(dataset: Dataset) -> Iterator[Row]:
    for number, platform in enumerate(PLATFORMS, start=1):
        yield number, platform, 0


@table("general_data", "id key value")
def general_data(dataset: Dataset) -> Iterator[Row]:
    facts = {"last_commit": next(_newest_main_runs(dataset, "linux")).push.commit}
    for platform in PLATFORMS:
        seconds, count = _average_time(dataset, platform)
        facts[f"fetch_commit_{platform}"] = next(_newest_main_runs(dataset, platform)).push.commit
        facts[f"average_time_{platform}"] = str(seconds)
        facts[f"avg_prep_time_{platform}"] = "195.5"
        facts[f"avg_prep_count_{platform}"] = str(count)
    for number, (key, value) in enumerate(facts.items(), start=1):
        yield number, key, value


def _average_time(dataset: Dataset, platform: str) -> tuple[int, int]:
    """Return the mean seconds from first to last report of the completed runs, and the number of those runs."""
    seconds = []
    for run in map(dataset.run, dataset.run_ids):
        if run.platform == platform and run.stage == "completed":
            first, *_, last = dataset.events(run)
            seconds.append((last.at - first.at).total_seconds())
    return int(sum(seconds) / len(seconds)), len(seconds)


@table_by_run("test_result", "test_id regression_test_id runtime exit_code expected_rc")
def results(dataset: Dataset, run: Run) -> Iterator[Row]:
    for result in dataset.results(run):
        if result.finished:
            yield run.id, result.test_id, result.runtime, result.exit_code, result.expected_rc


@table_by_run(
    "test_result_file",
    "test_id regression_test_id regression_test_output_id expected got",
)
def result_files(dataset: Dataset, run: Run) -> Iterator[Row]:
    for result in dataset.results(run):
        for output_id, expected, got in result.files:
            yield run.id, result.test_id, output_id, expected, got
