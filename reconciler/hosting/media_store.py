"""Publishing a file: under its digest, uploaded once, with a new URL each time. A shelf is where the bytes are kept."""

from __future__ import annotations

import asyncio
import functools
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit
from weakref import WeakValueDictionary

from reconciler.core.errors import HostingError, WorkspaceError
from reconciler.core.hosts import is_near
from reconciler.hosting.places import StoredFile, public_base

if TYPE_CHECKING:  # the library of the clouds is loaded only where something is hosted
    from reconciler.hosting.cloud import CloudShelf
    from reconciler.hosting.local_folder import FolderShelf

    Shelf = FolderShelf | CloudShelf

UPLOADS: Final = 2  # at a time; each is in memory as a whole, 100 MB at most
PATIENCE: Final = 60.0  # s for a question, and for an upload besides what its size takes
SLOWEST: Final = 128 * 1024  # bytes per second
PROBE: Final = "reconciler-probe.txt"


class MediaStore:
    """Files of specs on a shelf, with URLs that the provider can read."""

    def __init__(
        self, open_shelf: Callable[[], Shelf], *, public_url: str = "", near: bool = False
    ) -> None:
        """`public_url` is where its files can be read, empty to sign URLs. `near`: the provider is on this machine."""
        self._shelf = functools.cache(open_shelf)  # when the first file needs it
        self._public = public_base(public_url) if public_url else ""
        self._near = near
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._uploads = asyncio.Semaphore(UPLOADS)
        self._sound: dict[str, str] = {}  # key -> the version whose bytes were compared

    async def publish(self, sha256: str, path: Path, suffix: str) -> str:
        """Return a URL of the bytes that have this digest; uploads them only when they are not there, or damaged.

        An object is compared by the store's digest, or else by its bytes, once for each version that this program sees.
        Raises HostingError, and WorkspaceError when the file does not hold these bytes (any more).
        """
        key = sha256 + suffix
        await self._url(key)  # raises, before an upload, where the provider could not read it
        async with self._turns.setdefault(key, asyncio.Lock()):
            # Asked every time: a bucket may clear old files by a rule of its own.
            if not await self._has(key, sha256, path):
                async with self._uploads:
                    data = await asyncio.to_thread(_read, path, sha256)
                    async with _within(len(data)):
                        await self._shelf().put(key, data)
                if not await self._has(key, sha256, path):
                    raise HostingError(
                        f"the media store does not hold the bytes of `{path.name}` that it was given",
                        hint="It will be tried again.",
                    )
        return await self._url(key)

    async def probe(self) -> bool:
        """Write a few bytes and remove them again; whether they could be removed. Raises HostingError."""
        await self._url(PROBE)
        async with _within():
            await self._shelf().put(PROBE, b"reconciler doctor was here\n")
        if await self._look(PROBE) is None:
            raise HostingError("the media store does not have what it has just taken")
        try:
            async with _within():
                await self._shelf().remove(PROBE)
        except HostingError:
            return False
        return True

    async def _look(self, key: str) -> StoredFile | None:
        async with _within():
            return await self._shelf().look(key)

    async def _has(self, key: str, sha256: str, path: Path) -> bool:
        kept = await self._look(key)
        with _reading(path):
            if kept is None or kept.size != (await asyncio.to_thread(path.stat)).st_size:
                return False
        if kept.version and self._sound.get(key) == kept.version:
            return True
        async with self._uploads:
            if not kept.md5 or kept.md5 != await asyncio.to_thread(_md5, path, sha256):
                async with _within(kept.size):
                    data = await self._shelf().read(key)
                if await asyncio.to_thread(_sha256, data) != sha256:
                    return False
        self._sound[key] = kept.version
        return True

    async def _url(self, key: str) -> str:
        async with _within():
            url = self._public + quote(key) if self._public else await self._shelf().sign(key)
        host = urlsplit(url).hostname or ""
        if not self._near and is_near(host):
            raise HostingError(
                f"the provider cannot reach {host}, where the media store lies",
                hint="Use a store on the internet, or set RECONCILER_MEDIA_PUBLIC_URL to where it can be read.",
            )
        return url


@asynccontextmanager
async def _within(size: int = 0) -> AsyncIterator[None]:
    """Raise HostingError, and cancel the body, after the time that so many bytes may take."""
    seconds = PATIENCE + size / SLOWEST
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        told = f"the media store did not finish within {seconds:.0f} s"
        raise HostingError(told, hint="It will be tried again.") from None


def _read(path: Path, sha256: str) -> bytes:
    """Return a file's bytes; raises WorkspaceError unless they have this digest."""
    with _reading(path):
        data = path.read_bytes()
    if _sha256(data) != sha256:
        told = f"`{path.name}` changed while it was being uploaded; nothing was sent"
        raise WorkspaceError(told, hint="Run again.")
    return data


def _md5(path: Path, sha256: str) -> str:
    return hashlib.md5(_read(path, sha256), usedforsecurity=False).hexdigest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        told = f"`{path.name}` cannot be read: {error.strerror}"
        raise WorkspaceError(told, hint="Restore the file and run again.") from error
