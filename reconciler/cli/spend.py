"""`spend`: what was estimated, deducted and wasted, as a table, as CSV, as JSON. Offline; changes nothing."""

from __future__ import annotations

import csv
import io
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import IO, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from reconciler.cli.documents import bare_table
from reconciler.cli.project import open_folder, refuse_leading_out, root_of, specs_at
from reconciler.cli.terminal import AsJson, ExitCode, err, out, print_json
from reconciler.core.errors import WorkspaceError, counted
from reconciler.core.money import UnitPrice, units_text
from reconciler.core.printable import printable
from reconciler.core.spending import (
    By,
    Purchase,
    Sums,
    between,
    disbelief,
    group,
    total_of,
)
from reconciler.workspace.files.plain import describe_os_error, replace_plain

_DAY = "%Y-%m-%d"
_AMOUNTS = (
    *("estimated", "deducted", "undetermined", "difference"),
    *("spent", "wasted", "unwanted"),
)
_HEADS = {"undetermined": "by estimate", "unwanted": "not wanted"}
_MOST_ROWS = 500  # of a table; CSV and JSON have them all
_STDOUT = Path("-")
_AMOUNT = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_FORMULA = tuple("=+-@＝＋－＠")  # the wide ones count where people write such letters


def spend(
    context: typer.Context,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH", help="Specs, or folders of specs, including deleted ones; default: all."
        ),
    ] = None,
    by: Annotated[By, typer.Option("--by", help="What the sums are for.")] = By.DAY,
    since: Annotated[
        datetime | None,
        typer.Option(metavar="DATE", formats=[_DAY], help="From this day (UTC) on: 2026-11-25."),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(metavar="DATE", formats=[_DAY], help="Up to this day, which is included."),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Write the rows as CSV; `-` is stdout."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Show what was spent: estimated, deducted, wasted, by day, spec, model, folder or attempt.

    Units are the provider's. Where no deduction is known yet, the estimate counts. Offline; changes nothing.
    """
    if as_json and table == _STDOUT:
        raise typer.BadParameter("--json and --csv - cannot both have stdout")
    from reconciler.engine.observe.purchases import everything_bought

    with open_folder(root_of(context)) as folder:
        desired, price = folder.load(), folder.settings.unit_price
        ledger = folder.repository.ledger()
        bought = everything_bought(folder.root, ledger, desired, folder.settings.prices)
        chosen = _chosen(folder.root, paths or [], bought.purchases, desired.specs)
    days = [None if day is None else f"{day:{_DAY}}" for day in (since, until)]
    chosen = between(chosen, *days)
    for name, why in bought.unreadable.items():
        err.print(f"[yellow]not counted[/] {escape(name)}: {escape(why)}")
    for purchase in chosen:
        if purchase.disbelieved is not None:
            why = disbelief(purchase.external_task_id, purchase.disbelieved, purchase.spent)
            err.print(f"[yellow]not believed[/] {escape(why)}")
    groups, whole = group(chosen, by), total_of(chosen)
    if table is not None:
        _write(folder.root, table, by, groups, price)
        if table != _STDOUT:
            err.print(f"{counted(len(groups), 'row')} written to {escape(str(table))}")
    if as_json:
        print_json(_document(by, groups, whole, price) | _not_believed(chosen))
    elif table is None and groups:
        out.print(_table(by, groups, whole, price))
        out.print(_said(whole, price))
    elif table is None:
        out.print("Nothing was bought here.")
    return ExitCode.DONE


def _chosen(
    root: Path, paths: Sequence[Path], purchases: Sequence[Purchase], specs: Sequence[str]
) -> tuple[Purchase, ...]:
    """Return what was bought for what lies, or lay, at these paths; raises WorkspaceError: at one there is nothing."""
    if not paths:
        return tuple(purchases)
    known = [*specs, *(purchase.spec for purchase in purchases if purchase.spec)]
    hint = "Give the path of a spec, or of a folder that holds or held some."
    otherwise = "names no spec, and nothing was bought for it"
    chosen = specs_at(root, paths, known, otherwise, hint)
    return tuple(purchase for purchase in purchases if purchase.spec in chosen)


def _amounts(sums: Sums) -> dict[str, Decimal]:
    return {name: getattr(sums, name) for name in _AMOUNTS}


def _document(
    by: By, groups: Mapping[str, Sums], whole: Sums, price: UnitPrice | None
) -> dict[str, Any]:
    """Return the document of `spend --json`; units and money are exact decimal strings."""
    money = {"currency": price.currency} if price else {}
    rows = [{by.value: name, **_row(sums, price)} for name, sums in groups.items()]
    return {"by": by.value, "rows": rows, "total": _row(whole, price), **money}


def _not_believed(purchases: Sequence[Purchase]) -> dict[str, Any]:
    """Return what the provider says that it deducted and that cannot be; the rows count the estimate instead."""
    found = [
        {
            "external_task_id": purchase.external_task_id,
            "said_units": units_text(purchase.disbelieved),
            "counted_units": units_text(purchase.spent),
        }
        for purchase in purchases
        if purchase.disbelieved is not None
    ]
    return {"not_believed": found} if found else {}


def _row(sums: Sums, price: UnitPrice | None) -> dict[str, Any]:
    row: dict[str, Any] = {"attempts": sums.attempts}
    row |= {f"{name}_units": units_text(amount) for name, amount in _amounts(sums).items()}
    if price:
        row["spent_cost"] = units_text(price.of(sums.spent))
        row["wasted_cost"] = units_text(price.of(sums.wasted))
    return row


def _write(
    root: Path, place: Path, by: By, groups: Mapping[str, Sums], price: UnitPrice | None
) -> None:
    """Write CSV to its place.

    Raises WorkspaceError: a file stands there that is no CSV file by its name, so that it could be something paid for;
    it is a link or leads through one out of the project, is no plain file, or cannot be written.
    """
    if place == _STDOUT:
        _write_rows(sys.stdout, by, groups, price)
        return
    if os.path.lexists(place) and place.suffix.lower() != ".csv":
        hint = "Name a new file, or one that ends in .csv."
        raise WorkspaceError(f"`{place}` already exists, and is not overwritten", hint=hint)
    refuse_leading_out(root, place)
    text = io.StringIO()
    _write_rows(text, by, groups, price)
    try:
        replace_plain(place, text.getvalue().encode())
    except OSError as error:
        raise describe_os_error(error, place) from error


def _write_rows(
    stream: IO[str], by: By, groups: Mapping[str, Sums], price: UnitPrice | None
) -> None:
    money = {"currency": price.currency} if price else {}
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([by.value, *_row(Sums(), price), *money])
    for name, sums in groups.items():
        writer.writerow(map(_cell, [name, *_row(sums, price).values(), *money.values()]))


def _cell(value: object) -> object:
    """Return a value as a cell: a text on one line, and none that a spreadsheet takes for a formula.

    Amounts are decimal strings, and may be negative; names come from anybody.
    """
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(_FORMULA) and not _AMOUNT.fullmatch(text) else text


def _table(by: By, groups: Mapping[str, Sums], whole: Sums, price: UnitPrice | None) -> Table:
    heads = [_HEADS.get(name, name) for name in ("attempts", *_AMOUNTS)]
    money = [price.currency] if price else []
    table = bare_table([by.value, *heads, *money], [*heads, *money])
    rows = list(groups.items())
    for name, sums in rows[:_MOST_ROWS]:
        table.add_row(escape(name), *_cells(sums, price))
    if len(rows) > _MOST_ROWS:
        table.add_row(f"… {len(rows) - _MOST_ROWS:,} more: use --csv or --json")
    table.add_row("total", *_cells(whole, price), style="bold")
    return table


def _cells(sums: Sums, price: UnitPrice | None) -> Iterator[str]:
    yield f"{sums.attempts:,}"
    for amount in _amounts(sums).values():
        yield (amount and units_text(amount)) or ""
    if price:
        yield price.rounded(sums.spent)


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
