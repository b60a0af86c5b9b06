"""What the commands say: the JSON documents of the contract, and the same facts as lines for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from decimal import Decimal
from typing import Any

from reconciler.core.diff import Action, Assessment, Plan
from reconciler.core.documents import Problem
from reconciler.core.errors import counted
from reconciler.core.printable import labelled
from reconciler.core.receipt_entries import file_row
from reconciler.core.spending import UnitPrice, units_text
from reconciler.core.states import Record, Result, Status

NO_SPECS = "No specs yet: add a file to the specs folder."


def validate_document(problems: Iterable[Problem], specs: int, generations: int) -> dict[str, Any]:
    """Return the document of `validate --json`."""
    return {
        "specs": specs,
        "generations": generations,
        "errors": [
            {
                **asdict(problem.place),
                "key": problem.key,
                "message": problem.message,
                "suggestion": problem.suggestion or None,
            }
            for problem in problems
        ],
    }


def units_and_money(units: Decimal, price: UnitPrice | None) -> str:
    """Return units for people, with what they cost where there is a price: `24 units (3.36 USD)`."""
    money = f" ({price.told(units)})" if price else ""
    return f"{units_text(units)} unit{'s' * (units != 1)}{money}"


def plan_document(plan: Plan, price: UnitPrice | None = None) -> dict[str, Any]:
    """Return the document of `plan --json`; units and money are exact decimal strings."""

    def cost(units: Decimal) -> dict[str, str | None]:
        money = {} if price is None else {"estimated_cost": units_text(price.of(units))}
        return {"estimated_units": units_text(units), **money}

    actions = [
        {
            "external_task_id": item.external_task_id,
            "spec": item.generation.spec,
            "label": item.generation.label,
            "action": item.action,
            "reason": item.reason,
            **cost(item.estimated_units),
        }
        for item in plan.assessments
    ]
    bare: dict[str, Any] = {"external_task_id": None, "label": "", **cost(Decimal(0))}
    actions += [
        bare | {"spec": spec, "action": Action.INVALID, "reason": in_short(found)}
        for spec, found in plan.invalid.items()
    ]
    ours = "is ours, and no spec asks for it"
    actions += [
        bare | {"spec": None, "action": Action.ORPHAN, "path": path, "reason": f"`{path}` {ours}"}
        for path in plan.orphans
    ]
    document = {"actions": actions, "summary": plan.summary(), **cost(plan.estimated_units)}
    return document if price is None else {**document, "currency": price.currency}


def status_document(plan: Plan) -> dict[str, Any]:
    """Return the document of `status --json`; units are decimal strings, paths relative to the root."""
    rows = [
        status_row(
            item.generation.spec,
            item.status,
            "" if item.status is Status.COMPLETE else item.reason,
            item.record,
            external_task_id=item.external_task_id,
            label=item.generation.label,
            **files_listed("outputs", item.published, item.shown),
        )
        for item in plan.assessments
    ]
    rows += [
        status_row(spec, Status.INVALID, in_short(found)) for spec, found in plan.invalid.items()
    ]
    return counted_rows(rows)


def status_row(
    spec: str, status: Status, reason: str, record: Record | None = None, **known: Any
) -> dict[str, Any]:
    """Return a row of `status --json`; `known` holds what only a valid spec's row has."""
    return {
        "external_task_id": None,
        "spec": spec,
        "label": "",
        "status": status.value,
        "task_id": record.task_id if record else None,
        "reason": reason,
        "units": units_text(record.units) if record else None,
        "outputs": [],
        **known,
    }


def counted_rows(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the document of `status --json`, given its rows."""
    counts = Counter(row["status"] for row in rows)
    summary = {status.value: counts[status] for status in Status if counts[status]}
    return {"generations": rows, "summary": summary}


def files_listed(
    key: str,
    results: Iterable[tuple[str, Result]] = (),
    previews: Iterable[tuple[str, Result]] = (),
) -> dict[str, Any]:
    """Return results at their paths, and previews where there are some, as a receipt lists them."""
    listed: dict[str, Any] = {
        key: [{**file_row(*at), "duration": at[1].duration} for at in results]
    }
    if shown := [file_row(*at) for at in previews]:
        listed["previews"] = shown
    return listed


def in_short(problems: Sequence[Problem]) -> str:
    """Return the first problem as a sentence, and how many more there are."""
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{problems[0]}{more}"


def name_of(item: Assessment) -> str:
    """Return a generation's name for people: its spec and label."""
    return labelled(item.generation.spec, item.generation.label)


def summary_line(counts: Mapping[str, int]) -> str:
    """Return counts as a sentence: `2 submit, 3 keep`."""
    return ", ".join(f"{count} {word}" for word, count in counts.items()) or "nothing"


def nothing_to_do(complete: int) -> str:
    """Return what a plan says where this many generations are complete, and nothing else is there."""
    return f"Nothing to do: {counted(complete, 'generation')} {'is' if complete == 1 else 'are'} complete."


def plan_line(plan: Plan, price: UnitPrice | None = None) -> str:
    """Return the plan in a sentence."""
    units = plan.estimated_units
    cost = f"; estimated {units_and_money(units, price)}" if units else ""
    return f"Plan: {summary_line(plan.summary())}{cost}."
