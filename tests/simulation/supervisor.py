"""Starts the processes of a history and sees how they end; what happens around them is the player's."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from reconciler.core.errors import ReconcilerError
from reconciler.core.orders import Order, Outcome
from reconciler.store.values import Caps
from tests.simulation.clock import Clock
from tests.simulation.crash import Death, Life
from tests.simulation.history import End, Work
from tests.simulation.lives import Ear, Shelf
from tests.simulation.machine import Machine, Running
from tests.simulation.process import Process
from tests.simulation.witness import Witness

LONGEST_S = 6 * 3600.0
"""That a life may take to finish calmly."""
_MINUTE_S = 60.0
"""That a process may take to end once it is asked to, or to carry out an order."""


@dataclass
class Supervisor:
    """Of all processes, on all machines."""

    witness: Witness
    clock: Clock
    say: Callable[[str], None]
    counts: Counter[str]
    caps: Caps = field(default_factory=Caps)
    """Of the processes that begin from now on."""
    shelf: Shelf | None = None
    wrong: list[str] = field(default_factory=list)
    """What the lives themselves did wrong."""
    ear: Ear = field(default_factory=Ear)
    _lives: int = 0

    def begin(
        self, machine: Machine, work: Work, death: Death | None = None, seconds: float = LONGEST_S
    ) -> Running:
        """Start an `apply` or a `watch`; the former gives up after so many seconds."""
        one = self._new(machine, work, death)
        one.life.begin(one.process.run(one.life.name, work, seconds))
        return one

    async def leave(self, machine: Machine, one: Running, end: End) -> None:
        """End a process that is still there in one of two ways."""
        if not one.life.over.is_set():
            self.counts[f"ended: {end}"] += 1
            if end == "asked":
                one.process.stop.set()
            else:
                await one.life.interrupt()
            await over(one.life, _MINUTE_S)
            if not one.life.over.is_set():
                self.wrong.append(f"{one.life.name} did not end within a minute of being asked to")
                one.life.die("patience")
        self.end(machine, one)

    async def order(self, machine: Machine, order: Order) -> Outcome | None:
        """Have an order carried out by a process of its own; None where that did not come to its end."""
        one = self._new(machine, order.verb)
        one.life.begin(one.process.order(one.life.name, order))
        await over(one.life, 10 * _MINUTE_S)
        self.end(machine, one)
        return one.process.outcome

    def end(self, machine: Machine, one: Running) -> None:
        """Give back what a process held, and look at how it ended."""
        machine.running.remove(one)
        machine.no_more(one.process.events)
        life = one.life
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

    def _new(self, machine: Machine, work: str, death: Death | None = None) -> Running:
        self._lives += 1
        self.counts["lives"] += 1
        events = machine.more_events() if machine.running else machine.events
        process = Process(
            machine.root,
            self.witness,
            self.clock.wall,
            self.ear,
            events,
            self.caps,
            shelf=self.shelf,
        )
        name = f"{work}-{self._lives}{machine.name and f' on {machine.name}'}"
        life = Life(name, machine.state_folder, death, machine.state)
        self.say(f"{name} begins" + (f", to die at {death}" if death else ""))
        one = Running(life, process, work)
        machine.running.append(one)
        return one


async def over(life: Life, seconds: float) -> None:
    """Wait for the end of a process, for so many seconds at most."""
    try:
        async with asyncio.timeout(seconds):
            await life.over.wait()
    except TimeoutError:
        pass
