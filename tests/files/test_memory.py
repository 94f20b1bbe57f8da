"""Large files take little memory, measured as the peak of a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.servers import python_environment

MB = 1024 * 1024

#: Serves requests in a new process; prints of each the status, the body, and by how much the peak grew until then.
PROGRAM = """
import json, resource, sys
import api_v1
from api_v1.database.platform import Base
from api_v1.database.session import db
from tests.support import bucket, factories

app = api_v1.create_app()
with app.app_context():
    Base.metadata.create_all(db.engine)
    case = bucket.make_case(db.session, sys.argv[1], sys.argv[1])
    headers = factories.bearer(db.session)
    db.session.commit()
names = {"run": case.run_id, "path": case.path, "ids": "&".join(f"{name}={id_}" for name, id_ in case.ids.items())}

def get(path):
    return app.test_client().get("/api/v1" + path.format(**names), headers=headers)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

get("/runs/{run}/errors")
get("{path}/expected?regression_id=1&output_id=99")
before = peak()
for path in sys.argv[2:]:
    response = get(path)
    print(json.dumps([response.status_code, response.get_json(), peak() - before]))
"""

#: What is asked for, and by how many bytes memory may have grown when all up to there was answered.
REQUESTS = {
    "{path}/actual?{ids}&byte_offset=50000000": 25 * MB,
    "{path}/expected?format=text&{ids}": 25 * MB,
    "/runs/{run}/logs?tail=100&limit=100": 40 * MB,
    "/runs/{run}/logs?limit=100": 60 * MB,
}

DIGEST = "f" * 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a log of 300 MB (most of it a hole, which takes no room on the disk) and an output of 50 MB."""
    repository = tmp_path_factory.mktemp("large")
    for name in ("LogFiles", "TestResults"):
        (repository / name).mkdir()
    with (repository / "LogFiles/1.txt").open("wb") as log:
        log.seek(300 * MB)
        log.write(b"\n" + b"".join(b"[INFO] the end, line %d\n" % number for number in range(10_000)))
    block = b"".join(b"00:00:%05d --> subtitle\n" % number for number in range(40_000))
    with (repository / f"TestResults/{DIGEST}.srt").open("wb") as output:
        for _ in range(50 * MB // len(block) + 1):
            output.write(block)
    return repository


def test_large_files_take_little_memory(folder: Path, tmp_path: Path) -> None:
    config = {"DATABASE_URI": "sqlite:///:memory:", "SAMPLE_REPOSITORY": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, DIGEST, *REQUESTS],
        env=python_environment(tmp_path, config),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [status for status, _, _ in answers] == [200] * len(REQUESTS)
    assert [grown < most for (_, _, grown), most in zip(answers, REQUESTS.values(), strict=True)] == [True] * 4
    actual, expected, end, _ = [body for _, body, _ in answers]
    assert actual["size_bytes"] == expected["size_bytes"] > 50 * MB
    assert end["data"][-1]["message"] == "[INFO] the end, line 9999"
