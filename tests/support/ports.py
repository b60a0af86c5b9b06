"""The engine's ports of a test, wired in one place: real stores and the real client, over whatever wire is given."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from reconciler.core.progress import Topic
from reconciler.core.states import Record
from reconciler.engine.ports import Hosting, Ports, Reporter, Unconfigured
from reconciler.kling.auth import Credentials
from reconciler.kling.client import KlingClient
from reconciler.kling.downloads import Downloader
from reconciler.store.objects import ObjectStore
from reconciler.store.repository import Repository
from tests.support.database import open_repository


@dataclass
class Told:
    """A reporter that remembers."""

    changes: list[Record] = field(default_factory=list)
    holds: dict[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def changed(self, record: Record) -> None:
        self.changes.append(record)

    def held(self, record: Record, reason: str) -> None:
        self.holds[record.base_id] = reason

    def say(self, message: str, topic: Topic = Topic.OTHER) -> None:
        self.said.append(message)


def client_at(
    keys: Mapping[str, str],
    *,
    timeout: float,
    transport: httpx.AsyncBaseTransport | None = None,
) -> KlingClient:
    """Return the product's client for the provider and the keys of an environment (`Simulator.env`)."""
    return KlingClient(
        base_url=keys["KLING_BASE_URL"],
        credentials=Credentials(
            access_key=keys["KLING_ACCESS_KEY"], secret_key=keys["KLING_SECRET_KEY"]
        ),
        timeout=timeout,
        transport=transport,
    )


@asynccontextmanager
async def wired(
    root: Path,
    repository: Repository,
    report: Reporter,
    reach: tuple[KlingClient, Downloader],
    now: Callable[[], int],
    calendar: Callable[[], int],
    hosting: Hosting | None = None,
) -> AsyncIterator[Ports]:
    """Give the ports of a project while the block lasts; what reaches the network is closed with it.

    `now` is the run's clock and `calendar` the machine's, ms.
    """
    client, downloader = reach
    objects = ObjectStore(root / "state" / "objects")
    try:
        yield Ports(root, client, downloader, repository, objects, report, now, calendar, hosting)
    finally:
        await downloader.aclose()
        await client.aclose()


@contextmanager
def offline(root: Path, report: Reporter, now: Callable[[], int]) -> Iterator[Ports]:
    """Give ports without a provider while the block lasts, for what asks nobody."""
    repository = open_repository(root / "state" / "reconciler.db")
    objects = ObjectStore(root / "state" / "objects")
    try:
        yield Ports(root, Unconfigured(), Downloader(), repository, objects, report, now, now)
    finally:
        repository.close()
