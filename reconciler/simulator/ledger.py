"""The money: an append-only record of what would be billed, kept apart from the table of tasks on purpose.

A test asks this file, not the tasks, how often somebody paid.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Entry:
    """Units that went (`billed`) or came back (`refunded`)."""

    at: int
    """Virtual ms."""
    kind: Literal["billed", "refunded"]
    external_task_id: str
    task_id: str
    units: str
    """A decimal number."""


class Ledger:
    """A file of JSON lines that is only ever added to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()
        self._entries = [Entry(**json.loads(line)) for line in path.read_text().splitlines()]
        self._refunded = {entry.task_id for entry in self._entries if entry.kind == "refunded"}
        self._balance = sum((_signed(entry) for entry in self._entries), Decimal(0))

    def bill(self, at: int, external_task_id: str, task_id: str, units: Decimal) -> None:
        """Take units for a task that was accepted."""
        self._append(Entry(at, "billed", external_task_id, task_id, format(units, "f")))

    def refund(self, at: int, external_task_id: str, task_id: str, units: Decimal) -> None:
        """Give back the units of a task that failed (observed), once at most."""
        if task_id not in self._refunded:
            self._refunded.add(task_id)
            self._append(Entry(at, "refunded", external_task_id, task_id, format(units, "f")))

    def spent(self) -> Decimal:
        """Return the units that are gone: billed and not refunded."""
        return -self._balance

    def report(self) -> dict[str, object]:
        """Return all entries, and how often each external id (or task without one) was billed and refunded."""
        return {
            "entries": [asdict(entry) for entry in self._entries],
            "billed": self._count("billed"),
            "refunded": self._count("refunded"),
            "spent": format(self.spent(), "f"),
        }

    def _count(self, kind: str) -> dict[str, int]:
        names = (
            entry.external_task_id or entry.task_id for entry in self._entries if entry.kind == kind
        )
        return dict(Counter(names))

    def _append(self, entry: Entry) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(asdict(entry)) + "\n")
        self._entries.append(entry)
        self._balance += _signed(entry)


def _signed(entry: Entry) -> Decimal:
    units = Decimal(entry.units)
    return -units if entry.kind == "billed" else units
