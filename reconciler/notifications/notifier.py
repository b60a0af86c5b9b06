"""Notifications: one thread that gathers sentences and sends them, through Apprise and beside the work.

An Apprise URL is a secret and never leaves this module: a service is named by the scheme of its URL and its place in
the setting, and what the library would log is dropped.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from reconciler.core.errors import SettingsError
from reconciler.core.printable import printable

if TYPE_CHECKING:
    from apprise import Apprise

SHOWN = 10  # sentences of a message; the others are counted
_LONGEST = 500  # characters of a sentence
_PAUSES = (0.5, 1.5)  # s before the second and the third, last attempt
_SETTING = "RECONCILER_NOTIFY_URLS"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,19})://")
_TALKATIVE = ("apprise", "requests", "urllib3")  # their records and warnings name hosts and URLs


class Notice(StrEnum):
    """The kinds of notifications; the words are those of `RECONCILER_NOTIFY_ON`."""

    COMPLETE = "complete"  # results are saved
    FAILED = "failed"  # generations need attention
    ACCOUNT = "account"  # trouble with the account, and its end
    CAP = "cap"  # a spending cap is near or reached


# the library's word for the tone; the title for one sentence, and for several
_MESSAGES = {
    Notice.COMPLETE: ("success", "1 result saved", "{:,} results saved"),
    Notice.FAILED: ("failure", "1 generation needs attention", "{:,} generations need attention"),
    Notice.ACCOUNT: ("warning", "the account at the provider", "the account at the provider"),
    Notice.CAP: ("warning", "a spending cap", "spending caps"),
}


@dataclass(slots=True)
class Bundle:
    """The sentences of one kind that go out together: the first ones, and how many there were."""

    kind: Notice
    count: int = 0
    sentences: list[str] = field(default_factory=list)

    def add(self, sentence: str) -> None:
        """Take one more, as one line of bounded length; memory stays bounded however many come."""
        self.count += 1
        if len(self.sentences) < SHOWN:
            plain = printable(sentence[: _LONGEST + 1])
            self.sentences.append(plain if len(plain) <= _LONGEST else f"{plain[:_LONGEST]}…")

    @property
    def title(self) -> str:
        """Return the message's subject."""
        _, one, many = _MESSAGES[self.kind]
        return f"reconciler: {one if self.count == 1 else many.format(self.count)}"

    @property
    def body(self) -> str:
        """Return the sentences, a line each, and how many more there are."""
        more = self.count - len(self.sentences)
        return "\n".join([*self.sentences, f"and {more:,} more"] if more else self.sentences)

    def send(self, service: Apprise) -> bool:
        """Send this as one message and return whether the service took it; blocks, never raises."""
        tone, *_ = _MESSAGES[self.kind]
        try:
            return bool(service.notify(self.body, self.title, tone, body_format="text"))
        except Exception:  # noqa: BLE001 - no failure of a service may end the work
            return False


def _services_of(urls: Sequence[str]) -> dict[str, Apprise]:
    """Return the services of these URLs, by names for people that hold no secret."""
    if not urls:
        return {}  # without the library: it takes 0.3 s and 20 MB
    for name in _TALKATIVE:
        logger = logging.getLogger(name)
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
        warnings.filterwarnings("ignore", module=rf"{name}\b")
    from apprise import Apprise, AppriseAsset

    # No service time-out: with one, the library would send from a pool that the interpreter's exit waits for.
    asset = AppriseAsset(
        app_id="reconciler",
        app_desc="reconciler",
        async_mode=False,
        http_redirects=False,  # a POST that is redirected arrives as an empty GET and counts as sent
        interpret_emojis=False,
        service_timeout=0,
        storage_mode="memory",
    )
    services = {}
    for place, url in enumerate(urls, start=1):
        scheme = _SCHEME.match(url)
        name = f"entry {place} (`{scheme[1].lower()}://…`)" if scheme else f"entry {place}"
        services[name] = Apprise(asset=asset)
        # Made one by one: `add` would split a text into several, and read configuration files from URLs of its own.
        instance = Apprise.instantiate(url, asset=asset)
        if instance is None or not services[name].add(instance):
            raise SettingsError(
                f"{_SETTING}: {name} is not a complete URL of a service that Apprise knows",
                hint="Write it as Apprise's documents say, `json://host/path` for a plain webhook; "
                "several are separated by white space.",
            )
    return services


class Notifier:
    """Sends notifications through the user's services; `tell` may be called from any thread.

    Sentences of `gather` seconds, and of the time that a slow service takes, become one message for each kind.
    """

    def __init__(
        self,
        urls: Sequence[str],
        kinds: frozenset[Notice],
        *,
        trouble: Callable[[str], None],
        gather: float = 5.0,
    ) -> None:
        """`trouble` is called once for each failing service, in another thread; raises SettingsError for a bad URL."""
        self._services = _services_of(urls)
        self._kinds = kinds
        self._trouble = trouble
        self._gather = gather
        self._gathered: dict[Notice, Bundle] = {}
        self._failing: set[str] = set()
        self._lock = threading.Lock()
        self._told = threading.Event()
        self._closing = threading.Event()
        # A daemon thread: a service that never answers must not keep the process.
        self._thread = threading.Thread(target=self._work, name="notifications", daemon=True)
        if self._services:
            self._thread.start()

    def tell(self, kind: Notice, sentence: str) -> None:
        """Send a sentence with the next message; returns at once and never raises."""
        if not self._services or kind not in self._kinds or self._closing.is_set():
            return
        with self._lock:
            self._gathered.setdefault(kind, Bundle(kind)).add(sentence)
        self._told.set()

    def close(self, timeout: float) -> None:
        """Send what is gathered and end, within these seconds; `trouble` is called when that was too short."""
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
            self._send_gathered()
        self._send_gathered()  # `close` may have come between the last taking and the look at it

    def _send_gathered(self) -> None:
        with self._lock:
            gathered, self._gathered = self._gathered, {}
        for bundle in (gathered[kind] for kind in Notice if kind in gathered):
            self._send(bundle)

    def _send(self, bundle: Bundle) -> None:
        """Send to all; those that fail are tried again after all others had their turn, and not when time is short."""
        left = self._attempt(self._services, bundle)
        for pause in _PAUSES:
            if not left or self._closing.wait(pause):
                break
            left = self._attempt(left, bundle)
        for name in left:
            if name not in self._failing:
                self._failing.add(name)
                self._say(
                    f"{_SETTING}: {name} does not take notifications; "
                    "others go on, and it is tried again with the next one"
                )

    def _attempt(self, among: Iterable[str], bundle: Bundle) -> list[str]:
        failed = [name for name in among if not bundle.send(self._services[name])]
        self._failing -= set(among).difference(failed)
        return failed

    def _say(self, sentence: str) -> None:
        # The caller's console may be closed already; nothing here may end the thread.
        with contextlib.suppress(Exception):
            self._trouble(sentence)
