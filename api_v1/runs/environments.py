"""The environments of runs: one per platform."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from api_v1.database.platform import DbSession, GeneralData, MaintenanceMode
from api_v1.paging import Page

PLATFORMS = ("linux", "windows")

#: The platform's running mean of finished runs, in seconds (docs/platform.md, "Averages").
_AVERAGE = "average_time_{}"


@dataclass(frozen=True)
class Environment:
    """One kind of machine that runs tests; it is active while its platform is not in maintenance."""

    environment_id: str
    platform: str
    active: bool
    average_duration_ms: int | None
    runner_label: str | None = None


def identity(platform: str) -> str:
    """Return the id of a platform's environment."""
    return f"{platform}-latest"


#: The keys and values that the platform stores about environments.
_KNOWN = sa.union_all(
    sa.select(GeneralData.key, GeneralData.value).where(
        GeneralData.key.in_([_AVERAGE.format(platform) for platform in PLATFORMS])
    ),
    sa.select(
        sa.type_coerce(MaintenanceMode.platform, sa.String),
        sa.case((MaintenanceMode.disabled.is_(True), "1"), else_="0"),
    ),
)


def all_environments(session: DbSession) -> list[Environment]:
    """Return all environments, in one statement."""
    rows = session.execute(_KNOWN)
    known: dict[str, str] = {}
    for key, value in rows:
        known.setdefault(key, value)
    return [
        Environment(
            environment_id=identity(platform),
            platform=platform,
            active=known.get(platform) != "1",
            average_duration_ms=_milliseconds(known.get(_AVERAGE.format(platform))),
        )
        for platform in PLATFORMS
    ]


def of_platform(session: DbSession, platform: str) -> Environment:
    """Return the environment of a platform."""
    return next(environment for environment in all_environments(session) if environment.platform == platform)


def page(
    session: DbSession, *, limit: int, offset: int = 0, platform: str | None = None, active: bool | None = None
) -> Page[Environment]:
    """Return a page of the environments."""
    found = [
        environment
        for environment in all_environments(session)
        if platform in (None, environment.platform) and active in (None, environment.active)
    ]
    return Page(found[offset : offset + limit], len(found))


def _milliseconds(seconds: str | None) -> int | None:
    """Read a stored number of seconds; the column is free text."""
    try:
        return max(0, round(float(seconds or "") * 1000))
    except (ValueError, OverflowError):
        return None
