"""What systemd is told, on real sockets, and that without it nothing happens."""

from __future__ import annotations

import asyncio
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from reconciler.cli.log import (
    feed_watchdog,
    tell_systemd,
    tell_systemd_of_reload,
    watchdog_interval,
)
from reconciler.engine.loop.desired import FolderLooks

STATEMENTS = ["READY=1", "STOPPING=1", "WATCHDOG=1"]


@pytest.fixture(params=["path", "abstract"])
def manager(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    """A socket as systemd has it, and the variable that names it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        if request.param == "path":
            named = str(tmp_path / "notify")
            listener.bind(named)
        else:
            named = f"@{uuid.uuid4()}"
            listener.bind(f"\0{named[1:]}")
        listener.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", named)
        yield listener


@pytest.mark.parametrize("state", STATEMENTS)
def test_a_statement_arrives(manager: socket.socket, state: str) -> None:
    """Each statement is one datagram in the words of sd_notify(3)."""
    tell_systemd(state)
    assert manager.recv(1000).decode() == state


def test_a_reload_says_when(manager: socket.socket) -> None:
    """`Type=notify-reload` needs the moment on the monotonic clock, in microseconds."""
    before = time.monotonic_ns() // 1000
    tell_systemd_of_reload()
    first, second = manager.recv(1000).decode().split("\n")
    assert first == "RELOADING=1"
    name, _, value = second.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(value) <= time.monotonic_ns() // 1000


@pytest.mark.parametrize("named", [None, "", "relative", "/no/such/socket", "@nobody-listens", "@"])
def test_without_systemd_nothing_happens(
    named: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No variable, or one that leads nowhere: no error and no file."""
    monkeypatch.chdir(tmp_path)
    if named is None:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    else:
        monkeypatch.setenv("NOTIFY_SOCKET", named)
    for state in STATEMENTS:
        tell_systemd(state)
    tell_systemd_of_reload()
    assert list(tmp_path.iterdir()) == []


def test_a_manager_that_does_not_listen_holds_nobody_up(manager: socket.socket) -> None:
    """A full queue loses the statement."""
    began = time.monotonic()
    for _ in range(2_000):
        tell_systemd("WATCHDOG=1")
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [
        ("30000000", None, 15.0),
        ("30000000", "ours", 15.0),
        ("30000000", "1", None),
        ("0", None, None),
        ("-5", None, None),
        ("soon", None, None),
        ("", None, None),
        (None, None, None),
        (None, "ours", None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_it_asks(
    usec: str | None, pid: str | None, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the time that systemd allows, and only when it is us that it watches."""
    own = str(os.getpid()) if pid == "ours" else pid
    for name, value in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", own)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert watchdog_interval() == seconds


def test_a_look_that_hangs_is_not_called_alive(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop goes round all the time: while a look gets on it is said, while it hangs it is not, and then again."""
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    manager.setblocking(False)

    def heard() -> int:
        count = 0
        with suppress(BlockingIOError):
            while manager.recv(100) == b"WATCHDOG=1":
                count += 1
        return count

    async def run() -> None:
        looks = FolderLooks(overdue=0.1)
        pulse = asyncio.create_task(feed_watchdog(lambda: looks.hangs))
        for _ in range(20):
            await looks.step()
            await asyncio.sleep(0.01)
        assert heard() > 2
        while not looks.hangs:
            await asyncio.sleep(0.01)
        heard()
        await asyncio.sleep(0.1)
        assert heard() == 0
        with looks.bounded():  # an order, whose every request has its own limit
            await asyncio.sleep(0.2)
            assert heard() > 2
        while not looks.hangs:
            await asyncio.sleep(0.01)
        looks.over(well=False)  # trouble is no reason to begin anew
        await asyncio.sleep(0.05)
        assert heard() > 0
        pulse.cancel()

    asyncio.run(run())
