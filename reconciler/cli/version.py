"""What a bug report needs: the versions of the program, Python, SQLite, FFmpeg and every library."""

from __future__ import annotations

import platform
import re
import sqlite3
from contextlib import suppress
from importlib import metadata

from reconciler.cli.terminal import say

_DISTRIBUTION = "kling-reconciler"


def tell_version() -> None:
    """Print the versions."""
    needed: list[str] = []
    with suppress(metadata.PackageNotFoundError):  # a source tree that is on the path
        needed = metadata.requires(_DISTRIBUTION) or []
    try:
        from av import ffmpeg_version_info as ffmpeg  # PyAV brings it, and only PyAV knows
    except ImportError as error:  # a report of just that is worth having
        ffmpeg = f"cannot be loaded ({error})"
    names = {re.split(r"[^\w.-]", one, maxsplit=1)[0] for one in needed} | {"SQLAlchemy"}
    say(f"reconciler {_installed(_DISTRIBUTION, 'of an unknown version (not installed)')}")
    python = f"{platform.python_implementation()} {platform.python_version()}"
    say(f"{python} on {platform.platform()}")
    say(f"SQLite {sqlite3.sqlite_version}, FFmpeg {ffmpeg}")
    say(", ".join(f"{name} {_installed(name)}" for name in sorted(names, key=str.lower)))


def _installed(name: str, otherwise: str = "is missing") -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return otherwise
