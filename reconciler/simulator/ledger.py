"""The money: an append-only record of what would be billed, kept apart from the table of tasks on purpose.

A test asks this file, not the tasks, how often somebody paid. Everything is written at the moment at which a create is
accepted, a later refund too, with its date: no task is ever asked again, and nothing that happens to the table of
tasks can change the bill.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal

ATTEMPT = re.compile(r"-r(?:[2-9]|[1-9]\d+)$")
"""The suffix by which callers mark a second and later attempt at the same thing."""


@dataclass(frozen=True)
class Entry:
    """Units that go (`billed`) or come back (`refunded`)."""

    at: int
    """Virtual ms; a refund may lie ahead."""
    kind: Literal["billed", "refunded"]
    external_task_id: str
    task_id: str
    units: str
    """A decimal number."""
    taken_at: int = 0
    """Virtual ms: when they are taken from the account, or given back."""

    @property
    def name(self) -> str:
        """The external id, or the task id of a task without one."""
        return self.external_task_id or self.task_id

    @property
    def base(self) -> str:
        """The name without the suffix of an attempt."""
        return ATTEMPT.sub("", self.name)

    @property
    def signed(self) -> Decimal:
        """The units as a part of what was spent."""
        return Decimal(self.units) * (1 if self.kind == "billed" else -1)


class Ledger:
    """A file of JSON lines that is only ever added to."""

    def __init__(self, path: Path, now: Callable[[], int]) -> None:
        """`now` returns the virtual time, ms: what lies ahead is on file and not reported yet."""
        self._path = path
        self._now = now
        path.touch()
        lines = path.read_text().splitlines()
        self._entries = [Entry(**json.loads(line)) for line in lines]

    def bill(
        self,
        at: int,
        external_task_id: str,
        task_id: str,
        units: Decimal,
        refunded_at: int | None = None,
        *,
        taken_at: int = 0,
    ) -> None:
        """Bill a task that is being accepted; its units come back at `refunded_at` when it is going to fail.

        The account shows at `taken_at` that they are gone.
        """
        name, amount = external_task_id, format(units, "f")
        entries = [Entry(at, "billed", name, task_id, amount, taken_at)]
        if refunded_at is not None:
            entries.append(Entry(refunded_at, "refunded", name, task_id, amount, refunded_at))
        with self._path.open("a") as file:
            file.write("".join(json.dumps(asdict(entry)) + "\n" for entry in entries))
        self._entries += entries

    def spent(self) -> Decimal:
        """Return the units that are gone, or bound by a task under way: billed and not refunded."""
        return _sum(self._due())

    def taken(self, until: int) -> Decimal:
        """Return the units that were taken from the account by a virtual time, ms, and not given back."""
        return _sum(entry for entry in self._entries if entry.taken_at <= until)

    def report(self) -> dict[str, object]:
        """Return all entries until now, and what they come to.

        `billed` and `refunded` count by external id (a task without one goes by its task id). `ids`, `bases` (ids
        without the suffix of an attempt) and `tasks` say of each how many tasks were billed, how many of those were
        given back, how many therefore are charged, and the units that are gone.
        """
        due = self._due()
        return {
            "entries": [asdict(entry) for entry in due],
            "billed": dict(Counter(entry.name for entry in due if entry.kind == "billed")),
            "refunded": dict(Counter(entry.name for entry in due if entry.kind == "refunded")),
            "spent": format(_sum(due), "f"),
            "ids": _accounts(due, lambda entry: entry.name),
            "bases": _accounts(due, lambda entry: entry.base),
            "tasks": _accounts(due, lambda entry: entry.task_id),
        }

    def _due(self) -> list[Entry]:
        now = self._now()
        due = [entry for entry in self._entries if entry.at <= now]
        return sorted(due, key=lambda entry: entry.at)


def _accounts(entries: Iterable[Entry], key: Callable[[Entry], str]) -> dict[str, object]:
    """Return what the entries come to for each key."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(key(entry), []).append(entry)
    return {name: _account(group) for name, group in groups.items()}


def _account(entries: list[Entry]) -> dict[str, object]:
    kinds = Counter(entry.kind for entry in entries)
    return {
        "billed": kinds["billed"],
        "refunded": kinds["refunded"],
        "charged": kinds["billed"] - kinds["refunded"],
        "units": format(_sum(entries), "f"),
    }


def _sum(entries: Iterable[Entry]) -> Decimal:
    return sum((entry.signed for entry in entries), Decimal(0))
