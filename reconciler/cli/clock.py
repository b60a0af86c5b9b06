"""The clock of a run."""

from __future__ import annotations

import time
from collections.abc import Callable

from reconciler.core.schedule import SECOND

_SINCE_BOOT = getattr(
    time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC
)  # also counts while a laptop sleeps


def steady_clock() -> Callable[[], int]:
    """Return a clock in ms since the epoch that starts right and never jumps.

    A grace period that is measured with a clock somebody corrects could end at once, and a create be repeated.
    """
    offset = time.time() - time.clock_gettime(_SINCE_BOOT)
    return lambda: int((offset + time.clock_gettime(_SINCE_BOOT)) * SECOND)
