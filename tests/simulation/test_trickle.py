"""Hosts that send results byte by byte, in virtual time: they keep nobody else waiting, and come to an end themselves."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from reconciler.core.motion_control import UNITS_PER_SECOND
from reconciler.core.schedule import SECOND, Rules
from reconciler.core.states import Status
from reconciler.engine.daemon import Daemon, Duties, Pace
from reconciler.engine.ports import Options, Ports
from reconciler.kling.downloads import Downloader
from reconciler.kling.errors import ResultSlow
from reconciler.store.objects import ObjectStore
from reconciler.store.repository import Repository
from reconciler.workspace.index import SpecIndex
from tests.engine.world import Told
from tests.kling.test_downloads import Memory
from tests.simulation.lives import Events
from tests.simulation.loop import run, running
from tests.simulation.soak import SPEC
from tests.simulation.wire import Wire
from tests.simulation.world import START, account, client_of

DRIP = 20.0  # s between two bytes: never a silence that a time limit ends
FOUR = 4


@dataclass
class Trickle(httpx.AsyncBaseTransport):
    """The wire, with the first four results that are asked for sent drop by drop until the host is well."""

    wire: Wire
    resumes: bool  # the host gives ETags, so that a download can be continued
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
                    await asyncio.sleep(DRIP)
                self.trickle.slow[self.path] += 1
                yield part[number : number + 1]

    async def aclose(self) -> None:
        assert isinstance(self.body, httpx.AsyncByteStream)
        await self.body.aclose()


@pytest.mark.parametrize("resumes", [True, False])
def test_four_that_trickle_do_not_keep_a_fifth_waiting(tmp_path: Path, resumes: bool) -> None:
    """The fifth is complete within two minutes; the four go on, and when their host is well all are saved, billed once."""

    async def story() -> tuple[float, int, dict[str, int], list[Status]]:
        wire, root = Wire(seed="trickle"), tmp_path / "project"
        (root / "specs").mkdir(parents=True)
        (root / "state").mkdir()
        (root / "specs" / "dance.yaml").write_text(SPEC.format(prompt="waves", takes=FOUR + 1))
        repository = Repository.open(root / "state" / "reconciler.db")
        trickle = Trickle(wire, resumes)
        client, downloader = client_of(wire), Downloader(transport=trickle)
        objects = ObjectStore(root / "state" / "objects")
        ports = Ports(root, client, downloader, repository, objects, Told(), running().wall_ms)
        index = SpecIndex(root, "specs", prices=UNITS_PER_SECOND)
        duties = Duties(index, Events(random.Random(1)), Pace(settle=0, tick=30 * SECOND))
        options = Options("run-1", Rules(), max_concurrency=FOUR + 1, enduring=True)
        daemon, stop = Daemon(ports, options, duties), asyncio.Event()

        def complete() -> int:
            records = repository.records().values()
            return sum(record.status is Status.COMPLETE for record in records)

        def waiting() -> int:
            records = repository.records().values()
            return sum(record.status is Status.SUCCEEDED for record in records)

        async with account(tmp_path / "account", wire) as provider:
            life = asyncio.create_task(daemon.run(stop, begun=lambda: None))
            while waiting() + complete() < FOUR + 1 or len(trickle.slow) < FOUR:
                await asyncio.sleep(1)
            began = running().time()
            while not complete() and running().time() - began < 7200:
                await asyncio.sleep(1)
            took, first = running().time() - began, complete()
            trickle.is_well = True
            while complete() < FOUR + 1 and running().time() - began < 4 * 3600:
                await asyncio.sleep(10)
            stop.set()
            await life
            billed = dict(provider.ledger.report()["billed"])  # type: ignore[call-overload]
            statuses = [record.status for record in repository.records().values()]
            assert all(
                objects.verify(result.sha256)
                for record in repository.records().values()
                for result in record.results
            )
        repository.close()
        await client.aclose()
        await downloader.aclose()
        return took, first, billed, statuses

    took, first, billed, statuses = run(story(), start=START)
    assert first == 1
    assert took < 120
    assert statuses == [Status.COMPLETE] * (FOUR + 1)
    assert list(billed.values()) == [1] * (FOUR + 1)


def test_a_result_that_only_ever_trickles_arrives_though_others_wait() -> None:
    """It gives way for longer and longer, so that also a host that can continue nothing gets it through in the end."""
    data = bytes(1000)

    async def story() -> tuple[int, float]:
        class Host(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                async def body() -> AsyncIterator[bytes]:
                    for _ in data:
                        await asyncio.sleep(1)
                        yield b"\0"

                return httpx.Response(200, content=body())

        downloader, tries, sink = Downloader(transport=Host()), 0, Memory()
        while True:
            try:
                await downloader.fetch(
                    "https://example.com/v.mp4", sink, window=30 * 2**tries, is_awaited=lambda: True
                )
            except ResultSlow:
                tries += 1
            else:
                return tries, running().time()

    tries, took = run(story(), start=START)
    assert (tries, took < 3600) == (6, True)
