"""What the status page of `watch` shows: the document of `status --json`, out of the daemon's memory."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from reconciler.cli import views
from reconciler.core.generations import Generation
from reconciler.core.schedule import SECOND
from reconciler.core.states import Status
from reconciler.engine.run.daemon import Daemon
from reconciler.workspace.index.spec_index import SpecIndex


@dataclass(frozen=True, slots=True)
class StatusPage:
    """The source of the status page: the daemon's memory and index, without a look at the disk."""

    _daemon: Daemon
    _index: SpecIndex
    _since: int  # ms

    def document(self) -> dict[str, Any]:
        """Return the document of `status --json`."""
        rows: list[dict[str, Any]] = []
        for spec in sorted(self._index.specs):
            if problems := self._index.problems(spec):
                rows.append(views.status_row(spec, Status.INVALID, views.in_short(problems)))
            rows += [self._row(wish) for wish in self._index.generations(spec)]
        return views.counted_rows(rows)

    def health(self) -> dict[str, Any]:
        """Return the daemon's own health."""
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

    def _row(self, wish: Generation) -> dict[str, Any]:
        base = wish.external_task_id
        record = self._daemon.records.get(base)
        reason = self._daemon.obstacle(base)
        status = record.status if record else Status.PENDING
        if reason and status is not Status.COMPLETE:
            status = Status.BLOCKED
        elif record is not None and status is not Status.COMPLETE:
            reason = record.reason
        done = (record.results, record.previews) if record and status is Status.COMPLETE else ()
        files = [[(wish.output(made.role), made) for made in part] for part in done]
        return views.status_row(
            wish.spec,
            status,
            reason,
            record,
            external_task_id=record.external_task_id if record else base,
            label=wish.label,
            **views.files_listed("outputs", *files),
        )


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / SECOND, UTC).isoformat(timespec="seconds")
