"""What the status page shows: where everything stands by the daemon's memory, without a look at the disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from reconciler.cli import views
from reconciler.core.generations import Generation
from reconciler.core.schedule import SECOND
from reconciler.core.states import Record, Status
from reconciler.engine.daemon import Daemon
from reconciler.workspace.index import SpecIndex

_FRESH = 2 * SECOND  # how long a document serves whoever asks


class Board:
    """Answers the status page."""

    def __init__(self, daemon: Daemon, index: SpecIndex, now: Callable[[], int]) -> None:
        self._daemon = daemon
        self._index = index
        self._now = now
        self._since = now()
        self._made_at = 0
        self._document: dict[str, Any] = {}

    def document(self) -> dict[str, Any]:
        """Return the document of `status --json`."""
        if not self._document or self._now() - self._made_at >= _FRESH:
            self._document, self._made_at = self._make(), self._now()
        return self._document

    def health(self) -> dict[str, Any]:
        """Return how the daemon itself is."""
        account = self._daemon.turns.account
        trouble = self._daemon.trouble
        return {
            "ok": not trouble,
            "trouble": trouble,
            "since": _time(self._since),
            "last_look": _time(self._daemon.looked_at),
            "in_flight": len(self._daemon.loop.in_flight),
            "paused": account.pause.reason,
            "provider": account.silence or "answers",
        }

    def unready(self) -> tuple[str, ...]:
        """Return, in sentences, what keeps the daemon from buying whatever is wanted."""
        return self._daemon.unready()

    def _make(self) -> dict[str, Any]:
        rows: list[dict[str, Any]] = []
        for spec in sorted(self._index.specs):
            if problems := self._index.problems(spec):
                rows.append(_row(spec, "", Status.INVALID, reason=views.told(problems)))
            rows += [self._generation(wish) for wish in self._index.generations(spec)]
        counts = Counter(row["status"] for row in rows)
        summary = {status.value: counts[status] for status in Status if counts[status]}
        return {"generations": rows, "summary": summary}

    def _generation(self, wish: Generation) -> dict[str, Any]:
        base = wish.external_task_id
        record = self._daemon.records.get(base)
        reason = self._daemon.obstacle(base)
        status = record.status if record else Status.PENDING
        if reason and status is not Status.COMPLETE:
            status = Status.BLOCKED
        elif record is not None and status is not Status.COMPLETE:
            reason = record.reason
        return _row(wish.spec, wish.label, status, reason=reason, record=record, wish=wish)


def _row(
    spec: str,
    label: str,
    status: Status,
    *,
    reason: str,
    record: Record | None = None,
    wish: Generation | None = None,
) -> dict[str, Any]:
    outputs: list[dict[str, Any]] = []
    previews: dict[str, Any] = {}
    if record is not None and wish is not None and status is Status.COMPLETE:
        outputs = [views.output_document(wish.output(r.role), r) for r in record.results]
        previews = views.preview_keys((wish.output(r.role), r) for r in record.previews)
    return {
        "external_task_id": record.external_task_id if record else wish and wish.external_task_id,
        "spec": spec,
        "label": label,
        "status": status.value,
        "task_id": record.task_id if record else None,
        "reason": reason,
        "units": views.units_text(record.units) if record else None,
        "outputs": outputs,
        **previews,
    }


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / SECOND, UTC).isoformat(timespec="seconds")
