"""The embedded platform's models behave as the real platform's."""

import os
from datetime import date, datetime, timedelta, timezone

import mod_auth.models as auth
import mod_ci.models as ci
import mod_customized.models as customized
import mod_home.models as home
import mod_regression.models as regression
import mod_sample.models as sample
import mod_test.models as runs
import mod_upload.models as upload
import pytest
from passlib.exc import UnknownHashError
from sqlalchemy import select
from sqlalchemy.orm import Session

pytestmark = pytest.mark.skipif(bool(os.environ.get("SAMPLE_PLATFORM")), reason="the real platform is in use")
NOON = datetime(2024, 1, 31, 12)
HASH_OF_CHEAP = "$5$rounds=1000$salt$TySE5xVc8YWhuSgGecM2jF5lFIWLAe3ZZuJAwB6qqG7"


def test_missing_progress_time_is_now() -> None:
    moment = runs.TestProgress(1, runs.TestStatus.testing, "").timestamp
    assert moment.tzinfo is timezone.utc
    assert abs(datetime.now(timezone.utc) - moment) < timedelta(seconds=5)


def test_naive_progress_time_is_labelled_utc() -> None:
    progress = runs.TestProgress(1, runs.TestStatus.testing, "", NOON)
    assert progress.timestamp == NOON.replace(tzinfo=timezone.utc)


def test_progress_time_is_labelled_on_first_load_only(db: Session, run_id: int) -> None:
    elsewhere = NOON.replace(tzinfo=timezone(timedelta(hours=5)))
    db.add(runs.TestProgress(run_id, runs.TestStatus.testing, "", elsewhere))
    db.commit()
    db.expunge_all()
    progress = db.scalars(select(runs.TestProgress)).one()
    assert progress.timestamp == NOON.replace(tzinfo=timezone.utc), "the wall clock survives, the offset not"
    assert progress not in db.dirty
    db.refresh(progress)
    assert progress.timestamp == NOON
    assert db.scalar(select(runs.TestProgress.timestamp)) == NOON


def test_run_without_progress_is_neither_finished_nor_failed(db: Session, run_id: int) -> None:
    run = db.get_one(runs.Test, run_id)
    assert (run.finished, run.failed) == (False, False)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [("testing", (False, False)), ("completed", (True, False)), ("canceled", (True, True))],
)
def test_last_progress_row_decides(db: Session, run_id: int, status: str, outcome: tuple[bool, bool]) -> None:
    for symbol in (runs.TestStatus.canceled, runs.TestStatus.from_string(status)):
        db.add(runs.TestProgress(run_id, symbol, ""))
        db.commit()
    run = db.get_one(runs.Test, run_id)
    assert (run.finished, run.failed) == outcome


def test_each_run_gets_its_token() -> None:
    tokens = {f"{runs.Test(runs.TestPlatform.linux, runs.TestType.commit, 1, 'master', 'abc').token}" for _ in range(2)}
    assert len(tokens) == 2
    assert all(len(token) == 64 and token.isalnum() and token.isascii() for token in tokens)


def test_a_fork_has_a_url_and_a_name() -> None:
    fork = runs.Fork("https://github.com/CCExtractor/ccextractor.git")
    assert fork.github_url == "https://github.com/CCExtractor/ccextractor"
    assert fork.github_name == "CCExtractor/ccextractor"
    assert runs.Fork("https://github.com/my/my.github.io.git").github_url.endswith("/myhub.io")


def test_passwords_are_hashed_updated_and_checked() -> None:
    user = auth.User("Ada", password="no hash")
    with pytest.raises(UnknownHashError):
        user.is_password_valid("no hash")
    user.update_password("correct horse")
    assert user.password.startswith("$6$rounds=1024000$")
    assert len(user.password) == 121
    assert user.is_password_valid("correct horse")
    user.password = HASH_OF_CHEAP
    assert user.is_password_valid("cheap") and not user.is_password_valid("dear")


def test_admin_has_every_role() -> None:
    admin, tester = auth.User("Ada", auth.Role.admin), auth.User("Tim", auth.Role.tester)
    assert admin.is_admin and admin.has_role("contributor")
    assert not tester.is_admin and tester.has_role("tester") and not tester.has_role("admin")
    assert auth.User("Uma").role is auth.Role.user


def test_an_output_has_file_names() -> None:
    output = regression.RegressionTestOutput(1, "c0ffee", ".srt", "_1")
    assert output.filename_correct == "c0ffee.srt"
    assert output.filename_expected("5a") == "5a_1.srt"
    assert output.create_correct_filename("name") == "name.srt"
    assert regression.RegressionTestOutput(1, None, ".srt", "").filename_correct == "None.srt"


def test_the_category_argument_is_ignored() -> None:
    test = regression.RegressionTest(1, "-1", regression.InputType.file, regression.OutputType.file, 3, 10)
    assert (test.categories, test.active, test.description) == ([], True, "")


def test_sample_and_extra_file_names(db: Session) -> None:
    media = sample.Sample("5a", "ts", "holiday")
    db.add(media)
    db.flush()
    extra = sample.ExtraFile(media.id, "txt", "notes")
    bare = sample.ExtraFile(media.id, "", "notes")
    db.add_all([extra, bare])
    db.flush()
    assert (media.filename, sample.Sample("5a", "", "holiday").filename) == ("5a.ts", "5a")
    assert (extra.filename, bare.filename) == (f"5a_{extra.id}.txt", f"5a_{bare.id}")
    assert media.extra_files == [extra, bare]


def test_dates_may_be_given_as_text() -> None:
    moment = "2024-01-31T12:00:00Z"
    assert home.CCExtractorVersion("0.94", moment, "abc").released == date(2024, 1, 31)
    assert sample.Issue(1, 2, moment, "title", "user", "open").created_at == NOON


def test_constructors_take_their_arguments_in_the_platforms_order() -> None:
    assert customized.CustomizedTest(1, 2).regression_id == 2
    assert customized.TestFork(1, 2).user_id == 1
    assert ci.MaintenanceMode(runs.TestPlatform.linux, True).disabled is True
    assert ci.GcpInstance("linux-1", 1).timestamp.tzinfo is None
    assert runs.TestResultFile(1, 2, 3, "c0ffee").got is None
    assert upload.Upload(1, 2, 3, upload.Platform.bsd).sample_id == 2
