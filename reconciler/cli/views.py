"""What the commands say: the JSON documents of the contract, and the same facts as lines for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

from rich.markup import escape
from rich.table import Table

from reconciler.core.diff import Action, Assessment, Plan
from reconciler.core.documents import Problem, waiting_for, waiting_words
from reconciler.core.money import UnitPrice
from reconciler.core.states import Result, Status

_COLOURS = {
    Action.SUBMIT: "green",
    Action.RETRY: "green",
    Action.KEEP: "dim",
    Action.BLOCKED: "yellow",
    Action.INVALID: "red",
    Action.FAILED: "red",
    Action.EXPIRED: "red",
    Action.ORPHAN: "yellow",
    Status.COMPLETE: "green",
    Status.REJECTED: "red",
    Status.PENDING: "default",
}

_MOST_ROWS = 500  # of a table: nobody reads more, and laying them out takes seconds
_Row = tuple[Action | Status, str, Decimal | None, str]


def units_text(units: Decimal | None) -> str | None:
    """Return units as a plain decimal string."""
    if units is None:
        return None
    text = f"{units:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def validate_document(problems: Iterable[Problem], specs: int, generations: int) -> dict[str, Any]:
    """Return the document of `validate --json`."""
    return {
        "specs": specs,
        "generations": generations,
        "errors": [
            {
                "file": problem.place.file,
                "line": problem.place.line,
                "column": problem.place.column,
                "key": problem.key,
                "message": problem.message,
                "suggestion": problem.suggestion or None,
            }
            for problem in problems
        ],
    }


def cost_keys(price: UnitPrice | None, units: Decimal) -> dict[str, str | None]:
    """Return what a document says of money: nothing, unless there is a price for a unit."""
    return {} if price is None else {"estimated_cost": units_text(price.of(units))}


def units_and_money(units: Decimal, price: UnitPrice | None) -> str:
    """Return units for people, with what they cost where there is a price: `24 units (3.36 USD)`."""
    return f"{units_text(units)} unit{'s' * (units != 1)}" + (
        f" ({price.told(units)})" if price else ""
    )


def plan_document(plan: Plan, price: UnitPrice | None = None) -> dict[str, Any]:
    """Return the document of `plan --json`; units and money are exact decimal strings."""
    actions = [
        {
            "external_task_id": item.external_task_id,
            "spec": item.generation.spec,
            "label": item.generation.label,
            "action": item.action,
            "reason": item.reason,
            "estimated_units": units_text(item.estimated_units),
            **cost_keys(price, item.estimated_units),
        }
        for item in plan.assessments
    ]
    bare: dict[str, Any] = {
        "external_task_id": None,
        "label": "",
        "estimated_units": "0",
        **cost_keys(price, Decimal(0)),
    }
    actions += [
        bare | {"spec": spec, "action": Action.INVALID, "reason": told(found)}
        for spec, found in plan.invalid.items()
    ]
    actions += [
        bare
        | {
            "spec": None,
            "action": Action.ORPHAN,
            "path": path,
            "reason": f"`{path}` is ours, and no spec asks for it",
        }
        for path in plan.orphans
    ]
    return {
        "actions": actions,
        "summary": plan.summary(),
        "estimated_units": units_text(plan.estimated_units),
        **cost_keys(price, plan.estimated_units),
        **({} if price is None else {"currency": price.currency}),
    }


def status_document(plan: Plan) -> dict[str, Any]:
    """Return the document of `status --json`; units are decimal strings, paths relative to the root."""
    rows = [
        {
            "external_task_id": item.external_task_id,
            "spec": item.generation.spec,
            "label": item.generation.label,
            "status": item.status,
            "task_id": item.record.task_id if item.record else None,
            "reason": item.reason if item.status is not Status.COMPLETE else "",
            "units": units_text(item.record.units) if item.record else None,
            "outputs": [output_document(path, result) for path, result in item.published],
            **preview_keys(item.shown),
        }
        for item in plan.assessments
    ]
    bare: dict[str, Any] = {
        "external_task_id": None,
        "label": "",
        "task_id": None,
        "units": None,
        "outputs": [],
    }
    rows += [
        bare | {"spec": spec, "status": Status.INVALID, "reason": told(found)}
        for spec, found in plan.invalid.items()
    ]
    counts = Counter(str(row["status"]) for row in rows)
    return {
        "generations": rows,
        "summary": {status: counts[status] for status in Status if counts[status]},
    }


def output_document(path: str, result: Result) -> dict[str, Any]:
    """Return an output as the receipt lists it, with the given path."""
    return {
        "path": path,
        "role": result.role,
        "sha256": result.sha256,
        "bytes": result.size,
        "duration": result.duration,
        **_sides(result),
    }


def preview_keys(shown: Iterable[tuple[str, Result]]) -> dict[str, Any]:
    """Return what a document says of previews, as the receipt lists them: nothing where there are none."""
    listed = [
        {
            "path": path,
            "role": preview.role,
            "sha256": preview.sha256,
            "bytes": preview.size,
            **_sides(preview),
        }
        for path, preview in shown
    ]
    return {"previews": listed} if listed else {}


def _sides(result: Result) -> dict[str, int]:
    """Return width and height in px, where they are known."""
    sides = {"width": result.width, "height": result.height}
    return {name: side for name, side in sides.items() if side}


def told(problems: Iterable[Problem]) -> str:
    """Return the first problem as a sentence, and how many more there are."""
    found = list(problems)
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return f"{found[0]}{more}" if found else ""


def invalid_lines(invalid: Mapping[str, tuple[Problem, ...]]) -> Iterator[str]:
    """Yield what is wrong with each file, once where many wait for the same one, such as a defaults file."""
    waiting = waiting_for({file: found[:1] for file, found in invalid.items()})
    lines = {told(found): waiting[found[0]] for found in invalid.values()}
    yield from (f"{line}{waiting_words(count)}" for line, count in lines.items())


def name_of(item: Assessment) -> str:
    """Return how people call a generation: its spec, and its label where it has one."""
    label = item.generation.label
    return f"{item.generation.spec} [{label}]" if label else item.generation.spec


def plan_table(plan: Plan, price: UnitPrice | None = None) -> Table:
    """Return the plan for a terminal: what would be done, and why; what is kept is only counted."""
    rows: list[_Row] = [
        (item.action, name_of(item), item.estimated_units, item.reason)
        for item in plan.assessments
        if item.action is not Action.KEEP
    ]
    rows += [(Action.INVALID, spec, None, told(found)) for spec, found in plan.invalid.items()]
    rows += [(Action.ORPHAN, path, None, "ours, and no spec asks for it") for path in plan.orphans]
    return _table(("action", "generation", "units", "reason"), rows, price)


def status_table(plan: Plan) -> Table:
    """Return the status of every generation for a terminal."""
    rows: list[_Row] = [
        (
            item.status,
            name_of(item),
            item.record.units if item.record else None,
            ", ".join(path for path, _ in item.published)
            if item.status is Status.COMPLETE
            else item.reason,
        )
        for item in plan.assessments
    ]
    rows += [(Status.INVALID, spec, None, told(found)) for spec, found in plan.invalid.items()]
    return _table(("status", "generation", "units", "output or reason"), rows)


def summary_line(counts: Mapping[str, int]) -> str:
    """Return counts as a sentence: `2 submit, 3 keep`."""
    return ", ".join(f"{count} {word}" for word, count in counts.items()) or "nothing"


def plan_line(plan: Plan, price: UnitPrice | None = None) -> str:
    """Return the plan in a sentence."""
    units = plan.estimated_units
    cost = f"; estimated {units_and_money(units, price)}" if units else ""
    return f"Plan: {summary_line(plan.summary())}{cost}."


def bare_table(columns: Sequence[str], numbers: Collection[str]) -> Table:
    """Return a table without rows; the columns of `numbers` stand at the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in numbers else "left"
        table.add_column(column, justify=justify, overflow="fold")
    return table


def _table(
    columns: tuple[str, str, str, str], rows: Sequence[_Row], price: UnitPrice | None = None
) -> Table:
    """Return a table with a column of money after the units, where there is a price."""
    money = [price.currency] if price else []
    table = bare_table([*columns[:3], *money, columns[3]], ["units", *money])
    for word, name, units, said in rows[:_MOST_ROWS]:
        told = (units and units_text(units)) or ""
        cost = [price.rounded(units) if units else ""] if price else []
        table.add_row(_coloured(word), escape(name), told, *cost, escape(said))
    if len(rows) > _MOST_ROWS:
        more = f"and {len(rows) - _MOST_ROWS:,} more"
        blank = [""] * (1 + len(money))
        table.add_row("…", more, *blank, "name a folder, or use --json, to see them")
    return table


def _coloured(word: Action | Status) -> str:
    colour = _COLOURS.get(word, "cyan")
    return f"[{colour}]{word}[/]" if colour != "default" else str(word)
