"""Telling systemd how the daemon does, over the socket that it names (sd_notify(3)). No library; never raises.

Without systemd nothing happens here: the variables are not set.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from reconciler.core.printable import printable


def ready() -> None:
    """The daemon works; also the end of a reload."""
    _notify("READY=1")


def reloading() -> None:
    """The settings are being read again; `ready` must follow."""
    _notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")


def stopping() -> None:
    """The daemon is on its way out."""
    _notify("STOPPING=1")


def status(text: str) -> None:
    """Say in a line what `systemctl status` shows."""
    _notify(f"STATUS={printable(' '.join(text.split()))}")


def alive() -> None:
    """The daemon gets on; without this for too long systemd starts the daemon anew."""
    _notify("WATCHDOG=1")


def watchdog_interval() -> float | None:
    """Return how often to say `alive`, in seconds: half of what systemd allows; None when it does not watch us."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    with suppress(ValueError):
        microseconds = int(os.environ.get("WATCHDOG_USEC", ""))
        return microseconds / 2_000_000 if microseconds > 0 else None
    return None


async def pulse(hangs: Callable[[], bool]) -> None:
    """Say `alive` for as long as the loop goes round and what it does gets on; of what `hangs`, nothing."""
    if (seconds := watchdog_interval()) is None:
        return
    while True:
        if hangs():
            await asyncio.sleep(min(1.0, seconds))  # said at once when it gets on after all
        else:
            alive()
            await asyncio.sleep(seconds)


def _notify(message: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = f"\0{address[1:]}"  # an abstract socket: a name without a file
    flags = socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0)
    with suppress(OSError), socket.socket(socket.AF_UNIX, flags) as sender:
        sender.setblocking(False)
        sender.connect(address)
        sender.sendall(message.encode("utf-8", "replace"))
