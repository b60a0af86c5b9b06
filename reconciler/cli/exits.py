"""The exit codes of the contract; scripts rely on them."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a command's end means."""

    DONE = 0
    ERROR = 1
    CHANGES = 2  # plan --detailed-exitcode
    NEEDS_SOMEBODY = (
        3  # apply settled, and something is failed, rejected, expired, invalid or blocked
    )
    TIMED_OUT = 4
    USAGE = 64
    INTERRUPTED = 130
