"""The generated database is the same each time, whole, and shaped like the production one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from sqlalchemy import MetaData, UniqueConstraint

from benchmarks import dataset as generator
from benchmarks.dataset import TABLES, Dataset, Outcome, Run, loading
from benchmarks.dataset import __main__ as command

SMALL = 400
"""As few runs as show every outcome."""
SET_COLUMNS = ("test_id", "regression_id")


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return Dataset(runs=SMALL)


@pytest.fixture(scope="module")
def rows(dataset: Dataset) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table, by column."""
    return {
        table.name: [dict(zip(table.columns, row, strict=True)) for row in table.all_rows(dataset)]
        for table in TABLES.values()
    }


@pytest.fixture(scope="module")
def metadata() -> MetaData:
    return generator.platform_metadata()


@pytest.fixture(scope="module")
def production() -> list[Run]:
    """The runs of the full size, without their results."""
    full = Dataset()
    return [full.run(run_id) for run_id in full.run_ids]


def values(rows: Iterable[dict[str, Any]], *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row[column] for column in columns) for row in rows]


# --- always the same ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", TABLES)
def test_equal_arguments_give_equal_rows(name: str, dataset: Dataset) -> None:
    again = Dataset(runs=SMALL)

    assert list(TABLES[name].all_rows(again)) == list(TABLES[name].all_rows(dataset))


def test_another_seed_gives_other_rows(dataset: Dataset) -> None:
    other = Dataset(runs=SMALL, seed=1)

    assert list(TABLES["test"].all_rows(other)) != list(TABLES["test"].all_rows(dataset))


@pytest.mark.parametrize("name", [name for name, table in TABLES.items() if table.rows_of_run is not None])
def test_a_smaller_scale_leaves_the_content_of_its_runs_alone(name: str, dataset: Dataset) -> None:
    rows_of_run = TABLES[name].rows_of_run
    assert rows_of_run is not None
    part = Dataset(runs=SMALL, scale=0.25)

    for run_id in part.run_ids:
        in_part = list(rows_of_run(part, part.run(run_id)))
        assert in_part == list(rows_of_run(dataset, dataset.run(run_id)))


@pytest.mark.parametrize("scale", [0.1, 0.25, 0.5, 1.0])
def test_scale_keeps_its_part_of_the_runs_and_all_unfinished_ones(scale: float) -> None:
    part = Dataset(runs=1000, scale=scale)
    run_ids = list(part.run_ids)

    assert len(run_ids) == len(set(run_ids)) == 1000 * scale
    assert run_ids == sorted(run_ids)
    assert run_ids[0] == 1
    assert run_ids[-20:] == list(range(981, 1001))


@pytest.mark.parametrize(("runs", "scale"), [(20, 1.0), (400, 0.01), (400, 2.0)])
def test_sizes_without_room_for_a_history_are_refused(runs: int, scale: float) -> None:
    with pytest.raises(ValueError, match="runs"):
        Dataset(runs=runs, scale=scale)


# --- whole --------------------------------------------------------------------------------------


def test_every_foreign_key_has_its_row(rows: dict[str, list[dict[str, Any]]], metadata: MetaData) -> None:
    for name, table_rows in rows.items():
        for key in metadata.tables[name].foreign_keys:
            target = {row[key.column.name] for row in rows[key.column.table.name]}
            used = {row[key.parent.name] for row in table_rows} - {None}
            assert used <= target, f"{name}.{key.parent.name}"


def test_keys_are_unique(rows: dict[str, list[dict[str, Any]]], metadata: MetaData) -> None:
    for name, table_rows in rows.items():
        table = metadata.tables[name]
        unique = [c.columns for c in table.constraints if isinstance(c, UniqueConstraint)]
        for columns in (table.primary_key.columns, *unique):
            names = [column.name for column in columns]
            # An id that is not generated is given out by the server.
            if names and set(names) <= set(TABLES[name].columns):
                keys = values(table_rows, *names)
                assert len(keys) == len(set(keys)), f"{name}: {names}"


def test_columns_exist_and_are_filled_where_they_must_be(
    rows: dict[str, list[dict[str, Any]]], metadata: MetaData
) -> None:
    for name, table_rows in rows.items():
        columns = metadata.tables[name].columns
        assert set(TABLES[name].columns) <= set(columns.keys())
        for column in columns:
            if column.nullable or (column.name == "id" and "id" not in TABLES[name].columns):
                continue
            assert all(row[column.name] is not None for row in table_rows), f"{name}.{column.name}"


def test_enumerations_hold_stored_values(rows: dict[str, list[dict[str, Any]]], metadata: MetaData) -> None:
    checked = 0
    for name, table_rows in rows.items():
        for column in metadata.tables[name].columns:
            enum = getattr(column.type, "enum", None)
            if enum is not None:
                checked += 1
                assert {row[column.name] for row in table_rows} <= {s.value for s in enum}
    assert checked


def test_result_files_belong_to_an_output_of_their_test(
    rows: dict[str, list[dict[str, Any]]],
) -> None:
    owner = dict(values(rows["regression_test_output"], "id", "regression_id"))

    for row in rows["test_result_file"]:
        assert owner[row["regression_test_output_id"]] == row["regression_test_id"]


def test_hashes_are_hex_digits_of_a_bounded_pool(dataset: Dataset, rows: dict[str, list[dict[str, Any]]]) -> None:
    pool = set(dataset.catalogue.hashes)
    files = rows["test_result_file"]

    assert {row["expected"] for row in files} | {row["got"] for row in files} - {None} <= pool
    assert all(len(hash_) == 64 and int(hash_, 16) for hash_ in pool)


def test_no_wrong_hash_is_an_accepted_variant(dataset: Dataset, rows: dict[str, list[dict[str, Any]]]) -> None:
    accepted = {row["correct"] for row in rows["regression_test_output"]}
    accepted |= {row["file_hashes"] for row in rows["regression_test_output_files"]}

    assert accepted.isdisjoint(dataset.catalogue.wrong_hashes)


# --- shaped like production ---------------------------------------------------------------------


def test_the_catalogue_has_the_production_size(rows: dict[str, list[dict[str, Any]]]) -> None:
    tests, outputs = rows["regression_test"], rows["regression_test_output"]
    outputs_of = Counter(row["regression_id"] for row in outputs)

    assert len(tests) == 245
    assert Counter(row["active"] for row in tests) == {1: 240, 0: 5}
    assert {row["sample_id"] for row in tests} == {row["id"] for row in rows["sample"]}
    assert set(outputs_of) == {row["id"] for row in tests}
    assert set(outputs_of.values()) == {1, 2, 3}
    ignored = Counter(row["ignore"] for row in outputs)
    assert ignored[None] == 1
    assert 3 <= ignored[1] <= 10
    assert len(rows["regression_test_output_files"]) == 40
    assert len(rows["category"]) == 12
    links = Counter(row["regression_id"] for row in rows["regression_test_category"])
    assert set(links.values()) == {1, 2}


def test_shares_of_outcomes_at_full_size(production: list[Run]) -> None:
    count = Counter(run.outcome for run in production)
    completed = count[Outcome.FAILING] + count[Outcome.CLEAN]
    completed += count[Outcome.EMPTY] + count[Outcome.INCOMPLETE]

    assert set(count) == set(Outcome)
    assert count[Outcome.QUEUED] == 10
    assert count[Outcome.PREPARING] + count[Outcome.TESTING] == 10
    assert completed / len(production) == pytest.approx(0.963, abs=0.005)
    assert count[Outcome.CANCELED] / len(production) == pytest.approx(0.033, abs=0.005)
    assert count[Outcome.FAILING] / completed == pytest.approx(0.75, abs=0.02)
    assert count[Outcome.EMPTY] < count[Outcome.INCOMPLETE] < 150


def test_kinds_of_runs_at_full_size(production: list[Run]) -> None:
    size = len(production)
    pull_requests = [run for run in production if run.push.test_type == "pr"]
    custom = [run for run in production if run.push.is_custom]
    webhook_with_set = [run for run in production if run.has_set and not run.push.is_custom]

    assert len(pull_requests) / size == pytest.approx(0.55, abs=0.02)
    assert all(run.push.branch == "pull_request" and run.push.pr_nr for run in pull_requests)
    assert 0.02 < len(custom) / size < 0.06
    assert {run.push.fork_id for run in custom} == set(range(2, 8))
    assert min(run.id for run in webhook_with_set) / size == pytest.approx(0.4, abs=0.01)
    assert [run.platform for run in production[:2]] == ["linux", "windows"]
    assert production[0].push.commit == production[1].push.commit


def test_sets_are_recorded_for_the_newer_runs_and_sometimes_twice(
    dataset: Dataset, rows: dict[str, list[dict[str, Any]]]
) -> None:
    size_of_set = Counter(row["test_id"] for row in rows["customized_test"])
    distinct = Counter(run_id for run_id, _ in set(values(rows["customized_test"], *SET_COLUMNS)))

    for run in map(dataset.run, dataset.run_ids):
        expected = len(dataset.tests_of(run)) if run.has_set else 0
        assert distinct[run.id] == expected
        assert size_of_set[run.id] in (expected, 2 * expected, 3 * expected)
    assert size_of_set != distinct


def test_each_outcome_is_what_the_rows_say(dataset: Dataset, rows: dict[str, list[dict[str, Any]]]) -> None:
    required = {row["regression_id"] for row in rows["regression_test_output"] if not row["ignore"]}
    variants = set(values(rows["regression_test_output_files"], "regression_test_output_id", "file_hashes"))
    files: dict[tuple[int, int], list[bool]] = {}
    for row in rows["test_result_file"]:
        matches = row["got"] is None or (row["regression_test_output_id"], row["got"]) in variants
        files.setdefault((row["test_id"], row["regression_test_id"]), []).append(matches)
    passed: dict[int, list[bool]] = {}
    for row in rows["test_result"]:
        key = row["test_id"], row["regression_test_id"]
        same_code = row["exit_code"] == row["expected_rc"]
        nothing_due = key in files or row["regression_test_id"] not in required
        passed.setdefault(row["test_id"], []).append(same_code and nothing_due and all(files.get(key, [])))

    runs = [dataset.run(run_id) for run_id in dataset.run_ids]
    assert {run.outcome for run in runs} == set(Outcome)
    for run in runs:
        verdicts, due = passed.get(run.id, []), len(dataset.tests_of(run))
        if run.outcome is Outcome.FAILING:
            assert not all(verdicts)
        if run.outcome is Outcome.CLEAN:
            assert verdicts == [True] * due
        if run.outcome is Outcome.INCOMPLETE:
            assert all(verdicts)
            assert 0 < len(verdicts) < due
        if run.outcome in (Outcome.EMPTY, Outcome.QUEUED, Outcome.PREPARING):
            assert not verdicts
        if run.outcome is Outcome.TESTING:
            assert len(verdicts) < due


def test_every_kind_of_failure_occurs() -> None:
    sample = Dataset(runs=2000, scale=0.1)
    forms = set()
    for run in map(sample.run, sample.run_ids):
        for result in sample.results(run):
            if result.failing:
                wrong_code = result.exit_code != result.expected_rc
                forms.add((wrong_code, bool(result.files), any(got for *_, got in result.files)))

    different, wrong_exit = (False, True, True), (True, True, False)
    missing, crashed = (False, False, False), (True, False, False)
    assert {different, wrong_exit, missing, crashed} <= forms


def test_progress_ends_as_the_run_did_and_its_ids_follow_time(
    dataset: Dataset, rows: dict[str, list[dict[str, Any]]]
) -> None:
    progress = rows["test_progress"]
    last = {row["test_id"]: row["status"] for row in progress}

    times = [row["timestamp"] for row in progress]
    assert times == sorted(times)
    assert (times[0].year, times[-1].year) == (2019, 2026)
    assert [row["id"] for row in progress] == list(range(1, len(progress) + 1))
    for run in map(dataset.run, dataset.run_ids):
        status = "canceled" if run.outcome is Outcome.CANCELED else run.stage
        assert last.get(run.id, "queued") == status


def test_each_running_run_has_a_machine(dataset: Dataset, rows: dict[str, list[dict[str, Any]]]) -> None:
    running = [
        run.id for run in map(dataset.run, dataset.run_ids) if run.outcome in (Outcome.PREPARING, Outcome.TESTING)
    ]

    assert [row["test_id"] for row in rows["gcp_instance"]] == running


@pytest.mark.parametrize("cancellation", generator.CANCELLATIONS)
def test_every_cancellation_becomes_a_message(cancellation: generator.Cancellation) -> None:
    message = cancellation.message.format(workflow="Build", sha7="0123456", number=30)

    assert "{" not in message


# --- into the database --------------------------------------------------------------------------


def test_lines_are_written_as_the_server_reads_them() -> None:
    assert loading._line((1, None, "a\tb\nc\\d", "")) == "1\t\\N\ta\\tb\\nc\\\\d\t\n"


@pytest.mark.parametrize("name", ["platform", "api_v1", "api_v1_bench`; DROP", ""])
def test_other_databases_are_not_replaced(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    # Nothing listens on this port: an attempt to connect would fail in another way.
    uri = f"mysql+pymysql://root@127.0.0.1:1/{name}"

    with pytest.raises(SystemExit):
        command.main(["--database-uri", uri])

    assert "is not replaced" in capsys.readouterr().err
