"""`validate`, `plan` and `schema`: what the specs ask for, and what it would cost. They change nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer
from rich.markup import escape

from reconciler.cli import documents
from reconciler.cli.project import (
    Folder,
    Paths,
    open_folder,
    plan_of,
    root_of,
    surveyed,
    wishes_of,
)
from reconciler.cli.provider import ask_balance, balance_sentences, provider
from reconciler.cli.terminal import AsJson, ExitCode, err, note, out, print_json
from reconciler.core import kinds
from reconciler.core.diff import Plan
from reconciler.core.documents import waiting_for, waiting_words
from reconciler.core.errors import counted
from reconciler.core.generations import Generation, newer_models
from reconciler.core.money import UnitPrice
from reconciler.core.states import Record
from reconciler.engine.ask.answers import Answers
from reconciler.engine.ask.poll import refreshed
from reconciler.workspace.read.loader import Desired


def validate(
    context: typer.Context,
    paths: Paths = None,
    as_json: AsJson = False,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe", help="Ask for media at URLs too: at most two megabytes of each are read."
        ),
    ] = False,
) -> int:
    """Check specs and their media, offline unless --probe."""
    with open_folder(root_of(context)) as folder:
        specs, survey = surveyed(folder, paths)
        wishes = wishes_of(survey.desired, specs)
        asking = {wish.spec for wish in wishes}
        invalid = {
            spec: found for spec, found in survey.invalid.items() if specs is None or spec in specs
        }
        note_newer_models(folder, wishes)
        if probe:
            from reconciler.cli.media import probed

            invalid |= probed(folder, asking - invalid.keys())
    problems = sorted({problem for found in invalid.values() for problem in found})
    checked = len(asking | invalid.keys())
    good = sum(wish.spec not in invalid for wish in wishes)
    note_strays(survey.desired)
    if as_json:
        print_json(documents.validate_document(problems, checked, good))
        return int(bool(problems))
    waiting = waiting_for(invalid)
    for problem in problems:
        err.print(f"[red]error:[/] {escape(f'{problem}{waiting_words(waiting[problem])}')}")
    found = counted(len(problems), "problem") if problems else "all well"
    said = f"{counted(checked, 'spec')}, {counted(good, 'generation')}: {found}"
    out.print(said if checked else documents.NO_SPECS)
    return int(bool(problems))


def note_newer_models(folder: Folder, generations: Sequence[Generation]) -> None:
    """Say of each model that only its price is known here."""
    for name in newer_models(generations, folder.settings.prices):
        note(
            f"`{name}` is newer than this program: its limits are not known here. "
            "Its specs are checked against those of the models before it, and the API has the last word."
        )


def note_strays(desired: Desired) -> None:
    """Say which files may have been meant as specs."""
    for sentence in desired.notes:
        note(sentence)


def plan(
    context: typer.Context,
    paths: Paths = None,
    as_json: AsJson = False,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask the provider what it knows first.")
    ] = False,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with 2 when there is something to do.")
    ] = False,
) -> int:
    """Show what apply would do, and what it is expected to cost."""
    with open_folder(root_of(context)) as folder:
        specs, survey = surveyed(folder, paths)
        desired = survey.desired
        if refresh:
            known = asyncio.run(_refreshed(folder, survey.records, desired.generations))
            survey = folder.surveyor.survey(desired, known)
        plan, price = plan_of(survey, specs), folder.settings.unit_price
        note_newer_models(folder, wishes_of(desired, specs))
    note_strays(desired)
    if as_json:
        print_json(documents.plan_document(plan, price))
    else:
        _show(plan, price)
    if refresh:
        balance = ask_balance(folder.settings)
        for sentence in balance_sentences(balance, plan.estimated_units, price):
            (err if as_json else out).print(escape(sentence))
    return ExitCode.CHANGES if detailed_exitcode and plan.changes else ExitCode.DONE


async def _refreshed(
    folder: Folder, records: Mapping[str, Record], wishes: Sequence[Generation]
) -> dict[str, Record]:
    async with provider(folder.settings) as client:
        return await refreshed(Answers(client, folder.repository), records, wishes)


def _show(plan: Plan, price: UnitPrice | None) -> None:
    table = documents.plan_table(plan, price)
    if table.row_count:
        out.print(table)
    counts = plan.summary()
    if not counts:
        out.print(documents.NO_SPECS)
    elif not plan.changes and set(counts) <= {"keep"}:
        kept = counts["keep"]
        out.print(
            f"Nothing to do: {counted(kept, 'generation')} {'is' if kept == 1 else 'are'} complete."
        )
    else:
        out.print(documents.plan_line(plan, price))


def schema() -> int:
    """Print the JSON Schema of a spec, for editors."""
    print_json(kinds.schema())
    return ExitCode.DONE
