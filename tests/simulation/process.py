"""One process of the product, from taking the lock to giving it back, as the commands put it together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from reconciler.cli.project import Folder
from reconciler.cli.running import SteadyClock
from reconciler.core.motion_control import UNITS_PER_SECOND
from reconciler.core.orders import Order, Outcome
from reconciler.core.schedule import SECOND, Rules
from reconciler.engine.orders.take import OrderTaker, carry_out
from reconciler.engine.ports import Options, Ports
from reconciler.engine.records import Records
from reconciler.engine.run.daemon import Daemon, Duties, Pace
from reconciler.settings.definitions import Settings
from reconciler.store.file_cache import FileCache
from reconciler.store.lock import StateLock
from reconciler.store.repository import Repository
from reconciler.store.values import Caps
from reconciler.workspace.index.spec_index import SpecIndex
from tests.simulation.history import Work
from tests.simulation.lives import POSTERS, Ear, Events, Shelf, apply_all, ports_on
from tests.simulation.world import API

SETTINGS = Settings(KLING_BASE_URL=API)


@dataclass
class Process:
    """What one process is given, and how it is asked to stop."""

    root: Path
    wire: httpx.AsyncBaseTransport
    wall: Callable[[], float]
    ear: Ear
    events: Events
    caps: Caps = field(default_factory=Caps)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    shelf: Shelf | None = None
    hint: Callable[[str], None] = lambda _: None
    """Takes what a callback says."""
    outcome: Outcome | None = None
    """What came of an order that it carried out by itself."""

    async def run(self, name: str, work: Work, seconds: float) -> None:
        """Do the work; an `apply` gives up after so many seconds."""
        clock = SteadyClock()
        async with self._opened(name, clock, enduring=work == "watch") as (folder, ports, options):
            if work == "apply":
                await apply_all(ports, options, self.stop, seconds=seconds, cache=folder.cache)
                return
            dormant = folder.dormant()
            self.ear.said["a start with dormant folders"] += bool(dormant)
            index = SpecIndex(
                self.root,
                "specs",
                prices=UNITS_PER_SECOND,
                cache=folder.cache,
                dormant=dormant,
                quiet_ns=-(10**19),  # files have times of the virtual clock
            )
            taker = OrderTaker(ports, options, index, folder.surveyor)
            duties = Duties(
                index,
                self.events,
                Pace(noting=10 * SECOND),
                can_host=True,
                is_ordered=taker.is_ordered,
                correct_clock=clock.correct,
                carry_out=taker.carry_out,
            )
            daemon = Daemon(ports, options, duties)
            self.events.wake, self.hint = daemon.wake, daemon.hint
            await daemon.run(self.stop, begun=lambda: None)

    async def order(self, name: str, order: Order) -> None:
        """Carry out an order with the lock in hand, as its command does where nobody else has it."""
        async with self._opened(name, SteadyClock(), enduring=False) as (folder, ports, options):
            survey = folder.surveyor.survey(folder.load())
            journal = Records(ports, options, survey.stored)
            self.outcome = await carry_out(order, ports, options, journal, survey)

    @asynccontextmanager
    async def _opened(
        self, name: str, clock: SteadyClock, *, enduring: bool
    ) -> AsyncIterator[tuple[Folder, Ports, Options]]:
        state = self.root / "state"
        with StateLock(state), ExitStack() as stack:
            repository = Repository.open(state / "reconciler.db")
            stack.callback(repository.close)
            cache = FileCache(state / "cache.db")
            stack.callback(cache.close)
            options = Options(name, self.caps, rules=Rules(), enduring=enduring, previews=POSTERS)
            async with ports_on(
                self.wire, self.root, repository, self.ear, clock, self.wall, self.shelf
            ) as ports:
                yield Folder(self.root, SETTINGS, repository, ports.objects, cache), ports, options
