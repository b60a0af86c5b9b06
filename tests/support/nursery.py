"""Processes of the program that start warm: each is forked from one that has imported everything, and runs `main`.

Starting the interpreter and importing costs a second of CPU, more than most commands under test take afterwards, and
the suite starts over a thousand. A child is a process like any other: its own memory, descriptors, environment,
arguments and exit code; it can be stopped and killed. What is not shown by it is the start itself (the interpreter's
own options, and what is imported when): tests of that start `python -m reconciler` as users do. Nor is the taking down
of the interpreter, which would copy all that the child shares with the others: it leaves after its last callback.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import IO, Any

from tests.support import authority, caged, modest

REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = frozenset({"reconciler", "tests.support.killer", "tests.support.opened"})
"""What a child can run, as `python -m` would."""
_IMPORTED = (
    "reconciler.cli.main",
    "reconciler.cli.apply",
    "reconciler.cli.begin",
    "reconciler.cli.doctor",
    "reconciler.cli.follow",
    "reconciler.cli.order_commands",
    "reconciler.cli.probe",
    "reconciler.cli.spend",
    "reconciler.cli.status",
    "reconciler.cli.watch",
    "reconciler.engine.orders.take",
    "reconciler.cli.log",
    "reconciler.engine.run.daemon",
    "reconciler.kling.client",
    "reconciler.kling.downloads",
    "reconciler.kling.simulator_media",
    "reconciler.workspace.watch.watcher",
    "reconciler.store.repository",
    "reconciler.workspace.read.yaml_reader",
    "alembic.command",
    "alembic.config",
    "anyio._backends._asyncio",
    "av",
    "encodings.idna",
    "httpcore",
    "PIL.JpegImagePlugin",
    "PIL.PngImagePlugin",
)
_REMEMBERED = (
    ("reconciler.cli.commands", "command_line"),
    ("reconciler.kling.network", "user_agent"),
    ("reconciler.workspace.read.spec_cache", "_payload"),
)
"""What each process makes once, by functions that remember it: the same whatever is asked for."""
AT_START = ("PYTHON", "LC_", "LANG", "TZ")
"""Variables that the interpreter reads once, when it starts."""
_INTEGER = struct.Struct("i")
_LARGEST = 1 << 17  # bytes of an order, its environment included


class Child:
    """A process of the nursery; the part of `subprocess.Popen` that tests need."""

    def __init__(self, report: socket.socket, command: Sequence[str]) -> None:
        self._report, self._command = report, command
        self.returncode: int | None = None
        self.pid = self._next(None)

    def _next(self, timeout: float | None) -> int:
        if not select.select([self._report], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(list(self._command), timeout or 0.0)
        data = self._report.recv(_INTEGER.size)
        if len(data) < _INTEGER.size:
            raise ChildProcessError("the nursery ended without a word")
        number: int = _INTEGER.unpack(data)[0]
        return number

    def poll(self) -> int | None:
        """Return the exit code (minus the signal, if one ended it), None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0.0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, at most `timeout` seconds; raises `subprocess.TimeoutExpired`."""
        if self.returncode is None:
            self.returncode = self._next(timeout)
            self._report.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


def start(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    stdout: IO[Any],
    stderr: IO[Any],
) -> Child | subprocess.Popen[bytes]:
    """Start a command in the repository's folder without input: warm if it can be, as any other if not."""
    order = _order(command, env)
    if order is None:
        return subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )
    data = json.dumps(order).encode()
    if len(data) > _LARGEST:
        raise ValueError(f"an order of {len(data)} bytes is too long for the nursery")
    ours, theirs = socket.socketpair()
    with theirs:
        descriptors = [theirs.fileno(), stdout.fileno(), stderr.fileno()]
        nursery = _nursery()
        with nursery.turn:
            socket.send_fds(nursery.orders, [data], descriptors)
    return Child(ours, command)


def _order(command: Sequence[str], env: Mapping[str, str]) -> dict[str, Any] | None:
    """Return what a child of the nursery has to know to be this command; None where it cannot be."""
    changed = {name for name in {*env, *os.environ} if env.get(name) != os.environ.get(name)}
    if any(name.startswith(AT_START) for name in changed):
        return None
    cage, is_modest = "", False
    match list(command):
        case [sys.executable, "-S", "-E", caged.__file__, cage, "--", *command]:
            pass
        case [sys.executable, modest.__file__, *command]:
            is_modest = True
    match list(command):
        case [sys.executable, "-m", module, *arguments] if module in MODULES:
            return {
                "module": module,
                "arguments": arguments,
                "env": dict(env),
                "cage": cage,
                "is_modest": is_modest,
            }
    return None


@dataclass(frozen=True)
class _Nursery:
    process: subprocess.Popen[bytes]
    orders: socket.socket
    turn: Lock


@cache
def _nursery() -> _Nursery:
    """Start the nursery of this process; it leaves when this process does, whose end closes the socket."""
    from tests.support import decoders

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        descriptors = [theirs.fileno(), decoders.forking().fileno()]
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.nursery", *map(str, descriptors)],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=descriptors,
        )
    return _Nursery(process, ours, Lock())


def serve(orders: socket.socket, streams: Sequence[int]) -> bytes:
    """Fork a child for each order, until nobody can give any: returns nothing at the end, in each child its order.

    Descriptors come with an order: where to report the process and its exit code, and what is to be its `streams`.
    """
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    reports: dict[int, int] = {}
    while True:
        if woken in select.select([orders.fileno(), woken], [], [])[0]:
            os.read(woken, 4096)
            _report(reports)
            continue
        order, descriptors, _, _ = socket.recv_fds(orders, _LARGEST, 1 + len(streams))
        if not order:
            return b""
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for given, stream in zip(descriptors[1:], streams, strict=True):
                os.dup2(given, stream)
            for descriptor in (*descriptors, *reports.values(), woken, wake):
                os.close(descriptor)
            return order
        reports[pid] = descriptors[0]
        _say(descriptors[0], pid)
        for descriptor in descriptors[1:]:
            os.close(descriptor)


def _report(reports: dict[int, int]) -> None:
    """Report the exit code of every child that has ended."""
    while reports:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        report = reports.pop(pid)
        _say(report, os.waitstatus_to_exitcode(status))
        os.close(report)


def _say(report: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # the test does not want to know any more
        os.write(report, _INTEGER.pack(number))


class _Leaving:
    """How a child ends: with the program's own exit code, once threads were waited for and callbacks were made."""

    code: int | None = None

    def __call__(self) -> None:
        """Leave, unless something is still to be said of the end: an error, or output that nobody takes."""
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
            if self.code is not None:
                os._exit(self.code)


def main(descriptor: str, decoding: str) -> None:
    """Serve, and in a child become the program."""
    from tests.support import decoders

    forking = socket.socket(fileno=int(decoding))
    leaving = _Leaving()
    atexit.register(leaving)  # the first that is registered is called last
    with socket.socket(fileno=int(descriptor)) as orders:
        for name in _IMPORTED:
            importlib.import_module(name)
        authority.trust_it_alone()
        for module, name in _REMEMBERED:
            getattr(importlib.import_module(module), name)()
        gc.collect()
        gc.freeze()
        order = serve(orders, (1, 2))
    if not order:
        return
    child: dict[str, Any] = json.loads(order)
    os.environ.clear()
    os.environ.update(child["env"])
    time.tzset()
    if child["cage"]:
        caged.cage(child["cage"])  # it watches what the program starts, too
    else:
        decoders.start_warm(lambda: forking)
    if child["is_modest"]:
        modest.give_up()
    sys.argv = [child["module"], *child["arguments"]]
    try:
        runpy.run_module(child["module"], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        leaving.code = end.code if isinstance(end.code, int) else None if end.code else 0
        raise


if __name__ == "__main__":
    main(*sys.argv[1:])
