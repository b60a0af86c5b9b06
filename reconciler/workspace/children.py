"""What every other program that is started gets of our environment: an allow-list. No key is on it, whatever it is called."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

_PASSED: Final = frozenset(
    {
        *("HOME", "USER", "LOGNAME", "LANG", "TMPDIR", "TZ"),
        "SYSTEMROOT",
        *("TERM", "COLORTERM", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"),
    }
)
_KINDS: Final = ("LC_", "XDG_")  # what such names begin with
_PATHS: Final = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Return the little that another program needs: where its user, its language, its terminal and its libraries are.

    Of each list of folders only the absolute ones stay: another, an empty one too, would be looked up in the folder that
    the program is started in.
    """
    passed = {
        name: text for name, text in ours.items() if name in _PASSED or name.startswith(_KINDS)
    }
    for name in _PATHS:
        folders = [folder for folder in ours.get(name, "").split(":") if Path(folder).is_absolute()]
        if folders or (name == "PATH" and name in ours):
            passed[name] = ":".join(folders)
    return passed
