"""Local inputs as a create needs them: the very bytes that the identity was computed from, mended, hosted, or read.

Nothing here is promised to anybody yet: it comes before the intent, and can be done again.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from reconciler.core.errors import InputChanged, WorkspaceError
from reconciler.core.motion_control import Source
from reconciler.engine.ports import Ports
from reconciler.engine.preparing import SUFFIXES, Preparer


@dataclass(frozen=True, slots=True)
class _File:
    """A file that goes to the provider: a spec's own, or what was made of it."""

    named: str  # in the spec, relative to the root
    path: Path
    sha256: str
    suffix: str  # of the name that it is hosted under


class LocalInputs:
    """Inputs that are files of the project."""

    def __init__(self, ports: Ports, *, host_images: bool) -> None:
        self._ports = ports
        self._host_images = host_images
        self._preparer = Preparer(ports)

    async def image(self, source: Source) -> bytes | str:
        """Return an image's bytes, or a URL of them. Raises what `video` does."""
        if source.url:
            return source.url
        file, data = await self._read("image_url", source)
        return await self._hosted(file) if self._host_images else data

    async def video(self, source: Source) -> str:
        """Return a URL of a video, made for one request: it is kept nowhere.

        Raises:
            WorkspaceError: the file changed, cannot be read, or cannot be prepared.
            HostingError: the media store does not take it.
        """
        if source.url:
            return source.url
        file, _ = await self._read("video_url", source)
        return await self._hosted(file)

    async def _read(self, key: str, source: Source) -> tuple[_File, bytes]:
        """Return an input as it is sent, and its bytes; where it is not what it was, nobody believes that any more."""
        try:
            file = await self._file(key, source)
            return file, await asyncio.to_thread(_read_unchanged, file)
        except InputChanged:
            self._ports.distrust(source.path)
            raise

    async def _file(self, key: str, source: Source) -> _File:
        if source.preparation is None:
            suffix = PurePosixPath(source.path).suffix.lower()
            return _File(source.path, self._ports.root / source.path, source.sha256, suffix)
        sha256 = await self._preparer.prepare(key, source, source.preparation)
        return _File(source.path, self._ports.objects.path(sha256), sha256, SUFFIXES[key])

    async def _hosted(self, file: _File) -> str:
        if self._ports.hosting is None:
            raise WorkspaceError(
                f"`{file.named}` is a local file, and there is no media store to host it"
            )
        try:
            return await self._ports.hosting.publish(file.sha256, file.path, file.suffix)
        except OSError as error:
            raise _unreadable(file, error) from error


def _unreadable(file: _File, error: OSError) -> WorkspaceError:
    return WorkspaceError(
        f"`{file.named}` cannot be read: {error.strerror}", hint="Restore the file and run again."
    )


def _read_unchanged(file: _File) -> bytes:
    """Return a local input's bytes, which must still be those that were looked at."""
    try:
        data = file.path.read_bytes()
    except OSError as error:
        raise _unreadable(file, error) from error
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise InputChanged(
            f"`{file.named}` changed while it was being submitted; nothing was sent",
            hint="Run again.",
        )
    return data
