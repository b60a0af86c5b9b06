"""The media store out of the settings: which one there is, and `doctor`'s look at it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.doctor import Check, checked
from reconciler.core.hosts import is_loopback
from reconciler.hosting.media_store import MediaStore, Shelf
from reconciler.hosting.places import VARIABLES, place_of
from reconciler.settings import Settings
from reconciler.settings.sources import Given

if TYPE_CHECKING:
    from reconciler.engine.ports import Hosting
    from reconciler.kling.client import KlingClient


def media_store(settings: Settings, client: KlingClient) -> Hosting | None:
    """Return the media store that the settings name, the simulator's own where they name none, or None."""
    from reconciler.kling.hosting import LoopbackMedia

    if settings.media_store:
        return _named(settings)
    return LoopbackMedia(client) if _is_here(settings) else None


def media_check(settings: Settings) -> Check:
    """Write a few bytes into the media store and remove them again."""

    def look() -> tuple[bool, str]:
        if not settings.media_store:
            own = "the simulator brings its own" if _is_here(settings) else "local videos need one"
            return True, f"none is set: {own}"
        removed = asyncio.run(_named(settings).probe())
        left = "" if removed else "; it does not let us delete, so a probe of a few bytes stays"
        return True, f"{settings.media_store} can be written and read; {_how(settings)}{left}"

    return checked("media", look)


def _named(settings: Settings) -> MediaStore:
    place = place_of(settings.media_store)

    def open_shelf() -> Shelf:
        if place.scheme == "file":
            from reconciler.hosting.folder import FolderShelf

            return FolderShelf(Path(place.prefix))
        from reconciler.hosting.cloud import CloudShelf

        plain = {one.name: one.value for one in _variables(settings)}
        return CloudShelf(place, plain, timedelta(seconds=settings.media_url_seconds))

    return MediaStore(open_shelf, public_url=settings.media_public_url, near=_is_here(settings))


def _how(settings: Settings) -> str:
    """Tell how files are addressed, and which variables of the cloud count; no value is shown."""
    if settings.media_public_url:
        urls = f"its files are read at {settings.media_public_url}"
    else:
        urls = f"URLs are signed for {settings.media_url_seconds / 3600:g} h"
    used = ", ".join(f"{one.name} from {one.source}" for one in _variables(settings))
    return f"{urls}; {used}" if used else urls


def _variables(settings: Settings) -> list[Given]:
    """Return the variables of the media store's cloud that are given; their values are secrets."""
    names = VARIABLES[place_of(settings.media_store).scheme]
    return [one for name in names if (one := settings.source(name)) and one.value]


def _is_here(settings: Settings) -> bool:
    from urllib.parse import urlsplit

    return is_loopback(urlsplit(settings.base_url).hostname or "")
