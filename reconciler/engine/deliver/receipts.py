"""Keeping each spec's receipt in step with what was bought for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from reconciler.core.generations import Generation
from reconciler.core.naming import output_path, receipt_path
from reconciler.core.receipts import ReceiptEntry, ReceiptOutput, merge
from reconciler.core.states import LIVE, Record, Result, Status
from reconciler.engine.records import Records
from reconciler.workspace.files.outputs import signature
from reconciler.workspace.files.root import Root
from reconciler.workspace.receipts.receipt_files import read_receipt, render_receipt, write_receipt

_LISTED = frozenset({Status.COMPLETE, Status.FAILED, Status.EXPIRED})  # the provider's part is over


class Receipts:
    """Writes receipts out of the records."""

    def __init__(
        self, root: Path, records: Records, declared: Callable[[str], Sequence[Generation]]
    ) -> None:
        self._root = root
        self._records = records
        self._declared = declared  # what a spec asks for now

    def write(self, spec: str, newly: Record | None = None) -> bool:
        """Write a spec's receipt where its current generations changed; return whether a byte was written.

        `newly`: an attempt that has just ended, listed even if the spec no longer wants it, or that an order has just
        bound, listed while it is under way.

        Raises:
            ReceiptError: the existing receipt cannot be read; it is left as it is.
            WorkspaceError: the folder cannot be written.
        """
        name = receipt_path(spec)
        root = Root(self._root)
        existing = read_receipt(root, name) if signature(self._root / name) is not None else ()
        listed = {one.external_task_id for one in existing}
        wishes = self._declared(spec)
        wanted = {wish.external_task_id for wish in wishes}
        current = [
            entry(record, spec, wish.label)
            for wish in wishes
            if (record := self._records.get(wish.external_task_id))
            and (record.status in _LISTED or _is_bound(record, newly, listed))
        ]
        late = newly is not None and newly.base_id not in wanted and newly.status is Status.COMPLETE
        if not (current or late) or not (self._root / spec).parent.is_dir():
            return False
        earlier = (self._records.get(base) for base in self._records.first_asked_by(spec) - wanted)
        also = [
            replace(entry(record, spec, record.label), current=False)
            for record in earlier
            if record and record.status is Status.COMPLETE
        ]
        entries = merge(existing, current, also, grown=late)
        return entries is not None and write_receipt(root, name, render_receipt(entries))


def _is_bound(record: Record, newly: Record | None, listed: Container[str]) -> bool:
    """Whether a task under way was bound by order: only a receipt tells what it is for when the state is lost."""
    under_way = record.task_id is not None and record.status in {*LIVE, Status.SUCCEEDED}
    return under_way and (record == newly or record.external_task_id in listed)


def entry(record: Record, spec: str, label: str) -> ReceiptEntry:
    """Return a record as a spec's receipt lists it."""

    def listed(results: Iterable[Result]) -> tuple[ReceiptOutput, ...]:
        return tuple(
            ReceiptOutput(
                PurePosixPath(output_path(spec, label, one.role)).name,
                one.role,
                one.sha256,
                one.size,
                one.duration,
                one.width,
                one.height,
            )
            for one in results
        )

    return ReceiptEntry(
        external_task_id=record.external_task_id,
        task_id=record.task_id or "",
        label=label,
        # A result that was saved once stays complete here, even if this clone came too late for its bytes.
        status=Status.COMPLETE if record.results and not record.lacking else record.status,
        request=json.loads(record.request)["request"],
        outputs=listed(record.results),
        previews=listed(record.previews),
        units=record.units,
        created_at=record.created_at,
        finished_at=record.finished_at,
    )
