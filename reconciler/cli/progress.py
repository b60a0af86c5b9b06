"""Following the work on stderr: a line for every change, and on a terminal a line below that counts."""

from __future__ import annotations

from collections import Counter
from types import TracebackType
from typing import Self

from rich.markup import escape
from rich.status import Status as Spinner

from reconciler.cli.terminal import err
from reconciler.core.progress import Topic
from reconciler.core.states import Record, Status

_SYMBOLS = {
    Status.COMPLETE: "[green]✓[/]",
    Status.FAILED: "[red]✗[/]",
    Status.REJECTED: "[red]✗[/]",
    Status.EXPIRED: "[red]✗[/]",
    Status.BLOCKED: "[yellow]![/]",
}


class Progress:
    """A reporter for people; plain lines where nobody watches."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._status: dict[str, str] = {}
        self._held: dict[str, str] = {}
        self._spinner: Spinner | None = err.status("") if err.is_terminal else None

    def __enter__(self) -> Self:
        if self._spinner and self._total:
            self._count()
            self._spinner.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._spinner:
            self._spinner.stop()

    def changed(self, record: Record) -> None:
        """Tell a record's new status or reason."""
        self._tell(record, record.status, record.reason)

    def held(self, record: Record, reason: str) -> None:
        """Tell why a generation stays where it is."""
        if self._held.get(record.base_id) != reason:
            self._held[record.base_id] = reason
            self._tell(record, Status.BLOCKED, reason)

    def say(self, message: str, topic: Topic = Topic.OTHER) -> None:  # noqa: ARG002
        """Tell something that concerns everybody; on a terminal every topic looks the same."""
        err.print(f"[bold yellow]warning:[/] {escape(message)}")

    def _tell(self, record: Record, status: Status, reason: str) -> None:
        self._status[record.base_id] = status
        name = f"{record.spec} [{record.label}]" if record.label else record.spec
        symbol = _SYMBOLS.get(status, "[cyan]·[/]")
        why = f"  {escape(reason)}" if reason else ""
        err.print(f"{symbol} {status:<10} {escape(name)}  [dim]{record.external_task_id}[/]{why}")
        self._count()

    def _count(self) -> None:
        if self._spinner:
            counts = Counter(self._status.values())
            said = ", ".join(f"{count} {status}" for status, count in counts.items())
            self._spinner.update(
                f"{said or 'starting'} (of {self._total}); Ctrl-C stops, and nothing is lost"
            )
