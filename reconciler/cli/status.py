"""`status`, `show` and `backup`: what is known, and where everything stands. They change nothing.

`status --watch` polls: the database is another process's, and a table for people may be a second late.
"""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text

from reconciler import settings as configuration
from reconciler.cli import documents, streams
from reconciler.cli.plan import note_strays
from reconciler.cli.project import (
    Folder,
    Paths,
    ProjectRoot,
    Selection,
    database_of,
    open_folder,
    refuse_leading_out,
    root_of,
    select,
    surveyed,
)
from reconciler.cli.terminal import AsJson, ExitCode, error_document, out, print_json
from reconciler.core.diff import NEEDS_SOMEBODY, Plan
from reconciler.core.errors import ReconcilerError
from reconciler.core.moments import shown
from reconciler.core.money import units_text
from reconciler.core.printable import labelled
from reconciler.core.states import Record, Status
from reconciler.workspace.files.outputs import Signature, signature
from reconciler.workspace.tree.walk import specs_folder, walk

_EVERY = 1.0  # s
_IDLE = 9  # times as long as the last look took: a large folder is looked at less often
_RESYNC = 30  # looks after which it is read anyway: what no signature shows is late, and not lost
_AROUND = 4  # lines of a terminal that are not rows of the table

_Seen = tuple[object, ...]


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
        return _follow(root_of(context), paths or [], as_json=as_json)
    with open_folder(root_of(context)) as folder:
        chosen, survey = surveyed(folder, paths)
        plan = chosen.plan(survey)
    note_strays(survey.desired)
    document = documents.status_document(plan)
    if as_json:
        print_json(document)
    elif not document["generations"]:
        out.print(documents.NO_SPECS)
    else:
        out.print(documents.status_table(plan))
        out.print(documents.summary_line(document["summary"]))
    return ExitCode.DONE


@dataclass(frozen=True, slots=True)
class _View:
    """What there is to show, and how to see that it is not so any more."""

    document: dict[str, Any]
    plan: Plan | None = None  # None: an error
    look: Callable[[], _Seen] = tuple  # the same as long as nothing changed


def _follow(root: ProjectRoot, paths: Sequence[Path], *, as_json: bool) -> int:
    """Show the status again and again, until Ctrl-C or until its reader leaves; only the first look may raise."""
    first = _view(root, paths)
    with _stopped_by_signals():
        try:
            if out.is_terminal and not as_json:
                _on_a_terminal(_changes(root, paths, first))
            else:
                _line_by_line(_changes(root, paths, first), as_json=as_json)
        except KeyboardInterrupt:
            pass
    return ExitCode.DONE


def _changes(root: ProjectRoot, paths: Sequence[Path], first: _View) -> Iterator[_View]:
    """Give the first view, and a new one whenever it says something else, as long as somebody looks."""
    view, seen = first, first.look()
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
            view = _view(root, paths)
        except ReconcilerError as error:
            view = _View(error_document(error.message, error.hint))
        seen, took = view.look(), time.perf_counter() - began
        if view.document != before:
            yield view


def _view(root: ProjectRoot, paths: Sequence[Path]) -> _View:
    with open_folder(root) as folder:
        base, specs = folder.root, folder.settings.specs_dir
        database = database_of(base, folder.settings)
        before = _tree(base, specs, database)
        chosen, survey = surveyed(folder, paths)
        plan = chosen.plan(survey)
    wishes = [item.generation for item in plan.assessments]
    files = [path for wish in wishes for _, path in (*wish.outputs, *wish.previews)]
    files += [path for wish in wishes for path in wish.files]
    first = iter([(before, _signatures(base, files))])

    def look() -> _Seen:
        # The first look is the one from before reading: what changed while we read is seen by the second.
        return next(first, None) or (_tree(base, specs, database), _signatures(base, files))

    return _View(documents.status_document(plan), plan, look)


def _tree(root: Path, specs_dir: str, database: Path) -> _Seen:
    wal = database.with_name(f"{database.name}-wal")
    try:
        tree = walk(root, specs_folder(root, specs_dir))
        files = tree.specs, tree.defaults, tree.receipts, tree.ignoring.signature
        return *files, signature(database), signature(wal)
    except ReconcilerError as error:
        return (error.message,)


def _signatures(root: Path, files: Iterable[str]) -> dict[str, Signature | None]:
    try:
        return {name: signature(root / name) for name in files}
    except ReconcilerError:
        return {}


def _line_by_line(changes: Iterable[_View], *, as_json: bool) -> None:
    for view in changes:
        if as_json:
            print_json(view.document, indent=None)
        else:
            out.print()
            out.print(time.strftime("%H:%M:%S"))
            out.print(_shown(view))
        sys.stdout.flush()


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
    summary = documents.summary_line(view.document["summary"])
    if not view.document["generations"]:
        return Text(documents.NO_SPECS)
    plan = view.plan if rows is None else _pressing_first(view.plan, rows)
    hidden = len(view.plan.assessments) - len(plan.assessments)
    more = f" ({hidden:,} of them not shown)" if hidden else ""
    return Group(documents.status_table(plan), Text(f"{summary}{more}"))


def _pressing_first(plan: Plan, rows: int) -> Plan:
    """Return as much of a plan as there is room for: what needs somebody, then what moves, then the rest."""

    def rank(status: Status) -> int:
        return 0 if status in NEEDS_SOMEBODY else 2 if status is Status.COMPLETE else 1

    pressing = sorted(plan.assessments, key=lambda item: rank(item.status))
    return replace(plan, assessments=tuple(pressing[: max(rows - len(plan.invalid), 1)]))


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let SIGTERM end it as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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
        found = folder.repository.find(what) or survey.records.get(what)
        if found is not None:
            bases = [found.base_id]
        else:
            chosen = select(folder, desired, [Path(what)])
            bases = [wish.external_task_id for wish in chosen.generations]
        wishes = tuple(w for w in desired.generations if w.external_task_id in bases)
        plan = Selection(wishes, (), whole=False).plan(survey)
        document = {
            "generations": [_known(folder, survey.records, base) for base in dict.fromkeys(bases)],
            "status": documents.status_document(plan)["generations"],
        }
    if as_json:
        print_json(document)
    else:
        _show_people(document)
    return ExitCode.DONE


def _known(folder: Folder, records: Mapping[str, Record], base: str) -> dict[str, Any]:
    latest = records.get(base)
    attempts = folder.repository.attempts(base) or ((latest,) if latest else ())
    return {
        "external_task_id": base,
        "attempts": [_attempt(folder, record) for record in attempts],
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


def _attempt(folder: Folder, record: Record) -> dict[str, Any]:
    results = [(str(folder.objects.path(one.sha256)), one) for one in record.results]
    previews = [(str(folder.objects.path(one.sha256)), one) for one in record.previews]
    return {
        "external_task_id": record.external_task_id,
        "attempt": record.attempt,
        "status": record.status,
        "reason": record.reason,
        "task_id": record.task_id,
        "request": json.loads(record.request),
        "estimated_units": units_text(record.estimated_units),
        "units": units_text(record.units),
        "results": [documents.output_document(path, one) for path, one in results],
        **documents.preview_keys(previews),
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
            for name in ("status", "reason", "task_id", "units", "estimated_units"):
                if attempt[name]:
                    out.print(f"  {name:<16} {escape(str(attempt[name]))}")
            request = json.dumps(attempt["request"], ensure_ascii=False)
            out.print(f"  {'request':<16} {escape(request)}")
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
    refuse_leading_out(root, file)
    size = back_up(database_of(root, settings), file.absolute())
    out.print(
        f"`{escape(str(file))}` holds the state as it was just now: {size:,} bytes, verified."
    )
    return ExitCode.DONE
