"""The engine built by the settings: its clock, ports, options and media store, and a run that is followed on stderr."""

from __future__ import annotations

import asyncio
import signal
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rich.markup import escape
from rich.status import Status as Spinner

from reconciler.cli.console import err
from reconciler.cli.log import Event, QuietReporter
from reconciler.cli.project import Folder
from reconciler.cli.provider import allowed_networks, has_key, open_client
from reconciler.cli.tables import COLOURS
from reconciler.cli.views import summary_line
from reconciler.core.diff import Plan
from reconciler.core.printable import labelled
from reconciler.core.progress import Ended, Work
from reconciler.core.schedule import SECOND, Rules
from reconciler.core.states import Record, Status
from reconciler.engine.observe.survey import Survey
from reconciler.engine.ports import Hosting, Options, Ports, Provider, Reporter, Unconfigured
from reconciler.engine.run.apply import Run
from reconciler.hosting.media_store import MediaStore
from reconciler.hosting.places import VARIABLES, place_of
from reconciler.settings.definitions import Settings
from reconciler.settings.sources import Given
from reconciler.store.values import Caps
from reconciler.workspace.media.decoding import close_all
from reconciler.workspace.read.spec_cache import forget_file

if TYPE_CHECKING:
    from reconciler.hosting.media_store import Shelf

_DRIFT = 60.0  # seconds that the system's clock must be ahead before it is taken over
_SIGNS = {"green": "✓", "red": "✗", "yellow": "!"}


class ConsoleReporter(QuietReporter):
    """A reporter for people on stderr: a line for every change, and on a terminal a line below that counts."""

    def __init__(self, total: int) -> None:
        super().__init__()
        self._total = total
        self._status: dict[str, str] = {}
        self._spinner: Spinner | None = err.status("") if err.is_terminal else None

    def __enter__(self) -> Self:
        if self._spinner and self._total:
            self._count()
            self._spinner.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._spinner:
            self._spinner.stop()

    def _tell(self, event: Event, record: Record, status: Status, reason: str) -> None:  # noqa: ARG002
        self._status[record.base_id] = status
        name = escape(labelled(record.spec, record.label))
        colour = COLOURS.get(status) or "cyan"
        why = f"  {escape(reason)}" if reason else ""
        err.print(
            f"[{colour}]{_SIGNS.get(colour, '·')}[/] {status:<10} {name}  [dim]{record.external_task_id}[/]{why}"
        )
        self._count()

    def _count(self) -> None:
        if self._spinner:
            counts = Counter(self._status.values())
            said = summary_line(counts) if counts else "starting"
            self._spinner.update(f"{said} (of {self._total}); Ctrl-C stops, and nothing is lost")


def run(
    folder: Folder, survey: Survey, plan: Plan, works: Sequence[Work], timeout: float | None
) -> tuple[Ended, Survey]:
    """Apply a plan, follow it on stderr, survey the folder again; print which results no spec asks for any more.

    `timeout` is in seconds. Raises what `engine.run.apply.Run` raises.
    """

    async def apply(progress: ConsoleReporter) -> Ended:
        stop = _stop_on_signals(progress)
        async with open_ports(folder, progress, SteadyClock()) as ports:
            deadline = None if timeout is None else ports.now() + int(timeout * SECOND)
            begun = Run(ports, options_of(folder.settings), survey)
            return await begun.apply(plan, works, stop, deadline)

    with ConsoleReporter(len(works)) as progress:
        ended = asyncio.run(apply(progress))
    after = folder.survey()
    wanted = {wish.external_task_id for wish in after.desired.generations}
    for work in works:
        record = after.stored.get(work.base_id)
        is_unwanted = bool(work.wishes) and work.base_id not in wanted
        if is_unwanted and record and record.status is Status.COMPLETE:
            place = escape(work.wishes[0].spec)
            err.print(
                f"[yellow]not published[/] {record.external_task_id}: bought and saved, but "
                f"`{place}` no longer asks for it; when it does, it is published at no cost"
            )
    return ended, after


def _stop_on_signals(progress: ConsoleReporter) -> asyncio.Event:
    """Stop submitting on a first signal; a second one ends the process, which loses nothing either."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        progress.say("stopping; what is in flight is on record")
        stopped.set()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    return stopped


@asynccontextmanager
async def open_ports(
    folder: Folder, report: Reporter, clock: Callable[[], int]
) -> AsyncIterator[Ports]:
    """Open what the engine needs; without a key the provider's port refuses every call."""
    from reconciler.kling.downloads import Downloader
    from reconciler.kling.simulator_media import SimulatorMedia

    settings = folder.settings
    async with AsyncExitStack() as stack:
        stack.callback(close_all)  # no thread waits for a file any more
        client: Provider = Unconfigured()
        hosting: Hosting | None = None
        if has_key(settings):
            client = real = await stack.enter_async_context(open_client(settings))
            if settings.media_store:
                hosting = _media_store(settings)
            elif settings.is_simulated:
                hosting = SimulatorMedia(real)
        downloader = Downloader(
            timeout=settings.request_timeout,
            max_bytes=settings.max_result_bytes,
            allowed=allowed_networks(settings),
        )
        stack.push_async_callback(downloader.aclose)
        yield Ports(
            folder.root,
            client,
            downloader,
            folder.writable,
            folder.objects,
            report,
            clock,
            calendar,
            hosting,
            partial(forget_file, folder.cache),
        )


def try_media_store(settings: Settings) -> tuple[bool, str]:
    """Write a few bytes into the media store and remove them; return how files are addressed, without secrets."""
    if not settings.media_store:
        own = "the simulator brings its own" if settings.is_simulated else "local videos need one"
        return True, f"none is set: {own}"
    removed = asyncio.run(_media_store(settings).probe())
    left = "" if removed else "; it does not let us delete, so a probe of a few bytes stays"
    how = f"URLs are signed for {settings.media_url_seconds / 3600:g} h"
    if settings.media_public_url:
        how = f"its files are read at {settings.media_public_url}"
    if used := ", ".join(f"{one.name} from {one.source}" for one in _variables(settings)):
        how += f"; {used}"
    return True, f"{settings.media_store} can be written and read; {how}{left}"


def _media_store(settings: Settings) -> MediaStore:
    place = place_of(settings.media_store)

    def open_shelf() -> Shelf:
        if place.scheme == "file":
            from reconciler.hosting.local_folder import FolderShelf

            return FolderShelf(Path(place.prefix))
        from reconciler.hosting.cloud import CloudShelf

        plain = {one.name: one.value for one in _variables(settings)}
        return CloudShelf(place, plain, timedelta(seconds=settings.media_url_seconds))

    return MediaStore(open_shelf, public_url=settings.media_public_url, near=settings.is_simulated)


def _variables(settings: Settings) -> list[Given]:
    """Return the given variables of the media store's cloud; their values are secrets."""
    names = VARIABLES[place_of(settings.media_store).scheme]
    return [one for name in names if (one := settings.source(name)) and one.value]


def options_of(settings: Settings, *, enduring: bool = False) -> Options:
    """Return the engine's options by the settings."""
    return Options(
        run_id=str(uuid.uuid4()),
        rules=Rules(
            absence_grace=int(settings.absence_grace * SECOND),
            poll_interval=int(settings.poll_interval * SECOND),
        ),
        caps=Caps(per_day=settings.max_units_per_day, per_run=settings.max_units_per_run),
        max_concurrency=settings.max_concurrency,
        callback_url=settings.callback_url,
        host_images=settings.media_images,
        previews=settings.previews,
        enduring=enduring,
    )


def calendar() -> int:
    """Return the machine's time, in ms since the epoch; it may be set back or forward at any moment."""
    return int(time.time() * SECOND)


class SteadyClock:
    """Milliseconds since the epoch that never jump; they also count while a laptop sleeps.

    A grace period measured with a clock that is set forward could end at once, and a create be repeated.
    """

    def __init__(self) -> None:
        self._source = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
        self._offset = self._ahead()

    def __call__(self) -> int:
        """Return the time."""
        return int((self._offset + time.clock_gettime(self._source)) * SECOND)

    def correct(self) -> None:
        """Take over the system's time where it is well ahead: a machine was frozen, or began with a wrong clock.

        Call it only while nothing is in doubt. Never goes back: what is due would wait for the old time.
        """
        if (offset := self._ahead()) - self._offset > _DRIFT:
            self._offset = offset

    def _ahead(self) -> float:
        return time.time() - time.clock_gettime(self._source)
