"""Making of a local file what the API takes, once: what was made is an object, found again by its recipe.

The work is done by a process of its own (`workspace.preparing`), one at a time; whoever is cut off ends it.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import Final

from reconciler.core.errors import StateError, WorkspaceError
from reconciler.core.motion_control import Preparation, Source
from reconciler.engine.ports import Ports
from reconciler.store.objects import Partial
from reconciler.workspace.media import file_sha256
from reconciler.workspace.outputs import signature
from reconciler.workspace.preparing import LONGEST, command, environment, recipe, verdict

SUFFIXES: Final = {"image_url": ".jpg", "video_url": ".mp4"}
"""What is made of a file, by the key of the spec that names it."""


class Preparer:
    """Prepares files for the specs that ask for it."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._turn = asyncio.Semaphore(1)  # an encoder takes all cores

    async def prepare(self, key: str, source: Source, preparation: Preparation) -> str:
        """Return the digest of the object that a file was made into, now or earlier.

        Raises WorkspaceError when the file changed or cannot be prepared, or the result cannot be kept.
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
            known = objects.remembered(name)
            if known:
                is_whole = await asyncio.to_thread(objects.verify, known)
                if is_whole:
                    return known
            path = self._ports.root / source.path
            before, sha256 = signature(path), await asyncio.to_thread(file_sha256, path)
            if sha256 != source.sha256:
                raise _changed(source)
            self._ports.report.say(f"preparing `{source.path}`")
            partial = objects.partial(f"prepared:{name}")
            try:
                await self._make(key, source, preparation, partial)
                if signature(path) != before:
                    raise _changed(source)
                made, _ = await asyncio.to_thread(objects.adopt, partial)
            finally:
                partial.discard()
            objects.remember(name, made)
            return made

    async def _make(
        self, key: str, source: Source, preparation: Preparation, partial: Partial
    ) -> None:
        partial.restart("")
        words = command(key, self._ports.root / source.path, partial.path, preparation)
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.PIPE,  # open for as long as we live
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment(os.environ),
            pass_fds=[partial.fileno()],  # the lock holds for as long as somebody writes
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(LONGEST):
                said = await process.stdout.read()
                await process.wait()
        except TimeoutError:
            raise WorkspaceError(
                f"`{source.path}` cannot be prepared: it takes more than {LONGEST // 60} minutes"
            ) from None
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if fault := verdict(process.returncode or 0, said.decode("utf-8", "replace")[:500]):
            raise WorkspaceError(f"`{source.path}` {fault}")


def _changed(source: Source) -> WorkspaceError:
    return WorkspaceError(
        f"`{source.path}` changed while it was being prepared; nothing was sent", hint="Run again."
    )
