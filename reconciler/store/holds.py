"""The rows that say why a generation is held back. Nothing here commits."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, bindparam, delete, insert, update

from reconciler.store.tables import HOLD

_DELETE = delete(HOLD).where(HOLD.c.base_id == bindparam("gone"))
_CHANGE = update(HOLD).where(HOLD.c.base_id == bindparam("held"))


def write_holds(
    connection: Connection, known: Mapping[str, str], wanted: Mapping[str, str], *, now: int
) -> None:
    """Turn the known holds into the wanted ones, by base id; one that stays keeps its beginning. `now` is in ms."""
    gone = [{"gone": base_id} for base_id in known.keys() - wanted.keys()]
    new = [
        {"base_id": base_id, "reason": wanted[base_id], "since": now}
        for base_id in wanted.keys() - known.keys()
    ]
    changed = [
        {"held": base_id, "reason": wanted[base_id]}
        for base_id in wanted.keys() & known.keys()
        if wanted[base_id] != known[base_id]
    ]
    for statement, values in ((_DELETE, gone), (_CHANGE, changed), (insert(HOLD), new)):
        if values:
            connection.execute(statement, values)
