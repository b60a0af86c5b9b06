"""What the engine is given: the provider, the stores, the folder, a clock and a reporter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Never, Protocol

from reconciler.core.progress import Terms, Topic
from reconciler.core.states import Record, Reply, Role, Task
from reconciler.kling.errors import AccountTrouble
from reconciler.store.objects import ObjectStore
from reconciler.store.values import Caps

if TYPE_CHECKING:  # HTTP and SQLAlchemy take long to load, and a plan needs neither
    from reconciler.kling.downloads import Downloader
    from reconciler.store.repository import Repository


class Hosting(Protocol):
    """A media store: makes a local file readable for the provider."""

    async def publish(self, sha256: str, path: Path, suffix: str) -> str:
        """Return a URL of these bytes, which ends in `suffix`; uploads them only when they are not there yet.

        The URL may give access to anyone who has it: it goes to the provider, and into no file and no log.
        Raises HostingError, WorkspaceError (the file is not these bytes), OSError or a ProviderError.
        """


class Provider(Protocol):
    """The provider's API, as `kling.client` offers it."""

    async def create(self, body: Mapping[str, object], *, endpoint: str) -> Reply:
        """Create a task at the endpoint of its kind. This spends money: only `buy.create` may call it."""

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
    """Tells the user what happens, on a terminal or in a log."""

    def changed(self, record: Record) -> None:
        """A record has a new status or a new reason; it is on disk already."""

    def held(self, record: Record, reason: str) -> None:
        """The generation stays where it is for this run, for this reason."""

    def say(self, message: str, topic: Topic = Topic.OTHER) -> None:
        """Tell something that concerns no single generation."""


@dataclass(frozen=True, slots=True)
class Options(Terms):
    """The engine's settings."""

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
    """Everything outside the engine that it uses."""

    root: Path
    client: Provider
    downloader: Downloader
    repository: Repository
    objects: ObjectStore
    report: Reporter
    # Both ms since the epoch: `now` never jumps and measures waits; `calendar` is the machine's clock and says the day.
    now: Callable[[], int]
    calendar: Callable[[], int]
    hosting: Hosting | None = None
    # Called with the path (relative to the root) of a local file that is not as it was read.
    distrust: Callable[[str], None] = lambda _: None
