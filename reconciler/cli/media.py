"""Media outside of the folder: the media store of the settings, and the URLs that `validate --probe` asks."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from reconciler.cli.doctor import Check, checked
from reconciler.cli.project import Folder
from reconciler.cli.provider import allowed_networks
from reconciler.core.documents import Problem
from reconciler.core.hosts import is_loopback
from reconciler.core.sources import Medium
from reconciler.engine.ports import Hosting
from reconciler.hosting.media_store import MediaStore
from reconciler.hosting.places import VARIABLES, place_of
from reconciler.kling.client import KlingClient
from reconciler.kling.samples import ProbeFailed, Prober, Sample
from reconciler.settings.definitions import Settings
from reconciler.settings.sources import Given
from reconciler.workspace.read.remote import next_part, remote_faults, remote_media

if TYPE_CHECKING:
    from reconciler.hosting.media_store import Shelf


def media_store(settings: Settings, client: KlingClient) -> Hosting | None:
    """Return the media store that the settings name, the simulator's own where they name none, or None."""
    from reconciler.kling.simulator_media import SimulatorMedia

    if settings.media_store:
        return _named(settings)
    return SimulatorMedia(client) if _is_here(settings) else None


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
            from reconciler.hosting.local_folder import FolderShelf

            return FolderShelf(Path(place.prefix))
        from reconciler.hosting.cloud import CloudShelf

        plain = {one.name: one.value for one in _variables(settings)}
        return CloudShelf(place, plain, timedelta(seconds=settings.media_url_seconds))

    return MediaStore(open_shelf, public_url=settings.media_public_url, near=_is_here(settings))


def _how(settings: Settings) -> str:
    """Tell how files are addressed, and which variables of the cloud count; no value is shown."""
    urls = f"URLs are signed for {settings.media_url_seconds / 3600:g} h"
    if settings.media_public_url:
        urls = f"its files are read at {settings.media_public_url}"
    used = ", ".join(f"{one.name} from {one.source}" for one in _variables(settings))
    return f"{urls}; {used}" if used else urls


def _variables(settings: Settings) -> list[Given]:
    """Return the variables of the media store's cloud that are given; their values are secrets."""
    names = VARIABLES[place_of(settings.media_store).scheme]
    return [one for name in names if (one := settings.source(name)) and one.value]


def _is_here(settings: Settings) -> bool:
    return is_loopback(urlsplit(settings.base_url).hostname or "")


Asked = tuple[Medium, str]  # what it is, and its URL


def probed(folder: Folder, specs: Collection[str]) -> dict[str, tuple[Problem, ...]]:
    """Ask each URL of specs once; return what is found against it at every place that names it, by spec."""
    settings = folder.settings
    remotes = remote_media(folder.root, settings.specs_dir, specs, settings.prices)
    answers = asyncio.run(
        _ask(settings, list({(one.wanted.medium, one.url): None for one in remotes}))
    )
    found: defaultdict[str, tuple[Problem, ...]] = defaultdict(tuple)
    for remote in remotes:
        answer = answers[remote.wanted.medium, remote.url]
        if isinstance(answer, ProbeFailed):
            sentences = [answer.message]
        else:
            sentences = remote_faults(remote, answer.size, answer.content_type, answer.parts)
        if sentences:
            found[remote.spec] += tuple(map(remote.problem, sentences))
    return found


async def _ask(settings: Settings, urls: Collection[Asked]) -> dict[Asked, Sample | ProbeFailed]:
    prober = Prober(timeout=settings.request_timeout, allowed=allowed_networks(settings))

    async def sample(medium: Medium, url: str) -> Sample | ProbeFailed:
        try:
            return await prober.sample(url, lambda seen: next_part(medium, seen.size, seen.parts))
        except ProbeFailed as failure:
            return failure

    try:
        answers = await asyncio.gather(*(sample(*asked) for asked in urls))
    finally:
        await prober.aclose()
    return dict(zip(urls, answers, strict=True))
