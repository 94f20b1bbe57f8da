"""Install the lowest version that requirements.txt allows of each library: `python -m verify.lowest`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement

REQUIREMENTS = Path(__file__).parent.parent / "requirements.txt"


def pins(requirements: str) -> list[str]:
    """Return each requirement at its lower bound.

    Args:
        requirements: one to a line, each with a bound `>=`.
    """
    found = []
    for line in requirements.splitlines():
        requirement = Requirement(line)
        (lowest,) = [bound.version for bound in requirement.specifier if bound.operator == ">="]
        extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
        found.append(f"{requirement.name}{extras}=={lowest}")
    return found


if __name__ == "__main__":
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    sys.exit(subprocess.run([*install, *pins(REQUIREMENTS.read_text())]).returncode)
