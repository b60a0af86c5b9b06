"""Driving generations until they settle, or for ever: one queue of base ids (keys), level-triggered.

One task at a time works on a key. Whose turn it is, is decided here; what a turn does is in `turn`.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from typing import Any

from reconciler.core.progress import At, Ended, Held, InFlight, Verdict, Waits
from reconciler.core.schedule import SECOND
from reconciler.engine.loop.turn import Turns
from reconciler.engine.ports import Options, Ports

_PARTING = 2.0  # seconds that a create under way is given to answer, when asked to stop
_HINTED = 2 * SECOND  # between two polls, however many hints there are
_AT_ONCE = 50  # turns begun before the loop sees to everything else
_NAP = 30.0  # seconds: the loop's timers stand still while a laptop sleeps, and the run's clock does not


async def woken(event: asyncio.Event, seconds: float | None) -> None:
    """Wait for an event, for so long at most, and forget it."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    event.clear()


class Queue:
    """Keys, each waiting as the last verdict about it says."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, str]] = []  # when due (ms), in which order it was added
        self._due: dict[str, int] = {}
        self._lines: dict[str, OrderedDict[str, int]] = {}  # by model version
        self._order = itertools.count(1)
        self.in_flight: set[str] = set()

    def put(self, key: str, verdict: Verdict) -> None:
        """Have a key wait as the verdict says; after `Done` it waits for nothing."""
        if not isinstance(verdict, InFlight):
            self.in_flight.discard(key)
        match verdict:
            case At(at) | Held(int(at)):
                self.add(key, at)
            case Waits(model, first):
                line = self._lines.setdefault(model, OrderedDict())
                if first:
                    line[key] = -next(self._order)
                    line.move_to_end(key, last=False)
                elif not any(key in one for one in self._lines.values()):  # it keeps its place
                    line[key] = next(self._order)
            case InFlight():
                self.in_flight.add(key)

    def add(self, key: str, at: int) -> None:
        """Have this key's turn come at `at` (ms), or earlier where that was asked for already."""
        if key not in self._due or at < self._due[key]:
            self._due[key] = at
            heapq.heappush(self._heap, (at, next(self._order), key))

    def is_empty(self) -> bool:
        """Whether no key is due at any time, or in flight; keys that wait for a slot do not count."""
        return not (self._due or self.in_flight)

    def next_at(self) -> int | None:
        """Return when the next key is due (ms), or None when there is none."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)  # asked for again, earlier
        return self._heap[0][0] if self._heap else None

    def pop(self, now: int) -> str | None:
        """Take the key that is due longest, or None when none is due."""
        at = self.next_at()
        if at is None or at > now:
            return None
        _, _, key = heapq.heappop(self._heap)
        del self._due[key]
        return key

    def models(self) -> Iterator[str]:
        """Yield the model versions for which keys wait, that of the key which waits longest first."""
        heads = {model: next(iter(line.values())) for model, line in self._lines.items() if line}
        return iter(sorted(heads, key=heads.__getitem__))

    def pop_waiting(self, model: str) -> str:
        """Take the first in line for a slot of this model."""
        return self._lines[model].popitem(last=False)[0]


class Loop:
    """One run over a selection; keys may be added while it goes on."""

    def __init__(self, ports: Ports, options: Options, turns: Turns) -> None:
        self._standstill = options.standstill
        self._now = ports.now
        self._turns = turns
        self._queue = Queue()
        self._running: dict[str, asyncio.Task[Verdict]] = {}
        self._again: set[str] = set()  # keys that became due during their turn
        self._poll: asyncio.Task[tuple[dict[str, Verdict], int]] | None = None
        self._polled_at = 0
        self._next_poll = 0
        self._over: list[asyncio.Task[Any]] = []  # turns and polls that came to their end
        self._woken = asyncio.Event()
        self._still = False

    @property
    def in_flight(self) -> frozenset[str]:
        """The keys whose tasks the poll sees to."""
        return frozenset(self._queue.in_flight)

    def add(self, key: str) -> None:
        """Have this generation looked at now."""
        self._queue.add(key, 0)
        self._woken.set()

    def poll_soon(self) -> None:
        """Poll before it is time: something may have happened to a task in flight."""
        soon = max(self._now(), self._polled_at + _HINTED)
        if soon < self._next_poll:
            self._next_poll = soon
            self._woken.set()

    async def run(
        self, stop: asyncio.Event, *, deadline: int | None = None, forever: bool = False
    ) -> Ended:
        """Work until everything has settled (unless `forever`), `stop` is set or the deadline (ms) is over.

        When it returns or raises, what is in flight is on record, and nothing is left running.

        Raises:
            StateError: the state cannot be written; what is on disk is what happened.
            Unreachable: the provider gave no readable answer for too long.
        """
        stopping = asyncio.create_task(stop.wait(), name="stop")
        stopping.add_done_callback(lambda _: self._woken.set())
        try:
            while True:
                if stop.is_set():
                    return Ended.STOPPED
                if deadline is not None and self._now() >= deadline:
                    return Ended.TIMED_OUT
                if not self._still:
                    self._start_due()
                if not forever and self._has_settled():
                    return Ended.SETTLED
                await self._wait(deadline)
                self._finish()
        finally:
            stopping.cancel()
            self._turns.stop_buying()
            await self._end_all(_PARTING)

    def _has_settled(self) -> bool:
        return not (self._running or self._poll or self._room_at()) and self._queue.is_empty()

    @contextlib.asynccontextmanager
    async def standstill(self) -> AsyncIterator[None]:
        """Let no turn and no poll be under way while the block lasts: an order changes records in it.

        What is under way may end; what takes longer than a request is cut off.
        """
        self._still = True
        try:
            await self._end_all(self._standstill)
            yield
        finally:
            self._still = False
            self._woken.set()

    async def _end_all(self, seconds: float) -> None:
        """Let what is under way end by itself for so long, then cut it off: it can be resumed."""
        tasks: list[asyncio.Task[Any]] = list(self._running.values())
        if self._poll is not None:
            tasks.append(self._poll)
        if tasks:
            try:
                await asyncio.wait(tasks, timeout=seconds)
            finally:  # also when the user interrupts a second time: nothing is left running
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def _start_due(self) -> None:
        now = self._now()
        for readmitted in self._turns.readmitted():
            self._queue.add(readmitted, now)
        while (model := next((one for at, one in self._room_at() if at <= now), None)) is not None:
            waiting = self._queue.pop_waiting(model)
            self._turns.come_forward(waiting, model)
            self._queue.add(waiting, now)
        self._start_turns(now)
        if self._queue.in_flight and self._poll is None and now >= self._next_poll:
            self._polled_at = now
            self._poll = asyncio.create_task(self._turns.poll(self.in_flight), name="poll")
            self._poll.add_done_callback(self._note)

    def _start_turns(self, now: int) -> None:
        for _ in range(_AT_ONCE):
            if (key := self._queue.pop(now)) is None:
                break
            if key in self._running:
                self._again.add(key)
            else:
                task = asyncio.create_task(self._turns.take(key), name=f"turn {key}")
                self._running[key] = task
                task.add_done_callback(self._note)

    def _room_at(self) -> list[tuple[int, str]]:
        return self._turns.room_at(self._queue.models())

    def _note(self, task: asyncio.Task[Any]) -> None:
        self._over.append(task)
        self._woken.set()

    async def _wait(self, deadline: int | None) -> None:
        """Wait until a turn or poll came to its end, or the next one is due."""
        due = [] if deadline is None else [deadline]
        if not self._still:
            due += [at for at, _ in self._room_at()]
            if (next_turn := self._queue.next_at()) is not None:
                due.append(next_turn)
            if self._queue.in_flight and self._poll is None:
                due.append(self._next_poll)
        seconds = min(max(0, min(due) - self._now()) / SECOND, _NAP) if due else None
        await woken(self._woken, seconds)

    def _finish(self) -> None:
        over, self._over = self._over, []
        for task in over:
            if task is self._poll:
                self._poll = None
                verdicts, self._next_poll = ({}, 0) if task.cancelled() else task.result()
                for key in verdicts.keys() & self._queue.in_flight:
                    self._queue.put(key, verdicts[key])
            else:
                key = task.get_name().removeprefix("turn ")
                del self._running[key]
                self._queue.put(key, At(0) if task.cancelled() else task.result())
                if key in self._again:
                    self._again.remove(key)
                    self._queue.add(key, 0)
