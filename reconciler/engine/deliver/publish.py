"""Putting saved results beside their specs (rules 7 and 8).

Nothing that was bought is lost by publishing: bytes that are replaced go to the object store first, and a file
that is not ours is never touched.
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

from reconciler.core.diff import Output, Standing
from reconciler.core.errors import StateError, WorkspaceError
from reconciler.core.generations import Generation
from reconciler.core.states import Record, Result, Role
from reconciler.engine.observe.files import Locations
from reconciler.engine.ports import Ports
from reconciler.store.objects import ObjectStore
from reconciler.store.values import Publication
from reconciler.workspace.files.outputs import OutputTaken, Signature, publish, signature

_EMPTY = hashlib.sha256().hexdigest()


class Publisher:
    """Puts saved results and previews into the folder."""

    def __init__(self, ports: Ports, locations: Locations, previews: frozenset[Role]) -> None:
        self._ports = ports
        self._locations = locations
        self._previews = previews  # those that are put back where they are missing
        self._said: set[str] = set()

    async def publish(self, wish: Generation, record: Record) -> bool:
        """Publish a complete record's results, and previews where they can be, at this generation's paths.

        Bytes are verified, copied and synced in a thread; a cancelled caller waits for its end, so that nothing is
        written afterwards. Returns False when the bytes are not on this disk and have to be fetched again.

        Raises:
            OutputTaken: a file that is not ours stands there.
            WorkspaceError: the folder cannot be written.
        """
        troubles: list[str] = []
        placing = asyncio.ensure_future(asyncio.to_thread(self._place, wish, record, troubles))
        try:
            placed = await asyncio.shield(placing)
        except asyncio.CancelledError:
            await asyncio.gather(placing, return_exceptions=True)
            raise
        return self._note(record, placed, troubles)

    def confirm(self, wish: Generation, record: Record) -> bool:
        """Write down the signatures of outputs that all stand already; False as in `publish`."""
        troubles: list[str] = []
        return self._note(record, self._place(wish, record, troubles), troubles)

    def _place(
        self, wish: Generation, record: Record, troubles: list[str]
    ) -> list[Publication] | None:
        """Put bytes at their paths, from any thread; troubles with previews are appended to `troubles`."""
        results = {result.role: result for result in record.results}
        published = []
        for output in self._locations.outputs(wish, record):
            if output.role not in results:  # the state was damaged: what it lost is fetched again
                return None
            if output.standing is Standing.POINTER:
                continue
            row = self._stand(output, results[output.role], record)
            if row is None:
                return None
            published.append(row)
        return [*published, *self._show(wish, record, troubles)]

    def _note(self, record: Record, placed: list[Publication] | None, troubles: list[str]) -> bool:
        for sentence in troubles:
            if sentence not in self._said:  # every look finds it again
                self._said.add(sentence)
                self._ports.report.say(sentence)
        if placed is None:
            return False
        known = self._locations.publications
        new = [row for row in placed if known.get(row.path) != row]
        self._ports.repository.publish(new)
        self._locations.note(new)
        if not record.claimed:
            self._locations.ours.update(row.sha256 for row in placed)
        return True

    def _show(self, wish: Generation, record: Record, troubles: list[str]) -> list[Publication]:
        """Publish the previews that can be; one that fails costs nothing that was bought."""
        made = {preview.role: preview for preview in record.previews}
        shown = []
        for output in self._locations.previews(wish, record):
            is_wanted, standing = output.role in self._previews, output.standing
            try:
                if standing is Standing.OURS or (is_wanted and standing is not Standing.POINTER):
                    shown.append(self._stand(output, made[output.role], record))
            except WorkspaceError as error:
                troubles.append(f"no {output.role} is published: {error.message}")
        return [row for row in shown if row is not None]

    def _stand(self, output: Output, result: Result, record: Record) -> Publication | None:
        """Put the output's file there where that is needed; None when the bytes are nowhere on this disk."""
        found = self._land(output, result)
        if found is None:
            return None
        stood = found.size, found.mtime_ns, found.inode, found.ctime_ns
        return Publication(output.path, record.external_task_id, output.role, result.sha256, *stood)

    def _land(self, output: Output, result: Result) -> Signature | None:
        target = self._ports.root / output.path
        if output.standing is Standing.OURS and (found := signature(target)) is not None:
            return found
        if output.standing is Standing.TAKEN:
            raise OutputTaken(output.problem) if output.problem else _taken(output.path)
        source = self._locations.find(result, verify=True)
        if source is None:
            return None
        if output.standing is Standing.OTHER:
            self._keep(output.path)
        return publish(source, target, replace=output.standing is Standing.OTHER)

    def _keep(self, path: str) -> None:
        """Save the bytes at a path, read anew, before they are replaced. Raises OutputTaken when they are not ours."""
        sha256 = self._locations.digest(path, anew=True)
        if sha256 == _EMPTY:
            return
        if not self._locations.is_ours(sha256):
            raise _taken(path)
        try:
            keep(self._ports.objects, self._ports.root / path, sha256)
        except StateError as error:
            raise WorkspaceError(
                f"`{path}` cannot be replaced: {error.message}", hint=error.hint
            ) from error


def keep(objects: ObjectStore, path: Path, sha256: str) -> None:
    """Save a file's bytes in the store before it is removed. Raises StateError where they cannot be kept."""
    if not objects.verify(sha256):
        objects.ingest(path, sha256)


def _taken(path: str) -> OutputTaken:
    return OutputTaken(
        f"`{path}` holds a file that is not ours, or was changed; move it away and run again"
    )
