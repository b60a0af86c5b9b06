"""A launcher whose program obeys the modes of files, also where the tests run as root: `python modest.py command …`.

It gives up the two capabilities that let root read and write everything, for good, and becomes the command.
"""

from __future__ import annotations

import ctypes
import os
import sys

_DROP_FROM_BOUNDS = 24  # PR_CAPBSET_DROP, linux/prctl.h
_OVERRIDE, _READ_SEARCH = 1, 2  # CAP_DAC_…, linux/capability.h
_VERSION = 0x20080522  # of the structures below, the same header


def modestly(command: list[str]) -> list[str]:
    """Return a command line that runs this one as somebody whom permissions concern."""
    return [sys.executable, os.path.abspath(__file__), *command]  # noqa: PTH100 - as it was started


def give_up() -> None:
    """Give up the capabilities of this process, and of all that it starts; of its first thread, so before others."""
    system = ctypes.CDLL(None, use_errno=True)
    for capability in (_OVERRIDE, _READ_SEARCH):
        if system.prctl(_DROP_FROM_BOUNDS, capability, 0, 0, 0) != 0 and os.geteuid() == 0:
            raise OSError(ctypes.get_errno(), "a capability cannot be given up")
    header = (ctypes.c_uint32 * 2)(_VERSION, 0)
    sets = (
        ctypes.c_uint32 * 6
    )()  # effective, permitted and inheritable, of the lower 32 and of the others
    if system.capget(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "the capabilities cannot be read")
    for number in range(3):
        sets[number] &= ~(1 << _OVERRIDE | 1 << _READ_SEARCH)
    if system.capset(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "a capability cannot be given up")


if __name__ == "__main__":
    give_up()
    os.execv(sys.argv[1], sys.argv[1:])
