"""Virtual time passes when nothing else can happen, takes no real time, and always passes the same way."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import Any

import anyio.to_thread
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulation.loop import Stuck, VirtualLoop, run, running

START = 1_800_000_000.0


def test_a_year_takes_no_time() -> None:
    """A sleep of a year returns at once, a year later."""

    async def sleep() -> float:
        await asyncio.sleep(365 * 24 * 3600)
        return running().wall()

    began = time.monotonic()
    assert run(sleep(), start=START) == START + 365 * 24 * 3600
    assert time.monotonic() - began < 5


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20))
def test_timers_come_in_their_order(delays: list[float]) -> None:
    """Each at its time and none before an earlier one, whatever order they were set in."""

    async def note(delay: float, seen: list[tuple[float, float]]) -> None:
        await asyncio.sleep(delay)
        seen.append((delay, running().time()))

    async def all_of_them() -> list[tuple[float, float]]:
        seen: list[tuple[float, float]] = []
        await asyncio.gather(*(note(delay, seen) for delay in delays))
        return seen

    seen = run(all_of_them(), start=START)
    assert [delay for delay, _ in seen] == sorted(delays)
    assert all(abs(delay - at) < 1e-6 for delay, at in seen)


def test_work_comes_before_time() -> None:
    """As long as something is ready, or a descriptor is, no timer goes off."""

    async def busy() -> tuple[list[str], str]:
        seen: list[str] = []
        loop = running()
        loop.call_later(0.001, seen.append, "timer")
        for _ in range(1000):
            await asyncio.sleep(0)
        early = list(seen)
        there, back = os.pipe()
        os.write(back, b"x")
        loop.add_reader(there, seen.append, "readable")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        loop.remove_reader(there)
        os.close(there)
        os.close(back)
        await asyncio.sleep(1)
        return early, seen[0]

    assert run(busy(), start=START) == ([], "readable")


def test_limits_hold_in_virtual_time() -> None:
    """A time-out strikes after its virtual seconds, and not if the work was quicker."""

    async def limited(work: float) -> float:
        try:
            async with asyncio.timeout(30):
                await asyncio.sleep(work)
        except TimeoutError:
            return running().time()
        return -running().time()

    assert run(limited(31), start=START) == 30
    assert run(limited(29), start=START) == -29


def through_asyncio(func: Any, *args: Any) -> Any:
    return asyncio.to_thread(func, *args)


def through_anyio(func: Any, *args: Any) -> Any:
    return anyio.to_thread.run_sync(func, *args)


@pytest.mark.parametrize("door", [through_asyncio, through_anyio])
def test_threads_are_not_used(door: Any) -> None:
    """Work meant for a thread is done here, takes a turn of the loop, and raises where it is awaited."""

    async def work() -> tuple[int, bool]:
        others: list[bool] = []
        asyncio.get_running_loop().call_soon(others.append, True)
        where: int = await door(threading.get_ident)
        with pytest.raises(FileNotFoundError):
            await door(os.stat, "/nowhere")
        return where, bool(others)

    before = threading.active_count()
    assert run(work(), start=START) == (threading.get_ident(), True)
    assert threading.active_count() == before


def test_the_door_to_threads_is_opened_again() -> None:
    """After a run, also one that failed, threads work as they did."""

    async def fail() -> None:
        raise ValueError("so it is")

    with pytest.raises(ValueError, match="so it is"):
        run(fail(), start=START)
    ident = asyncio.run(_thread())
    assert ident != threading.get_ident()


async def _thread() -> int:
    return await anyio.to_thread.run_sync(threading.get_ident)


def test_waiting_for_ever_is_an_error() -> None:
    """What can never end ends at once, with a sentence."""

    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stuck, match="nothing is left to wait for"):
        run(wait(), start=START)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**10), st.integers(1, 10**7))
def test_a_clock_in_ms_is_never_early(start: int, delay_ms: int) -> None:
    """After a sleep until a whole ms, that ms has come."""

    async def sleep() -> tuple[int, int]:
        before = running().wall_ms()
        await asyncio.sleep(delay_ms / 1000)
        return before, running().wall_ms()

    before, after = run(sleep(), start=start)
    assert after == before + delay_ms


def test_only_a_virtual_loop_has_virtual_time() -> None:
    """Whoever asks for it on another loop is told so."""

    async def ask() -> VirtualLoop:
        return running()

    with pytest.raises(AssertionError):
        asyncio.run(ask())
