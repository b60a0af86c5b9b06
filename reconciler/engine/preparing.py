"""Making of a local file what the API takes, once: what was made is an object, found again by its recipe.

The work is done by a process of its own (`workspace.preparing`), one at a time; whoever is cut off ends it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Final

from reconciler.core.errors import InputChanged, StateError, ToldMistake, WorkspaceError
from reconciler.core.motion_control import Preparation, Source
from reconciler.engine.ports import Ports
from reconciler.store.objects import Partial
from reconciler.workspace.files import describe_os_error, digest, open_plain
from reconciler.workspace.flaws import Beyond, Flaw, Unfinished
from reconciler.workspace.outputs import Signature
from reconciler.workspace.preparing import make, preparing, recipe

SUFFIXES: Final = {"image_url": ".jpg", "video_url": ".mp4"}
"""What is made of a file, by the key of the spec that names it."""


class Preparer:
    """Prepares files for the specs that ask for it."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._turn = asyncio.Semaphore(1)  # an encoder takes all cores
        self._faults: dict[str, str] = {}  # by recipe: what no further try would change

    async def prepare(self, key: str, source: Source, preparation: Preparation) -> str:
        """Return the digest of the object that a file was made into, now or earlier.

        Raises WorkspaceError when the file changed, cannot be read or prepared, or the result cannot be kept.
        """
        try:
            return await self._prepared(key, source, preparation)
        except StateError as error:
            raise WorkspaceError(
                f"`{source.path}` cannot be prepared: {error.message}", hint=error.hint
            ) from error

    async def _prepared(self, key: str, source: Source, preparation: Preparation) -> str:
        objects, name = self._ports.objects, recipe(key, source, preparation)
        async with self._turn:
            with _opened(self._ports.root / source.path, source.path) as file:
                before = _standing(file)
                # Also where it was prepared before: what nobody has in the folder any more is not to be bought.
                if await asyncio.to_thread(digest, file) != source.sha256:
                    raise _changed(source)
                if await asyncio.to_thread(objects.verify, known := objects.remembered(name)):
                    return known
                if fault := self._faults.get(name):
                    raise WorkspaceError(f"`{source.path}` {fault}")
                objects.check_room()
                partial = objects.partial(f"prepared:{name}")
                part = ", its first frame" if preparation.is_first_frame else ""
                self._ports.report.say(f"preparing `{source.path}`{part}")
                try:
                    await self._make(key, source, file, preparation, partial)
                    if _standing(file) != before:
                        raise _changed(source)
                    made, _ = await asyncio.to_thread(objects.adopt, partial)
                finally:
                    partial.discard()
            with suppress(StateError):  # a note that is not kept costs making it again, later
                objects.remember(name, made)
            return made

    async def _make(
        self,
        key: str,
        source: Source,
        file: BufferedReader,
        preparation: Preparation,
        partial: Partial,
    ) -> None:
        partial.restart("")
        process = preparing(key)
        # The very file whose digest is known, whatever is put in its place, or in a link's, meanwhile; and the lock of
        # what is written holds while somebody writes.
        asked = key, file.fileno(), (partial.path, partial.fileno()), preparation
        try:
            await asyncio.to_thread(make, process, *asked)
        except Flaw as flaw:
            said = f"cannot be prepared: it {flaw}" if isinstance(flaw, Beyond) else str(flaw)
            if not isinstance(flaw, Unfinished):
                self._faults[recipe(key, source, preparation)] = said
            raise WorkspaceError(f"`{source.path}` {said}") from flaw
        except OSError as error:
            raise WorkspaceError(f"`{source.path}` cannot be prepared: {error.strerror}") from error
        except ToldMistake as error:
            raise WorkspaceError(f"`{source.path}` cannot be prepared: {error}") from error
        finally:
            process.close()


@contextmanager
def _opened(path: Path, named: str) -> Iterator[BufferedReader]:
    with ExitStack() as stack:
        try:
            file = stack.enter_context(open_plain(path))
        except OSError as error:
            raise describe_os_error(error, named) from error
        yield file


def _standing(file: BufferedReader) -> Signature:
    return Signature.of(os.fstat(file.fileno()))


def _changed(source: Source) -> InputChanged:
    return InputChanged(
        f"`{source.path}` changed while it was being prepared; nothing was sent", hint="Run again."
    )
