"""Plans, states and sums as tables for people."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from decimal import Decimal

from rich.markup import escape
from rich.table import Table

from reconciler.cli.views import in_short, name_of
from reconciler.core.diff import Action, Plan
from reconciler.core.spending import UnitPrice, units_text
from reconciler.core.states import Status

COLOURS: dict[str, str] = {
    **dict.fromkeys((Action.SUBMIT, Action.RETRY, Status.COMPLETE), "green"),
    **dict.fromkeys((Action.BLOCKED, Action.ORPHAN), "yellow"),
    **dict.fromkeys((Action.INVALID, Action.FAILED, Action.EXPIRED, Status.REJECTED), "red"),
    Status.PENDING: "",
}
"""By action and status; cyan for the others."""
MOST_ROWS = 500  # of a table: laying out more takes seconds
_Row = tuple[Action | Status, str, Decimal | None, str]


def plan_table(plan: Plan, price: UnitPrice | None = None) -> Table:
    """Return the plan for a terminal: what would be done, and why; what is kept is only counted."""
    rows: list[_Row] = [
        (item.action, name_of(item), item.estimated_units, item.reason)
        for item in plan.assessments
        if item.action is not Action.KEEP
    ]
    rows += [(Action.INVALID, spec, None, in_short(found)) for spec, found in plan.invalid.items()]
    rows += [(Action.ORPHAN, path, None, "ours, and no spec asks for it") for path in plan.orphans]
    return _table("action", "reason", rows, price)


def status_table(plan: Plan) -> Table:
    """Return the status of every generation for a terminal."""
    rows: list[_Row] = []
    for item in plan.assessments:
        outputs = ", ".join(path for path, _ in item.published)
        said = outputs if item.status is Status.COMPLETE else item.reason
        units = item.record.units if item.record else None
        rows.append((item.status, name_of(item), units, said))
    rows += [(Status.INVALID, spec, None, in_short(found)) for spec, found in plan.invalid.items()]
    return _table("status", "output or reason", rows)


def bare_table(columns: Sequence[str], numbers: Collection[str]) -> Table:
    """Return a table without rows; the columns of `numbers` stand at the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        is_number = column in numbers
        table.add_column(column, justify="right" if is_number else "left", overflow="fold")
    return table


def _table(first: str, last: str, rows: Sequence[_Row], price: UnitPrice | None = None) -> Table:
    money = [price.currency] if price else []
    table = bare_table([first, "generation", "units", *money, last], ["units", *money])
    for word, name, units, said in rows[:MOST_ROWS]:
        colour = COLOURS.get(word, "cyan")
        told = (units and units_text(units)) or ""
        cost = [price.rounded(units) if units else ""] if price else []
        shown = f"[{colour}]{word}[/]" if colour else str(word)
        table.add_row(shown, escape(name), told, *cost, escape(said))
    if len(rows) > MOST_ROWS:
        more = f"and {len(rows) - MOST_ROWS:,} more"
        blank = [""] * (1 + len(money))
        table.add_row("…", more, *blank, "name a folder, or use --json, to see them")
    return table
