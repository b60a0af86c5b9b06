"""What the engine is given: the provider, the stores, the folder, a clock and somebody to tell.

Plain references, no behaviour. Real objects serve in tests too; what is replaced there is the wire below them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Never, Protocol

from reconciler.core.progress import Terms, Topic
from reconciler.core.states import Record, Role, Task
from reconciler.kling.client import Reply
from reconciler.kling.downloads import Downloader
from reconciler.kling.errors import AccountTrouble
from reconciler.store.objects import ObjectStore
from reconciler.store.repository import Repository
from reconciler.store.values import Caps


class Hosting(Protocol):
    """A media store: makes a local file readable for the provider."""

    async def publish(self, sha256: str, path: Path, suffix: str) -> str:
        """Return a URL of these bytes, which ends in `suffix`; uploads them only when they are not there yet.

        The URL may open what it names to anybody: it goes to the provider, and into no file and no log.
        Raises HostingError, WorkspaceError (the file is not these bytes), OSError or a ProviderError.
        """


class Provider(Protocol):
    """The provider's API, as `kling.client` offers it."""

    async def create(self, body: Mapping[str, object], *, endpoint: str) -> Reply:
        """Create a task at the endpoint of its kind; whoever calls this may spend money, and is `buy.create` alone."""

    async def query(self, task_or_external_id: str, *, ours: bool = False, endpoint: str) -> Reply:
        """Ask for one task by either of its ids; `ours`: by the one that we gave it."""

    async def page(self, number: int, size: int, *, endpoint: str) -> tuple[Task, ...]:
        """Read one page of the list of tasks."""


class Unconfigured:
    """Stands in for the provider where no key is set and none is needed."""

    async def create(self, *_: object, **__: object) -> Never:
        """Refuse."""
        raise AccountTrouble("no key for the Kling API is set")

    query = page = create


class Reporter(Protocol):
    """Whoever follows the work: a terminal, a log."""

    def changed(self, record: Record) -> None:
        """A record has a new status or a new reason; it is on disk already."""

    def held(self, record: Record, reason: str) -> None:
        """The generation stays where it is for this run, for this reason."""

    def say(self, message: str, topic: Topic = Topic.OTHER) -> None:
        """Something that concerns no single generation, said once."""


@dataclass(frozen=True, slots=True)
class Options(Terms):
    """How to work; plain values out of the settings."""

    run_id: str
    caps: Caps = field(default_factory=Caps)
    max_concurrency: int | None = None  # None: learn it
    downloads: int = 4  # at a time
    callback_url: str = ""  # for tasks whose spec names none
    host_images: bool = False  # local images go to the media store, not into the request
    previews: frozenset[Role] = frozenset()  # what is made of a saved video, and put beside it
    # seconds until what is under way is cut off for an order: longer than a request takes
    standstill: float = 35.0


@dataclass(frozen=True, slots=True)
class Ports:
    """The world, as the engine sees it."""

    root: Path
    client: Provider
    downloader: Downloader
    repository: Repository
    objects: ObjectStore
    report: Reporter
    # Both ms since the epoch: what is waited for is measured by `now`, which never jumps; `calendar` is as the machine
    # shows it, and says which day it is.
    now: Callable[[], int]
    calendar: Callable[[], int]
    hosting: Hosting | None = None
    # Called with the path of a local file (relative to the root) that is not what is remembered of it.
    distrust: Callable[[str], None] = lambda _: None
