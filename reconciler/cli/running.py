"""Running a plan: the engine is put together here, out of the settings, and stopped by a signal."""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from reconciler.cli.clock import SteadyClock, calendar
from reconciler.cli.folder import Folder
from reconciler.cli.media import media_store
from reconciler.cli.progress import Progress
from reconciler.cli.provider import allowed_networks, has_key, provider
from reconciler.core.diff import Plan
from reconciler.core.schedule import SECOND, Rules
from reconciler.core.work import Work
from reconciler.engine.apply import Run
from reconciler.engine.loop import Ended
from reconciler.engine.ports import Options, Ports, Provider, Reporter, Unconfigured
from reconciler.engine.survey import Survey
from reconciler.kling.downloads import Downloader
from reconciler.settings import Settings
from reconciler.store.changes import Caps
from reconciler.workspace.decoding import close_all
from reconciler.workspace.spec_cache import forget_file


def run(
    folder: Folder, survey: Survey, plan: Plan, works: Sequence[Work], timeout: float | None
) -> Ended:
    """Apply a plan and follow it on stderr; `timeout` is in seconds.

    Raises:
        SettingsError, StateError, Unreachable: see `engine.apply.Run`.
    """
    with Progress(len(works)) as progress:
        return asyncio.run(_run(folder, survey, plan, works, progress, timeout))


async def _run(
    folder: Folder,
    survey: Survey,
    plan: Plan,
    works: Sequence[Work],
    progress: Progress,
    timeout: float | None,
) -> Ended:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _stop, stop, progress, loop)
    async with open_ports(folder, progress, SteadyClock()) as ports:
        deadline = None if timeout is None else ports.now() + int(timeout * SECOND)
        return await Run(ports, options_of(folder.settings), survey).apply(
            plan, works, stop, deadline
        )


def _stop(stop: asyncio.Event, progress: Progress, loop: asyncio.AbstractEventLoop) -> None:
    """Stop submitting; a second Ctrl-C ends at once, which loses nothing either."""
    progress.say("stopping; what is in flight is on record")
    stop.set()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.remove_signal_handler(number)


@asynccontextmanager
async def open_ports(
    folder: Folder, report: Reporter, clock: Callable[[], int]
) -> AsyncIterator[Ports]:
    """Open what the engine needs; what only takes this disk needs no key."""
    async with AsyncExitStack() as stack:
        stack.callback(close_all)  # no thread waits for a file any more
        client: Provider = Unconfigured()
        hosting = None
        if has_key(folder.settings):
            real = await stack.enter_async_context(provider(folder.settings))
            client, hosting = real, media_store(folder.settings, real)
        settings = folder.settings
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
            folder.repository,
            folder.objects,
            report,
            clock,
            calendar,
            hosting,
            partial(forget_file, folder.cache),
        )


def options_of(settings: Settings, *, enduring: bool = False) -> Options:
    """Return how to work, by the settings."""
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
