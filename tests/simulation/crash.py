"""Sudden death in virtual time: a process that is never stepped again, in a world that goes on without it.

A `Life` is what would be a process: every task, timer and callback that began in it. When it dies, none of them
runs again, and whatever of its code is still unwound (Python closes coroutines) can no longer change the disk. What
the kernel does for a dead process is done in `bury`: connections end, locks are free, the files are as they were.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import inspect
import os
import sqlite3
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.simulation.loop import VirtualLoop

LIFE: contextvars.ContextVar[Life | None] = contextvars.ContextVar("life", default=None)
_MOST_AWAITS = 100  # on the way out of a coroutine that is closed


class Crashed(BaseException):
    """Unwinds the frame that was on the processor when its process died."""


@dataclass(frozen=True, slots=True)
class Death:
    """When a process dies: before its N-th step on the loop, or before its N-th change of the disk (from 1)."""

    kind: Literal["step", "effect"]
    number: int
    after_creates: int = 0
    """Counted from when so many creates had left the process; 0: from its start."""

    def __str__(self) -> str:
        since = f" after create {self.after_creates}" if self.after_creates else ""
        return f"{self.kind} {self.number}{since}"


@dataclass
class Life:
    """One process. What it begins belongs to it, by the context that its tasks share."""

    name: str
    folder: Path  # of the state: its database is put back as it was at death
    death: Death | None = None
    state: int = 0  # which state it writes to; a number for the witness
    steps: int = 0
    effects: int = 0
    died_of: str = ""
    is_over: bool = False
    over: asyncio.Event = field(default_factory=asyncio.Event)
    main: asyncio.Task[Any] | None = None
    tasks: dict[asyncio.Task[Any], None] = field(default_factory=dict)
    connections: list[sqlite3.Connection] = field(default_factory=list)
    descriptors: set[int] = field(default_factory=set)
    """Open ones that no file object closes."""
    _context: contextvars.Context = field(default_factory=contextvars.copy_context)
    _database: dict[Path, bytes] = field(default_factory=dict)
    _creates: int = 0
    _since: tuple[int, int] | None = None  # steps and effects at which the count to death began

    def begin(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Start the process; `over` is set when it ends, however it ends."""
        self._context.run(LIFE.set, self)
        loop = asyncio.get_running_loop()
        self.main = loop.create_task(coroutine, name=self.name, context=self._context)
        self.main.add_done_callback(lambda _: self.over.set(), context=contextvars.copy_context())

    async def interrupt(self) -> None:
        """End the process as `asyncio.run` does on a signal: cancel what it waits for, then all that is left."""
        if self.main is not None:
            self.main.cancel()
        await self.over.wait()
        if not self.is_over and (left := [task for task in self.tasks if not task.done()]):
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=60)

    def step(self, callback: Callable[..., object], *args: object) -> None:
        """Run one callback of this process, unless it is dead, or dies now."""
        if self.is_over:
            return
        self.steps += 1
        if self._is_due("step"):
            self.die(f"step {self.steps}")
            return
        with contextlib.suppress(Crashed):
            callback(*args)

    def effect(self, what: str) -> None:
        """Tell that the process is about to change the disk. Raises Crashed where it is dead, or dies now."""
        if self.is_over:
            raise Crashed
        self.effects += 1
        if self._is_due("effect"):
            self.die(f"before {what} (effect {self.effects})")
            raise Crashed

    def disown(self) -> None:
        """Leave its state folder to others: it was removed while this process has it open."""
        self.folder = self.folder.with_name("removed")

    def sends_create(self) -> None:
        """Tell that a create is on its way."""
        self._creates += 1
        if self.death and self._creates == self.death.after_creates:
            self._since = (self.steps, self.effects)

    def _is_due(self, kind: Literal["step", "effect"]) -> bool:
        if self.death is None or self.death.kind != kind:
            return False
        since = (0, 0) if not self.death.after_creates else self._since
        if since is None:
            return False
        counted = self.steps - since[0] if kind == "step" else self.effects - since[1]
        return counted == self.death.number

    def die(self, how: str) -> None:
        """End the process at this moment."""
        self.is_over, self.died_of = True, how
        self._database = {
            path: path.read_bytes()
            for name in ("reconciler.db", "reconciler.db-wal")
            if (path := self.folder / name).exists()
        }
        self.over.set()

    def bury(self) -> list[asyncio.Task[Any]]:
        """Give back what a dead process held; return what a process that ended by itself left running."""
        left = [task for task in self.tasks if not task.done() and not self.died_of]
        self.is_over = True
        for task in self.tasks:
            if (
                self.died_of or not task.done()
            ):  # what the living do not ask for is complained about
                self._context.copy().run(_put_down, task)
        for connection in self.connections:
            connection.close()
        if self.died_of:
            self._restore()
        for descriptor in sorted(self.descriptors):  # and with them its locks
            os.close(descriptor)
        self.descriptors.clear()
        self.tasks.clear()
        return left

    def _restore(self) -> None:
        """Undo what closing the database does: a dead process checkpoints nothing."""
        for name in ("reconciler.db-shm", "reconciler.db-wal", "reconciler.db"):
            (self.folder / name).unlink(missing_ok=True)
        for path, data in self._database.items():
            path.write_bytes(data)
        self._database = {}


def _put_down(task: asyncio.Task[Any]) -> None:
    """See to it that a task of the dead is never stepped, waited for or complained about."""
    if task.done():
        if not task.cancelled():
            task.exception()
        return
    asyncio.tasks._unregister_task(task)
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    _unwind(task.get_coro())


def _unwind(coroutine: Any) -> None:
    """Close a coroutine and all that it awaits, the innermost first.

    Closed from outside, one that awaits something on its way out is left behind, and ends whenever memory is
    collected: anywhere, and as somebody else.
    """
    for _ in range(_MOST_AWAITS):
        for one in reversed(list(_chain(coroutine))):
            try:
                one.close()
            except (
                RuntimeError
            ):  # it awaits something new on its way out, which has to be closed first
                break
            except BaseException:  # noqa: BLE001 - nobody is left to hear of it
                continue
        if coroutine.cr_frame is None:
            return


def _chain(awaited: Any) -> Iterator[Any]:
    """Give a coroutine, what it awaits, what that awaits, as far as there is something to close."""
    while awaited is not None:
        if inspect.iscoroutine(awaited):
            yield awaited
            awaited = awaited.cr_await
        elif inspect.isgenerator(awaited):
            yield awaited
            awaited = awaited.gi_yieldfrom
        elif inspect.isasyncgen(awaited):  # it has no `close`: see `_asyncgen_finalizer_hook`
            awaited = awaited.ag_await
        else:  # what steps an asynchronous generator, or a future
            awaited = next(filter(inspect.isasyncgen, gc.get_referents(awaited)), None)


class MortalLoop(VirtualLoop):
    """A virtual loop whose callbacks belong to lives."""

    def __init__(self, start: float) -> None:
        super().__init__(start)
        self.set_task_factory(_task)

    def call_soon(  # type: ignore[override]
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """As asyncio's, for as long as the life whose context it is lasts."""
        context = context or contextvars.copy_context()
        life = context.get(LIFE)
        if life is not None:
            callback, args = life.step, (callback, *args)
        return super().call_soon(callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """As asyncio's, for as long as the life whose context it is lasts."""
        context = context or contextvars.copy_context()
        life = context.get(LIFE)
        if life is not None:
            callback, args = life.step, (callback, *args)
        return super().call_at(when, callback, *args, context=context)

    def _asyncgen_finalizer_hook(self, agen: AsyncGenerator[Any, Any]) -> None:
        """Close a forgotten generator, unless its process is dead: then its frame is dropped as it stands."""
        life = LIFE.get()
        if life is None or not life.is_over:
            super()._asyncgen_finalizer_hook(agen)  # type: ignore[misc]


def _task(
    loop: asyncio.AbstractEventLoop,
    coroutine: Any,
    *,
    context: contextvars.Context | None = None,
    **rest: Any,
) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, context=context, **rest)
    life = LIFE.get() if context is None else context.get(LIFE)
    if life is not None:
        life.tasks[task] = None
    return task
