"""Plays a history: the provider's account, the wire, the disk and one life after the other, in virtual time."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from reconciler.core.errors import ReconcilerError
from reconciler.core.states import Status
from reconciler.simulator.plans import parse_plan
from reconciler.simulator.provider import Provider
from reconciler.store.repository import Repository
from tests.simulation.author import Author
from tests.simulation.books import unsettled
from tests.simulation.clock import Clock
from tests.simulation.crash import LIFE, Life
from tests.simulation.disk import Disk
from tests.simulation.history import Act, Chapter, History, Work
from tests.simulation.lives import Ear, Events
from tests.simulation.loop import running
from tests.simulation.process import Process
from tests.simulation.trouble import ACCOUNT
from tests.simulation.wire import Wire
from tests.simulation.witness import Witness

UNDER_WAY_S = 3.0
"""Longer than a request is under way on a wire that is not down."""
LONGEST_S = 6 * 3600.0
"""That a life may take to finish calmly."""


@dataclass
class Player:
    """The world of one history while it is played."""

    history: History
    folder: Path
    provider: Provider
    wire: Wire
    counts: Counter[str] = field(default_factory=Counter)
    fired: Counter[str] = field(default_factory=Counter)
    """Faults that happened, by endpoint and kind."""
    log: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """What the lives themselves did wrong."""
    ear: Ear = field(default_factory=Ear)
    lost: list[float] = field(default_factory=list)
    """When states or saved results were lost, virtual seconds."""

    def __post_init__(self) -> None:
        self.root = self.folder / "project"
        self.disk, self.clock = Disk(), Clock()
        self.witness = Witness(self.wire)
        self.events = Events(random.Random(self.history.seed))
        self.author = Author(self.root, self.clock.wall_ns, self.events.mark)
        self._process = Process(self.root, self.witness, self.clock.wall, self.ear, self.events)
        self._lives = self._done = 0
        self._is_calm = False
        self._stranding = 0.0  # s: how long the next create is held up on its way, and all after it
        self._world = contextvars.copy_context()
        self.wire.on_its_way = self._on_its_way
        (self.root / "specs").mkdir(parents=True)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Put the disk and the clock below the product while the block lasts."""
        with ExitStack() as stack:
            stack.enter_context(self.disk.attached())
            stack.enter_context(self.clock.attached())
            yield

    async def play(self) -> None:
        """Live through everything but the end."""
        for act in self.history.specs:
            self._do(act)
        for chapter in self.history.chapters:
            for act in chapter.before:
                await self._between(act)
            await self._chapter(chapter)

    async def calm(self) -> None:
        """End all trouble."""
        self._is_calm = True
        self.wire.down, self.disk.full, self._stranding = "", "", 0.0
        self._plan([])
        self.say("all trouble is over")
        await asyncio.sleep(UNDER_WAY_S)

    async def finish(self, work: Work) -> None:
        """Let one more process do all that is left to do."""
        life = self._begin(work)
        if work == "watch":
            await self._until(life, self._is_settled)
            self._process.stop.set()
        await self._over(life, LONGEST_S)
        self._end(life)

    def say(self, line: str) -> None:
        """Write a line into the log."""
        told = line.replace(str(self.root), "…")  # the folder is another one every time
        self.log.append(f"{running().time():>9.2f}  {told}")

    async def _chapter(self, chapter: Chapter) -> None:
        life = self._begin(chapter.work, chapter)
        acting = asyncio.create_task(self._meanwhile(chapter), name="meanwhile")
        await self._over(life, chapter.seconds)
        if not life.over.is_set():
            self.counts[f"ended: {chapter.end}"] += 1
            if chapter.end == "asked":
                self._process.stop.set()
            else:
                await life.interrupt()
            await self._over(life, 60.0)
            if not life.over.is_set():
                self.wrong.append(f"{life.name} did not end within a minute of being asked to")
                life.die("patience")
        self._end(life)
        acting.cancel()
        await asyncio.gather(acting, return_exceptions=True)
        for _, act in chapter.meanwhile[self._done :]:
            await self._between(act)

    async def _meanwhile(self, chapter: Chapter) -> None:
        self._done = 0
        for after, act in chapter.meanwhile:
            await asyncio.sleep(after)
            self._done += 1
            await self._happen(act)

    async def _between(self, act: Act) -> None:
        if act.what in {"lose_state", "lose_state_and_outputs", "lose_objects"}:
            if act.what != "lose_objects" and self.history.may_bill_again:
                # docs/operations.md: `state/` is not to be deleted while an outcome is not known, and a task that
                # is hidden yet cannot be found by a store that was born today.
                if self.wire.down or self._stranding or self._in_doubt():
                    return
                await asyncio.sleep(float(self.history.provider["query_lag_s"]) + UNDER_WAY_S)
            self.lost.append(running().time())
            self.witness.epoch += act.what != "lose_objects"
        await self._happen(act)

    async def _happen(self, act: Act) -> None:
        if act.what == "nap":
            await asyncio.sleep(float(act.value))
        else:
            self._do(act)

    def _do(self, act: Act) -> None:
        self.counts[f"act: {act.what}"] += 1
        lasts = f" for {act.lasts:.0f} s" if act.lasts else ""
        self.say(f"{act.what} {act.value} ({act.which}){lasts}")
        match act.what:
            case "jump":
                self.clock.ahead += float(act.value)
            case "outage":
                self._down(str(act.value), act.lasts)
            case "strand":
                self._stranding = float(act.value)
            case "disk":
                self.disk.full = act.value  # type: ignore[assignment]
                self._later(act.lasts, lambda: setattr(self.disk, "full", ""))
            case "account":
                self._plan([*ACCOUNT[str(act.value)], *self.history.faults])
                self._later(act.lasts, lambda: self._plan(self.history.faults))
            case _:
                self.author.do(act)

    def _on_its_way(self, request: httpx.Request) -> None:
        if request.method != "POST":
            return
        if (life := LIFE.get()) is not None:
            life.sends_create()
        if self._stranding:
            seconds, self._stranding = self._stranding, 0.0
            self.say(f"a create is stranded for {seconds:.0f} s")
            self._down("timeout", seconds)

    def _down(self, how: str, seconds: float) -> None:
        self.wire.down = how  # type: ignore[assignment]
        self._later(seconds, lambda: setattr(self.wire, "down", ""))

    def _later(self, seconds: float, undo: Callable[[], None]) -> None:
        """Let a trouble end by itself; one that begins meanwhile ends with it."""
        running().call_later(seconds, self._undo, undo, context=self._world.copy())

    def _undo(self, undo: Callable[[], None]) -> None:
        if not self._is_calm:
            undo()

    def _plan(self, rules: Sequence[Mapping[str, Any]]) -> None:
        """Change what goes wrong from now on; what went wrong so far is counted."""
        for rule in self.provider.plan.rules:
            self.fired[f"{rule.endpoint} {rule.effect.action or 'delay'}"] += rule.fired
        self.provider.plan = parse_plan(list(rules))

    def _in_doubt(self) -> bool:
        path = self.root / "state" / "reconciler.db"
        if not path.exists():
            return False
        repository = Repository.open(path)
        try:
            records = repository.records().values()
            return any(record.status is Status.SUBMITTING for record in records)
        finally:
            repository.close()

    def _begin(self, work: Work, chapter: Chapter | None = None) -> Life:
        self._lives += 1
        self._process = process = Process(
            self.root, self.witness, self.clock.wall, self.ear, self.events
        )
        death = chapter.death if chapter else None
        life = Life(f"{work}-{self._lives}", self.root / "state", death)
        self.counts["lives"] += 1
        self.say(f"{life.name} begins" + (f", to die at {death}" if death else ""))
        seconds = chapter.seconds if chapter else LONGEST_S
        life.begin(process.run(life.name, work, seconds))
        return life

    def _end(self, life: Life) -> None:
        self.events.wake = lambda: None
        left = life.bury()
        how = f"died: {life.died_of}" if life.died_of else "ended"
        if life.died_of:
            near = " near a create" if life.death and life.death.after_creates else ""
            self.counts[f"died at {life.death.kind if life.death else 'nothing'}{near}"] += 1
        elif left:
            names = sorted(task.get_name() for task in left)
            self.wrong.append(f"{life.name} left running: {', '.join(names)}")
        main = life.main
        if main is not None and main.done() and not main.cancelled() and not life.died_of:
            error = main.exception()
            if isinstance(error, ReconcilerError):
                how = f"ended: {type(error).__name__}: {error.message}"
                self.counts[f"error: {type(error).__name__}"] += 1
            elif error is not None:
                self.wrong.append(f"{life.name} broke: {error!r}")
        self.say(f"{life.name} {how} (steps {life.steps}, effects {life.effects})")

    async def _over(self, life: Life, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await life.over.wait()
        except TimeoutError:
            pass

    async def _until(self, life: Life, reached: Callable[[], bool]) -> None:
        for _ in range(int(LONGEST_S / 30)):
            await self._over(life, 30.0)
            if life.over.is_set() or reached():
                return

    def _is_settled(self) -> bool:
        return not unsettled(self.root, bool(self.lost))
