"""`status`, `show` and `backup`: what is known of every generation. They change nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from reconciler import settings as configuration
from reconciler.cli import project, views
from reconciler.cli.plan import note_strays
from reconciler.cli.terminal import print_json, say
from reconciler.core.moments import shown
from reconciler.core.printable import labelled
from reconciler.core.spending import units_text
from reconciler.core.states import Record
from reconciler.store.upkeep import back_up


def status(
    context: typer.Context, paths: Sequence[Path] | None, as_json: bool, watch: bool
) -> None:
    """Show where every generation stands."""
    if watch:
        from reconciler.cli.follow import follow

        follow(project.root_of(context), paths, as_json=as_json)
        return
    with project.open_folder(project.root_of(context)) as folder:
        specs, survey = project.surveyed(folder, paths)
        plan = project.plan_of(survey, specs)
    note_strays(survey.desired)
    document = views.status_document(plan)
    if as_json:
        print_json(document)
    elif document["generations"]:
        from reconciler.cli.console import out
        from reconciler.cli.tables import status_table

        out.print(status_table(plan))
        say(views.summary_line(document["summary"]))
    else:
        say(views.NO_SPECS)


def show(context: typer.Context, what: str, as_json: bool) -> None:
    """Show everything known of a spec's generations or of one generation, with its history."""
    with project.open_folder(project.root_of(context)) as folder:
        survey = folder.survey()
        found = folder.repository.find(what) or survey.records.get(what)
        if found is not None:
            bases = [found.base_id]
        else:
            specs = project.select(folder, survey.desired, [Path(what)])
            chosen = project.wishes_of(survey.desired, specs)
            bases = [wish.external_task_id for wish in chosen]
        wishes = [w for w in survey.desired.generations if w.external_task_id in bases]
        plan = survey.plan(wishes, (), whole=False)
        document = {
            "generations": [_known(folder, survey.records, base) for base in dict.fromkeys(bases)],
            "status": views.status_document(plan)["generations"],
        }
    if as_json:
        print_json(document)
    else:
        _show_people(document)


def _known(folder: project.Folder, records: Mapping[str, Record], base: str) -> dict[str, Any]:
    latest = records.get(base)
    attempts = folder.repository.attempts(base) or ((latest,) if latest else ())
    return {
        "external_task_id": base,
        "attempts": [_attempt(folder, record) for record in attempts],
        "history": [asdict(it) | {"at": shown(it.at)} for it in folder.repository.history(base)],
    }


def _attempt(folder: project.Folder, record: Record) -> dict[str, Any]:
    kept = [
        [(str(folder.objects.path(one.sha256)), one) for one in made]
        for made in (record.results, record.previews)
    ]
    return {
        "external_task_id": record.external_task_id,
        "attempt": record.attempt,
        "status": record.status,
        "reason": record.reason,
        "task_id": record.task_id,
        "request": json.loads(record.request),
        "estimated_units": units_text(record.estimated_units),
        "units": units_text(record.units),
        **views.files_listed("results", *kept),
    }


def _show_people(document: dict[str, Any]) -> None:
    from rich.markup import escape

    from reconciler.cli.console import out

    for row in document["status"]:
        name = escape(labelled(row["spec"], row["label"]))
        out.print(f"[bold]{name}[/]  {row['status']}  {escape(row['reason'])}")
        for output in row["outputs"]:
            out.print(
                f"  {escape(output['path'])}  {output['bytes']:,} bytes, {output['duration']} s"
            )
    for generation in document["generations"]:
        for attempt in generation["attempts"]:
            out.print()
            out.print(f"[bold]{attempt['external_task_id']}[/]")
            said = attempt | {"request": json.dumps(attempt["request"], ensure_ascii=False)}
            for name in ("status", "reason", "task_id", "units", "estimated_units", "request"):
                if said[name]:
                    out.print(f"  {name:<16} {escape(str(said[name]))}")
        if not generation["attempts"]:
            out.print()
            out.print(f"[bold]{generation['external_task_id']}[/]")
            out.print("  nothing was sent yet")
        for item in generation["history"]:
            request = f"  (request_id {item['request_id']})" if item["request_id"] else ""
            out.print(f"  {item['at']}  {item['kind']:<10} {escape(item['detail'] + request)}")


def backup(context: typer.Context, file: Path) -> None:
    """Copy the state database to FILE as it is at one moment, also while `watch` or `apply` runs."""
    place = project.root_of(context)
    root = place.path.resolve()
    settings = configuration.load(root, config=place.config)
    project.refuse_leading_out(root, file)
    size = back_up(project.database_of(root, settings), file.absolute())
    say(f"`{file}` holds the state as it was just now: {size:,} bytes, verified.")
