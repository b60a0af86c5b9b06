"""What was spent, and whether a cap allows more. It only reads; the transaction around it makes it binding.

Units are summed as decimals in Python, from groups of equal amounts that the database counts: exact on every
database, and short however many attempts a day has.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from sqlalchemy import ColumnElement, Connection, Table, and_, func, or_, select

from reconciler.core.errors import CapReached
from reconciler.core.moments import day_start
from reconciler.core.schedule import DAY
from reconciler.core.spending import EXACT, FREE, charged, total, units_text
from reconciler.core.states import Record
from reconciler.store.tables import FORGOTTEN, TASK
from reconciler.store.values import Caps, Spent

_AHEAD = 3 * DAY
_Scope = Callable[[Table], ColumnElement[bool]]  # which rows count; of `task` or `forgotten`


def check_caps(connection: Connection, record: Record, caps: Caps, *, run_id: str) -> Spent:
    """Return what is spent with the record's estimate, in its run and on its days; raises CapReached beyond a cap."""
    spent: dict[str, Decimal] = {}
    for period, cap, scope in (
        ("day", caps.per_day, _days_of(record)),
        ("run", caps.per_run, lambda table: table.c.run_id == run_id),
    ):
        if cap is None:
            continue
        used = EXACT.add(
            _recorded(connection, scope, record), _forgotten(connection, scope, record)
        )
        wanted = record.estimated_units
        spent[period] = EXACT.add(used, wanted)
        # Under a cap of 0 nothing is sent, though a price of 0 may make an estimate of 0.
        if not (cap > 0 and spent[period] <= cap):
            raise CapReached(
                f"The cap of {units_text(cap)} unit{'s' * (cap != 1)} per {period} is reached: {units_text(used)} are used "
                f"and {units_text(wanted)} more are wanted, so nothing was sent.",
                hint=f"Raise RECONCILER_MAX_UNITS_PER_{period.upper()}, or wait for the next {period}.",
            )
    return Spent(**spent)


def _days_of(record: Record) -> _Scope:
    """Return the condition of purchases on the day of this intent: by our clock, or by the machine's calendar.

    The calendar can be set while our clock goes on, which begins anew with every process: either day counts. So do
    purchases of the next two days: the clock was set back since.
    """
    times = {"intent_at": record.intent_at, "calendar_at": record.calendar_at}
    starts = {name: day_start(at) for name, at in times.items() if at is not None}

    def on_either_day(table: Table) -> ColumnElement[bool]:
        days = ((table.c[name], start) for name, start in starts.items())
        return or_(*(and_(at >= start, at < start + _AHEAD) for at, start in days))

    return on_either_day


def _recorded(connection: Connection, scope: _Scope, besides: Record) -> Decimal:
    """Return the provider units of the attempts in scope, without the attempt that is being recorded (again)."""
    amount = (TASK.c.status, TASK.c.estimated_units, TASK.c.units)
    others = TASK.c.external_task_id != besides.external_task_id
    query = select(*amount, func.count()).where(_may_be_billed(scope), others).group_by(*amount)
    return total(
        EXACT.multiply(
            count, charged(status, Decimal(estimated), None if units is None else Decimal(units))
        )
        for status, estimated, units, count in connection.execute(query)
    )


def _forgotten(connection: Connection, scope: _Scope, besides: Record) -> Decimal:
    """Return the units of forgotten attempts in scope, without those that are on record again and count by that row."""
    found_again = select(TASK.c.external_task_id).where(_may_be_billed(scope))
    owner = FORGOTTEN.c.external_task_id
    query = select(owner, FORGOTTEN.c.units).where(scope(FORGOTTEN), owner.not_in(found_again))
    return total(
        # Sent again under its id it counts once: what it cost, or its estimate if that is more.
        max(Decimal(units) - besides.estimated_units, Decimal(0))
        if external_task_id == besides.external_task_id
        else Decimal(units)
        for external_task_id, units in connection.execute(query)
    )


def _may_be_billed(scope: _Scope) -> ColumnElement[bool]:
    return and_(scope(TASK), TASK.c.status.not_in([status.value for status in FREE]))
