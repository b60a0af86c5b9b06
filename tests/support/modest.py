"""A launcher whose program obeys the modes of files, also where the tests run as root: `python modest.py command …`.

It gives up the two capabilities that let root read and write everything, for good, and becomes the command.
"""

from __future__ import annotations

import ctypes
import os
import sys

_DROP_FROM_BOUNDS = 24  # PR_CAPBSET_DROP, linux/prctl.h
_OVERRIDE, _READ_SEARCH = 1, 2  # CAP_DAC_…, linux/capability.h


def modestly(command: list[str]) -> list[str]:
    """Return a command line that runs this one as somebody whom permissions concern."""
    return [sys.executable, os.path.abspath(__file__), *command]  # noqa: PTH100 - as it was started


if __name__ == "__main__":
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    for capability in (_OVERRIDE, _READ_SEARCH):
        if prctl(_DROP_FROM_BOUNDS, capability, 0, 0, 0) != 0 and os.geteuid() == 0:
            raise OSError(ctypes.get_errno(), "a capability cannot be given up")
    os.execv(sys.argv[1], sys.argv[1:])
