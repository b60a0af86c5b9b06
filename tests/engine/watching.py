"""A daemon over a `World`: real files, a real watcher, SQLite and HTTP, on a loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from reconciler.core.schedule import SECOND, Rules
from reconciler.engine.ports import Options
from reconciler.engine.run.daemon import Daemon, Duties, Pace
from reconciler.store.file_cache import FileCache
from reconciler.store.values import Caps
from reconciler.workspace.git import Checkout
from reconciler.workspace.index.dormant import DormantFolders
from reconciler.workspace.index.spec_index import SpecIndex
from reconciler.workspace.watch.watcher import Watcher
from tests.engine.world import World

SETTLE = 150  # ms


@dataclass
class Watching:
    """A daemon that runs; `call` runs something in its loop."""

    daemon: Daemon
    index: SpecIndex
    loop: asyncio.AbstractEventLoop
    failures: list[BaseException] = field(default_factory=list)

    def call(self, function: Callable[[], Any]) -> Any:
        async def called() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(called(), self.loop).result(10)

    def run(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a coroutine in the daemon's loop to its end."""
        asyncio.run_coroutine_threadsafe(function(), self.loop).result(10)

    def status(self, base_id: str) -> str:
        record = self.call(lambda: self.daemon.records.get(base_id))
        return "" if record is None else str(record.status)


@contextmanager
def watching(
    world: World,
    *,
    pace: Pace | None = None,
    caps: Caps | None = None,
    concurrency: int | None = None,
    checkout: Checkout | None = None,
    events: bool = True,
    options: Mapping[str, Any] | None = None,
    dormant: bool = False,
) -> Iterator[Watching]:
    """Run a daemon while the block lasts, and see it leave in time without a failure.

    Without `events` the watcher is never started: only the periodic look finds changes. `dormant`: it begins with the
    folders that an earlier one left dormant, and notes its own.
    """
    world.runs += 1
    chosen = Options(
        run_id=f"watch-{world.runs}",
        rules=Rules(absence_grace=600, poll_interval=50),
        caps=caps or Caps(),
        max_concurrency=concurrency,
        enduring=True,
        **(options or {}),
    )
    begun, stop = threading.Event(), asyncio.Event()
    made: list[Watching] = []
    failures: list[BaseException] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        async with AsyncExitStack() as stack:
            ports = await stack.enter_async_context(world.ports())
            watcher = Watcher(
                world.root,
                "specs",
                ignored=["state"],
                wake=wake,
                trouble=world.told.say,
            )
            if events:
                watcher.revive()
                stack.callback(watcher.stop)
            cache = FileCache(world.root / "state" / "cache.db")
            stack.callback(cache.close)
            index = SpecIndex(
                world.root,
                "specs",
                prices=world.prices,
                deferred=True,
                cache=cache if dormant else None,
                dormant=dormant_in(world, cache) if dormant else None,
                quiet_ns=0,
            )
            duties = Duties(index, watcher, pace or Pace(settle=SETTLE, tick=50), checkout, True)
            daemon = Daemon(ports, chosen, duties)
            made.append(Watching(daemon, index, loop))
            await daemon.run(stop, begun=begun.set)

    def wake() -> None:
        if made and not made[0].loop.is_closed():
            made[0].loop.call_soon_threadsafe(made[0].daemon.wake)

    def thread() -> None:
        try:
            asyncio.run(run())
        except BaseException as failure:  # noqa: BLE001 - it is raised in the test instead
            failures.append(failure)
        finally:
            begun.set()

    running = threading.Thread(target=thread, name="daemon")
    running.start()
    try:
        assert begun.wait(20), "the daemon did not begin"
        if failures:
            raise failures[0]
        yield made[0]
    finally:
        if made and not made[0].loop.is_closed():
            made[0].loop.call_soon_threadsafe(stop.set)
        running.join(20)
        assert not running.is_alive(), "the daemon did not leave within 20 s"
    if failures:
        raise failures[0]


def dormant_in(world: World, cache: FileCache) -> DormantFolders:
    """Return the folders that an earlier daemon left dormant."""
    known = world.repository.standings()
    return DormantFolders.found(
        world.root,
        "specs",
        cache=cache,
        terms="the same",
        complete=known.complete,
        others=known.others,
    )


def seconds(count: float) -> int:
    return int(count * SECOND)
