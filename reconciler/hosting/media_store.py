"""Publishing a file: under its digest, uploaded once, addressed anew each time. Where to is a shelf's business."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import quote, urlsplit
from weakref import WeakValueDictionary

from reconciler.core.errors import HostingError, WorkspaceError
from reconciler.hosting.places import is_near, public_base

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

UPLOADS: Final = 2  # at a time; each is in memory as a whole, 100 MB at most
PATIENCE: Final = 60.0  # s for a question, and for an upload besides what its size takes
SLOWEST: Final = 128 * 1024  # bytes per second
PROBE: Final = "reconciler-probe.txt"


class Shelf(Protocol):
    """Somewhere to keep files; every method raises HostingError."""

    async def size(self, key: str) -> int | None:
        """Return how many bytes are kept under a key, None for nothing."""
        ...

    async def put(self, key: str, data: bytes) -> None:
        """Keep these bytes: all of them or none."""
        ...

    async def remove(self, key: str) -> None:
        """Keep nothing under this key."""
        ...

    async def sign(self, key: str) -> str:
        """Return a URL that holds for a while."""
        ...


class MediaStore:
    """Files of specs on a shelf, with URLs that the provider can read."""

    def __init__(
        self, open_shelf: Callable[[], Shelf], *, public_url: str = "", near: bool = False
    ) -> None:
        """The shelf is opened when the first file needs it.

        `public_url` is where its files can be read, empty to sign URLs. `near`: the provider is on this machine.
        """
        self._open_shelf = open_shelf
        self._shelf: Shelf | None = None
        self._public = public_base(public_url) if public_url else ""
        self._near = near
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._uploads = asyncio.Semaphore(UPLOADS)

    async def publish(self, sha256: str, path: Path, suffix: str) -> str:
        """Return a URL of the bytes that have this digest; uploads them only when they are not there.

        Raises HostingError for what the store does, WorkspaceError when the file is not (any more) these bytes.
        """
        key = sha256 + suffix
        await self._url(key)  # what nobody could read is not uploaded
        async with self._turns.setdefault(key, asyncio.Lock()):
            size = await asyncio.to_thread(_size_of, path)
            # Asked every time: a bucket may clear old files by a rule of its own.
            if await self._size(key) != size:
                async with self._uploads:
                    data = await asyncio.to_thread(_read, path, sha256)
                    async with _within(PATIENCE + len(data) / SLOWEST):
                        await self._opened.put(key, data)
        return await self._url(key)

    async def probe(self) -> bool:
        """Write a few bytes and remove them again; returns whether they could be removed.

        Raises HostingError.
        """
        await self._url(PROBE)
        async with _within(PATIENCE):
            await self._opened.put(PROBE, b"reconciler doctor was here\n")
        if await self._size(PROBE) is None:
            raise HostingError("the media store does not have what it has just taken")
        try:
            async with _within(PATIENCE):
                await self._opened.remove(PROBE)
        except HostingError:
            return False
        return True

    @property
    def _opened(self) -> Shelf:
        if self._shelf is None:
            self._shelf = self._open_shelf()
        return self._shelf

    async def _size(self, key: str) -> int | None:
        async with _within(PATIENCE):
            return await self._opened.size(key)

    async def _url(self, key: str) -> str:
        async with _within(PATIENCE):
            url = self._public + quote(key) if self._public else await self._opened.sign(key)
        host = urlsplit(url).hostname or ""
        if not self._near and is_near(host):
            raise HostingError(
                f"the provider cannot reach {host}, where the media store lies",
                hint="Use a store on the internet, or set RECONCILER_MEDIA_PUBLIC_URL to where it can be read.",
            )
        return url


@asynccontextmanager
async def _within(seconds: float) -> AsyncIterator[None]:
    """Give up after a while; what was under way is cut off."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise HostingError(
            f"the media store did not do its work within {seconds:.0f} s", hint="It is tried again."
        ) from None


def _size_of(path: Path) -> int:
    with _reading(path):
        return path.stat().st_size


def _read(path: Path, sha256: str) -> bytes:
    """Return the bytes that are uploaded: those that were compared, not the file's a moment later."""
    with _reading(path):
        data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise WorkspaceError(
            f"`{path.name}` changed while it was being uploaded; nothing was sent",
            hint="Run again.",
        )
    return data


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WorkspaceError(
            f"`{path.name}` cannot be read: {error.strerror}",
            hint="Restore the file and run again.",
        ) from error
