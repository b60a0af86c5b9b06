"""A launcher that kills the program at a chosen step: `python -m tests.support.killer PLAN -- reconciler arguments`.

A step is a call into C that changes something outside the process: a statement or a commit of the database, a
file synced, renamed, linked, written or removed, bytes sent or received. The interpreter's profiling hook sees each
of them before and after, so the program under test needs no hook of its own and runs as it is.

PLAN is one of

- `record=FILE`: kill nothing, and write every step, one JSON line `[name, number of this name's occurrence]` each;
- `before=NAME#K` or `after=NAME#K`: SIGKILL just before, or right after, the K-th occurrence of that step;
- `at=N`: SIGKILL just before the N-th step, whatever it is.

A step's name says which C function, from which line of the program, and for the network whose request it is about.
Imports are over before the first step counts. What the interpreter does at its very end is not seen.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

PACKAGE = str(Path(__file__).resolve().parents[2] / "reconciler") + os.sep

_FILES = frozenset(
    [
        "fsync",
        "fdatasync",
        "rename",
        "replace",
        "link",
        "unlink",
        "remove",
        "rmdir",
        "mkdir",
        "write",
        "pwrite",
        "ftruncate",
        "truncate",
        "chmod",
        "fchmod",
        "symlink",
        "utime",
    ]
)
_METHODS = {
    "sqlite3": frozenset({"execute", "executemany", "executescript", "commit"}),
    "socket": frozenset({"connect", "send", "sendall", "sendmsg", "recv", "recv_into"}),
    "_io": frozenset({"write", "flush", "truncate"}),
    "fcntl": frozenset({"flock"}),
}
_IN_MEMORY = frozenset({"BytesIO", "StringIO"})
_TERMINAL = frozenset({1, 2})
_READING = ("SELECT", "PRAGMA", "EXPLAIN", "BEGIN")
_READERS = tuple(f"{os.sep}store{os.sep}{name}.py" for name in ("database", "rows", "state"))
_OUTSIDE = frozenset({"cli", "__main__.py"})


class Steps:
    """Counts the steps of this process, and calls `on_step(name, occurrence, number, edge)` around each."""

    def __init__(self, on_step: Callable[[str, int, int, str], None]) -> None:
        self._on_step = on_step
        self._seen: Counter[str] = Counter()
        self._number = 0
        self._request = "nothing"
        self._open: dict[int, tuple[str, int, int]] = {}  # by thread: the step that it is in

    def __call__(self, frame: FrameType, event: str, called: Any) -> None:
        """Serve as the profiling hook."""
        if event == "c_call":
            name = self._name(frame, called)
            if name is not None:
                self._number += 1
                self._seen[name] += 1
                step = (name, self._seen[name], self._number)
                self._open[threading.get_ident()] = step
                self._on_step(*step, "before")
        elif event in {"c_return", "c_exception"} and self._open:
            # Between the two events of a C function that calls no Python there is no other event of its thread.
            ended = self._open.pop(threading.get_ident(), None)
            if ended is not None:
                self._on_step(*ended, "after")

    def _name(self, frame: FrameType, called: Any) -> str | None:
        function = str(getattr(called, "__name__", ""))
        owner = getattr(called, "__self__", None)
        module = str(owner.__name__ if isinstance(owner, ModuleType) else type(owner).__module__)
        if module in {"posix", "os"}:
            if function not in _FILES:
                return None
        elif function not in _METHODS.get(module, ()) or _is_nobodys(owner):
            return None
        if module == "socket":
            return self._of_network(function, frame, owner)
        if module == "sqlite3" and function.startswith("execute") and _only_reads(frame):
            return None
        place = _place(frame)
        return None if place is None else f"{function} {place}"

    def _of_network(self, function: str, frame: FrameType, owner: Any) -> str | None:
        """Name the request that bytes belong to; the loop's own wake-up socket is nobody's."""
        if owner.family == socket.AF_UNIX:
            return None
        if function.startswith("send"):
            data = frame.f_locals.get("data")
            line = bytes(data[:200]).split(b"\r\n")[0] if data else b""
            if line.endswith(b" HTTP/1.1"):
                self._request = _kind(line.decode("latin-1"))
        return f"{function} {self._request}"


def _is_nobodys(owner: Any) -> bool:
    """What is written into memory or to the terminal is no step."""
    if type(owner).__name__ in _IN_MEMORY:
        return True
    try:
        return owner.fileno() in _TERMINAL
    except (AttributeError, OSError, ValueError):
        return False


def _only_reads(frame: FrameType) -> bool:
    if frame.f_code.co_filename.endswith(_READERS):
        return True
    statement = frame.f_locals.get("statement")
    return isinstance(statement, str) and statement.lstrip().upper().startswith(_READING)


def _kind(line: str) -> str:
    method, target, _ = line.split(" ")
    parts = target.partition("?")[0].split("/")
    last = {"motion-control": "create" if method == "POST" else "list", "simulator": "greeting"}
    what = last.get(parts[-1]) or {"motion-control": "query"}.get(parts[-2], parts[1])
    return f"{method} {what}"


def _place(frame: FrameType | None) -> str | None:
    """Return the lines of the program that led here, innermost first; None for what others do by themselves."""
    places: list[str] = []
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(PACKAGE):
            name = code.co_filename.removeprefix(PACKAGE)
            file = name.removesuffix(".py").replace(os.sep, ".")
            if not places or name.partition(os.sep)[0] not in _OUTSIDE:
                places.append(f"{file}:{frame.f_lineno}")
        frame = frame.f_back
    return " < ".join(places) or None


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _killer(plan: str) -> Callable[[str, int, int, str], None]:
    kind, _, target = plan.partition("=")
    if kind == "at":
        wanted = int(target)

        def at(name: str, occurrence: int, number: int, edge: str) -> None:
            if number == wanted and edge == "before":
                _die()

        return at

    step, _, count = target.rpartition("#")

    def around(name: str, occurrence: int, number: int, edge: str) -> None:
        if edge == kind and name == step and occurrence == int(count):
            _die()

    return around


def main(arguments: list[str]) -> int:
    """Run the program under a plan; returns its exit code."""
    plan, separator, *rest = arguments
    if separator != "--":
        raise SystemExit("usage: python -m tests.support.killer PLAN -- arguments")
    from reconciler.cli.main import run

    # What was written just now counts as at rest: else a fast machine takes other steps than a slow one.
    now = time.time_ns
    time.time_ns = lambda: now() + 3600 * 10**9
    steps: list[tuple[str, int]] = []
    recording = plan.removeprefix("record=") if plan.startswith("record=") else ""

    def record(name: str, occurrence: int, number: int, edge: str) -> None:
        if edge == "before":
            steps.append((name, occurrence))

    hook = Steps(record if recording else _killer(plan))
    threading.setprofile(hook)
    sys.setprofile(hook)
    try:
        return run(rest)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
        if recording:
            Path(recording).write_text("".join(json.dumps(step) + "\n" for step in steps))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
