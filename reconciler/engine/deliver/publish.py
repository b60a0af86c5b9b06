"""Putting saved results beside their specs (rules 7 and 8), and keeping each spec's receipt in step with them.

Nothing that was bought is lost by publishing: bytes that are replaced go to the object store first, and a file
that is not ours is never touched.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Container, Iterable, Iterator, Sequence, Set
from pathlib import Path

from reconciler.core.diff import Action, Assessment, Output, Standing
from reconciler.core.errors import StateError, WorkspaceError
from reconciler.core.generations import Generation
from reconciler.core.naming import receipt_path
from reconciler.core.receipt_entries import LISTED, ReceiptEntry, entry, merge
from reconciler.core.states import LIVE, Record, Result, Role, Status
from reconciler.engine.observe.locations import Locations
from reconciler.engine.ports import Ports
from reconciler.engine.records import Records
from reconciler.store.objects import ObjectStore
from reconciler.store.values import Publication
from reconciler.workspace.files.outputs import OutputTaken, Signature, publish, signature
from reconciler.workspace.files.root import Root
from reconciler.workspace.receipts.receipt_files import (
    holds,
    read_receipt,
    render_receipt,
    write_receipt,
)

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

    def is_noted(self, item: Assessment) -> bool:
        """Whether what stands at the places of a generation is written down as it is; true where it is not complete."""
        made = item.record.previews if item.record else ()
        places = [*item.published, *((item.generation.output(one.role), one) for one in made)]
        is_kept = item.action is Action.KEEP
        return not is_kept or all(self._locations.is_noted(*place) for place in places)

    def confirm(self, item: Assessment) -> None:
        """Write down what stands at the places of a complete generation. Raises as `publish` does."""
        if item.action is Action.KEEP and item.record is not None:
            troubles: list[str] = []
            placed = self._place(item.generation, item.record, troubles)
            self._note(item.record, placed, troubles)

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
        return list(filter(None, shown))

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
            told = f"`{path}` cannot be replaced: {error.message}"
            raise WorkspaceError(told, hint=error.hint) from error


def keep(objects: ObjectStore, path: Path, sha256: str) -> None:
    """Save a file's bytes in the store before it is removed. Raises StateError where they cannot be kept."""
    if not objects.verify(sha256):
        objects.ingest(path, sha256)


def _taken(path: str) -> OutputTaken:
    return OutputTaken(
        f"`{path}` holds a file that is not ours, or was changed; move it away and run again"
    )


class Receipts:
    """Writes receipts out of the records."""

    def __init__(
        self, root: Path, records: Records, declared: Callable[[str], Sequence[Generation]]
    ) -> None:
        self._root = root
        self._records = records
        self._declared = declared  # what a spec asks for now

    def in_step(self, spec: str, root: Root | None = None) -> Sequence[ReceiptEntry] | None:
        """Return the entries of a spec's receipt where it is, byte for byte, what the records make of it; else None.

        They are none where there is no receipt, and nothing to list in one. `root`: of a look at many. Raises WorkspaceError.
        """
        name, entries = receipt_path(spec), self._entries(spec, (), None)
        if not entries:
            return () if signature(self._root / name) is None else None
        return entries if holds(root or Root(self._root), name, render_receipt(entries)) else None

    def write(self, spec: str, newly: Record | None = None) -> bool:
        """Write a spec's receipt where its current generations changed; return whether a byte was written.

        `newly`: an attempt that has just ended, listed even if the spec no longer wants it, or that an order has just
        bound, listed while it is under way.

        Raises:
            ReceiptError: the existing receipt cannot be read; it is left as it is.
            WorkspaceError: the folder cannot be written.
        """
        name, root = receipt_path(spec), Root(self._root)
        existing = read_receipt(root, name) if signature(self._root / name) is not None else ()
        entries = self._entries(spec, existing, newly)
        return entries is not None and write_receipt(root, name, render_receipt(entries))

    def _entries(
        self, spec: str, existing: Sequence[ReceiptEntry], newly: Record | None
    ) -> Sequence[ReceiptEntry] | None:
        """Return what a spec's receipt should hold; None where it may stay as it is, or its folder is gone."""
        wishes = self._declared(spec)
        wanted = {wish.external_task_id for wish in wishes}
        current = list(self._current(wishes, existing, newly))
        late = newly is not None and newly.base_id not in wanted and newly.status is Status.COMPLETE
        if not (current or late) or not (self._root / spec).parent.is_dir():
            return None
        return merge(existing, current, list(self._past(spec, wanted)), grown=late)

    def _current(
        self, wishes: Iterable[Generation], existing: Iterable[ReceiptEntry], newly: Record | None
    ) -> Iterator[ReceiptEntry]:
        listed = {one.external_task_id for one in existing}
        for wish in wishes:
            record = self._records.get(wish.external_task_id)
            if record and (record.status in LISTED or _is_bound(record, newly, listed)):
                yield entry(record, wish.spec, wish.label)

    def _past(self, spec: str, wanted: Set[str]) -> Iterator[ReceiptEntry]:
        """Yield what was bought for a spec that asks for something else now."""
        for base_id in self._records.first_asked_by(spec) - wanted:
            record = self._records.get(base_id)
            if record and record.status is Status.COMPLETE:
                yield entry(record, spec, record.label)


def _is_bound(record: Record, newly: Record | None, listed: Container[str]) -> bool:
    """Whether a task under way was bound by order: only a receipt tells what it is for when the state is lost."""
    under_way = record.task_id is not None and record.status in {*LIVE, Status.SUCCEEDED}
    return under_way and (record == newly or record.external_task_id in listed)
