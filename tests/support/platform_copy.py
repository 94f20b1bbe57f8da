"""A copy of the platform that a test may change, in a folder of its own.

It is of the embedded stand-in, or of the checkout that SAMPLE_PLATFORM names.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.fixtures import service_account
from tests.support.paths import ROOT
from tests.support.servers import Gunicorn, serving

PLATFORM = Path(os.environ.get("SAMPLE_PLATFORM") or ROOT / "embedded_platform")


def clean_environment(**more: str) -> dict[str, str]:
    """The environment of a new process that is to find nothing by this one's settings of Python."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | more


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a command in a folder and return its output; what this process imports must not be found by it."""
    env = clean_environment(**environment)
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass(frozen=True)
class PlatformCopy:
    """A platform in a folder, with a configuration, in which every command of an operator can be run.

    Attributes:
        folder: where it is.
        python: that of the environment in which it runs.
    """

    folder: Path
    python: Path

    @property
    def path(self) -> str:
        """A search path for commands on which the environment comes first."""
        return os.pathsep.join([str(self.python.parent), os.environ["PATH"]])

    def run(self, *command: str | Path, **environment: str) -> str:
        """Run a command in the platform's folder."""
        return run(*command, cwd=self.folder, PATH=self.path, **environment)

    def flask(self, *arguments: str, app: str = "api_v1") -> str:
        """Run a command of Flask's."""
        return self.run(self.python, "-W", "ignore", "-m", "flask", "--app", app, *arguments)


@contextmanager
def served(platform: PlatformCopy, app: str, log: Path, status: int = 200) -> Iterator[Gunicorn]:
    """Serve an app from the platform's folder, with the gunicorn of its environment, until the block ends.

    Args:
        platform: where.
        app: as gunicorn names it.
        log: where its output goes.
        status: that of the API's health.
    """
    command = [str(platform.python), "-m", "gunicorn", "--bind", "127.0.0.1:0", "--graceful-timeout", "1", app]
    with serving(command, log, platform.folder, clean_environment(PATH=platform.path), status) as server:
        yield server


def copy_platform(folder: Path, python: Path, config: Mapping[str, Any]) -> PlatformCopy:
    """Copy the platform, and give it what its installer makes: a configuration, secret keys, a service account.

    Args:
        folder: where to; it must not exist.
        python: that of the environment in which it is to run.
        config: what its configuration has besides the samples' folder and the service account.
    """
    platform = PlatformCopy(copy_files(folder), python)
    configure(folder, config)
    return platform


def copy_files(folder: Path) -> Path:
    """Copy the platform's files and history, without another API at our prefix."""
    shutil.copytree(PLATFORM, folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "venv", "config.py"))
    if "mod_api" in (folder / "run.py").read_text():
        follow(recipe("sed -i '/mod_api/d"), folder)
    return folder


def configure(folder: Path, config: Mapping[str, Any]) -> None:
    """Write what the platform's installer writes into its folder; all of it is ignored by its git."""
    for name in ("secret_key", "secret_csrf"):
        (folder / name).write_bytes(os.urandom(24))
    settings = dict(config)
    if os.environ.get("SAMPLE_PLATFORM"):
        settings |= {"SERVICE_ACCOUNT_FILE": service_account(folder).name, "GCS_BUCKET_NAME": "test-bucket"}
    settings |= {"INSTALL_FOLDER": str(folder)}
    (folder / "config.py").write_text("".join(f"{name} = {value!r}\n" for name, value in settings.items()))


def recipe(beginning: str) -> str:
    """Return the one block of shell commands in docs/deploy.md that begins like this."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "docs/deploy.md").read_text(), re.MULTILINE | re.DOTALL)
    (found,) = [block for block in blocks if block.startswith(beginning)]
    return str(found)


def follow(commands: str, folder: Path) -> None:
    """Execute the commands of a recipe in a folder."""
    run("bash", "-euxc", commands, cwd=folder)
