"""Plays a history: the provider's account, the wire, the disk and one life after the other, in virtual time."""

from __future__ import annotations

import asyncio
import contextvars
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import httpx

from reconciler.engine.buy.sender import Sender
from reconciler.simulator.plans import parse_plan
from reconciler.simulator.provider import Provider
from reconciler.store.values import Caps
from tests.simulation.books import is_in_doubt, unsettled
from tests.simulation.clock import Clock
from tests.simulation.crash import LIFE
from tests.simulation.disk import Disk
from tests.simulation.history import (
    BETWEEN_LIVES,
    HIDDEN_S,
    LOSES_STATE,
    Act,
    Chapter,
    History,
    Work,
)
from tests.simulation.lives import Shelf, make
from tests.simulation.loop import running
from tests.simulation.machine import Machine, Origin
from tests.simulation.middlebox import Middlebox
from tests.simulation.orders import Orders
from tests.simulation.supervisor import LONGEST_S, Supervisor, over
from tests.simulation.trouble import ACCOUNT
from tests.simulation.wire import Wire
from tests.simulation.witness import Witness

UNDER_WAY_S = 3.0
"""Longer than a request is under way on a wire that is not down."""
QUIET_S = 600.0
"""How long somebody waits at most for a moment in which nothing is in doubt."""


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
    calm_at: float = float("inf")
    """When all trouble was over, virtual seconds."""

    def __post_init__(self) -> None:
        history = self.history
        self.disk, self.clock = Disk(), Clock()
        self.middlebox = Middlebox(self.wire, f"{history.seed}", history.interferences, self.say)
        self.witness = Witness(self.middlebox, self.clock.wall)
        self.supervisor = Supervisor(
            self.witness, self.clock, self.say, self.counts, Caps(per_day=history.cap)
        )
        self.supervisor.shelf = self._shelf = Shelf(random.Random(f"{history.seed} shelf"))
        names = ("",) if history.machines == 1 else ("a", "b", "c")
        self.machines = [
            Machine(
                names[number],
                self.folder / f"project{number or ''}",
                self.clock.wall_ns,
                random.Random(history.seed + number),
                number,
            )
            for number in range(history.machines)
        ]
        self._states = history.machines
        self.origin = Origin(history.carries_receipts)
        self.orders = Orders(self.supervisor.order, self.say, self._billed)
        self._is_calm = False
        self.lost_in_doubt = False  # a state, while a task may have been hidden
        self._done = 0
        self._stranding = 0.0  # s: how long the next create is held up on its way, and all after it
        self._world = contextvars.copy_context()
        self.wire.on_its_way = self._on_its_way

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Put the disk and the clock below the product while the block lasts."""
        with ExitStack() as stack:
            stack.enter_context(self.disk.attached())
            stack.enter_context(self.clock.attached())
            stack.enter_context(mock.patch.object(Sender, "_make", make))
            yield

    async def play(self) -> None:
        """Live through everything but the end."""
        for act in self.history.specs:
            await self._happen(self.machines[0], act)
        self._sync_all()
        for chapter in self.history.chapters:
            machine = self.machines[chapter.machine]
            for act in chapter.before:
                await self._between(machine, act)
            await self._chapter(machine, chapter)

    async def calm(self) -> None:
        """End all trouble."""
        self._is_calm = self.middlebox.is_calm = True
        self.wire.down, self.disk.full, self.disk.locked, self._stranding = "", "", "", 0.0
        self._shelf.is_calm = True
        for machine in self.machines:
            machine.author.mend()
        self.supervisor.caps = Caps()
        self._plan([])
        self.say("all trouble is over")
        self.calm_at = running().time()
        lag = float(self.history.provider.get("query_lag_s", 0))
        await asyncio.sleep(UNDER_WAY_S if lag <= max(HIDDEN_S) else lag)

    async def finish(self, machine: Machine, work: Work) -> None:
        """Let one more process do all that is left to do on a machine."""
        one = self.supervisor.begin(machine, work)
        if work == "watch":
            for _ in range(int(LONGEST_S / 30)):
                await over(one.life, 30.0)
                if one.life.over.is_set() or not self.unsettled(machine):
                    break
            one.process.stop.set()
        await over(one.life, LONGEST_S)
        self.supervisor.end(machine, one)

    def unsettled(self, machine: Machine) -> list[str]:
        """Return what is left to do on a machine and can be done, in sentences."""
        return unsettled(machine.root, bool(machine.lost), self.middlebox.is_silent_about)

    def sync(self, machine: Machine) -> None:
        """Push and pull what is committed, where there is somebody to share it with."""
        if len(self.machines) > 1:
            pulled = self.origin.sync(machine)
            self.say(f"{machine.name} pushes, and pulls {', '.join(pulled) or 'nothing'}")

    def say(self, line: str) -> None:
        """Write a line into the log."""
        told = line.replace(str(self.folder), "…")  # the folder is another one every time
        self.log.append(f"{running().time():>9.2f}  {told.replace('…/project', '…')}")

    def _sync_all(self) -> None:
        for machine in self.machines:
            self.sync(machine)

    async def _chapter(self, machine: Machine, chapter: Chapter) -> None:
        one = self.supervisor.begin(machine, chapter.work, chapter.death, chapter.seconds)
        acting = asyncio.create_task(self._meanwhile(machine, chapter), name="meanwhile")
        await over(one.life, chapter.seconds)
        await self.supervisor.leave(machine, one, chapter.end)
        acting.cancel()
        await asyncio.gather(acting, return_exceptions=True)
        for other in self.machines:
            for beside in list(other.running):
                await self.supervisor.leave(other, beside, chapter.end)
        for act in chapter.meanwhile[self._done :]:
            await self._between(machine, act[1])

    async def _meanwhile(self, machine: Machine, chapter: Chapter) -> None:
        self._done = 0
        for after, act in chapter.meanwhile:
            await asyncio.sleep(after)
            self._done += 1
            await self._happen(machine, act)

    async def _between(self, machine: Machine, act: Act) -> None:
        if act.what in BETWEEN_LIVES:
            if act.what != "lose_objects" and self.history.may_bill_again:
                # docs/operations.md: `state/` is not to be deleted while an outcome is not known, and a task that
                # is hidden yet cannot be found by a store that was born today.
                if self.wire.down or self._stranding or is_in_doubt(machine.root):
                    return
                await asyncio.sleep(float(self.history.provider["query_lag_s"]) + UNDER_WAY_S)
            self._loses(machine, state=act.what in LOSES_STATE)
        await self._happen(machine, act)

    def _loses(self, machine: Machine, *, state: bool) -> None:
        machine.lost.append(running().time())
        if state:
            self.lost_in_doubt |= self._may_have_created()
            machine.state, self._states = self._states, self._states + 1

    async def _happen(self, machine: Machine, act: Act) -> None:
        lasts = f" for {act.lasts:.0f} s" if act.lasts else ""
        where = machine.name and f" on {machine.name}"
        self.counts[f"act: {act.what}"] += 1
        self.say(f"{act.what}{where} {act.value} ({act.which}){lasts}")
        match act.what:
            case "nap":
                await asyncio.sleep(float(act.value))
            case "clean":
                await self._clean(machine, act)
            case "retry" | "forget" | "import" | "refresh" | "prune":
                if await self.orders.give(machine, act) and act.what == "forget":
                    self._loses(machine, state=False)
            case "leave":
                self.orders.leave(machine, act)
            case "beside":
                self._beside(machine, act)
            case "sync":
                self.sync(machine)
            case _:
                self._do(machine, act)

    def _do(self, machine: Machine, act: Act) -> None:
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
            case "lock":
                films = machine.author.films()
                if films:
                    film = films[act.which % len(films)]
                    self.disk.locked = str(film.parent if act.value else film)
                    self._later(act.lasts, lambda: setattr(self.disk, "locked", ""))
            case "hint":
                names = [*self._billed(), "mc1-nobody", "1"]
                for one in machine.running:
                    one.process.hint(names[act.which % len(names)])
            case "account":
                self._plan([*ACCOUNT[str(act.value)], *self.history.faults])
                self._later(act.lasts, lambda: self._plan(self.history.faults))
            case _:
                machine.author.do(act)

    async def _clean(self, machine: Machine, act: Act) -> None:
        """Remove the state below whoever runs (`git clean -fdx`), and start a second process a little later."""
        if not machine.running or (
            self.history.may_bill_again and not await self._is_quiet(machine)
        ):
            return
        for one in machine.running:
            one.life.disown()
        self._loses(machine, state=True)
        shutil.rmtree(machine.state_folder, ignore_errors=True)
        if act.which % 2:  # whose outputs are not committed
            machine.author.lose_outputs(act)
        await asyncio.sleep(act.lasts)
        work: Work = "apply" if act.value == "apply" else "watch"
        self.supervisor.begin(machine, work)

    async def _is_quiet(self, machine: Machine) -> bool:
        """Wait until no create was under way for as long as a task can be hidden, and nothing is in doubt."""
        until = running().time() + QUIET_S
        while running().time() < until:
            if not (self._may_have_created() or is_in_doubt(machine.root)):
                return True
            await asyncio.sleep(1.0)
        return False

    def _may_have_created(self) -> bool:
        """Whether a create may have made a task a moment ago that no answer told of, or that is hidden."""
        since = running().time() - float(self.history.provider["query_lag_s"]) - UNDER_WAY_S
        creates = [one for one in self.witness.requests if one.kind == "create"]
        is_busy = any(one.ended_at is None or one.ended_at > since for one in creates)
        return is_busy or bool(self.wire.down or self._stranding)

    def _beside(self, machine: Machine, act: Act) -> None:
        """Start a process on every other machine; it ends with the chapter."""
        for other in self.machines:
            if machine.running and not other.running:
                self.supervisor.begin(other, "apply" if act.value == "apply" else "watch")

    def _billed(self) -> list[str]:
        entries: Any = self.provider.ledger.report()["entries"]
        return [
            one["external_task_id"] or one["task_id"] for one in entries if one["kind"] == "billed"
        ]

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
