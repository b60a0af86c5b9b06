"""The tables of the state database as SQLModel row types, and how their rows become the core's values. No verbs.

The migrations, not these classes, create the schema; a test proves that both say the same. The triggers that
keep `event` from being changed are known to the migrations alone, because table metadata cannot hold them.
Times are ms since the epoch; units are decimals kept as text, because no database type keeps them exactly on
SQLite and PostgreSQL alike.
"""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Index,
    MetaData,
    Row,
    Select,
    Table,
    UniqueConstraint,
    false,
    select,
    text,
)
from sqlmodel import Field, SQLModel

from reconciler.core.moments import milliseconds
from reconciler.core.states import PREVIEWS, Record, Result, Role, Status
from reconciler.store.database import garbled
from reconciler.store.values import Forgotten, HistoryEntry, Publication

# word for word the condition of the index below, so that the database uses that
LIVE_TASKS = text("status IN ('submitting', 'submitted', 'processing')")


class _Row(SQLModel):
    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ix": "ix_%(table_name)s_%(column_0_name)s",
        }
    )


class TaskRow(_Row, table=True):
    """One attempt at a generation; the columns are the fields of `core.states.Record`, and `run_id`."""

    __tablename__ = "task"
    __table_args__ = (
        UniqueConstraint("base_id", "attempt"),
        # A task belongs to one attempt: a mixed-up answer cannot give it to a second one.
        Index("uq_task_task_id", "task_id", unique=True),
        # Money rule 1: the database itself refuses a second task of one generation that could be billed.
        Index("one_live_task_per_generation", "base_id", unique=True, sqlite_where=LIVE_TASKS),
    )

    external_task_id: str = Field(primary_key=True)
    base_id: str
    attempt: int
    status: str
    request: str
    spec: str
    label: str
    task_id: str | None
    reason: str
    estimated_units: str
    units: str | None
    intent_at: int | None = Field(sa_type=BigInteger, index=True)
    creates: int
    doubtful: bool
    gave_up_at: int | None = Field(sa_type=BigInteger)
    absent_looks: int
    refusal: str
    created_at: int | None = Field(sa_type=BigInteger)
    finished_at: int | None = Field(sa_type=BigInteger)
    run_id: str | None = Field(index=True)
    in_use: bool = Field(sa_column_kwargs={"server_default": false()})
    calendar_at: int | None = Field(sa_type=BigInteger, index=True)
    claimed: bool = Field(sa_column_kwargs={"server_default": false()})


class ResultRow(_Row, table=True):
    """One file of a finished attempt, bought or made of it here; its bytes are in the object store."""

    __tablename__ = "result"

    external_task_id: str = Field(primary_key=True, foreign_key="task.external_task_id")
    role: str = Field(primary_key=True)
    sha256: str
    size: int = Field(sa_type=BigInteger)
    duration: float | None
    width: int | None
    height: int | None


class EventRow(_Row, table=True):
    """One line of history; never changed, removed only when it is old, and kept when its task is not."""

    __tablename__ = "event"
    __table_args__ = {"sqlite_autoincrement": True}

    id: int | None = Field(primary_key=True)
    external_task_id: str = Field(index=True)
    at: int = Field(sa_type=BigInteger, index=True)
    kind: str
    detail: str
    request_id: str


class ForgottenRow(_Row, table=True):
    """An attempt that was forgotten, and its units, which caps go on counting."""

    __tablename__ = "forgotten"

    external_task_id: str = Field(primary_key=True)
    base_id: str = Field(index=True)
    units: str
    intent_at: int | None = Field(sa_type=BigInteger)
    run_id: str | None
    calendar_at: int | None = Field(sa_type=BigInteger)


class PublicationRow(_Row, table=True):
    """An output that we wrote, and how it looked; the inode is text because it may need all 64 bits."""

    __tablename__ = "publication"

    path: str = Field(primary_key=True)
    external_task_id: str
    role: str
    sha256: str
    size: int = Field(sa_type=BigInteger)
    mtime_ns: int = Field(sa_type=BigInteger)
    inode: str
    ctime_ns: int | None = Field(sa_type=BigInteger)


class HoldRow(_Row, table=True):
    """Why this program does not send a wanted generation."""

    __tablename__ = "hold"

    base_id: str = Field(primary_key=True)
    reason: str
    since: int = Field(sa_type=BigInteger)


class GivenOrder(_Row, table=True):
    """An order that a command left for the process that writes, and what became of it; see `order_queue`."""

    __tablename__ = "given_order"
    __table_args__ = {"sqlite_autoincrement": True}

    id: int | None = Field(primary_key=True)
    ticket: str = Field(unique=True)
    document: str
    asked: int  # how often the giver was asked whether it still waits; 0: the order is not taken
    heard: int  # the last of these questions that the giver replied to
    answer: str | None


class MemoryRow(_Row, table=True):
    """Small facts that survive a restart, such as the concurrency that was learnt."""

    __tablename__ = "memory"

    key: str = Field(primary_key=True)
    value: str


METADATA: MetaData = _Row.metadata
TASK: Table = METADATA.tables["task"]
RESULT: Table = METADATA.tables["result"]
EVENT: Table = METADATA.tables["event"]
FORGOTTEN: Table = METADATA.tables["forgotten"]
PUBLICATION: Table = METADATA.tables["publication"]
HOLD: Table = METADATA.tables["hold"]
GIVEN_ORDER: Table = METADATA.tables["given_order"]
MEMORY: Table = METADATA.tables["memory"]

_TOLD = ("created_at", "finished_at")  # by the provider; older programs kept any value
_PROSE = frozenset({"reason", "refusal", "spec", "label", "detail", "request_id"})
_ROLES = tuple(Role)
_KINDS: dict[type, tuple[type, ...]] = {int: (int,), bool: (bool,), float: (float, int)}
_MOST_DIGITS = 100  # of an amount of units, before or after the point

# the columns of each value: its fields; a record's results are rows of their own
_NAMES: dict[type, tuple[str, ...]] = {
    kind: tuple(one.name for one in fields(kind) if one.name not in {"results", "previews"})
    for kind in (Record, Result, HistoryEntry, Forgotten, Publication)
}


Found = Sequence[Row[*tuple[Any, ...]]]
RECORDS = select(*(TASK.c[name] for name in _NAMES[Record]))
RESULTS = select(RESULT.c.external_task_id, *(RESULT.c[name] for name in _NAMES[Result]))
ENTRIES = select(*(EVENT.c[name] for name in _NAMES[HistoryEntry]))
ALL_FORGOTTEN = select(*(FORGOTTEN.c[name] for name in _NAMES[Forgotten]))
PUBLICATIONS = select(*(PUBLICATION.c[name] for name in _NAMES[Publication]))


def sound(query: Select[*tuple[Any, ...]], found: Found) -> Found:
    """Return the rows of a query; raises StateError for a value of another type than its column's: SQLite holds any."""
    columns = [(column, _kinds(column)) for column in query.selected_columns]
    for shape in dict.fromkeys(tuple(map(type, row)) for row in found):
        for (column, allowed), kind in zip(columns, shape, strict=True):
            if kind not in allowed:
                raise garbled(f"a {column} holds a value of another kind")
    return found


def _kinds(column: ColumnElement[Any]) -> tuple[type, ...]:
    try:
        kinds = _KINDS.get(column.type.python_type, (str,))
    except NotImplementedError:  # sqlmodel's texts do not say that they are
        kinds = (str,)
    return (*kinds, type(None)) if getattr(column, "nullable", True) else kinds


def to_record(row: Row[*tuple[Any, ...]], results: Mapping[str, Sequence[Result]]) -> Record:
    """Return the record of a row of RECORDS with its results, by id. Raises StateError."""
    values: dict[str, Any] = dict(zip(_NAMES[Record], row, strict=True))
    units = values["units"]
    try:
        values["status"] = Status(values["status"])
        values["estimated_units"] = _to_units(values["estimated_units"])
        values["units"] = None if units is None else _to_units(units)
        for name in _TOLD:
            values[name] = None if values[name] is None else milliseconds(values[name])
    except (ValueError, ArithmeticError) as error:
        raise garbled(f"the record of {values['external_task_id']} makes no sense") from error
    found = results.get(values["external_task_id"], ())
    bought = tuple(result for result in found if result.role not in PREVIEWS)
    made = tuple(result for result in found if result.role in PREVIEWS)
    return Record(**values, results=bought, previews=made)


def to_forgotten(row: Row[*tuple[Any, ...]]) -> Forgotten:
    """Return the attempt of a row of ALL_FORGOTTEN. Raises StateError."""
    try:
        return replace(Forgotten(*row), units=Decimal(row.units))
    except ArithmeticError as error:
        raise garbled(f"what {row.external_task_id} cost makes no sense") from error


def row_of(
    value: Record | Result | HistoryEntry | Forgotten | Publication, **more: object
) -> dict[str, object]:
    """Return the columns of a value; enumerations and amounts are text there."""
    said = {name: getattr(value, name) for name in _NAMES[type(value)]} | more
    for name, one in said.items():
        if name in _PROSE:
            said[name] = printable(one)
        elif isinstance(one, (StrEnum, Decimal)):
            said[name] = str(one)
    return said


def to_results(found: Iterable[Row[*tuple[Any, ...]]]) -> dict[str, list[Result]]:
    """Return the results of each attempt, video first, from rows of RESULTS. Raises StateError."""
    results = defaultdict[str, list[Result]](list)
    for external_task_id, role, *rest in found:
        results[external_task_id].append(Result(_to_role(role), *rest))
    for several in results.values():
        several.sort(key=lambda result: _ROLES.index(result.role))
    return results


def to_publication(row: Row[*tuple[Any, ...]]) -> Publication:
    """Return the output of a row of PUBLICATIONS. Raises StateError."""
    path, owner, role, sha256, size, mtime_ns, inode, ctime_ns = row
    if not inode.isdecimal():
        raise garbled(f"{path!r} has no inode")
    stood = size, mtime_ns, int(inode), ctime_ns
    return Publication(path, owner, _to_role(role), sha256, *stood)


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause the garbage collector while thousands of values are made, none of them garbage."""
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
    """Return an amount; raises ArithmeticError for one that written out would fill the memory."""
    units = Decimal(text)
    if not units.is_finite() or not -_MOST_DIGITS < units.adjusted() < _MOST_DIGITS:
        raise ArithmeticError(text[:_MOST_DIGITS])
    return units


def _to_role(word: str) -> Role:
    try:
        return Role(word)
    except ValueError as error:
        raise garbled(f"{word!r} is not a role of a result") from error
