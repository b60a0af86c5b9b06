"""`status`, `show` and `backup`: what is known of every generation. They change nothing."""

from __future__ import annotations

import itertools
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text

from reconciler import settings as configuration
from reconciler.cli import project, streams, views
from reconciler.cli.plan import note_strays
from reconciler.cli.terminal import AsJson, error_document, out, print_json
from reconciler.core.diff import NEEDS_SOMEBODY, Plan
from reconciler.core.errors import ReconcilerError
from reconciler.core.moments import shown
from reconciler.core.printable import labelled
from reconciler.core.spending import units_text
from reconciler.core.states import Record, Status
from reconciler.store.upkeep import back_up
from reconciler.workspace.files.outputs import signature
from reconciler.workspace.tree.walk import specs_folder, walk

_EVERY = 1.0  # s
_IDLE = 9  # times as long as the last look took: a large folder is looked at less often
_RESYNC = 30  # looks after which everything is read, for changes that no signature shows
_AROUND = 4  # lines of a terminal that are not rows of the table

_Seen = tuple[object, ...]


def status(
    context: typer.Context,
    paths: project.Paths = None,
    as_json: AsJson = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            "-w",
            help="Show it again whenever something changes; with --json one document per line.",
        ),
    ] = False,
) -> None:
    """Show where every generation stands."""
    if watch:
        _follow(partial(_view, project.root_of(context), paths), as_json=as_json)
        return
    with project.open_folder(project.root_of(context)) as folder:
        specs, survey = project.surveyed(folder, paths)
        plan = project.plan_of(survey, specs)
    note_strays(survey.desired)
    view = _View(views.status_document(plan), plan)
    if as_json:
        print_json(view.document)
    else:
        out.print(_shown(view))


@dataclass(frozen=True, slots=True)
class _View:
    """A status to show, and a function that tells whether it is still current."""

    document: dict[str, Any]
    plan: Plan | None = None  # None: an error
    look: Callable[[], _Seen] = tuple  # the same as long as nothing changed


def _follow(see: Callable[[], _View], *, as_json: bool) -> None:
    """Show the status until a signal, or until its reader leaves; only the first look raises errors."""
    changes = _changes(see, see())
    with suppress(KeyboardInterrupt):  # SIGTERM is one, too
        if out.is_terminal and not as_json:
            _on_a_terminal(changes)
            return
        for view in changes:
            if as_json:
                print_json(view.document, indent=None)
            else:
                out.print()
                out.print(time.strftime("%H:%M:%S"))
                out.print(_shown(view))
            sys.stdout.flush()


def _changes(see: Callable[[], _View], view: _View) -> Iterator[_View]:
    """Yield a view, and a new one whenever its document changes, as long as stdout has a reader."""
    seen = view.look()
    yield view
    took = 0.0
    for number in itertools.count(1):
        time.sleep(max(_EVERY, _IDLE * took))
        if streams.is_cut_off():
            return
        began = time.perf_counter()
        same = view.plan is not None and view.look() == seen
        took = time.perf_counter() - began
        if same and number % _RESYNC:
            continue
        before = view.document
        try:
            view = see()
        except ReconcilerError as error:
            view = _View(error_document(error.message, error.hint))
        seen, took = view.look(), time.perf_counter() - began
        if view.document != before:
            yield view


def _view(root: project.ProjectRoot, paths: Sequence[Path] | None) -> _View:
    with project.open_folder(root) as folder:
        base, specs = folder.root, folder.settings.specs_dir
        database = project.database_of(base, folder.settings)
        trees = [_tree(base, specs, database)]
        chosen, survey = project.surveyed(folder, paths)
        plan = project.plan_of(survey, chosen)
    wishes = [item.generation for item in plan.assessments]
    files = [path for wish in wishes for _, path in (*wish.outputs, *wish.previews)]
    files += [path for wish in wishes for path in wish.files]

    def look() -> _Seen:
        try:
            # First the tree from before reading, so that changes during the reading are seen.
            tree = trees.pop() if trees else _tree(base, specs, database)
            return tree, {name: signature(base / name) for name in files}
        except ReconcilerError:
            return (object(),)  # like no other look: everything is read again

    return _View(views.status_document(plan), plan, look)


def _tree(root: Path, specs_dir: str, database: Path) -> _Seen:
    wal = database.with_name(f"{database.name}-wal")
    tree = walk(root, specs_folder(root, specs_dir))
    files = tree.specs, tree.defaults, tree.receipts, tree.ignoring.signature
    return *files, signature(database), signature(wal)


def _on_a_terminal(changes: Iterable[_View]) -> None:
    from rich.live import Live

    with Live(console=out, auto_refresh=False, vertical_overflow="crop") as live:
        for view in changes:
            rows = max(shutil.get_terminal_size().lines - _AROUND, 1)
            footer = Text("Ctrl-C leaves; the work goes on.", style="dim")
            live.update(Group(_shown(view, rows), footer), refresh=True)


def _shown(view: _View, rows: int | None = None) -> RenderableType:
    if view.plan is None:
        error = view.document["error"]
        return Group(escape(f"error: {error['message']}"), escape(f"       {error['hint']}"))
    if not view.document["generations"]:
        return Text(views.NO_SPECS)
    plan = view.plan if rows is None else _pressing_first(view.plan, rows)
    hidden = len(view.plan.assessments) - len(plan.assessments)
    more = f" ({hidden:,} of them not shown)" if hidden else ""
    summary = views.summary_line(view.document["summary"])
    return Group(views.status_table(plan), Text(f"{summary}{more}"))


def _pressing_first(plan: Plan, rows: int) -> Plan:
    """Return as many rows of a plan as fit: first those that need the user, then those under way."""
    pressing = sorted(
        plan.assessments,
        key=lambda item: (item.status not in NEEDS_SOMEBODY, item.status is Status.COMPLETE),
    )
    return replace(plan, assessments=tuple(pressing[: max(rows - len(plan.invalid), 1)]))


def show(
    context: typer.Context,
    what: Annotated[
        str,
        typer.Argument(metavar="SPEC|ID", help="A spec's path, an external_task_id, or a task_id."),
    ],
    as_json: AsJson = False,
) -> None:
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


def backup(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Where the copy goes; never overwritten.")
    ],
) -> None:
    """Copy the state database to FILE as it is at one moment, also while `watch` or `apply` runs.

    The copy is verified, and readable for its user alone. Results (state/objects) are files of their own, which
    never change: copy them with any tool. Keys and settings are not in it.
    """
    place = project.root_of(context)
    root = place.path.resolve()
    settings = configuration.load(root, config=place.config)
    project.refuse_leading_out(root, file)
    size = back_up(project.database_of(root, settings), file.absolute())
    out.print(
        f"`{escape(str(file))}` holds the state as it was just now: {size:,} bytes, verified."
    )
