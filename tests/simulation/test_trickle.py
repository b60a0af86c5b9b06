"""Hosts that send results byte by byte, in virtual time: they keep nobody else waiting, and come to an end themselves."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from reconciler.core.motion_control import UNITS_PER_SECOND
from reconciler.core.schedule import SECOND
from reconciler.core.states import Status
from reconciler.engine.ports import Options
from reconciler.engine.run.daemon import Daemon, Duties, Pace
from reconciler.store.objects import ObjectStore
from reconciler.store.repository import Repository
from reconciler.workspace.index.spec_index import SpecIndex
from tests.simulation.lives import Events, ports_on
from tests.simulation.loop import run, running
from tests.simulation.soak import SPEC
from tests.simulation.wire import Wire
from tests.simulation.world import START, account
from tests.support.database import open_repository
from tests.support.ports import Told

DRIP = 20.0  # s between two bytes: never a silence that a time limit ends
FOUR = 4


@dataclass
class Trickle(httpx.AsyncBaseTransport):
    """The wire, with the first four results that are asked for sent drop by drop until the host is well."""

    wire: Wire
    resumes: bool  # the host gives ETags, so that a download can be continued
    drip: float  # s between two bytes
    is_well: bool = False
    slow: dict[str, int] = field(default_factory=dict)  # path -> bytes of it that were sent

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self.wire.handle_async_request(request)
        path = request.url.path
        if path.startswith("/results/"):
            if path in self.slow or len(self.slow) < FOUR:
                self.slow.setdefault(path, 0)
                answer.stream = Drops(self, path, answer.stream)
            if not self.resumes:
                answer.headers.pop("etag", None)
        return answer


@dataclass
class Drops(httpx.AsyncByteStream):
    """A body that comes drop by drop."""

    trickle: Trickle
    path: str
    body: httpx.SyncByteStream | httpx.AsyncByteStream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        assert isinstance(self.body, httpx.AsyncByteStream)
        async for part in self.body:
            for number in range(len(part)):
                if not self.trickle.is_well:
                    await asyncio.sleep(self.trickle.drip)
                self.trickle.slow[self.path] += 1
                yield part[number : number + 1]

    async def aclose(self) -> None:
        assert isinstance(self.body, httpx.AsyncByteStream)
        await self.body.aclose()


@dataclass
class Story:
    """A daemon at a host that trickles, in virtual time."""

    root: Path
    trickle: Trickle
    repository: Repository
    objects: ObjectStore

    def count(self, *statuses: Status) -> int:
        records = self.repository.records().values()
        return sum(record.status in statuses for record in records)

    async def until(self, done: Callable[[], bool], seconds: float) -> float:
        """Return how long something took, s; it is waited for no longer than that."""
        began = running().time()
        while not done() and running().time() - began < seconds:
            await asyncio.sleep(10)
        return running().time() - began


@asynccontextmanager
async def telling(
    folder: Path, *, takes: int, downloads: int, resumes: bool, drip: float
) -> AsyncIterator[Story]:
    """Run a daemon over one spec while the block lasts; in the end everything is saved, and each was billed once."""
    wire, root = Wire(seed="trickle"), folder / "project"
    (root / "specs").mkdir(parents=True)
    (root / "state").mkdir()
    (root / "specs" / "dance.yaml").write_text(SPEC.format(prompt="waves", takes=takes))
    repository = open_repository(root / "state" / "reconciler.db")
    story = Story(
        root, Trickle(wire, resumes, drip), repository, ObjectStore(root / "state/objects")
    )
    index = SpecIndex(root, "specs", prices=UNITS_PER_SECOND)
    duties = Duties(index, Events(random.Random(1)), Pace(settle=0, tick=30 * SECOND))
    options = Options("run-1", max_concurrency=takes, enduring=True, downloads=downloads)
    stop = asyncio.Event()
    async with (
        account(folder / "account", wire) as provider,
        ports_on(story.trickle, root, repository, Told(), running().wall_ms) as ports,
    ):
        daemon = Daemon(ports, options, duties)
        life = asyncio.create_task(daemon.run(stop, begun=lambda: None))
        try:
            yield story
        finally:
            stop.set()
            await life
        billed: Any = provider.ledger.report()["billed"]
        assert list(billed.values()) == [1] * takes
    records = repository.records().values()
    assert [record.status for record in records] == [Status.COMPLETE] * takes
    assert all(story.objects.verify(one.sha256) for record in records for one in record.results)
    repository.close()


@pytest.mark.parametrize("resumes", [True, False])
def test_four_that_trickle_do_not_keep_a_fifth_waiting(tmp_path: Path, resumes: bool) -> None:
    """The fifth is complete within two minutes; when the host of the others is well, so are they."""

    async def story() -> float:
        async with telling(tmp_path, takes=5, downloads=4, resumes=resumes, drip=DRIP) as told:
            await told.until(lambda: told.count(Status.SUCCEEDED, Status.COMPLETE) == 5, 7200)
            took = await told.until(lambda: told.count(Status.COMPLETE) == 1, 7200)
            told.trickle.is_well = True
            await told.until(lambda: told.count(Status.COMPLETE) == 5, 4 * 3600)
        return took

    assert run(story(), start=START) < 120


def test_two_that_only_ever_trickle_arrive_one_after_the_other(tmp_path: Path) -> None:
    """Nothing can be continued, and each waits for the other's place: each stays for longer until it is through."""

    async def story() -> None:
        async with telling(tmp_path, takes=2, downloads=1, resumes=False, drip=1.0) as told:
            await told.until(lambda: told.count(Status.COMPLETE) == 2, 12 * 3600)

    run(story(), start=START)
