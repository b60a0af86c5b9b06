"""What is selected from the state's tables, and how its rows become the core's values. No SQLAlchemy, and no verbs.

The columns are the fields of the values, and what a column may hold is what the field's annotation says: SQLite itself
holds any type in any column. A test compares this with the tables.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from functools import cache, lru_cache
from types import NoneType
from typing import Any

from reconciler.core.moments import milliseconds
from reconciler.core.states import PREVIEWS, Record, Result, Role, Status
from reconciler.store.database import garbled
from reconciler.store.values import Forgotten, HistoryEntry, Publication

Row = tuple[Any, ...]
_Files = Mapping[str, tuple[Result, ...]]  # by the attempt's id
Kinds = frozenset[type]  # the types that the driver may give for a column
TEXT: Kinds = frozenset({str})

_STORED = {"int": (int,), "bool": (int,), "float": (float, int), "None": (NoneType,)}
_FLAGS = tuple(one.name for one in fields(Record) if one.type == "bool")
_TRUTH = {0: False, 1: True}
_TOLD = ("created_at", "finished_at")  # by the provider; older programs kept any value
_MOST_DIGITS = 100  # of an amount of units, before or after the point


@dataclass(frozen=True, slots=True)
class Select:
    """A question for columns of one table; `rest` is what stands behind its name, with parameters as `:name`."""

    table: str
    columns: Mapping[str, Kinds]
    rest: str = ""

    def only(self, rest: str) -> Select:
        """Return the same question for some of the rows, or in an order."""
        return replace(self, rest=rest)

    def rows(self, connection: sqlite3.Connection, **given: object) -> list[Row]:
        """Return the rows; raises StateError for a value of another type than its column's, and the driver's errors."""
        names = [f"{self.table}.{name}" for name in self.columns]
        statement = f"SELECT {', '.join(names)} FROM {self.table} {self.rest}"  # noqa: S608 - texts of ours
        found = connection.execute(statement, given).fetchall()
        for shape in dict.fromkeys(tuple(map(type, row)) for row in found):
            for name, kinds, kind in zip(names, self.columns.values(), shape, strict=True):
                if kind not in kinds:
                    raise garbled(f"a {name} holds a value of another kind")
        return found


def _columns(value: type) -> dict[str, Kinds]:
    kept = (one for one in fields(value) if one.name not in {"results", "previews"})
    return {one.name: _kinds(str(one.type)) for one in kept}


def _kinds(annotation: str) -> Kinds:
    """Return what is kept for an annotation, as it is written; enumerations and amounts are text."""
    words = annotation.split(" | ")
    return frozenset(kind for word in words for kind in _STORED.get(word, (str,)))


COLUMNS: dict[type, dict[str, Kinds]] = {
    kind: _columns(kind) for kind in (Record, Result, HistoryEntry, Forgotten, Publication)
}
"""What each value is kept in; a record's results are rows of their own."""

TASKS = Select("task", COLUMNS[Record])
RESULTS = Select("result", {"external_task_id": TEXT, **COLUMNS[Result]})
ENTRIES = Select("event", COLUMNS[HistoryEntry])
ALL_FORGOTTEN = Select("forgotten", COLUMNS[Forgotten])
PUBLICATIONS = Select("publication", {**COLUMNS[Publication], "inode": TEXT})  # it may need 64 bits


def to_records(tasks: Iterable[Row], results: Iterable[Row]) -> tuple[Record, ...]:
    """Return the records of rows of TASKS with their results, of rows of RESULTS. Raises StateError."""
    bought, made = _to_results(results)
    return tuple(_to_record(row, bought, made) for row in tasks)


def _to_record(row: Row, bought: _Files, made: _Files) -> Record:
    values: dict[str, Any] = dict(zip(TASKS.columns, row, strict=False))  # as many were asked for
    name, units = values["external_task_id"], values["units"]
    try:
        values["status"] = _status(values["status"])
        values["estimated_units"] = _units(values["estimated_units"])
        values["units"] = None if units is None else _units(units)
        for flag in _FLAGS:
            values[flag] = _TRUTH[values[flag]]
        for told in _TOLD:
            values[told] = None if values[told] is None else milliseconds(values[told])
    except (ValueError, KeyError, ArithmeticError) as error:
        raise garbled(f"the record of {name} makes no sense") from error
    values["results"], values["previews"] = bought.get(name, ()), made.get(name, ())
    return Record(**values)


def _to_results(found: Iterable[Row]) -> tuple[_Files, _Files]:
    """Return what was bought and what was made here, by the attempts' ids, video first."""
    bought, made = defaultdict[str, list[Result]](list), defaultdict[str, list[Result]](list)
    for external_task_id, word, *rest in found:
        result = Result(_to_role(word), *rest)
        (made if result.role in PREVIEWS else bought)[external_task_id].append(result)
    return _in_order(bought), _in_order(made)


def _in_order(files: Mapping[str, list[Result]]) -> _Files:
    rank = list(Role).index
    return {
        name: tuple(sorted(some, key=lambda one: rank(one.role))) for name, some in files.items()
    }


def to_forgotten(row: Row) -> Forgotten:
    """Return the attempt of a row of ALL_FORGOTTEN. Raises StateError."""
    gone = Forgotten(*row)
    try:
        return replace(gone, units=Decimal(gone.units))
    except ArithmeticError as error:
        raise garbled(f"what {gone.external_task_id} cost makes no sense") from error


def to_publication(row: Row) -> Publication:
    """Return the output of a row of PUBLICATIONS. Raises StateError."""
    path, owner, role, sha256, size, mtime_ns, inode, ctime_ns = row
    if not inode.isdecimal():
        raise garbled(f"{path!r} has no inode")
    stood = size, mtime_ns, int(inode), ctime_ns
    return Publication(path, owner, _to_role(role), sha256, *stood)


@lru_cache
def _units(text: str) -> Decimal:
    """Return an amount; raises ArithmeticError for one that written out would fill the memory."""
    units = Decimal(text)
    if not units.is_finite() or not -_MOST_DIGITS < units.adjusted() < _MOST_DIGITS:
        raise ArithmeticError(text[:_MOST_DIGITS])
    return units


def _to_role(word: str) -> Role:
    try:
        return _role(word)
    except ValueError as error:
        raise garbled(f"{word!r} is not a role of a result") from error


# A hundred thousand rows say the same few words and amounts.
_status, _role = cache(Status), cache(Role)
