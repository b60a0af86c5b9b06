"""A launcher whose program asks before it changes anything outside: `python caged.py SOCKET -- command …`.

It installs a seccomp filter that holds every system call listed in `WATCHED` until somebody answers, hands the
filter's descriptor to whoever listens at SOCKET (`tests/support/warden.py`), and becomes the command. That needs
neither root nor a compiler nor another tool, and it sees what no hook inside the interpreter sees: what SQLite
does by itself. Linux from 5.5 on, x86-64 and arm64. It imports nothing of this project, so that it starts quickly.
"""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import struct
import sys
from collections.abc import Mapping

_NUMBERS: Mapping[str, tuple[int, Mapping[str, int]]] = {
    "x86_64": (
        0xC000003E,
        {
            "write": 1,
            "pwrite64": 18,
            "writev": 20,
            "connect": 42,
            "sendto": 44,
            "recvfrom": 45,
            "fsync": 74,
            "fdatasync": 75,
            "truncate": 76,
            "ftruncate": 77,
            "rename": 82,
            "mkdir": 83,
            "rmdir": 84,
            "link": 86,
            "unlink": 87,
            "openat": 257,
            "mkdirat": 258,
            "unlinkat": 263,
            "renameat": 264,
            "linkat": 265,
            "fallocate": 285,
            "renameat2": 316,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "mkdirat": 34,
            "unlinkat": 35,
            "linkat": 37,
            "renameat": 38,
            "truncate": 45,
            "ftruncate": 46,
            "fallocate": 47,
            "openat": 56,
            "write": 64,
            "writev": 66,
            "pwrite64": 68,
            "fsync": 82,
            "fdatasync": 83,
            "connect": 203,
            "sendto": 206,
            "recvfrom": 207,
            "renameat2": 276,
        },
    ),
}
_MACHINE, WATCHED = _NUMBERS.get(platform.machine(), (0, {}))
"""The system calls that are held, by name. An `openat` is held when it creates or empties a file, a write unless it
goes to the terminal."""

_LOAD, _EQUAL, _GREATER, _BITS, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST, _THIRD = 0, 4, 16, 32  # offsets in struct seccomp_data
_ALLOW, _ASK = 0x7FFF0000, 0x7FC00000
_NO_NEW_PRIVILEGES, _SET_FILTER, _NEW_LISTENER = 38, 1, 8
_SECCOMP = {"x86_64": 317, "aarch64": 277}


def _program() -> bytes:
    """Return the filter: for every watched call a test that ends in asking, and at the end permission."""
    lines = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, _MACHINE), (_RETURN, 0, 0, _ALLOW)]
    for name, number in WATCHED.items():
        match name:
            case "openat":
                more = [(_LOAD, 0, 0, _THIRD), (_BITS, 0, 1, os.O_CREAT | os.O_TRUNC)]
            case "write" | "writev":
                more = [(_LOAD, 0, 0, _FIRST), (_GREATER, 0, 1, 2)]
            case _:
                more = []
        ask = [*more, (_RETURN, 0, 0, _ASK)]
        lines += [(_LOAD, 0, 0, _NUMBER), (_EQUAL, 0, len(ask), number), *ask]
    lines.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("HBBI", *line) for line in lines)


def _install() -> int:
    """Put the filter on this process and return the descriptor at which its questions come."""

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("lines", ctypes.c_char_p))

    lines = _program()
    program = Program(len(lines) // 8, lines)
    system = ctypes.CDLL(None, use_errno=True)
    system.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    number = _SECCOMP[platform.machine()]
    listener = int(system.syscall(number, _SET_FILTER, _NEW_LISTENER, ctypes.byref(program)))
    if listener < 0:
        problem = os.strerror(ctypes.get_errno())
        raise SystemExit(f"this system does not let a process be watched (seccomp): {problem}")
    return listener


def cage(address: str) -> None:
    """Have this process watched by the warden who listens there."""
    with socket.socket(socket.AF_UNIX) as warden:
        warden.connect(address)
        listener = _install()
        socket.send_fds(warden, [struct.pack("I", os.getpid())], [listener])
        os.close(listener)


def main(arguments: list[str]) -> None:
    """Become the command, watched."""
    address, separator, *command = arguments
    if separator != "--" or not WATCHED:
        raise SystemExit("usage: caged.py SOCKET -- command (Linux on x86-64 or arm64)")
    cage(address)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
