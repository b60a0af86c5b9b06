"""Driving a selection of generations until they settle: one queue, keyed by id, level-triggered.

A key is worked on by one task at a time; what to do is read off its record at every turn, never remembered.
Whose turn it is, is decided here; what a turn does is in `turns`; spending is in `effects` alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Literal

from reconciler.engine.ended import Ended
from reconciler.engine.queue import DueQueue
from reconciler.engine.turns import Turns

_PARTING = 2.0  # seconds that a create under way is given to answer, when asked to stop


class Cycle:
    """One run over a selection."""

    def __init__(self, turns: Turns, keys: Iterable[str]) -> None:
        self._turns = turns
        self._queue = DueQueue()
        self._running: dict[asyncio.Task[int | None], str] = {}
        self._asked_meanwhile: set[str] = set()  # keys that became due while their turn was on
        self._poll: asyncio.Task[None] | None = None
        self._next_poll = 0
        for key in keys:
            self._queue.add(key, 0)

    async def run(self, stop: asyncio.Event, *, deadline: int | None = None) -> Ended:
        """Work until everything has settled, `stop` is set or the deadline (ms) is over.

        However it ends, what is in flight is on record, and nothing that was started is left running.

        Raises:
            StateError: the state cannot be written; what is on disk is what happened.
            Unreachable: the provider gave no readable answer for too long.
        """
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            while True:
                if stop.is_set():
                    return Ended.STOPPED
                if deadline is not None and self._turns.now() >= deadline:
                    return Ended.TIMED_OUT
                self._start_due()
                if self._idle():
                    return Ended.SETTLED
                await self._wait(stopping, deadline)
        finally:
            stopping.cancel()
            await self._leave()

    def _idle(self) -> bool:
        return not (self._running or self._poll or self._queue or self._turns.flying)

    def _start_due(self) -> None:
        now = self._turns.now()
        for admitted in self._turns.admit():
            self._queue.add(admitted, now)
        while (key := self._queue.pop(now)) is not None:
            if key in self._running.values():
                self._asked_meanwhile.add(key)
                continue
            task = asyncio.create_task(self._turns.take(key), name=f"turn {key}")
            self._running[task] = key
        if self._turns.flying and self._poll is None and now >= self._next_poll:
            self._poll = asyncio.create_task(self._turns.poll(), name="poll")

    async def _wait(self, stopping: asyncio.Task[Literal[True]], deadline: int | None) -> None:
        now = self._turns.now()
        due = [at for at in (self._queue.next_at(), deadline) if at is not None]
        if self._turns.flying and self._poll is None:
            due.append(self._next_poll)
        wait_for: set[asyncio.Task[Any]] = {
            stopping,
            *self._running,
            *([self._poll] if self._poll else []),
        }
        timeout = max(0, min(due) - now) / 1000 if due else None
        done, _ = await asyncio.wait(wait_for, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        for turn in [turn for turn in self._running if turn in done]:
            self._finish(turn)
        if self._poll in done:
            self._finish_poll()

    def _finish(self, turn: asyncio.Task[int | None]) -> None:
        key = self._running.pop(turn)
        again_at = turn.result()
        if key in self._asked_meanwhile:
            self._asked_meanwhile.discard(key)
            again_at = 0
        if again_at is not None:
            self._queue.add(key, again_at)

    def _finish_poll(self) -> None:
        poll, self._poll = self._poll, None
        self._next_poll = self._turns.now() + self._turns.poll_interval
        if poll is not None:
            poll.result()
        for key in self._turns.landed():
            self._queue.add(key, 0)

    async def _leave(self) -> None:
        """End what is under way: answers that are nearly there are awaited, the rest is cut off, and resumable."""
        self._turns.stop_buying()
        tasks = [*self._running, *([self._poll] if self._poll else [])]
        if tasks:
            await asyncio.wait(tasks, timeout=_PARTING)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
