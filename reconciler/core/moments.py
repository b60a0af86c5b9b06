"""Points in time that somebody else tells us: which of them can be, and how each is shown. Nothing here raises.

A number from outside may be in other units than it should, or be anything; what is made of it here can be counted on
a day and shown on a calendar, or is not known.
"""

from __future__ import annotations

from datetime import UTC, datetime

from reconciler.core.schedule import DAY, SECOND

UNKNOWN = "(not known)"
"""Stands where a day, a time, a spec or a model is not told."""

_EARLIEST = 1_577_836_800_000  # ms: 2020; the API is younger
_LATEST = 4_102_444_800_000  # ms: 2100


def milliseconds(told: int) -> int | None:
    """Return a time since the epoch in ms, told in s, ms, µs or ns; None for what is no time in any of them.

    Between 2020 and 2100 a number can only be one of these: they lie a factor of a thousand apart.
    """
    for at in (told, told * SECOND, told // 1000, told // 1_000_000):
        if _EARLIEST <= at < _LATEST:
            return at
    return None


def bought_at(told: int | None, now: int) -> int:
    """Return when something was bought that we find: as it is told, or `now` where that is not known or in the future.

    So it counts on one day, whatever is told. A clock of somebody else's may be a day ahead.
    """
    return now if told is None or told > now + DAY else told


def day_start(at: int) -> int:
    """Return when the day (UTC) of a time began; ms."""
    return at - at % DAY


def day_of(at: int | None) -> str:
    """Return the day (UTC) of a time in ms: `2026-11-25`."""
    return shown(at).partition("T")[0]


def shown(at: int | None) -> str:
    """Return a time in ms as ISO-8601 in UTC."""
    if at is None:
        return UNKNOWN
    try:
        moment = datetime.fromtimestamp(at / SECOND, UTC).replace(tzinfo=None)
    except (ValueError, OverflowError, OSError):  # no calendar has it
        return UNKNOWN
    return f"{moment.isoformat(timespec='milliseconds')}Z"
