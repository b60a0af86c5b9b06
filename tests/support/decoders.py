"""Decoding processes that start warm: each is forked from one that has imported the libraries for media.

The program starts one for a result, for a spec's media and for posters; to import took more CPU than to decode what
tests have. A child is bounded and answers as any other: the program's own code does both. What is not shown by it is the
start itself; tests of that (`tests/workspace/media/test_decoding.py`), encoders, and programs that are watched start cold.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from reconciler.workspace.media import decoding
from reconciler.workspace.programs import environment
from tests.support.nursery import AT_START, REPOSITORY, Child, serve

if TYPE_CHECKING:
    import pytest

_IMPORTED = (
    "av",
    "PIL.JpegImagePlugin",
    "PIL.PngImagePlugin",
    "reconciler.workspace.media.judging",
    "reconciler.workspace.media.result_media",
)
_LIKE_THE_PROGRAMS = [
    [str(number) for number in (one.seconds, one.memory, one.written, one.niceness)]
    for one in (item._bounds for item in (decoding.MEDIA, decoding.RESULTS, decoding.PREVIEWS))
]


def _at_start(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in variables.items() if name.startswith(AT_START)}


_HERE = _at_start(environment(os.environ))


class _Decoding(Child):
    """A process that decodes. Two threads may end it at once: nobody asks first whether it still runs."""

    def kill(self) -> None:
        """Send SIGKILL."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class _Starting:
    """What `decoding` finds as `subprocess`."""

    DEVNULL = subprocess.DEVNULL

    def __init__(self, orders: Callable[[], socket.socket]) -> None:
        self._orders = orders
        self._turn = Lock()

    def Popen(  # noqa: N802 - the library's name
        self, command: Sequence[str], *, stdin: int, env: Mapping[str, str], **options: Any
    ) -> Child | subprocess.Popen[bytes]:
        """Start what the program starts, warm if it can be."""
        bounds = list(command[4:])
        if bounds not in _LIKE_THE_PROGRAMS or _at_start(env) != _HERE:
            return subprocess.Popen(command, stdin=stdin, env=env, **options)
        ours, theirs = socket.socketpair()
        with theirs, self._turn:
            data = json.dumps(bounds).encode()
            socket.send_fds(self._orders(), [data], [theirs.fileno(), stdin])
        return _Decoding(ours, command)


def start_warm(orders: Callable[[], socket.socket]) -> None:
    """From now on, decoding processes of this one are forked by whoever reads these orders."""
    vars(decoding)["subprocess"] = _Starting(orders)


def start_cold(patch: pytest.MonkeyPatch) -> None:
    """For one test, decoding processes of this one start as those of users do."""
    patch.setattr(decoding, "subprocess", subprocess)


@dataclass(frozen=True)
class _Forking:
    process: subprocess.Popen[bytes]
    orders: socket.socket

    def end(self) -> None:
        """End it, after those that it forked: it tells how they ended."""
        decoding.close_all()
        self.orders.close()
        self.process.kill()  # the nursery may give it orders, too, so it would not see their end
        self.process.wait()


@cache
def _forking() -> _Forking:
    """Start the process that forks them; it leaves when nobody can give orders any more."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.decoders", str(theirs.fileno())],
            cwd=REPOSITORY,
            env={**environment(os.environ), "MALLOC_ARENA_MAX": "2"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
    forking = _Forking(process, ours)
    atexit.register(forking.end)
    return forking


def forking() -> socket.socket:
    """Return where to order one."""
    return _forking().orders


def main(descriptor: str) -> None:
    """Serve, and in a child decode."""
    with socket.socket(fileno=int(descriptor)) as orders:
        for name in _IMPORTED:
            importlib.import_module(name)
        os.chdir("/")
        gc.collect()
        gc.freeze()
        bounds = serve(orders, (0,))
    if bounds:
        os._exit(decoding.main(json.loads(bounds)))


if __name__ == "__main__":
    main(sys.argv[1])
