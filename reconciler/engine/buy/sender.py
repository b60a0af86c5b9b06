"""Inputs as a create needs them: the very bytes that the identity was computed from, prepared, hosted, or read.

All this comes before the intent and can be repeated. A prepared file is an object, found again by its recipe; a process
of its own makes it (`workspace.media.preparing`), one at a time, and is ended when its caller is cancelled.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from contextlib import ExitStack, closing, suppress
from io import BufferedReader
from pathlib import Path, PurePosixPath

from reconciler.core.errors import InputChanged, StateError, ToldMistake, WorkspaceError
from reconciler.core.generations import Generation
from reconciler.core.media_rules import Medium, Preparation, Source
from reconciler.engine.ports import Ports
from reconciler.store.objects import Partial
from reconciler.workspace.files.outputs import Signature
from reconciler.workspace.files.plain import describe_os_error, digest, open_plain
from reconciler.workspace.media.flaws import Beyond, Flaw, Unfinished
from reconciler.workspace.media.preparing import encoder, make, recipe


class Sender:
    """Turns a wish's files into what its request carries."""

    def __init__(self, ports: Ports, *, host_images: bool) -> None:
        self._ports = ports
        self._host_images = host_images
        self._turn = asyncio.Semaphore(1)  # an encoder takes all cores
        self._faults: dict[str, str] = {}  # by recipe: why a file can never be prepared

    async def inputs(self, wish: Generation) -> dict[str, bytes | str]:
        """Return each input by its name: a URL, made for one request and kept nowhere, or bytes.

        Raises:
            WorkspaceError: a file changed, cannot be read, or cannot be prepared.
            HostingError: the media store does not take it.
        """
        wanted = [(one.name, one.medium, wish.inputs[one.name]) for one in wish.kind.INPUTS]
        return {name: it.url or await self._file(medium, it) for name, medium, it in wanted}

    async def _file(self, medium: Medium, source: Source) -> bytes | str:
        named, sha256, hosting = source.path, source.sha256, self._ports.hosting
        path, suffix = self._ports.root / named, PurePosixPath(named).suffix.lower()
        try:
            if source.preparation is not None:
                sha256 = await self._prepared(medium, source, source.preparation)
                path, suffix = self._ports.objects.path(sha256), medium.suffixes[0]
            data = await asyncio.to_thread(_read_unchanged, named, path, sha256)
            if not medium.by_url_only and not self._host_images:
                return data
            if hosting is None:
                told = "is a local file, and there is no media store to host it"
                raise WorkspaceError(f"`{named}` {told}")
            return await hosting.publish(sha256, path, suffix)
        except InputChanged:
            self._ports.distrust(named)
            raise
        except StateError as error:
            told = f"`{named}` cannot be prepared: {error.message}"
            raise WorkspaceError(told, hint=error.hint) from error
        except OSError as error:
            told = f"`{named}` cannot be read: {error.strerror}"
            raise WorkspaceError(told, hint="Restore the file and run again.") from error

    async def _prepared(self, medium: Medium, source: Source, kept: Preparation) -> str:
        """Return the digest of the object that a file was made into, now or earlier."""
        objects, name = self._ports.objects, recipe(medium, source)
        async with self._turn:
            with ExitStack() as stack:
                try:
                    file = stack.enter_context(open_plain(self._ports.root / source.path))
                except OSError as error:
                    raise describe_os_error(error, source.path) from error
                before = Signature.of(os.fstat(file.fileno()))
                # Also where it was prepared before: a file that changed or left the folder is not to be bought.
                if await asyncio.to_thread(digest, file) != source.sha256:
                    raise _changed(source.path, "prepared")
                if await asyncio.to_thread(objects.verify, known := objects.remembered(name)):
                    return known
                if fault := self._faults.get(name):
                    raise WorkspaceError(f"`{source.path}` {fault}")
                objects.check_room()
                partial = objects.partial(f"prepared:{name}")
                part = ", its first frame" if kept.is_first_frame else ""
                self._ports.report.say(f"preparing `{source.path}`{part}")
                try:
                    await self._make(medium, source, file, partial)
                    if Signature.of(os.fstat(file.fileno())) != before:
                        raise _changed(source.path, "prepared")
                    made, _ = await asyncio.to_thread(objects.adopt, partial)
                finally:
                    partial.discard()
            with suppress(StateError):  # without the note it is prepared again, later
                objects.remember(name, made)
            return made

    async def _make(
        self, medium: Medium, source: Source, file: BufferedReader, partial: Partial
    ) -> None:
        partial.restart("")
        # Descriptors, not paths: another file may stand at the path by now, and the partial file's lock must hold.
        kept, target = source.preparation or Preparation(), (partial.path, partial.fileno())
        try:
            with closing(encoder(medium)) as process:
                await asyncio.to_thread(make, process, medium, kept, file.fileno(), target)
        except Flaw as flaw:
            said = f"cannot be prepared: it {flaw}" if isinstance(flaw, Beyond) else str(flaw)
            if not isinstance(flaw, Unfinished):
                self._faults[recipe(medium, source)] = said
            raise WorkspaceError(f"`{source.path}` {said}") from flaw
        except OSError as error:
            raise WorkspaceError(f"`{source.path}` cannot be prepared: {error.strerror}") from error
        except ToldMistake as error:
            raise WorkspaceError(f"`{source.path}` cannot be prepared: {error}") from error


def _changed(named: str, what: str) -> InputChanged:
    told = f"`{named}` changed while it was being {what}; nothing was sent"
    return InputChanged(told, hint="Run again.")


def _read_unchanged(named: str, path: Path, sha256: str) -> bytes:
    """Return a file's bytes. Raises InputChanged when their SHA-256 is another one."""
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise _changed(named, "submitted")
    return data
