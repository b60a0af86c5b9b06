"""One life of the program until it is killed: after a while, at a step, or before a system call. Nothing is judged here."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.support.nursery import start
from tests.support.powercut import FALLS, PowerCut
from tests.support.project import LONGEST, Project, wait_until
from tests.support.warden import KILL, Call, Policy, warden

Mode = Literal["steps", "random", "syscalls", "power"]
"""When it dies: before a step that the interpreter sees, at any time, before a system call, or with the machine."""
MODES: tuple[Mode, ...] = ("steps", "random", "syscalls", "power")
Command = Literal["apply", "watch"]

ARGUMENTS: Mapping[Command, tuple[str, ...]] = {
    "apply": ("apply", "--yes"),
    "watch": ("watch", "--no-http"),
}
KINDS: Mapping[str, frozenset[str]] = {
    "all": frozenset(),
    "network": frozenset(["connect", "sendto", "recvfrom"]),
    "sync": frozenset(["fsync", "fdatasync"]),
    "names": frozenset(
        ["openat", "rename", "renameat", "link", "linkat", "unlink", "unlinkat", "mkdir"]
    ),
}
"""System calls that can be counted apart; an empty set is every one that is watched."""

_MOST: Mapping[str, int] = {"all": 450, "network": 45, "sync": 60, "names": 40}
"""About as many as a life that buys two films has."""
_STEPS = 150
_LONG = (
    0.5,
    2.0,
    8.0,
)  # seconds: lives that are short, and long enough for two films, also on a busy machine
_WATCHED = 6.0  # seconds after which a `watch` that met no other end is killed


@dataclass(frozen=True)
class Death:
    """How a life ends."""

    mode: Mode
    number: int = 0
    """Of the step or the system call."""
    kinds: str = "all"
    seconds: float = 0.0
    """How long after it has taken the state's lock: before that it only reads its own files."""
    fall: Literal["", "strict", "names", "torn"] = ""

    @classmethod
    def drawn(cls, mode: Mode, draw: random.Random) -> Death:
        """Return any death of a mode; seldom used sorts of calls are not left to chance."""
        if mode == "random":
            return cls(mode, seconds=draw.uniform(0, draw.choice(_LONG)))
        if mode == "steps":
            return cls(mode, draw.randint(1, _STEPS))
        kinds = draw.choice(sorted(KINDS))
        number = draw.randint(1, _MOST[kinds])
        return cls(mode, number, kinds, fall=draw.choice(FALLS) if mode == "power" else "")

    def policy(self) -> Policy:
        """Return the policy that kills before the N-th call of the kinds."""
        seen, kinds = 0, KINDS[self.kinds]

        def answer(call: Call) -> int | None:
            nonlocal seen
            seen += not kinds or call.name in kinds
            return KILL if seen >= self.number else None

        return answer


def live(project: Project, command: Command, death: Death, draw: random.Random) -> bool:
    """Run a command until it dies; False when it came to an end of its own before."""
    arguments = project.command(*ARGUMENTS[command])
    patience = _WATCHED if command == "watch" else LONGEST
    match death.mode:
        case "random":
            return _run(project, arguments, death.seconds, from_lock=True)
        case "steps":
            killer = [sys.executable, "-m", "tests.support.killer", f"at={death.number}", "--"]
            return _run(project, [*killer, *arguments[3:]], patience)
        case "syscalls":
            with warden(death.policy()) as guard:
                return _run(project, guard.command(arguments), patience)
    cut = PowerCut(project.root)
    with warden(both(death.policy(), cut)) as guard:
        killed = _run(project, guard.command(arguments), patience)
    if killed and death.fall:
        cut.fall(death.fall, draw)
    return killed


def both(first: Policy, second: Policy) -> Policy:
    """Return one policy of two; the second one hears only of calls that the first lets happen."""

    def answer(call: Call) -> int | None:
        return first(call) or second(call)

    return answer


def _run(project: Project, command: list[str], seconds: float, *, from_lock: bool = False) -> bool:
    said = project.root.parent / "lives.txt"
    with said.open("a") as output:
        process = start(command, env=project.environment(), stdout=output, stderr=output)
        if from_lock:
            wait_until(
                lambda: process.poll() is not None or _holder(project) == process.pid,
                "the lock",
                within=LONGEST,
            )
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def _holder(project: Project) -> int:
    """Return the process that the lock's text names, 0 for none."""
    lock = project.state / "lock"
    text = lock.read_text().strip() if lock.exists() else ""
    return int(text) if text.isdigit() else 0


def on_record(project: Project) -> list[str]:
    """Return the status of every record, or `nothing`, as a copy of the database says: looking changes nothing."""
    database = project.state / "reconciler.db"
    with tempfile.TemporaryDirectory() as folder:
        for path in (database, database.with_name(f"{database.name}-wal")):
            if path.exists():
                shutil.copy(path, folder)
        copy = Path(folder) / database.name
        if not copy.exists():
            return ["nothing"]
        with closing(sqlite3.connect(copy)) as connection:
            try:
                rows = connection.execute("SELECT status FROM task").fetchall()
            except sqlite3.OperationalError:  # no table yet
                return ["nothing"]
    return [status for (status,) in rows] or ["nothing"]
