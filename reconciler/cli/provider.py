"""Building the provider's client out of the settings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from reconciler.core.errors import SettingsError
from reconciler.kling.auth import Credentials
from reconciler.kling.client import KlingClient
from reconciler.settings import Settings


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
    hint = "Set KLING_ACCESS_KEY and KLING_SECRET_KEY (or KLING_API_KEY) in the environment or in .env; `reconciler demo` needs none."
    raise SettingsError(missing, hint=hint)


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
