"""Points in time from other programs: which are possible, and how each is shown. Nothing here raises."""

from __future__ import annotations

from datetime import UTC, datetime

UNKNOWN = "(not known)"  # shown for an unknown day, time, spec or model
_SECOND, _DAY = 1000, 86_400_000  # ms
_EARLIEST = 1_577_836_800_000  # ms: 2020; the API is younger
_LATEST = 4_102_444_800_000  # ms: 2100


def milliseconds(told: int) -> int | None:
    """Return a time in ms, told in s, ms, µs or ns since the epoch: only one lies between 2020 and 2100; else None."""
    for at in (told, told * _SECOND, told // 1000, told // 1_000_000):
        if _EARLIEST <= at < _LATEST:
            return at
    return None


def bought_at(told: int | None, now: int) -> int:
    """Return when a task that was found was bought: its own time, or `now` where that is unknown or in the future."""
    return now if told is None or told > now + _DAY else told


def day_start(at: int) -> int:
    """Return when the day (UTC) of a time began; ms."""
    return at - at % _DAY


def day_of(at: int | None) -> str:
    """Return the day (UTC) of a time in ms: `2026-11-25`."""
    return shown(at).partition("T")[0]


def shown(at: int | None) -> str:
    """Return a time in ms as ISO-8601 in UTC."""
    if at is None:
        return UNKNOWN
    try:
        moment = datetime.fromtimestamp(at / _SECOND, UTC).replace(tzinfo=None)
    except (ValueError, OverflowError, OSError):  # no calendar has it
        return UNKNOWN
    return f"{moment.isoformat(timespec='milliseconds')}Z"
