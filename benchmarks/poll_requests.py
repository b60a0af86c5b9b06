"""How many requests one round of polling takes, by pages of the list and by one query per task.

The project's own poller asks the project's own simulator, which runs in a process of its own with its clock
standing still, so that every task stays in flight. The simulator counts the requests that reached it.

    .venv/bin/python benchmarks/poll_requests.py --tasks 1000 --rounds 5
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from urllib.request import urlopen

from reconciler.core.progress import Topic
from reconciler.core.states import Record, Status
from reconciler.engine.ask.poll import Poller
from reconciler.engine.ports import Options, Ports
from reconciler.engine.records import Records
from reconciler.kling.auth import Credentials
from reconciler.kling.client import KlingClient
from reconciler.kling.downloads import Downloader
from reconciler.simulator.config import ACCESS_KEY, SECRET_KEY, SimulatorConfig
from reconciler.simulator.server import RunningSimulator, run
from reconciler.store.objects import ObjectStore
from reconciler.store.repository import Repository
from reconciler.store.values import Change

SIZES = (1, 5, 6, 50, 500)


class Silent:
    """Tells nobody anything."""

    def changed(self, record: Record) -> None:
        """Say nothing."""

    def held(self, record: Record, reason: str) -> None:
        """Say nothing."""

    def say(self, message: str, topic: Topic = Topic.OTHER) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class Cost:
    """What one round took."""

    requests: int
    seconds: float


def main() -> None:
    """Start the simulator, fill it with tasks, ask in both ways, print."""
    options = _options()
    if options.serve:
        _serve(options.serve, options.tasks)
        return
    with (
        tempfile.TemporaryDirectory(prefix="poll-requests-") as folder,
        _simulator(Path(folder) / "provider", options.tasks) as base_url,
    ):
        asyncio.run(_compare(base_url, Path(folder), options.tasks, options.rounds))


async def _compare(base_url: str, folder: Path, count: int, rounds: int) -> None:
    keys = Credentials(access_key=ACCESS_KEY, secret_key=SECRET_KEY)
    client = KlingClient(base_url=base_url, credentials=keys)
    repository = Repository.open(folder / "reconciler.db")
    downloader = Downloader(timeout=30.0)

    def now() -> int:
        return int(time.time() * 1000)

    ports = Ports(
        folder,
        client,
        downloader,
        repository,
        ObjectStore(folder / "objects"),
        Silent(),
        now,
        now,
    )
    started = time.perf_counter()
    records = await _create(client, count)
    print(f"{count:,} tasks in flight after {time.perf_counter() - started:.1f} s")
    repository.save([Change(record, None) for record in records.values()])
    options = Options(run_id="benchmark")
    poller = Poller(ports, options, Records(ports, options, records))

    print(f"\n{'in flight':>9} | {'requests':>8} {'seconds':>8} | {'one query per task':>19}")
    for size in sorted({*(size for size in SIZES if size < count), count}):
        some = dict(list(records.items())[:size])
        listed = await _median(base_url, rounds, partial(poller.observe, some))
        single = await _median(base_url, rounds, partial(_query_each, client, some))
        print(
            f"{size:>9,} | {listed.requests:>8,} {listed.seconds:>8.3f} |"
            f" {single.requests:>10,} {single.seconds:>8.3f}"
        )
    repository.close()
    await downloader.aclose()
    await client.aclose()


async def _create(client: KlingClient, count: int) -> dict[str, Record]:
    async def one(number: int) -> Record:
        name = f"benchmark-{number:06d}"
        body = {
            "image_url": "https://example.com/girl.png",
            "video_url": "https://example.com/dance.mp4",
            "character_orientation": "image",
            "mode": "std",
            "external_task_id": name,
        }
        task = (await client.create(body)).task
        assert task is not None
        return Record(
            external_task_id=name,
            base_id=name,
            status=Status.SUBMITTED,
            request="{}",
            task_id=task.task_id,
            created_at=task.created_at,
        )

    made = await asyncio.gather(*(one(number) for number in range(count)))
    return {record.base_id: record for record in made}


async def _query_each(client: KlingClient, records: Mapping[str, Record]) -> None:
    names = (record.task_id or record.external_task_id for record in records.values())
    await asyncio.gather(*(client.query(name) for name in names))


async def _median(base_url: str, rounds: int, ask: Callable[[], Awaitable[object]]) -> Cost:
    """Return the cost of the median round; the requests are the same in each."""
    found: list[Cost] = []
    for _ in range(rounds):
        before, started = await _asked(base_url), time.perf_counter()
        await ask()
        seconds = time.perf_counter() - started
        found.append(Cost(await _asked(base_url) - before, seconds))
    assert len({cost.requests for cost in found}) == 1, found
    return Cost(found[0].requests, statistics.median(cost.seconds for cost in found))


async def _asked(base_url: str) -> int:
    """Return how many questions about tasks the simulator has counted."""

    def read() -> int:
        with urlopen(f"{base_url}/simulator/requests") as answer:
            counted: dict[str, int] = json.load(answer)
        return counted["query"] + counted["list"]

    return await asyncio.to_thread(read)


@contextmanager
def _simulator(folder: Path, count: int) -> Iterator[str]:
    """Run the simulator in a process of its own; yields where its API is."""
    command = [sys.executable, __file__, "--serve", str(folder), "--tasks", str(count)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.communicate()


def _serve(folder: Path, count: int) -> None:
    def announce(running: RunningSimulator) -> None:
        print(running.base_url, flush=True)

    folder.mkdir(parents=True, exist_ok=True)
    config = SimulatorConfig(
        folder=folder, speed=0.0, concurrency=count, pack_units=Decimal(100) * count
    )
    run(config, on_ready=announce)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", type=int, default=1000, help="tasks in flight (default 1,000)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each kind (default 5)")
    parser.add_argument("--serve", type=Path, metavar="DIR", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
