"""One process of the product, from taking the lock to giving it back, as the commands `apply` and `watch` put it together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from reconciler.cli.clock import SteadyClock
from reconciler.core.motion_control import UNITS_PER_SECOND
from reconciler.core.schedule import Rules
from reconciler.engine.daemon import Daemon, Duties, Pace
from reconciler.engine.ports import Options
from reconciler.store.cache import FileCache
from reconciler.store.lock import StateLock
from reconciler.store.repository import Repository
from reconciler.workspace.index import SpecIndex
from tests.simulation.history import Work
from tests.simulation.lives import POSTERS, Ear, Events, apply_all, ports_on


@dataclass
class Process:
    """What one process is given, and how it is asked to stop."""

    root: Path
    wire: httpx.AsyncBaseTransport
    wall: Callable[[], float]
    ear: Ear
    events: Events
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, name: str, work: Work, seconds: float) -> None:
        """Do the work; an `apply` gives up after so many seconds."""
        state = self.root / "state"
        with StateLock(state), ExitStack() as stack:
            repository = Repository.open(state / "reconciler.db")
            stack.callback(repository.close)
            cache = FileCache(state / "cache.db")
            stack.callback(cache.close)
            clock = SteadyClock()
            options = Options(name, Rules(), enduring=work == "watch", previews=POSTERS)
            async with ports_on(
                self.wire, self.root, repository, self.ear, clock, self.wall
            ) as ports:
                if work == "apply":
                    await apply_all(ports, options, self.stop, seconds=seconds, cache=cache)
                    return
                index = SpecIndex(self.root, "specs", prices=UNITS_PER_SECOND, cache=cache)
                duties = Duties(index, self.events, Pace(), correct_clock=clock.correct)
                daemon = Daemon(ports, options, duties)
                self.events.wake = daemon.wake
                await daemon.run(self.stop, begun=lambda: None)
