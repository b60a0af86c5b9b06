"""What ten years leave in the state: how large it is, what its verbs take then, and which of their questions scan.

A database of N generations is made by SQL in the tables of the project's own store: each complete, with a video, a
poster, an output, and as many lines of history as a purchase writes; bought evenly over ten years. Every verb that
commands and the daemon call is timed once warm, and SQLite is asked how it answers each of its questions: `SCAN` is
said of those that read a table or an index from one end to the other. Then whole commands run on an empty folder.

    .venv/bin/python -m benchmarks.scale --generations 1000 100000 1000000
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from benchmarks.compare import timed
from benchmarks.start import HERE
from reconciler.core.states import Record, Role, Status
from reconciler.store.repository import Repository
from reconciler.store.values import Caps, Change, HistoryEntry, Publication

YEARS_MS = 10 * 365 * 86_400_000
TRIMMED = 1000  # lines, as the daemon removes at once
LINES = ("intent", "accepted", "observed", "kept", "saved", "published")
REQUEST = (
    '{"character_orientation":"image","image":"sha256:' + 64 * "a" + '","mode":"std","prompt":"'
)
_EACH = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :count)"
_TASK = """INSERT INTO task (external_task_id, base_id, attempt, status, request, spec, label, task_id, reason,
    estimated_units, units, intent_at, creates, doubtful, gave_up_at, absent_looks, refusal, created_at, finished_at,
    run_id, in_use, calendar_at, claimed)
SELECT printf('mc1-%040x', i * 7919), printf('mc1-%040x', i * 7919), 1, 'complete', :request || i || '"}',
    printf('specs/%04d/s%07d.yaml', i / 100, i), '', printf('%018d', i), '', '2.5', '2.5', :first + i * :step, 1, 0,
    NULL, 0, '', :first + i * :step, :first + i * :step + 120000, printf('run-%d', i / 20), 0, :first + i * :step, 0
FROM n"""
_RESULT = """INSERT INTO result (external_task_id, role, sha256, size, duration, width, height)
SELECT external_task_id, :role, printf('%064x', rowid * 2 + :odd), 9000000, 5.0, 1280, 720 FROM task"""
_PUBLICATION = """INSERT INTO publication (path, external_task_id, role, sha256, size, mtime_ns, inode, ctime_ns)
SELECT replace(spec, '.yaml', '.mp4'), external_task_id, 'video', printf('%064x', rowid * 2), 9000000,
    intent_at * 1000000, rowid, intent_at * 1000000 FROM task"""
_EVENT = """INSERT INTO event (external_task_id, at, kind, detail, request_id)
SELECT external_task_id, intent_at + :late, :kind, '', printf('%036x', rowid) FROM task"""
Verb = Callable[[Repository], object]


def main() -> None:
    """Build, measure, print each size."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--generations", type=int, nargs="+", default=[1_000, 100_000])
    chosen = parser.parse_args()
    for count in chosen.generations:
        with tempfile.TemporaryDirectory(prefix="scale-") as folder:
            root = Path(folder)
            build(root, count)
            size = (root / "state" / "reconciler.db").stat().st_size / 1e6
            print(f"{count:,} generations, {size:,.0f} MB")
            for name, (ms, scans) in measure_verbs(root, count).items():
                print(f"  {name:<30}{ms:>12,.1f} ms   {'; '.join(scans)}", flush=True)
            for name, (ms, _) in measure_commands(root, count).items():
                print(f"  {name:<30}{ms:>12,.1f} ms", flush=True)


def build(root: Path, count: int) -> None:
    """Make the state of a folder without specs."""
    (root / "specs").mkdir(parents=True)
    database = root / "state" / "reconciler.db"
    Repository.open(database).close()
    step = YEARS_MS // count
    given = {"count": count, "step": step, "first": int(time.time() * 1000) - step * count}
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(f"{_EACH} {_TASK}", {**given, "request": REQUEST})
        for odd, role in enumerate(("video", "poster")):
            connection.execute(_RESULT, {"role": role, "odd": odd})
        connection.execute(_PUBLICATION)
        for late, kind in enumerate(LINES):
            connection.execute(_EVENT, {"late": 20_000 * late, "kind": kind})
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def name_of(number: int) -> str:
    """Return the id of a generation."""
    return f"mc1-{number * 7919:040x}"


def verbs(count: int) -> dict[str, Verb]:
    """Return what to time; what writes does so on rows of its own."""
    now = int(time.time() * 1000)
    name, fresh = name_of(count // 2), iter(range(10**6))
    caps = Caps(per_day=Decimal(10**9), per_run=Decimal(10**9))

    def intent(store: Repository) -> None:
        new = f"mc1-new-{next(fresh)}"
        record = Record(
            external_task_id=new,
            base_id=new,
            status=Status.SUBMITTING,
            request="{}",
            intent_at=now,
            calendar_at=now,
            creates=1,
        )
        entry = HistoryEntry(new, now, "intent")
        store.record_intent(Change(record, None, (entry,)), caps=caps, run_id="run-now")
        return store.save(
            [Change(replace(record, status=Status.FAILED), Status.SUBMITTING)], durable=False
        )

    output = Publication("specs/new.mp4", name, Role.VIDEO, 64 * "0", 1, 1, 1, 1)
    return {
        "records()": lambda store: store.records(),
        "ledger()": lambda store: store.ledger(),
        "publications()": lambda store: store.publications(),
        "known_results()": lambda store: store.known_results(),
        "kept_beside()": lambda store: store.kept_beside(),
        "holds()": lambda store: store.holds(),
        "find(task_id)": lambda store: store.find(f"{count // 2:018}"),
        "attempts(id)": lambda store: store.attempts(name),
        "history(id)": lambda store: store.history(name),
        "recall(key)": lambda store: store.recall("slots"),
        "record_intent, save": intent,
        "publish()": lambda store: store.publish([output]),
        "replace_holds()": lambda store: store.replace_holds({name: f"{next(fresh)}"}, now=now),
        "trim_history(), nothing old": lambda store: store.trim_history(1, most=TRIMMED),
        "trim_history(), 1,000 lines": lambda store: store.trim_history(
            now - YEARS_MS // 2, most=TRIMMED
        ),
        "forget(id)": lambda store: store.forget(name_of(next(fresh) + 1), now=now),
        "tidy()": lambda store: store.tidy(now=now),
    }


def measure_verbs(root: Path, count: int) -> dict[str, tuple[float, list[str]]]:
    """Return what each verb takes in ms, the median of three, and what it scans."""
    database, found = root / "state" / "reconciler.db", {}
    store = Repository.open(database)
    with closing(sqlite3.connect(database)) as asked:
        for name, verb in verbs(count).items():
            said = _traced(store, verb)  # warms, too
            took = [_ms(lambda verb=verb: verb(store)) for _ in range(3)]  # type: ignore[misc]
            found[name] = statistics.median(took), _scans(asked, said)
    store.close()
    return found


def measure_commands(root: Path, count: int) -> dict[str, tuple[float, list[str]]]:
    """Return what whole commands take in ms."""
    commands = (["plan"], ["status"], ["show", name_of(count // 2)])
    times = {one[0]: [timed(HERE, root, *one)["s"] for _ in range(3)] for one in commands}
    return {name: (1000 * statistics.median(took), []) for name, took in times.items()}


def _traced(store: Repository, verb: Verb) -> list[str]:
    said: list[str] = []
    with store._writable.driver() as connection:
        connection.set_trace_callback(said.append)
    try:
        verb(store)
    finally:
        with store._writable.driver() as connection:
            connection.set_trace_callback(None)
    return said


def _scans(connection: sqlite3.Connection, said: list[str]) -> list[str]:
    """Return what is read from end to end by these statements."""
    plans: list[Any] = []
    for one in said:
        if one.split(" ", 1)[0] in {"SELECT", "UPDATE", "DELETE"}:
            plans += connection.execute(f"EXPLAIN QUERY PLAN {one}").fetchall()
    return sorted({detail for *_, detail in plans if detail.startswith("SCAN")})


def _ms(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - began)


if __name__ == "__main__":
    main()
