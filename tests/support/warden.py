"""Watches the system calls of a program under test: counts them, fails them, kills at one. It knows no reason to.

The program is started through `tests/support/caged.py`. Each watched call waits until a policy, a function of the
test's, has answered, so a policy sees the world exactly as it is before the call: it may look at files, copy them,
ask the simulator. What it answers is an errno for the call, `KILL`, or nothing.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import socket
import struct
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support import caged

KILL = -1
"""A policy's answer: SIGKILL, before the call has done anything."""

_RECEIVE, _SEND, _VALID = 0xC0502100, 0xC0182101, 0x40082102
_QUESTION, _ANSWER = "=QIIiIQ6Q", "=QqiI"
_GO_ON = 1
_HERE = 0xFFFFFF9C  # AT_FDCWD, as 32 bits
_NAMES = {number: name for name, number in caged.WATCHED.items()}
_BY_DESCRIPTOR = frozenset(
    ["write", "pwrite64", "writev", "fsync", "fdatasync", "ftruncate", "fallocate"]
)
_NETWORK = frozenset(["connect", "sendto", "recvfrom"])
_AT = frozenset(["openat", "mkdirat", "unlinkat", "renameat", "renameat2", "linkat"])


@dataclass(frozen=True)
class Call:
    """A system call that is about to happen. Its paths are absolute; what cannot be told is an empty one."""

    number: int
    """Which one it is of this process, from 1."""
    name: str
    pid: int
    arguments: tuple[int, ...]

    @property
    def is_network(self) -> bool:
        """Whether it is about bytes of a socket."""
        return self.name in _NETWORK

    @property
    def path(self) -> Path:
        """The file or folder that it is about; of two names the first."""
        if self.name in _NETWORK:
            return Path()
        if self.name in _BY_DESCRIPTOR:
            return self._opened(self.arguments[0])
        if self.name in _AT:
            return self._named(self.arguments[0], self.arguments[1])
        return self._named(_HERE, self.arguments[0])

    @property
    def target(self) -> Path:
        """The second name of a rename or a link."""
        if self.name in _AT:
            return self._named(self.arguments[2], self.arguments[3])
        return self._named(_HERE, self.arguments[1])

    @property
    def end(self) -> int:
        """The size in bytes that the file must have for this call, if it is one that makes files grow."""
        match self.name:
            case "pwrite64":
                return self.arguments[3] + self.arguments[2]
            case "write":
                return self._position() + self.arguments[2]
            case "ftruncate":
                return self.arguments[1]
            case "fallocate":
                return self.arguments[2] + self.arguments[3]
            case _:
                return 0

    def _position(self) -> int:
        with suppress(OSError):
            said = Path(f"/proc/{self.pid}/fdinfo/{self.arguments[0]}").read_text()
            values = dict(line.split(":\t", 1) for line in said.splitlines() if ":\t" in line)
            if int(values["flags"], 8) & os.O_APPEND:
                return Path(f"/proc/{self.pid}/fd/{self.arguments[0]}").stat().st_size
            return int(values["pos"])
        return 0

    def _opened(self, descriptor: int) -> Path:
        with suppress(OSError):
            return Path(f"/proc/{self.pid}/fd/{descriptor & 0xFFFFFFFF}").readlink()
        return Path()

    def _named(self, folder: int, address: int) -> Path:
        name = os.fsdecode(_text(self.pid, address))
        base = Path() if folder & 0xFFFFFFFF == _HERE else self._opened(folder)
        return Path(os.path.normpath(base / name))


Policy = Callable[[Call], int | None]


class Warden:
    """Answers for one program after the other; `command` says how to start them."""

    def __init__(self, policy: Policy, folder: Path) -> None:
        self.trouble: list[BaseException] = []
        self.calls = 0
        self._policy = policy
        self._address = str(folder / "warden")
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(self._address)
        self._door.listen()
        self._wake, self._woken = os.pipe()
        self._thread = threading.Thread(target=self._serve, name="warden", daemon=True)

    def command(self, command: Sequence[str]) -> list[str]:
        """Return the command line under which the program is watched."""
        return [sys.executable, "-S", "-E", caged.__file__, self._address, "--", *command]

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Answer no more; a program that still runs finds its calls failing."""
        os.close(self._woken)
        self._thread.join()
        os.close(self._wake)
        self._door.close()
        if self.trouble:
            raise AssertionError("the warden's own mistake") from self.trouble[0]

    def _serve(self) -> None:
        while self._awaits(self._door.fileno()):
            visitor, _ = self._door.accept()
            with visitor:
                said, descriptors, _, _ = socket.recv_fds(visitor, 4, 1)
            if not descriptors:
                continue
            (pid,) = struct.unpack("I", said)
            self.calls = 0
            try:
                self._watch(descriptors[0], pid)
            except BaseException as error:  # noqa: BLE001 - the test has to hear of it
                self.trouble.append(error)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            finally:
                os.close(descriptors[0])

    def _awaits(self, descriptor: int) -> bool:
        """Whether something came at a descriptor; False when its other end is gone, or it is time to stop."""
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.register(self._wake, select.POLLHUP)
        came = dict(poll.poll())
        return self._wake not in came and bool(came.get(descriptor, 0) & select.POLLIN)

    def _watch(self, listener: int, pid: int) -> None:
        while self._awaits(listener):
            question = bytearray(struct.calcsize(_QUESTION))
            try:
                fcntl.ioctl(listener, _RECEIVE, question)
            except OSError as error:
                if error.errno in {errno.ENOENT, errno.EINTR}:  # it was killed meanwhile
                    continue
                raise
            key, thread, _, number, _, _, *arguments = struct.unpack(_QUESTION, question)
            self.calls += 1
            call = Call(self.calls, _NAMES[number], thread, tuple(arguments))
            answer = self._policy(call)
            if answer == KILL:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                continue
            reply = struct.pack(_ANSWER, key, 0, -answer if answer else 0, 0 if answer else _GO_ON)
            with suppress(FileNotFoundError):  # it was killed meanwhile
                fcntl.ioctl(listener, _SEND, reply)


@contextmanager
def warden(policy: Policy) -> Iterator[Warden]:
    """Watch what is started by `command` while the block lasts."""
    with tempfile.TemporaryDirectory(prefix="warden-") as folder:
        guard = Warden(policy, Path(folder))
        guard.start()
        try:
            yield guard
        finally:
            guard.close()


def _text(pid: int, address: int) -> bytes:
    """Return the zero-terminated text at an address of another process."""
    with suppress(OSError), Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        memory.seek(address)
        return memory.read(4096).partition(b"\0")[0]
    return b""
