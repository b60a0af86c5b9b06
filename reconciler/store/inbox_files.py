"""The files of the inbox, reached through its open folder only. They say how far an order is, never what it is.

What was not understood is set aside under another name; what nobody asks for any more does not grow without end.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
from collections.abc import Sequence
from contextlib import suppress

from reconciler.core.errors import StateError
from reconciler.disk import sync
from reconciler.store.durable import open_regular

ORDER, TAKEN, ANSWER = ".order", ".taken", ".answer"
TICKET = re.compile(r"[0-9]{20}-[0-9a-f]{8}")
LONGEST_ORDER = 1024 * 1024  # bytes

_FRESH, _ASIDE = ".new", ".aside"
_NAME = re.compile(rf"({TICKET.pattern})(\.order|\.taken|\.answer|\.(?:order|answer)\.new)\Z")
_AT_ONCE = 100  # orders; the others come when these are answered
_KEPT = 1000  # answers that nobody fetched, and what was set aside
_NEVER = (errno.ELOOP, errno.ENXIO, errno.EACCES, errno.EPERM)  # a link, a socket, another's file
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def take_all(folder: int) -> list[tuple[str, dict[str, object]]]:
    """Take every order that waits; return those in hand, the oldest first, 100 at most."""
    found = _sorted_out(folder)
    orders: list[tuple[str, dict[str, object]]] = []
    answered = set(found[ANSWER])
    for ticket in sorted({*found[ORDER], *found[TAKEN]}):
        if len(orders) == _AT_ONCE:
            break
        with suppress(OSError):
            document = _take(folder, ticket, is_answered=ticket in answered)
            if document is not None:
                orders.append((ticket, document))
    return orders


def _sorted_out(folder: int) -> dict[str, list[str]]:
    """Return the tickets by how far they are; keep what nobody asks for from growing without end."""
    found: dict[str, list[str]] = {ORDER: [], TAKEN: [], ANSWER: []}
    leftovers: list[str] = []
    aside: list[str] = []
    for name in os.listdir(folder):
        if match := _NAME.match(name):
            found.get(match[2], leftovers).append(match[1] if match[2] in found else name)
        elif name.endswith(_ASIDE):
            aside.append(name)
        else:
            _set_aside(folder, name)
    _remove_oldest(folder, [f"{ticket}{ANSWER}" for ticket in found[ANSWER]])
    _remove_oldest(folder, leftovers)
    _remove_oldest(folder, aside)
    return found


def _take(folder: int, ticket: str, *, is_answered: bool) -> dict[str, object] | None:
    """Take an order, or take it again; None when it was withdrawn, answered or makes no sense."""
    name = f"{ticket}{TAKEN}"
    if is_answered:  # we died between the answer and this
        os.unlink(name, dir_fd=folder)
        return None
    with suppress(FileNotFoundError):
        os.rename(f"{ticket}{ORDER}", name, src_dir_fd=folder, dst_dir_fd=folder)
    try:
        document = read(folder, name, LONGEST_ORDER)
    except FileNotFoundError:
        return None
    except StateError:
        document = None
    except OSError as error:
        if error.errno not in _NEVER:
            raise  # it may be readable the next time
        document = None
    if document is None:
        _set_aside(folder, name)
    return document


def write(folder: int, name: str, content: bytes) -> None:
    """Let a file appear whole or not at all, and survive a power cut."""
    os.close(write_locked(folder, name, content))


def write_locked(folder: int, name: str, content: bytes) -> int:
    """Write a file as `write` does; return its descriptor, which keeps it locked until it is closed.

    The kernel does that, too, for whoever dies: however that happened, the lock is gone.
    """
    fresh = f"{name}{_FRESH}"
    with suppress(FileNotFoundError):
        os.unlink(fresh, dir_fd=folder)
    descriptor = os.open(fresh, _CREATE, 0o600, dir_fd=folder)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(content)
            file.flush()
            sync(descriptor)
        os.rename(fresh, name, src_dir_fd=folder, dst_dir_fd=folder)
        sync(folder)
    except BaseException:
        os.close(descriptor)
        with suppress(OSError):
            os.unlink(fresh, dir_fd=folder)
        raise
    return descriptor


def is_locked(folder: int, name: str) -> bool:
    """Whether the one who wrote a file lives, and still keeps it locked."""
    try:
        descriptor = open_regular(name, folder=folder)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def read(folder: int, name: str, longest: int) -> dict[str, object] | None:
    """Return the document of a file, None for what is none; raises OSError and StateError as opening does."""
    with os.fdopen(open_regular(name, folder=folder), "rb") as file:
        content = file.read(longest + 1)
    try:
        document = json.loads(content) if len(content) <= longest else None
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def exists(folder: int, name: str) -> bool:
    """Whether anything has this name."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _set_aside(folder: int, name: str) -> None:
    """Keep what was not understood out of the way, for a person to look at; what cannot be kept is removed."""
    try:
        os.rename(name, f"{name}{_ASIDE}", src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        _remove(folder, name)


def _remove_oldest(folder: int, names: Sequence[str]) -> None:
    for name in sorted(names)[:-_KEPT]:
        _remove(folder, name)


def _remove(folder: int, name: str) -> None:
    with suppress(OSError):
        os.unlink(name, dir_fd=folder)
