"""Virtual time: an event loop that never waits. Months pass in the time that their work takes, and always the same way.

Where nothing is ready, time jumps to the next timer. What would go to a thread is done on the spot. Two things that
asyncio leaves open are left to the loop's users: the order of a `set`, and the clocks that they read.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, TypeVarTuple, Unpack

import anyio.to_thread

T = TypeVar("T")
Args = TypeVarTuple("Args")

RESOLUTION = 1e-6
"""Seconds within which a timer is due."""


class Stuck(RuntimeError):
    """Nothing is ready, no timer runs and no descriptor is watched for more: the program waits for ever."""


class _Instant(selectors.SelectSelector):
    """Waits no real time: an empty wait moves virtual time instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            raise Stuck("nothing is left to do, and nothing is left to wait for")
        self.now += max(0.0, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time, which begins at `start`, seconds since the epoch.

    Threads have no place here: a thread that works on behalf of the loop is not waited for.
    """

    def __init__(self, start: float) -> None:
        self._instant = _Instant()
        self._start = start
        super().__init__(self._instant)
        # asyncio's own is a ns, less than what a float of some months can tell apart: a timer would never be due.
        self._clock_resolution = RESOLUTION

    def time(self) -> float:
        """Return the loop's own time: virtual seconds since its start."""
        return self._instant.now

    def wall(self) -> float:
        """Return what a clock on the wall shows: seconds since the epoch."""
        return self._start + self._instant.now

    def wall_ms(self) -> int:
        """Return the same in whole ms; a timer for a whole ms is never a ms early."""
        return round(self.wall() * 1000)

    def run_in_executor(
        self, executor: object, func: Callable[[Unpack[Args]], T], *args: *Args
    ) -> asyncio.Future[T]:
        """Call the function at once; whoever waits for it has the result at the next turn of the loop."""
        done: asyncio.Future[T] = self.create_future()
        try:
            result = func(*args)
        except Exception as error:  # noqa: BLE001 - it is the caller's, as from a thread
            self.call_soon(_settle, done, done.set_exception, error)
        else:
            self.call_soon(_settle, done, done.set_result, result)
        return done


def run(
    coroutine: Coroutine[Any, Any, T],
    *,
    start: float,
    loop: Callable[[float], VirtualLoop] = VirtualLoop,
) -> T:
    """Run a coroutine from `start` (seconds since the epoch) to its end, as `asyncio.run` does.

    Raises what it raises, and `Stuck` when it waits for what can never come.
    """
    with _no_threads(), asyncio.Runner(loop_factory=lambda: loop(start)) as runner:
        return runner.run(coroutine)


def running() -> VirtualLoop:
    """Return the loop of the caller, which has to be a virtual one."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


def _settle(future: asyncio.Future[T], how: Callable[[Any], None], what: object) -> None:
    if not future.done():
        how(what)


@contextmanager
def _no_threads() -> Iterator[None]:
    """Close the other door to threads: what Starlette and anyio read from files goes through this function."""
    door = anyio.to_thread.run_sync
    anyio.to_thread.run_sync = _on_the_spot
    try:
        yield
    finally:
        anyio.to_thread.run_sync = door


async def _on_the_spot(func: Callable[[Unpack[Args]], T], *args: *Args, **_: object) -> T:
    await asyncio.sleep(0)
    return func(*args)  # as anyio has it: once it has begun, nobody is cancelled out of its result
