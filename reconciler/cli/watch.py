"""The daemon's command, and where its parts are put together."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import typer

from reconciler import settings as configuration
from reconciler.cli.project import Folder, open_folder, root_of
from reconciler.cli.provider import credentials, require_provider
from reconciler.cli.terminal import ExitCode, print_error
from reconciler.core.errors import ReconcilerError, SettingsError, counted, told
from reconciler.core.schedule import DAY, SECOND
from reconciler.settings.definitions import Settings
from reconciler.workspace.files.outputs import RACY_NS, check_room
from reconciler.workspace.git import Checkout
from reconciler.workspace.tree.walk import specs_folder

if TYPE_CHECKING:
    from reconciler.cli.log import LogReporter
    from reconciler.cli.running import SteadyClock
    from reconciler.engine.ports import Options, Ports
    from reconciler.engine.run.daemon import Daemon
    from reconciler.workspace.index.spec_index import SpecIndex

_BUSY_TIMEOUT = 1.0  # s that the whole loop waits for a locked database; then it tries again later


def watch(context: typer.Context, http: str, no_http: bool) -> int:
    """Keep the folder true: follow its changes, buy what is missing, save the results; until it is stopped."""
    host, _, port = http.rpartition(":")
    if not (no_http or (host and port.isdigit() and int(port) <= 65535)):
        raise typer.BadParameter(f"`{http}` is not HOST:PORT, such as 127.0.0.1:8787")
    address = None if no_http else (host.strip("[]"), int(port))
    chosen: Settings | None = None  # None: read them
    earlier: Settings | None = None
    root = root_of(context)
    while True:
        _leave_at_once()
        life: _Watch | None = None
        try:
            with open_folder(
                root, write=True, settings=chosen, busy_timeout=_BUSY_TIMEOUT
            ) as folder:
                life = _Watch(folder, address)
                chosen, earlier = asyncio.run(life.run()), folder.settings
                if chosen is None:
                    return ExitCode.DONE
        except ReconcilerError as error:
            if earlier is None or (life is not None and life.has_begun):
                raise
            print_error(f"going on with the earlier settings: {error.message}", error.hint)
            chosen, earlier = earlier, None


def _leave_at_once() -> None:
    """Exit at once on a signal while no daemon is at work: reading a folder may take a minute, and changes nothing."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # An exception would be raised, and swallowed, wherever a library happens to be.
        signal.signal(number, lambda *_: os._exit(ExitCode.DONE))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the settings are being read already


@dataclass
class _Watch:
    """The daemon from reading the settings to reading them again, or to the end."""

    folder: Folder
    address: tuple[str, int] | None
    has_begun: bool = False  # from then on an error has nothing to do with the settings
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _next: Settings | None = None
    _is_leaving: bool = False
    _daemon: Daemon | None = None

    async def run(self) -> Settings | None:
        """Run the daemon until a signal; return the settings to start again with, or None to exit."""
        from reconciler.cli.log import feed_watchdog, open_report, tell_systemd
        from reconciler.cli.running import SteadyClock, open_ports, options_of

        folder, settings = self.folder, self.folder.settings
        require_provider(folder, folder.repository.unfinished())
        clock = SteadyClock()
        async with AsyncExitStack() as stack:
            stack.callback(_leave_at_once)  # until the next start
            report = stack.enter_context(open_report(settings, folder.root))
            feed = feed_watchdog(lambda: self._daemon is not None and self._daemon.looks.hangs)
            feeding = asyncio.create_task(feed, name="systemd watchdog")
            stack.callback(feeding.cancel)
            ports = await stack.enter_async_context(open_ports(folder, report, clock))
            options = options_of(settings, enduring=True)
            daemon, index = await self._open(stack, ports, options, clock)
            self._obey_signals(report)
            url = await self._serve(stack, daemon, index, clock)

            def begun() -> None:
                where = f"; status page {url}" if url else ""
                self.has_begun = True
                gc.freeze()  # what was read stays: looking through it again and again costs a save 50 ms
                count = counted(len(index.specs) + index.dormant.specs, "spec")
                report.info(f"watching {count} in `{settings.specs_dir}`{where}")
                tell_systemd("READY=1")

            await daemon.run(self._stop, begun=begun)
            if self._follows is None:
                tell_systemd("STOPPING=1")
                report.info("leaving; what is in flight is on record, and nothing is lost")
        return self._follows

    @property
    def _follows(self) -> Settings | None:
        """The settings to start again with; a stop that comes while they are read wins."""
        return None if self._is_leaving else self._next

    def _obey_signals(self, report: LogReporter) -> None:
        """Stop, or read the settings again, on a signal; also on one that comes after the end of the event loop."""
        loop = asyncio.get_running_loop()  # its own handlers would end with it

        def obey(number: int, frame: object) -> None:  # noqa: ARG001 - the signature is the system's
            if number == signal.SIGHUP:
                loop.call_soon_threadsafe(self._reload, report)
            else:  # for good: this life may be at its end, or about to end, to begin anew
                self._is_leaving = True
                loop.call_soon_threadsafe(self._stop.set)

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, obey)

    def _reload(self, report: LogReporter) -> None:
        """Start again with the current settings; wrong ones change nothing."""
        if self._is_leaving:
            return
        from reconciler.cli.log import tell_systemd, tell_systemd_of_reload

        tell_systemd_of_reload()
        try:
            settings = configuration.load(self.folder.root, again=self.folder.settings)
            credentials(settings)
        except ReconcilerError as error:
            report.say(
                f"the settings were not read again, and the earlier ones stay in force: {told(error)}"
            )
            tell_systemd("READY=1")
            return
        if kept := settings.provenance.kept:
            report.say(
                f"{', '.join(kept)} cannot change while `watch` runs: what held at its start stays in force; "
                "stop it and start it again for that"
            )
        changes = configuration.changes(self.folder.settings, settings)
        changed = "; ".join(changes) or "nothing changed in them"
        report.info(f"reading the settings again: {changed}")
        self._next = settings
        self._stop.set()

    async def _open(
        self, stack: AsyncExitStack, ports: Ports, options: Options, clock: SteadyClock
    ) -> tuple[Daemon, SpecIndex]:
        from reconciler.engine.orders.take import OrderTaker
        from reconciler.engine.run.daemon import Daemon, Duties, Pace
        from reconciler.workspace.index.spec_index import SpecIndex
        from reconciler.workspace.watch.watcher import Watcher

        folder, settings = self.folder, self.folder.settings
        checkout = Checkout.find(folder.root) if settings.require_committed else None
        loop = asyncio.get_running_loop()

        def wake() -> None:
            if self._daemon is not None:
                with suppress(RuntimeError):  # the loop is closed: this was the last event
                    loop.call_soon_threadsafe(self._daemon.wake)

        watcher = Watcher(
            folder.root,
            specs_folder(folder.root, settings.specs_dir),
            ignored=[settings.state_dir],
            wake=wake,
            trouble=ports.report.say,
        )
        watcher.revive()  # before the folder is read: nothing falls between
        stack.callback(watcher.stop)
        dormant = await asyncio.to_thread(folder.dormant)
        index = await asyncio.to_thread(
            SpecIndex,
            folder.root,
            settings.specs_dir,
            prices=settings.prices,
            cache=folder.cache,
            deferred=True,
            dormant=dormant,
            quiet_ns=max(RACY_NS, int(settings.settle_seconds * 1e9)),
        )
        pace = Pace(
            settle=int(settings.settle_seconds * SECOND),
            resync=int(settings.resync_seconds * SECOND),
            history=settings.history_days * DAY,
        )
        taker = OrderTaker(ports, options, index, folder.surveyor)
        duties = Duties(
            index,
            watcher,
            pace,
            checkout,
            folder.can_host,
            is_ordered=taker.is_ordered,
            acknowledge=taker.acknowledge,
            carry_out=taker.carry_out,
            correct_clock=clock.correct,
            check_room=partial(check_room, folder.root, settings.specs_dir),
        )
        self._daemon = Daemon(ports, options, duties)
        return self._daemon, index

    async def _serve(
        self, stack: AsyncExitStack, daemon: Daemon, index: SpecIndex, clock: SteadyClock
    ) -> str:
        """Serve the status page and the provider's callbacks; return the page's URL."""
        settings = self.folder.settings
        if self.address is None:
            if settings.callback_url:
                raise SettingsError(
                    "RECONCILER_CALLBACK_URL is set, but --no-http leaves nobody to receive callbacks",
                    hint="Leave out one of the two.",
                )
            return ""
        from reconciler.cli.status_page import StatusPage
        from reconciler.web.callbacks import signing_key
        from reconciler.web.pages import StatusSource
        from reconciler.web.routes import status_app
        from reconciler.web.serving import serving

        host, port = self.address
        secret = settings.webhook_secret
        token = settings.page_token.get_secret_value() if settings.page_token else ""
        page = StatusPage(daemon, index, clock())
        app = status_app(
            StatusSource(page.document, page.health, daemon.unready, daemon.awake),
            daemon.hint if settings.callback_url else None,
            allowed_hosts=[host],
            signing_key=signing_key(secret.get_secret_value()) if secret else None,
            page_token=token,
        )
        served = serving(app, host, port, is_guarded=bool(token))
        return await stack.enter_async_context(served)
