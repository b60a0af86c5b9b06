"""The table of tasks, in SQLite: what was ordered and when it will end. Status is computed, never stored."""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Literal

from reconciler.simulator.checks import Order

SCHEMA = """
CREATE TABLE IF NOT EXISTS task (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id TEXT NOT NULL UNIQUE,
    external_task_id TEXT NOT NULL,
    mode TEXT NOT NULL,
    image TEXT NOT NULL,
    video TEXT NOT NULL,
    duration_ms INTEGER NOT NULL,
    rate TEXT NOT NULL,
    keep_sound INTEGER NOT NULL,
    watermark INTEGER NOT NULL,
    failure TEXT NOT NULL,
    units TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_real INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    callback_url TEXT NOT NULL DEFAULT '',
    model_name TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS task_external ON task (external_task_id);
CREATE INDEX IF NOT EXISTS task_ended ON task (ended_at);
"""
COLUMNS = (
    "task_id, external_task_id, mode, image, video, duration_ms, rate, keep_sound, watermark, failure, units, "
    "created_at, created_real, started_at, ended_at, callback_url, model_name"
)
ADDED = ("callback_url", "model_name")
"""Columns that a folder of an older simulator lacks."""


@dataclass(frozen=True)
class Task:
    """One job. Times are virtual ms unless said otherwise."""

    task_id: str
    """18 decimal digits (observed)."""
    external_task_id: str
    mode: str
    image: str
    video: str
    """Names of the references in the media store, empty for one on another host."""
    duration_ms: int
    """Of the reference video."""
    rate: Fraction
    keep_sound: bool
    watermark: bool
    failure: str
    """Why the task ends as failed; empty for one that succeeds."""
    units: Decimal
    created_at: int
    created_real: int
    """Real ms."""
    started_at: int
    ended_at: int
    callback_url: str
    """Who is told of changes; empty for nobody."""
    model_name: str = ""


@dataclass(frozen=True)
class Times:
    """When a new task is created, in virtual and real ms, and how long it waits and takes, virtual ms."""

    now: int
    real: int
    queue_ms: int
    task_ms: int


@dataclass(frozen=True)
class Selection:
    """Which tasks a list is made of, and in which order."""

    ended_after: int
    """Virtual ms."""
    created_until: float
    """Real ms."""
    hidden: tuple[float, float]
    """Tasks that were created after the first moment and no later than the second, real ms, are left out."""
    order: Literal["newest", "oldest", "shuffled"]


ORDERS = {
    "newest": "number DESC",
    "oldest": "number",
    "shuffled": "number * 2654435761 % 4294967291",
}


class TaskTable:
    """All tasks of the account; used from one thread at a time."""

    def __init__(self, path: Path, seed: str) -> None:
        """`seed` makes ids that no other simulator gives."""
        self._seed = seed
        begin = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8]) % 10**6
        self._first_id = 8 * 10**17 + begin * 10**11
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        # A killed process loses nothing that was written; only a power cut could, and nobody pays here.
        self._db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;" + SCHEMA)
        known = {row[1] for row in self._db.execute("PRAGMA table_info(task)")}
        for column in ADDED:
            if column not in known:
                self._db.execute(f"ALTER TABLE task ADD COLUMN {column} TEXT NOT NULL DEFAULT ''")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def draw(self, order: Order, units: Decimal, failure: str, times: Times) -> Task:
        """Return the next task, which is not kept yet: it ends a tenth earlier or later than the usual.

        Ids rise with time (observed).
        """
        (number,) = self._db.execute("SELECT coalesce(max(number), 0) + 1 FROM task").fetchone()
        digest = hashlib.sha256(f"{self._seed}/{number}".encode()).digest()
        spread = int.from_bytes(digest[8:10]) / 0xFFFF * 0.2 - 0.1
        return Task(
            task_id=str(self._first_id + number * 10_000 + int.from_bytes(digest[:8]) % 9_000),
            external_task_id=order.external_task_id,
            mode=order.mode,
            image=order.image,
            video=order.video,
            duration_ms=order.duration_ms,
            rate=order.rate,
            keep_sound=order.keep_sound,
            watermark=order.watermark,
            failure=failure,
            units=units,
            created_at=times.now,
            created_real=times.real,
            started_at=times.now + min(times.queue_ms, times.task_ms),
            ended_at=times.now + round(times.task_ms * (1 + spread)),
            callback_url=order.callback_url,
            model_name=order.model_name,
        )

    def keep(self, task: Task) -> None:
        """Put a task that was drawn into the table."""
        values = [getattr(task, name.strip()) for name in COLUMNS.split(",")]
        marks = ", ".join("?" * len(values))
        self._db.execute(
            f"INSERT INTO task ({COLUMNS}) VALUES ({marks})",  # noqa: S608
            [str(value) if isinstance(value, Fraction | Decimal) else value for value in values],
        )

    def by_task_id(self, task_id: str) -> Task | None:
        """Return the task that the provider calls so."""
        return self._one("task_id = ?", task_id)

    def by_external_id(self, external_task_id: str) -> Task | None:
        """Return the newest task that the caller calls so."""
        return self._one("external_task_id = ?", external_task_id) if external_task_id else None

    def page(self, size: int, skip: int, selection: Selection) -> list[Task]:
        """Return up to `size` tasks after the first `skip` of a selection."""
        rows = self._db.execute(
            f"SELECT {COLUMNS} FROM task WHERE ended_at > ? AND created_real <= ?"  # noqa: S608
            " AND NOT (created_real > ? AND created_real <= ?)"
            f" ORDER BY {ORDERS[selection.order]} LIMIT ? OFFSET ?",
            (selection.ended_after, selection.created_until, *selection.hidden, size, skip),
        )
        return [_task(row) for row in rows]

    def under_way(self, now: int, model_name: str = "") -> int:
        """Return how many tasks hold a slot, all of them or those of one model."""
        (count,) = self._db.execute(
            "SELECT count(*) FROM task WHERE ended_at > ? AND (? = '' OR model_name = ?)",
            (now, model_name, model_name),
        ).fetchone()
        return int(count)

    def watched(self, after: int) -> list[Task]:
        """Return the tasks that end after `after` and of whose changes somebody is told."""
        rows = self._db.execute(
            f"SELECT {COLUMNS} FROM task WHERE ended_at > ? AND callback_url <> '' ORDER BY number",  # noqa: S608
            (after,),
        )
        return [_task(row) for row in rows]

    def _one(self, condition: str, value: str) -> Task | None:
        row = self._db.execute(
            f"SELECT {COLUMNS} FROM task WHERE {condition} ORDER BY number DESC LIMIT 1",  # noqa: S608
            (value,),
        ).fetchone()
        return None if row is None else _task(row)


@lru_cache(maxsize=4096)
def _task(row: tuple[object, ...]) -> Task:
    """Return the task in a row; a task never changes, and pages show the same ones again and again."""
    values = dict(zip((name.strip() for name in COLUMNS.split(",")), row, strict=True))
    return Task(
        **{  # type: ignore[arg-type]  # the columns are the fields
            **values,
            "rate": Fraction(str(values["rate"])),
            "units": Decimal(str(values["units"])),
            "keep_sound": bool(values["keep_sound"]),
            "watermark": bool(values["watermark"]),
        }
    )
