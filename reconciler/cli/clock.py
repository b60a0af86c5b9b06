"""The clock of a run."""

from __future__ import annotations

import time

from reconciler.core.schedule import SECOND

_SINCE_BOOT = getattr(
    time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC
)  # also counts while a laptop sleeps
_DRIFT = 60.0  # seconds that the system's clock must be ahead before it is taken over


def calendar() -> int:
    """Return the time as the machine shows it, in ms since the epoch: anybody may set it at any moment."""
    return int(time.time() * SECOND)


class SteadyClock:
    """Milliseconds since the epoch that start right and never jump.

    A grace period that is measured with a clock somebody corrects could end at once, and a create be repeated.
    """

    def __init__(self) -> None:
        self._offset = time.time() - time.clock_gettime(_SINCE_BOOT)

    def __call__(self) -> int:
        """Return the time."""
        return int((self._offset + time.clock_gettime(_SINCE_BOOT)) * SECOND)

    def correct(self) -> None:
        """Take over the system's time where it is well ahead: a machine was frozen, or began with a wrong clock.

        To be called only while nothing is in doubt. Never goes back: what is due would wait for the old time.
        """
        offset = time.time() - time.clock_gettime(_SINCE_BOOT)
        if offset - self._offset > _DRIFT:
            self._offset = offset
