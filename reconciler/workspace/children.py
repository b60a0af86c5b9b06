"""What every other program that is started gets of our environment: an allow-list. No key is on it, whatever it is called."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

_PASSED: Final = frozenset(
    {
        *("HOME", "USER", "LOGNAME", "LANG", "TMPDIR", "TZ"),
        *("PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT"),
        *("TERM", "COLORTERM", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"),
    }
)
_KINDS: Final = ("LC_", "XDG_")  # what such names begin with


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Return the little that another program needs: where its user, its language, its terminal and its libraries are.

    PATH keeps its absolute folders only: another would be looked up in the folder that the program is started in.
    """
    passed = {
        name: text for name, text in ours.items() if name in _PASSED or name.startswith(_KINDS)
    }
    if "PATH" in ours:
        folders = [folder for folder in ours["PATH"].split(":") if Path(folder).is_absolute()]
        passed["PATH"] = ":".join(folders)
    return passed
