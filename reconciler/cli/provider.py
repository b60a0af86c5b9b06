"""Building the provider's client out of the settings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from reconciler.core.errors import SettingsError, counted
from reconciler.core.hosts import is_loopback
from reconciler.core.states import LIVE, Record, Status
from reconciler.kling.auth import Credentials
from reconciler.kling.client import KlingClient
from reconciler.kling.network import LOOPBACK, Network
from reconciler.settings import Settings
from reconciler.store.repository import Repository


def has_key(settings: Settings) -> bool:
    """Whether a whole key is set."""
    return bool(settings.access_key and settings.secret_key) or settings.api_key is not None


def watch_host(repository: Repository, base_url: str, records: Mapping[str, Record]) -> None:
    """Refuse to go on at another host than the one that has our tasks; remember the host.

    What one provider does not know says nothing about what another one has accepted.

    Raises:
        SettingsError: tasks are under way elsewhere.
    """
    host = urlsplit(base_url).hostname or ""
    host = "loopback" if is_loopback(host) else host
    known = repository.recall("host") or host
    waiting = sum(
        record.status in LIVE or record.status is Status.SUCCEEDED for record in records.values()
    )
    if known != host and waiting:
        back = "the simulator" if known == "loopback" else known
        hint = f"Set KLING_BASE_URL back to {back} and run `apply` there until they are saved."
        raise SettingsError(
            f"{counted(waiting, 'task')} {'is' if waiting == 1 else 'are'} under way at {known}, but KLING_BASE_URL now names {host}",
            hint=hint,
        )
    if repository.recall("host") != host:
        repository.remember("host", host)


def credentials(settings: Settings) -> Credentials:
    """Return the keys.

    Raises:
        SettingsError: they are missing, or half of a pair is.
    """
    access, secret, static = settings.access_key, settings.secret_key, settings.api_key
    if access and secret:
        return Credentials(
            access_key=access.get_secret_value(), secret_key=secret.get_secret_value()
        )
    if static:
        return Credentials(api_key=static.get_secret_value())
    missing = (
        "KLING_SECRET_KEY is missing"
        if access
        else "KLING_ACCESS_KEY is missing"
        if secret
        else "no key for the Kling API is set"
    )
    hint = "Set KLING_ACCESS_KEY and KLING_SECRET_KEY (or KLING_API_KEY) in the environment or in `.env`; `reconciler demo` needs none."
    raise SettingsError(missing, hint=hint)


def allowed_networks(settings: Settings) -> tuple[Network, ...]:
    """Return which networks media and results may lie in that are not of the internet.

    They are those that the operator names, and this machine where the API is on it: then it is the simulator.
    """
    here = is_loopback(urlsplit(settings.base_url).hostname or "")
    return (*settings.allowed_networks, *(LOOPBACK if here else ()))


@asynccontextmanager
async def provider(settings: Settings) -> AsyncIterator[KlingClient]:
    """Open the client.

    Raises:
        SettingsError: a key is missing, or the base URL is not https (or loopback).
    """
    client = KlingClient(
        base_url=settings.base_url,
        credentials=credentials(settings),
        timeout=settings.request_timeout,
    )
    try:
        yield client
    finally:
        await client.aclose()
