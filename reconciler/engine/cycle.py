"""Driving generations until they settle, or for ever: one queue, keyed by id, level-triggered.

A key is worked on by one task at a time; what to do is read off its record at every turn, never remembered.
Whose turn it is, is decided here; what a turn does is in `turns`; spending is in `effects` alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from reconciler.core.schedule import SECOND
from reconciler.engine.ended import Ended
from reconciler.engine.queue import DueQueue
from reconciler.engine.turns import Turns

_PARTING = 2.0  # seconds that a create under way is given to answer, when asked to stop
_STANDSTILL = 35.0  # seconds: longer than a request takes
_HINTED = 2 * SECOND  # between two polls, however many hints there are
_AT_ONCE = 50  # turns begun before the loop sees to everything else
_NAP = 30.0  # seconds: the loop's timers stand still while a laptop sleeps, and the run's clock does not


class Cycle:
    """One run over a selection; keys may be added while it goes on."""

    def __init__(self, turns: Turns, keys: Iterable[str] = ()) -> None:
        self._turns = turns
        self._queue = DueQueue()
        self._running: dict[str, asyncio.Task[int | None]] = {}
        self._asked_meanwhile: set[str] = set()  # keys that became due while their turn was on
        self._poll: asyncio.Task[int] | None = None
        self._polled_at = 0
        self._next_poll = 0
        self._over: list[asyncio.Task[Any]] = []  # turns and polls that came to their end
        self._woken = asyncio.Event()
        self._still = False
        self._cut_off: set[str] = set()
        for key in keys:
            self._queue.add(key, 0)

    def add(self, key: str) -> None:
        """Have this generation looked at now."""
        self._queue.add(key, 0)
        self._woken.set()

    def poll_soon(self) -> None:
        """Ask for the tasks in flight before it is time: something may have happened to one of them."""
        soon = max(self._turns.now(), self._polled_at + _HINTED)
        if soon < self._next_poll:
            self._next_poll = soon
            self._woken.set()

    async def run(
        self, stop: asyncio.Event, *, deadline: int | None = None, forever: bool = False
    ) -> Ended:
        """Work until everything has settled (unless `forever`), `stop` is set or the deadline (ms) is over.

        However it ends, what is in flight is on record, and nothing that was started is left running.

        Raises:
            StateError: the state cannot be written; what is on disk is what happened.
            Unreachable: the provider gave no readable answer for too long.
        """
        stopping = asyncio.create_task(self._wake_on(stop), name="stop")
        try:
            while True:
                if stop.is_set():
                    return Ended.STOPPED
                if deadline is not None and self._turns.now() >= deadline:
                    return Ended.TIMED_OUT
                self._start_due()
                if not forever and self._idle():
                    return Ended.SETTLED
                await self._wait(deadline)
                self._finish()
        finally:
            stopping.cancel()
            await self._leave()

    @asynccontextmanager
    async def standstill(self) -> AsyncIterator[None]:
        """Let no turn and no poll be under way while the block lasts: somebody else changes records.

        What is under way may end; what takes longer than a request is cut off, which it can be at any time.
        """
        self._still = True
        try:
            tasks = self._under_way()
            if tasks:
                await asyncio.wait(tasks, timeout=_STANDSTILL)
            self._cut_off = {key for key, task in self._running.items() if task.cancel()}
            if self._poll is not None:
                self._poll.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            yield
        finally:
            self._still = False
            for key in self._cut_off:
                self._queue.add(key, 0)
            self._cut_off = set()
            self._woken.set()

    def _under_way(self) -> list[asyncio.Task[Any]]:
        return [*self._running.values(), *([self._poll] if self._poll else [])]

    def _idle(self) -> bool:
        waits = self._turns.next_admission() is not None
        return not (waits or self._running or self._poll or self._queue or self._turns.flying)

    async def _wake_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._woken.set()

    def _start_due(self) -> None:
        if self._still:
            return
        now = self._turns.now()
        for admitted in self._turns.admit():
            self._queue.add(admitted, now)
        for _ in range(_AT_ONCE):
            if (key := self._queue.pop(now)) is None:
                break
            if key in self._running:
                self._asked_meanwhile.add(key)
                continue
            task = asyncio.create_task(self._turns.take(key), name=f"turn {key}")
            self._running[key] = task
            task.add_done_callback(self._note)
        if self._turns.flying and self._poll is None and now >= self._next_poll:
            self._polled_at = now
            self._poll = asyncio.create_task(self._turns.poll(), name="poll")
            self._poll.add_done_callback(self._note)

    def _note(self, task: asyncio.Task[Any]) -> None:
        self._over.append(task)
        self._woken.set()

    async def _wait(self, deadline: int | None) -> None:
        """Wait until something came to its end, or the next thing is due."""
        due = [] if deadline is None else [deadline]
        if not self._still and (next_turn := self._queue.next_at()) is not None:
            due.append(next_turn)
        if not self._still and self._turns.flying and self._poll is None:
            due.append(self._next_poll)
        if not self._still and (admitted := self._turns.next_admission()) is not None:
            due.append(admitted)
        seconds = min(max(0, min(due) - self._turns.now()) / SECOND, _NAP) if due else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        self._woken.clear()

    def _finish(self) -> None:
        over, self._over = self._over, []
        for task in over:
            if task is self._poll:
                self._finish_poll(0 if task.cancelled() else task.result())
            else:
                again_at = None if task.cancelled() else task.result()
                self._finish_turn(task.get_name().removeprefix("turn "), again_at)

    def _finish_turn(self, key: str, again_at: int | None) -> None:
        del self._running[key]
        if key in self._asked_meanwhile:
            self._asked_meanwhile.discard(key)
            again_at = 0
        if again_at is not None:
            self._queue.add(key, again_at)

    def _finish_poll(self, again_at: int) -> None:
        self._poll, self._next_poll = None, again_at
        for key, due in self._turns.landed().items():
            self._queue.add(key, due)

    async def _leave(self) -> None:
        """End what is under way: answers that are nearly there are awaited, the rest is cut off, and resumable."""
        self._turns.stop_buying()
        if tasks := self._under_way():
            try:
                await asyncio.wait(tasks, timeout=_PARTING)
            finally:  # also when somebody interrupts a second time: nothing is left running
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
