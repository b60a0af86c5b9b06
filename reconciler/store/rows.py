"""The translation between the values of the core and the database's rows; no statement is executed here."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Row, Select

from reconciler.core.moments import milliseconds
from reconciler.core.states import ALIVE, PREVIEWS, Record, Result, Role, Status
from reconciler.store.changes import Forgotten, HistoryEntry, Publication
from reconciler.store.failures import garbled
from reconciler.store.tables import EVENT, FORGOTTEN, PUBLICATION, RESULT, TASK

_NAMES = tuple(field.name for field in fields(Record) if field.name not in {"results", "previews"})
_ID, _BASE_ID, _ATTEMPT, _STATUS = map(
    _NAMES.index, ("external_task_id", "base_id", "attempt", "status")
)
_TOLD = ("created_at", "finished_at")  # by the provider; older programs kept whatever it said
_PROSE = ("reason", "refusal", "spec", "label")
_STATUSES = {status.value: status for status in Status}
_ROLES = {role.value: role for role in Role}
_KINDS: dict[type, tuple[type, ...]] = {int: (int,), bool: (bool,), float: (float, int)}
_MOST_DIGITS = 100  # of an amount of units, before or after the point
_ROLE_ORDER = {role: place for place, role in enumerate(Role)}

_Rows = Sequence[Row[*tuple[Any, ...]]]

RECORD_COLUMNS = tuple(TASK.c[name] for name in _NAMES)
RESULT_COLUMNS = tuple(
    RESULT.c[name]
    for name in ("external_task_id", "role", "sha256", "size", "duration", "width", "height")
)
ENTRY_COLUMNS = tuple(EVENT.c[field.name] for field in fields(HistoryEntry))
FORGOTTEN_COLUMNS = tuple(FORGOTTEN.c[field.name] for field in fields(Forgotten))
PUBLICATION_COLUMNS = tuple(PUBLICATION.c[field.name] for field in fields(Publication))


def sound(query: Select[*tuple[Any, ...]], found: _Rows) -> _Rows:
    """Return the rows of a query, all of whose values are of their column's type. Raises StateError.

    SQLite holds anything anywhere: without this a damaged byte comes up as a mistake of the program, far from here.
    """
    columns = tuple(query.selected_columns)
    kinds = [_kinds(column) for column in columns]
    shapes: set[tuple[type, ...]] = set()
    for row in found:
        if (shape := tuple(map(type, row))) in shapes:
            continue
        for column, allowed, kind in zip(columns, kinds, shape, strict=True):
            if kind not in allowed:
                raise garbled(f"a {column} holds a value of another kind")
        shapes.add(shape)
    return found


def _kinds(column: ColumnElement[Any]) -> tuple[type, ...]:
    try:
        kinds = _KINDS.get(column.type.python_type, (str,))
    except NotImplementedError:  # sqlmodel's texts do not say that they are
        kinds = (str,)
    return (*kinds, type(None)) if getattr(column, "nullable", True) else kinds


def to_record(row: Row[*tuple[Any, ...]], results: Mapping[str, Sequence[Result]]) -> Record:
    """Return the record of a row of RECORD_COLUMNS with its results, by id. Raises StateError."""
    values: dict[str, Any] = dict(zip(_NAMES, row, strict=True))
    units = values["units"]
    try:
        values["status"] = _STATUSES[values["status"]]
        values["estimated_units"] = _to_units(values["estimated_units"])
        values["units"] = None if units is None else _to_units(units)
        for name in _TOLD:
            values[name] = None if values[name] is None else milliseconds(values[name])
    except (KeyError, ArithmeticError) as error:
        raise garbled(f"the record of {values['external_task_id']} makes no sense") from error
    found = results.get(row[_ID], ())
    bought = tuple(result for result in found if result.role not in PREVIEWS)
    made = tuple(result for result in found if result.role in PREVIEWS)
    return Record(**values, results=bought, previews=made)


def to_forgotten(row: Row[*tuple[Any, ...]]) -> Forgotten:
    """Return the attempt of a row of FORGOTTEN_COLUMNS. Raises StateError."""
    external_task_id, base_id, units, intent_at, calendar_at = row
    try:
        return Forgotten(external_task_id, base_id, Decimal(units), intent_at, calendar_at)
    except ArithmeticError as error:
        raise garbled(f"what {external_task_id} cost makes no sense") from error


def latest_attempts(found: Iterable[Row[*tuple[Any, ...]]]) -> Iterable[Row[*tuple[Any, ...]]]:
    """Return the row of every generation's foremost attempt, as `core.states.foremost`, from rows of RECORD_COLUMNS."""
    latest: dict[str, Row[*tuple[Any, ...]]] = {}
    for row in found:
        known = latest.get(row[_BASE_ID])
        if known is None or _standing(known) < _standing(row):
            latest[row[_BASE_ID]] = row
    return latest.values()


def _standing(row: Row[*tuple[Any, ...]]) -> tuple[bool, int]:
    return row[_STATUS] in ALIVE, row[_ATTEMPT]


def from_record(record: Record) -> dict[str, object]:
    """Return the columns of `task` that say what the record says; its results are rows of their own."""
    values: dict[str, object] = {name: getattr(record, name) for name in _NAMES}
    values.update({name: printable(getattr(record, name)) for name in _PROSE})
    values["status"] = record.status.value
    values["estimated_units"] = str(record.estimated_units)
    values["units"] = None if record.units is None else str(record.units)
    return values


def to_results(found: Iterable[Row[*tuple[Any, ...]]]) -> dict[str, list[Result]]:
    """Return the results of each attempt, video first, from rows of RESULT_COLUMNS. Raises StateError."""
    results: dict[str, list[Result]] = {}
    for external_task_id, role, sha256, size, duration, width, height in found:
        result = Result(_to_role(role), sha256, size, duration, width, height)
        results.setdefault(external_task_id, []).append(result)
    for several in results.values():
        if len(several) > 1:
            several.sort(key=lambda result: _ROLE_ORDER[result.role])
    return results


def from_results(record: Record) -> list[dict[str, object]]:
    """Return the rows of `result` for a record."""
    return [
        {
            "external_task_id": record.external_task_id,
            "role": result.role.value,
            "sha256": result.sha256,
            "size": result.size,
            "duration": result.duration,
            "width": result.width,
            "height": result.height,
        }
        for result in (*record.results, *record.previews)
    ]


def from_entry(entry: HistoryEntry) -> dict[str, object]:
    """Return the row of `event` for a line of history."""
    return {
        "external_task_id": entry.external_task_id,
        "at": entry.at,
        "kind": entry.kind,
        "detail": printable(entry.detail),
        "request_id": printable(entry.request_id),
    }


def to_publication(row: Row[*tuple[Any, ...]]) -> Publication:
    """Return the output of a row of PUBLICATION_COLUMNS. Raises StateError."""
    path, external_task_id, role, sha256, size, mtime_ns, inode, ctime_ns = row
    if not inode.isdecimal():
        raise garbled(f"{path!r} has no inode")
    stood = size, mtime_ns, int(inode), ctime_ns
    return Publication(path, external_task_id, _to_role(role), sha256, *stood)


def from_publication(publication: Publication) -> dict[str, object]:
    """Return the row of `publication` for an output."""
    values: dict[str, object] = {
        column.name: getattr(publication, column.name) for column in PUBLICATION_COLUMNS
    }
    return values | {"role": publication.role.value, "inode": str(publication.inode)}


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keep the garbage collector from walking thousands of values, none of them garbage, as they are made."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def printable(text: str) -> str:
    """Return text for people that every database can hold: JSON may carry halves of characters."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _to_units(text: str) -> Decimal:
    """Return an amount; written out, one of many digits would fill the memory. Raises ArithmeticError."""
    units = Decimal(text)
    if not units.is_finite() or not -_MOST_DIGITS < units.adjusted() < _MOST_DIGITS:
        raise ArithmeticError(text[:_MOST_DIGITS])
    return units


def _to_role(word: str) -> Role:
    try:
        return _ROLES[word]
    except KeyError as error:
        raise garbled(f"{word!r} is not a role of a result") from error
