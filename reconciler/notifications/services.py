"""The services that carry messages, by their Apprise URLs. No gathering and no threads here.

An Apprise URL is a secret. Nothing that leaves this module holds one: a service is named by the scheme of its URL
and its place in the setting, and what the library would log is dropped.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.core.errors import SettingsError
from reconciler.notifications.bundles import Bundle, Kind

if TYPE_CHECKING:
    from apprise import Apprise, AppriseAsset

SETTING = "RECONCILER_NOTIFY_URLS"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,19})://")
_TONES = {
    Kind.COMPLETE: "success",
    Kind.FAILED: "failure",
    Kind.ACCOUNT: "warning",
    Kind.CAP: "warning",
}
_TALKATIVE = ("apprise", "requests", "urllib3")  # their records and warnings name hosts and URLs


@dataclass(frozen=True, slots=True)
class Service:
    """Somewhere a message can be sent."""

    name: str  # for people, without the secret
    _sender: Apprise

    def send(self, bundle: Bundle) -> bool:
        """Send one message and return whether the service took it; blocks, never raises."""
        try:
            return bool(
                self._sender.notify(
                    body=bundle.body,
                    title=bundle.title,
                    notify_type=_TONES[bundle.kind],
                    body_format="text",
                )
            )
        except Exception:  # noqa: BLE001 - whatever a service does, the work that is told of goes on
            return False


def services(urls: Sequence[str]) -> tuple[Service, ...]:
    """Return the services of these URLs; the library is imported only when there is one (0.3 s, 20 MB).

    Raises:
        SettingsError: a URL is not one that Apprise knows; says which by its place and scheme.
    """
    if not urls:
        return ()
    _silence()
    import apprise

    # No service time-out: with one, the library would send from a pool that the interpreter's exit waits for.
    asset = apprise.AppriseAsset(
        app_id="reconciler",
        app_desc="reconciler",
        async_mode=False,
        http_redirects=False,  # a POST that is redirected arrives as an empty GET and counts as sent
        interpret_emojis=False,
        service_timeout=0,
        storage_mode="memory",
    )
    return tuple(_service(place, url, asset) for place, url in enumerate(urls, start=1))


def _service(place: int, url: str, asset: AppriseAsset) -> Service:
    import apprise

    scheme = _SCHEME.match(url)
    name = f"entry {place} (`{scheme[1].lower()}://…`)" if scheme else f"entry {place}"
    sender = apprise.Apprise(asset=asset)
    # Made one by one: `add` would split a text into several, and read configuration files from URLs of its own.
    instance = apprise.Apprise.instantiate(url, asset=asset)
    if instance is None or not sender.add(instance):
        raise SettingsError(
            f"{SETTING}: {name} is not a complete URL of a service that Apprise knows",
            hint="Write it as Apprise's documents say, `json://host/path` for a plain webhook; "
            "several are separated by white space.",
        )
    return Service(name, sender)


def _silence() -> None:
    """Let the libraries keep to themselves what they would log or warn of."""
    for name in _TALKATIVE:
        logger = logging.getLogger(name)
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
        warnings.filterwarnings("ignore", module=rf"{name}\b")
