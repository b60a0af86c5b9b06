"""The values that go in and out of the repository beside the core's own: changes, caps, outputs. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from reconciler.core.states import Record, Role, Status

KEPT_BESIDE = "kept beside"
"""The kind of a line with the SHA-256 of paid objects that are no result: the only place that names them."""


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One line of an attempt's history."""

    external_task_id: str
    at: int  # ms, our clock
    kind: str
    detail: str = ""
    request_id: str = ""  # the provider's, for its support


class Change(NamedTuple):
    """The new record of an attempt, which is written only if the attempt has the expected status."""

    record: Record
    expected: Status | None  # None: there must be no record under this id yet
    history: tuple[HistoryEntry, ...] = ()
    withdraws: tuple[Record, ...] = ()  # attempts that it replaces, of which no task exists


class Caps(NamedTuple):
    """How many provider units may be spent; None: no cap."""

    per_day: Decimal | None = None
    per_run: Decimal | None = None


class Spent(NamedTuple):
    """The provider units spent on the day (UTC) and in the run; None where there is no cap."""

    day: Decimal | None = None
    run: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Forgotten:
    """An attempt that was forgotten, and what it counted for then, in provider units."""

    external_task_id: str
    base_id: str
    units: Decimal
    intent_at: int | None  # ms, our clock
    calendar_at: int | None  # ms, the machine's calendar


class Ledger(NamedTuple):
    """Every attempt that the state knows or has known, at one moment."""

    attempts: tuple[Record, ...]  # without their results
    forgotten: tuple[Forgotten, ...]


@dataclass(frozen=True, slots=True)
class Standings:
    """How all generations stand, by the attempts that stand for them."""

    complete: frozenset[str]  # the ids of attempts that are complete, by more than a receipt's word
    others: frozenset[str]  # the specs that first asked for the others


@dataclass(frozen=True, slots=True)
class Publication:
    """An output that was written beside its spec, and how the file looked right after."""

    path: str  # relative to the root
    external_task_id: str
    role: Role
    sha256: str
    size: int  # bytes
    mtime_ns: int
    inode: int
    ctime_ns: int | None = None  # None, of an older program: the file is read again
