"""`spend`: what was estimated, deducted and wasted, as a table, as CSV, as JSON. Offline; changes nothing."""

from __future__ import annotations

import csv
import io
import os
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import typer
from rich.markup import escape

from reconciler.cli.console import err, out
from reconciler.cli.project import open_folder, refuse_leading_out, root_of, specs_at
from reconciler.cli.tables import MOST_ROWS, bare_table
from reconciler.cli.terminal import print_json
from reconciler.core.errors import WorkspaceError, counted
from reconciler.core.printable import printable
from reconciler.core.purchases import By, Purchase, Sums, between, group, total_of
from reconciler.core.spending import UnitPrice, disbelief, units_text
from reconciler.engine.observe.purchases import everything_bought
from reconciler.workspace.files.plain import describe_os_error, replace_plain

_DAY = "%Y-%m-%d"
_AMOUNTS = ("estimated", "deducted", "undetermined", "difference", "spent", "wasted", "unwanted")
_HEADS = {"undetermined": "by estimate", "unwanted": "not wanted"}
_STDOUT = Path("-")
_AMOUNT = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_FORMULA = tuple("=+-@＝＋－＠")  # the wide ones count where people write such letters


def spend(
    context: typer.Context,
    paths: Sequence[Path] | None,
    by: str,
    since: datetime | None,
    until: datetime | None,
    table: Path | None,
    as_json: bool,
) -> None:
    """Show what was spent: estimated, deducted, wasted, by day, spec, model, folder or attempt."""
    if as_json and table == _STDOUT:
        raise typer.BadParameter("--json and --csv - cannot both have stdout")
    with open_folder(root_of(context)) as folder:
        desired, price = folder.load(), folder.settings.unit_price
        ledger = folder.repository.ledger()
        bought = everything_bought(folder.root, ledger, desired, folder.settings.prices)
    chosen = bought.purchases
    if paths:
        known = [*desired.specs, *(purchase.spec for purchase in chosen if purchase.spec)]
        hint = "Give the path of a spec, or of a folder that holds or held some."
        otherwise = "names no spec, and nothing was bought for it"
        specs = specs_at(folder.root, paths, known, otherwise, hint)
        chosen = tuple(purchase for purchase in chosen if purchase.spec in specs)
    days = [None if day is None else f"{day:{_DAY}}" for day in (since, until)]
    chosen = between(chosen, *days)
    for name, why in bought.unreadable.items():
        err.print(f"[yellow]not counted[/] {escape(name)}: {escape(why)}")
    doubted = _say_doubted(chosen)
    heading = By(by)
    groups, whole = group(chosen, heading), total_of(chosen)
    if table is not None:
        _write(folder.root, table, _csv(heading, groups, price))
        if table != _STDOUT:
            err.print(f"{counted(len(groups), 'row')} written to {escape(str(table))}")
    if as_json:
        rows = [{by: name, **_row(sums, price)} for name, sums in groups.items()]
        document = {"by": by, "rows": rows, "total": _row(whole, price)}
        money = {"currency": price.currency} if price else {}
        print_json(document | money | ({"not_believed": doubted} if doubted else {}))
    elif table is None:
        _show(heading, groups, whole, price)


def _say_doubted(purchases: Sequence[Purchase]) -> list[dict[str, Any]]:
    """Print and return the provider's deductions that cannot be true; their estimates count instead."""
    found = []
    for one in purchases:
        if one.disbelieved is not None:
            why = disbelief(one.external_task_id, one.disbelieved, one.spent)
            err.print(f"[yellow]not believed[/] {escape(why)}")
            said = {
                "said_units": units_text(one.disbelieved),
                "counted_units": units_text(one.spent),
            }
            found.append({"external_task_id": one.external_task_id, **said})
    return found


def _row(sums: Sums, price: UnitPrice | None) -> dict[str, Any]:
    row: dict[str, Any] = {"attempts": sums.attempts}
    row |= {f"{name}_units": units_text(getattr(sums, name)) for name in _AMOUNTS}
    if price:
        row["spent_cost"] = units_text(price.of(sums.spent))
        row["wasted_cost"] = units_text(price.of(sums.wasted))
    return row


def _write(root: Path, place: Path, text: str) -> None:
    """Write CSV; raises WorkspaceError: a link leads out of the project, or a file without `.csv` stands there."""
    if place == _STDOUT:
        sys.stdout.write(text)
        return
    if os.path.lexists(place) and place.suffix.lower() != ".csv":
        hint = "Name a new file, or one that ends in .csv."
        raise WorkspaceError(f"`{place}` already exists, and is not overwritten", hint=hint)
    refuse_leading_out(root, place)
    try:
        replace_plain(place, text.encode())
    except OSError as error:
        raise describe_os_error(error, place) from error


def _csv(by: By, groups: Mapping[str, Sums], price: UnitPrice | None) -> str:
    text, money = io.StringIO(), {"currency": price.currency} if price else {}
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([by.value, *_row(Sums(), price), *money])
    for name, sums in groups.items():
        writer.writerow(map(_cell, [name, *_row(sums, price).values(), *money.values()]))
    return text.getvalue()


def _cell(value: object) -> object:
    """Return a cell's value: a text is on one line and never a formula, since names come from any commit."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(_FORMULA) and not _AMOUNT.fullmatch(text) else text


def _show(by: By, groups: Mapping[str, Sums], whole: Sums, price: UnitPrice | None) -> None:
    if not groups:
        out.print("Nothing was bought here.")
        return
    heads = [_HEADS.get(name, name) for name in ("attempts", *_AMOUNTS)]
    money = [price.currency] if price else []
    table = bare_table([by.value, *heads, *money], [*heads, *money])

    def add(name: str, sums: Sums, style: str = "") -> None:
        amounts = (getattr(sums, amount) for amount in _AMOUNTS)
        cost = [price.rounded(sums.spent)] if price else []
        units = ((amount and units_text(amount)) or "" for amount in amounts)
        table.add_row(name, f"{sums.attempts:,}", *units, *cost, style=style)

    for name, sums in islice(groups.items(), MOST_ROWS):
        add(escape(name), sums)
    if len(groups) > MOST_ROWS:
        table.add_row(f"… {len(groups) - MOST_ROWS:,} more: use --csv or --json")
    add("total", whole, "bold")
    out.print(table)
    out.print(_said(whole, price))


def _said(whole: Sums, price: UnitPrice | None) -> str:
    money = f", {price.told(whole.spent)}" if price else ""
    said = f"{units_text(whole.spent)} unit{'s' * (whole.spent != 1)} spent{money}"
    for amount, what in (
        (whole.undetermined, "of them by estimate: no deduction is known yet"),
        (whole.wasted, "wasted: paid for, but the result cannot be had"),
        (whole.unwanted, "for what no spec asks for now: kept, and free when it comes back"),
    ):
        if amount:
            said += f"; {units_text(amount)} {what}"
    return f"{said}."
