"""Who is told, and when: one thread that gathers sentences and sends them, out of the way of the work."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence

from reconciler.notifications.bundles import Bundle, Kind
from reconciler.notifications.services import SETTING, Service, services

_PAUSES = (0.5, 1.5)
"""Seconds before the second and the third attempt; a service that took none of the three is given up."""


class Notifier:
    """Tells people through their own services; may be told from any thread.

    What is told within `gather` seconds, and while a slow service is waited for, goes out as one message for each
    kind. Memory does not grow with what is told.
    """

    def __init__(
        self,
        urls: Sequence[str],
        kinds: frozenset[Kind],
        *,
        trouble: Callable[[str], None],
        gather: float = 5.0,
    ) -> None:
        """`trouble` is given one sentence, in another thread, when a service fails; again only after it has worked.

        Raises:
            SettingsError: a URL is not one that Apprise knows; names its scheme, never the URL.
        """
        self._services = services(urls)
        self._kinds = kinds
        self._trouble = trouble
        self._gather = gather
        self._gathered: dict[Kind, Bundle] = {}
        self._failing: set[str] = set()
        self._lock = threading.Lock()
        self._told = threading.Event()
        self._closing = threading.Event()
        # A daemon thread: a service that never answers must not keep the process.
        self._thread = threading.Thread(target=self._work, name="notifications", daemon=True)
        if self._services:
            self._thread.start()

    def tell(self, kind: Kind, sentence: str) -> None:
        """Tell one thing; returns at once and never raises."""
        if not self._services or kind not in self._kinds or self._closing.is_set():
            return
        with self._lock:
            self._gathered.setdefault(kind, Bundle(kind)).add(sentence)
        self._told.set()

    def close(self, timeout: float) -> None:
        """Send what was told and end, within these seconds; what is not sent by then is said to be lost."""
        self._closing.set()
        self._told.set()
        if not self._services:
            return
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._say("the last notifications could not be sent in time")

    def _work(self) -> None:
        while not self._closing.is_set():
            self._told.wait()
            self._closing.wait(self._gather)
            self._told.clear()
            for bundle in self._take():
                self._send(bundle)
        # `close` may have come between the last taking and the look at it.
        for bundle in self._take():
            self._send(bundle)

    def _take(self) -> list[Bundle]:
        with self._lock:
            gathered, self._gathered = self._gathered, {}
        return [gathered[kind] for kind in Kind if kind in gathered]

    def _send(self, bundle: Bundle) -> None:
        """Send to all; those that fail are tried again after all others had their turn, and not when time is short."""
        left = self._attempt(self._services, bundle)
        for pause in _PAUSES:
            if not left or self._closing.wait(pause):
                break
            left = self._attempt(left, bundle)
        for service in left:
            self._failed(service)

    def _attempt(self, among: Sequence[Service], bundle: Bundle) -> list[Service]:
        failed = [service for service in among if not service.send(bundle)]
        self._failing -= {service.name for service in among if service not in failed}
        return failed

    def _failed(self, service: Service) -> None:
        if service.name not in self._failing:
            self._failing.add(service.name)
            self._say(
                f"{SETTING}: {service.name} does not take notifications; "
                "others go on, and it is tried again with the next one"
            )

    def _say(self, sentence: str) -> None:
        # The one who is told may be gone already; nothing here may end the thread.
        with contextlib.suppress(Exception):
            self._trouble(sentence)
