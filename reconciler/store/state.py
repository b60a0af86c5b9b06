"""What the state says: every question that is asked of its database. No SQLAlchemy, and nothing here changes anything.

One verb is one consistent look. The verbs that write are in `repository`, which asks by these.
"""

from __future__ import annotations

import gc
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from reconciler.core.states import ALIVE, PREVIEWS, Record, Status, foremost
from reconciler.store import database, rows
from reconciler.store.rows import TEXT, Select
from reconciler.store.values import KEPT_BESIDE, HistoryEntry, Ledger, Publication, Standings

_RESULTS_OF = "WHERE external_task_id IN (SELECT external_task_id FROM task WHERE"
ATTEMPTS = (
    rows.TASKS.only("WHERE base_id = :base ORDER BY attempt"),
    rows.RESULTS.only(f"{_RESULTS_OF} base_id = :base)"),
)
"""All attempts at the generation `base`, the first one first, and their results."""

_LISTED = "IN (SELECT value FROM json_each(:listed))"
_WANTED = (
    rows.TASKS.only(f"WHERE base_id {_LISTED}"),
    rows.RESULTS.only(f"{_RESULTS_OF} base_id {_LISTED})"),
)
_OPEN = "base_id IN (SELECT base_id FROM task WHERE status <> 'complete')"
_UNFINISHED = (rows.TASKS.only(f"WHERE {_OPEN}"), rows.RESULTS.only(f"{_RESULTS_OF} {_OPEN})"))
_ALIVE = ", ".join(f"'{status}'" for status in sorted(ALIVE))
_STANDINGS = Select(
    "task",
    {
        name: rows.TASKS.columns[name]
        for name in ("base_id", "external_task_id", "status", "claimed", "spec")
    },
    f"ORDER BY base_id, status IN ({_ALIVE}), attempt",
)
_ASKED_BY = Select("task", {"base_id": TEXT}, "WHERE spec = :spec")
_NAMES = ("base_id", "external_task_id", "task_id")  # what an attempt is called by
_IS_NAMED = " OR ".join(f"{name} = :any_id" for name in _NAMES)
_NAMED = (
    rows.TASKS.only(f"WHERE {_IS_NAMED} ORDER BY attempt"),
    rows.RESULTS.only(f"{_RESULTS_OF} {_IS_NAMED})"),
)
_HISTORY = rows.ENTRIES.only(
    "WHERE external_task_id = :base "
    "OR external_task_id IN (SELECT external_task_id FROM task WHERE base_id = :base) "
    "OR external_task_id IN (SELECT external_task_id FROM forgotten WHERE base_id = :base) "
    "ORDER BY id"
)
_KEPT_BESIDE = Select(
    "event",
    {"detail": TEXT},
    "WHERE kind = :kind AND external_task_id IN (SELECT external_task_id FROM task)",
)
_PUBLISHED_AT = rows.PUBLICATIONS.only(f"WHERE path {_LISTED}")
_PLACES = Select("publication", {"sha256": TEXT, "path": TEXT}, f"WHERE sha256 {_LISTED}")
_OWNERS = Select("result", {"sha256": TEXT, "external_task_id": TEXT, "role": TEXT})
_NOT_CLAIMED = "JOIN task USING (external_task_id) WHERE task.claimed = 0"
_HOLDS = Select("hold", {"base_id": TEXT, "reason": TEXT})
_REMEMBERED = Select("memory", {"value": TEXT}, "WHERE key = :key")
_DIGESTS = re.compile(r"\b[0-9a-f]{64}\b")


class State:
    """The state database, for one thread at a time. Every verb raises StateError when it cannot be used."""

    def __init__(self, opened: database.Database | None) -> None:
        self._database = opened

    @classmethod
    def open(cls, url_or_path: str | Path) -> Self:
        """Open a database by its path or `sqlite:///` URL, to read; without one, or without tables, it says nothing."""
        opened = database.open_for_reading(database.database_path(url_or_path))
        if opened is None:
            return cls(None)
        try:
            if database.is_ready(opened):
                return cls(opened)
        except BaseException:
            opened.close()
            raise
        opened.close()
        return cls(None)

    def close(self) -> None:
        """Close the database; closing twice is harmless."""
        if self._database is not None:
            self._database.close()

    def records(self) -> dict[str, Record]:
        """Return the foremost attempt of every generation, by base id, with its results."""
        return self._foremost(rows.TASKS, rows.RESULTS)

    def records_of(self, base_ids: Iterable[str]) -> dict[str, Record]:
        """Return the foremost attempts at these generations, by base id."""
        return self._foremost(*_WANTED, listed=json.dumps([*base_ids]))

    def unfinished(self) -> dict[str, Record]:
        """Return the foremost attempts at all generations with an attempt that is not complete, by base id."""
        return self._foremost(*_UNFINISHED)

    def _foremost(self, tasks: Select, results: Select, **given: object) -> dict[str, Record]:
        found = dict[str, Record]()
        with _collector_paused():
            for record in rows.to_records(*self._found(tasks, results, **given)):
                other = found.get(record.base_id)
                if other is None or foremost((other, record)) is record:
                    found[record.base_id] = record
        return found

    def standings(self) -> Standings:
        """Return how all generations stand."""
        (found,) = self._found(_STANDINGS)
        last = dict[str, rows.Row]()
        for row in found:  # one generation's attempts one after the other, as `foremost` ranks them
            last[row[0]] = row
        done = {row[1]: row[2] == Status.COMPLETE and not row[3] for row in last.values()}
        return Standings(
            frozenset(name for name, is_done in done.items() if is_done),
            frozenset(spec for _, name, _, _, spec in last.values() if not done[name]),
        )

    def asked_by(self, spec: str) -> frozenset[str]:
        """Return the base ids of the generations that a spec was the first to ask for."""
        (found,) = self._found(_ASKED_BY, spec=spec)
        return frozenset(base_id for (base_id,) in found)

    def record(self, base_id: str) -> Record | None:
        """Return the foremost attempt at a generation, None when there was none."""
        return foremost(self.attempts(base_id))

    def attempts(self, base_id: str) -> tuple[Record, ...]:
        """Return every attempt at a generation, the first one first."""
        return rows.to_records(*self._found(*ATTEMPTS, base=base_id))

    def ledger(self) -> Ledger:
        """Return every attempt at every generation, and every one that was forgotten."""
        with _collector_paused():
            tasks, gone = self._found(rows.TASKS, rows.ALL_FORGOTTEN)
            return Ledger(rows.to_records(tasks, ()), tuple(map(rows.to_forgotten, gone)))

    def find(self, any_id: str) -> Record | None:
        """Return the attempt that a base id (the foremost one), an attempt's id or a `task_id` names."""
        found = rows.to_records(*self._found(*_NAMED, any_id=any_id))
        for name in _NAMES:
            if named := [one for one in found if getattr(one, name) == any_id]:
                return foremost(named)
        return None

    def history(self, base_id: str) -> tuple[HistoryEntry, ...]:
        """Return what happened to all attempts at a generation, forgotten ones too, oldest first."""
        (entries,) = self._found(_HISTORY, base=base_id)
        return tuple(HistoryEntry(*entry) for entry in entries)

    def publications(self, paths: Iterable[str] | None = None) -> dict[str, Publication]:
        """Return the outputs that are ours, by their path relative to the root; `paths`: only those there."""
        if paths is None:
            (found,) = self._found(rows.PUBLICATIONS)
        else:
            (found,) = self._found(_PUBLISHED_AT, listed=json.dumps([*paths]))
        return {one.path: one for one in map(rows.to_publication, found)}

    def places(self, digests: Iterable[str]) -> dict[str, list[str]]:
        """Return where files with these SHA-256 were published, relative to the root; it looks through all of them."""
        (found,) = self._found(_PLACES, listed=json.dumps([*digests]))
        places = defaultdict[str, list[str]](list)
        for digest, path in found:
            places[digest].append(path)
        return dict(places)

    def known_results(self, *, previews: bool = True, claimed: bool = True) -> dict[str, str]:
        """Return, for the SHA-256 of every result (and preview) of every attempt, the id of an attempt that has it.

        Without `claimed`, attempts that only a receipt tells of are left out.
        """
        whose = "" if claimed else _NOT_CLAIMED
        (found,) = self._found(_OWNERS.only(f"{whose} ORDER BY result.external_task_id DESC"))
        return {digest: owner for digest, owner, role in found if previews or role not in PREVIEWS}

    def kept_beside(self) -> set[str]:
        """Return the SHA-256 of all objects in the KEPT_BESIDE lines of attempts that are on record."""
        (found,) = self._found(_KEPT_BESIDE, kind=KEPT_BESIDE)
        return {digest for (detail,) in found for digest in _DIGESTS.findall(detail)}

    def holds(self) -> dict[str, str]:
        """Return why generations are held on our side, by base id."""
        (found,) = self._found(_HOLDS)
        return dict(found)

    def recall(self, key: str) -> str | None:
        """Return what was remembered under a key, None when nothing was."""
        (found,) = self._found(_REMEMBERED, key=key)
        return found[0][0] if found else None

    def integrity_check(self) -> tuple[str, ...]:
        """Return what is wrong with the database file, in the database's words; empty when it is sound."""
        if self._database is None:
            return ()
        with self._database.read() as connection:
            found = connection.execute("PRAGMA integrity_check").fetchall()
        return tuple(line for (line,) in found if line != "ok")

    def _found(self, *selects: Select, **given: object) -> list[list[rows.Row]]:
        """Return the rows of each question, all as of one moment."""
        if self._database is None:
            return [[] for _ in selects]
        with self._database.read() as connection:
            return [select.rows(connection, **given) for select in selects]


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pause the garbage collector while thousands of values are made, none of them garbage."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
