"""`--version`: what a report of a bug has to name. Reads what is installed, and no settings and no folder."""

from __future__ import annotations

import platform
import re
import sqlite3
from importlib import metadata

DISTRIBUTION = "kling-reconciler"


def version_lines() -> list[str]:
    """Return the versions of the program, of Python, of what is compiled in, and of every library that we ask for."""
    try:
        ours = metadata.version(DISTRIBUTION)
        needed = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:  # a source tree that is on the path
        ours, needed = "of an unknown version (not installed)", []
    names = {re.split(r"[^\w.-]", one, maxsplit=1)[0] for one in needed} | {"SQLAlchemy"}
    return [
        f"reconciler {ours}",
        f"{platform.python_implementation()} {platform.python_version()} on {platform.platform()}",
        f"SQLite {sqlite3.sqlite_version}, FFmpeg {_ffmpeg()}",
        ", ".join(f"{name} {_installed(name)}" for name in sorted(names, key=str.lower)),
    ]


def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "is missing"


def _ffmpeg() -> str:
    """Return the version of FFmpeg, which PyAV brings and only PyAV knows."""
    try:
        from av import ffmpeg_version_info
    except ImportError as error:  # a report of just that is worth having
        return f"cannot be loaded ({error})"
    return ffmpeg_version_info
