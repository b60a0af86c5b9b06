"""The commands that look and change nothing: validate, plan, status, show, backup, schema."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from reconciler import settings as configuration
from reconciler.cli import views
from reconciler.cli.exits import ExitCode
from reconciler.cli.folder import Folder, database_of, open_folder, select
from reconciler.cli.root import root_of
from reconciler.cli.terminal import err, out, print_json
from reconciler.core import kinds
from reconciler.core.diff import Plan
from reconciler.core.documents import Problem, waiting_for, waiting_words
from reconciler.core.errors import WorkspaceError, counted
from reconciler.core.generations import Generation, newer_models
from reconciler.core.moments import shown
from reconciler.core.money import UnitPrice
from reconciler.core.states import Record
from reconciler.settings import Settings
from reconciler.workspace.inputs import Root
from reconciler.workspace.loader import Desired

Paths = Annotated[
    list[Path] | None,
    typer.Argument(metavar="PATH", help="Specs, or folders of specs; default: all."),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else.")
]


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
        desired = folder.load()
        chosen = select(folder, desired, paths or [])
        survey = folder.surveyor.survey(desired)
        invalid = {
            spec: found
            for spec, found in survey.invalid.items()
            if chosen.whole or _is_chosen(spec, chosen.invalid, chosen.generations)
        }
        note_newer_models(folder, chosen.generations)
        if probe:
            from reconciler.cli.media import probed

            wanted = {wish.spec for wish in chosen.generations} - invalid.keys()
            invalid |= probed(folder, wanted)
        problems = sorted({problem for found in invalid.values() for problem in found})
        checked = {wish.spec for wish in chosen.generations} | set(invalid)
        good = [wish for wish in chosen.generations if wish.spec not in invalid]
    tell_notes(desired)
    if as_json:
        print_json(views.validate_document(problems, len(checked), len(good)))
    else:
        waiting = waiting_for(invalid)
        for problem in problems:
            err.print(f"[red]error:[/] {escape(f'{problem}{waiting_words(waiting[problem])}')}")
        out.print(_validated(len(checked), len(good), problems))
    return ExitCode.ERROR if problems else ExitCode.DONE


def note_newer_models(folder: Folder, generations: Sequence[Generation]) -> None:
    """Say of each model that only its price is known here."""
    for name in newer_models(generations, folder.settings.prices):
        err.print(
            f"[yellow]note:[/] `{escape(name)}` is newer than this program: its limits are not known here. "
            "Its specs are checked against those of the models before it, and the API has the last word."
        )


def _is_chosen(spec: str, invalid: Sequence[str], generations: Sequence[Generation]) -> bool:
    return spec in invalid or any(wish.spec == spec for wish in generations)


def _validated(count: int, generations: int, problems: Sequence[Problem]) -> str:
    if not count:
        return "No specs yet: add a file to the specs folder."
    found = counted(len(problems), "problem") if problems else "all well"
    return f"{counted(count, 'spec')}, {counted(generations, 'generation')}: {found}"


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
        desired = folder.load()
        chosen = select(folder, desired, paths or [])
        survey = folder.surveyor.survey(desired)
        if refresh:
            survey = folder.surveyor.survey(
                desired, asyncio.run(_refreshed(folder, survey.records, desired.generations))
            )
        plan, price = chosen.plan(survey), folder.settings.unit_price
        note_newer_models(folder, chosen.generations)
    tell_notes(desired)
    if as_json:
        print_json(views.plan_document(plan, price))
    else:
        show_plan(plan, price)
    if refresh:
        _show_balance(folder.settings, plan, price, err if as_json else out)
    return ExitCode.CHANGES if detailed_exitcode and plan.changes else ExitCode.DONE


def tell_notes(desired: Desired) -> None:
    """Say on stderr which files may have been meant as specs; that changes no exit code."""
    for note in desired.notes:
        err.print(f"[yellow]note:[/] {escape(note)}")


def show_plan(plan: Plan, price: UnitPrice | None) -> None:
    """Print a plan for people."""
    table = views.plan_table(plan, price)
    if table.row_count:
        out.print(table)
    counts = plan.summary()
    if not counts:
        out.print("No specs yet: add a file to the specs folder.")
    elif not plan.changes and set(counts) <= {"keep"}:
        kept = counts["keep"]
        out.print(
            f"Nothing to do: {counted(kept, 'generation')} {'is' if kept == 1 else 'are'} complete."
        )
    else:
        out.print(views.plan_line(plan, price))


def _show_balance(
    settings: Settings, plan: Plan, price: UnitPrice | None, console: Console
) -> None:
    from reconciler.cli.balance import ask_balance, balance_sentences

    for sentence in balance_sentences(ask_balance(settings), plan.estimated_units, price):
        console.print(escape(sentence))


async def _refreshed(
    folder: Folder, records: Any, wishes: Sequence[Generation]
) -> dict[str, Record]:
    from reconciler.cli.provider import provider
    from reconciler.engine.answers import Answers
    from reconciler.engine.poll import refreshed

    async with provider(folder.settings) as client:
        return await refreshed(Answers(client, folder.repository), records, wishes)


def status(
    context: typer.Context,
    paths: Paths = None,
    as_json: AsJson = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            "-w",
            help="Show it again whenever something changes; with --json one document per line.",
        ),
    ] = False,
) -> int:
    """Show where every generation stands."""
    if watch:
        from reconciler.cli.live import follow

        return follow(root_of(context), paths or [], as_json=as_json)
    with open_folder(root_of(context)) as folder:
        desired = folder.load()
        plan = select(folder, desired, paths or []).plan(folder.surveyor.survey(desired))
    tell_notes(desired)
    document = views.status_document(plan)
    if as_json:
        print_json(document)
    elif not document["generations"]:
        out.print("No specs yet: add a file to the specs folder.")
    else:
        out.print(views.status_table(plan))
        out.print(views.summary_line(document["summary"]))
    return ExitCode.DONE


def show(
    context: typer.Context,
    what: Annotated[
        str,
        typer.Argument(metavar="SPEC|ID", help="A spec's path, an external_task_id, or a task_id."),
    ],
    as_json: AsJson = False,
) -> int:
    """Show everything known of a spec's generations or of one generation, with its history."""
    with open_folder(root_of(context)) as folder:
        desired = folder.load()
        survey = folder.surveyor.survey(desired)
        found = folder.repository.find(what)
        if found is None and what in survey.records:
            found = survey.records[what]
        if found is not None:
            bases = [found.base_id]
        else:
            chosen = select(folder, desired, [Path(what)])
            bases = [wish.external_task_id for wish in chosen.generations]
        plan = survey.plan(
            [wish for wish in desired.generations if wish.external_task_id in bases],
            (),
            whole=False,
        )
        generations = [_known(folder, survey.records, base) for base in dict.fromkeys(bases)]
        current = views.status_document(plan)["generations"]
    document = {"generations": generations, "status": current}
    if as_json:
        print_json(document)
    else:
        _show_people(document)
    return ExitCode.DONE


def _known(folder: Folder, records: Any, base: str) -> dict[str, Any]:
    attempts = folder.repository.attempts(base) or tuple(
        record for record in [records.get(base)] if record
    )
    return {
        "external_task_id": base,
        "attempts": [
            {
                "external_task_id": record.external_task_id,
                "attempt": record.attempt,
                "status": record.status,
                "reason": record.reason,
                "task_id": record.task_id,
                "request": json.loads(record.request),
                "estimated_units": views.units_text(record.estimated_units),
                "units": views.units_text(record.units),
                "results": [
                    views.output_document(str(folder.objects.path(r.sha256)), r)
                    for r in record.results
                ],
                **views.preview_keys(
                    (str(folder.objects.path(r.sha256)), r) for r in record.previews
                ),
            }
            for record in attempts
        ],
        "history": [
            {
                "at": shown(item.at),
                "external_task_id": item.external_task_id,
                "kind": item.kind,
                "detail": item.detail,
                "request_id": item.request_id,
            }
            for item in folder.repository.history(base)
        ],
    }


def _show_people(document: dict[str, Any]) -> None:
    for row in document["status"]:
        label = f" [{row['label']}]" if row["label"] else ""
        out.print(
            f"[bold]{escape(row['spec'] + label)}[/]  {row['status']}  {escape(row['reason'])}"
        )
        for output in row["outputs"]:
            out.print(
                f"  {escape(output['path'])}  {output['bytes']:,} bytes, {output['duration']} s"
            )
    for generation in document["generations"]:
        for attempt in generation["attempts"]:
            out.print()
            out.print(f"[bold]{attempt['external_task_id']}[/]")
            for name in ("status", "reason", "task_id", "units", "estimated_units"):
                if attempt[name]:
                    out.print(f"  {name:<16} {escape(str(attempt[name]))}")
            out.print(
                f"  {'request':<16} {escape(json.dumps(attempt['request'], ensure_ascii=False))}"
            )
        if not generation["attempts"]:
            out.print()
            out.print(f"[bold]{generation['external_task_id']}[/]")
            out.print("  nothing was sent yet")
        for item in generation["history"]:
            request = f"  (request_id {item['request_id']})" if item["request_id"] else ""
            out.print(f"  {item['at']}  {item['kind']:<10} {escape(item['detail'] + request)}")


def backup(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Where the copy goes; never overwritten.")
    ],
) -> int:
    """Copy the state database to FILE as it is at one moment, also while `watch` or `apply` runs.

    The copy is verified, and readable for its user alone. Results (state/objects) are files of their own, which
    never change: copy them with any tool. Keys and settings are not in it.
    """
    from reconciler.store.upkeep import back_up

    place = root_of(context)
    root = place.path.resolve()
    settings = configuration.load(root, config=place.config)
    if Root(root).leads_out(file):
        hint = "Remove the link, or name a file in another folder."
        raise WorkspaceError(f"a link takes `{file}` out of the project", hint=hint)
    size = back_up(database_of(root, settings), file.absolute())
    out.print(
        f"`{escape(str(file))}` holds the state as it was just now: {size:,} bytes, verified."
    )
    return ExitCode.DONE


def schema() -> int:
    """Print the JSON Schema of a spec, for editors."""
    print_json(kinds.schema())
    return ExitCode.DONE
