"""What `status --watch` needs: seeing cheaply that something changed, and showing it again. Reads only.

It polls: the database is another process's, and a table for people may be a second late.
"""

from __future__ import annotations

import itertools
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from reconciler.cli import streams, views
from reconciler.cli.exits import ExitCode
from reconciler.cli.folder import open_folder, select
from reconciler.cli.root import Root
from reconciler.cli.terminal import out, print_json
from reconciler.core.diff import NEEDS_SOMEBODY, Plan
from reconciler.core.errors import ReconcilerError
from reconciler.core.states import Status
from reconciler.store.database import database_path
from reconciler.workspace.outputs import Signature, signature
from reconciler.workspace.walk import specs_folder, walk

_EVERY = 1.0  # s
_IDLE = 9  # times as long as the last look took: a large folder is looked at less often
_RESYNC = 30  # looks after which it is read anyway: what no signature shows is late, and not lost
_AROUND = 4  # lines of a terminal that are not rows of the table

_Seen = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class View:
    """What there is to show, and how to see that it is not so any more."""

    document: dict[str, Any]
    plan: Plan | None = None  # None: an error
    look: Callable[[], _Seen] = tuple  # the same as long as nothing changed


def follow(root: Root, paths: Sequence[Path], *, as_json: bool) -> int:
    """Show the status again and again, until Ctrl-C or until its reader leaves: it is meant to end so.

    Raises:
        ReconcilerError: there is nothing to show from the beginning. Later troubles are shown, and may pass.
    """
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


def _changes(root: Root, paths: Sequence[Path], first: View) -> Iterator[View]:
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
            view = View({"error": {"message": error.message, "hint": error.hint}})
        seen, took = view.look(), time.perf_counter() - began
        if view.document != before:
            yield view


def _view(root: Root, paths: Sequence[Path]) -> View:
    with open_folder(root) as folder:
        settings, base = folder.settings, folder.root
        database = database_path(
            settings.database_url or base / settings.state_dir / "reconciler.db"
        )
        before = _tree(base, settings.specs_dir, database)
        desired = folder.load()
        survey = folder.surveyor.survey(desired)
        plan = select(folder, desired, paths).plan(survey)
    wishes = [item.generation for item in plan.assessments]
    files = [path for wish in wishes for _, path in (*wish.outputs, *wish.previews)]
    files += [path for wish in wishes for path in wish.files]
    stood = _signatures(base, files)
    first = iter([(before, stood)])

    def look() -> _Seen:
        # The first look is the one from before reading: what changed while we read is seen by the second.
        return next(first, None) or (
            _tree(base, settings.specs_dir, database),
            _signatures(base, files),
        )

    return View(views.status_document(plan), plan, look)


def _tree(root: Path, specs_dir: str, database: Path) -> _Seen:
    wal = database.with_name(f"{database.name}-wal")
    try:
        tree = walk(root, specs_folder(root, specs_dir))
        ignoring = tree.ignoring.signature
        files = tree.specs, tree.defaults, tree.receipts, ignoring
        return *files, signature(database), signature(wal)
    except ReconcilerError as error:
        return (error.message,)


def _signatures(root: Path, files: Iterable[str]) -> dict[str, Signature | None]:
    try:
        return {name: signature(root / name) for name in files}
    except ReconcilerError:
        return {}


def _line_by_line(changes: Iterable[View], *, as_json: bool) -> None:
    for view in changes:
        if as_json:
            print_json(view.document, indent=None)
        else:
            out.print()
            out.print(time.strftime("%H:%M:%S"))
            out.print(_shown(view))
        sys.stdout.flush()


def _on_a_terminal(changes: Iterable[View]) -> None:
    with Live(console=out, auto_refresh=False, vertical_overflow="crop") as live:
        for view in changes:
            rows = max(shutil.get_terminal_size().lines - _AROUND, 1)
            footer = Text("Ctrl-C leaves; the work goes on.", style="dim")
            live.update(Group(_shown(view, rows), footer), refresh=True)


def _shown(view: View, rows: int | None = None) -> RenderableType:
    if view.plan is None:
        error = view.document["error"]
        return Group(escape(f"error: {error['message']}"), escape(f"       {error['hint']}"))
    summary = views.summary_line(view.document["summary"])
    if not view.document["generations"]:
        return Text("No specs yet: add a file to the specs folder.")
    plan = view.plan if rows is None else _pressing_first(view.plan, rows)
    hidden = len(view.plan.assessments) - len(plan.assessments)
    more = f" ({hidden:,} of them not shown)" if hidden else ""
    return Group(views.status_table(plan), Text(f"{summary}{more}"))


def _pressing_first(plan: Plan, rows: int) -> Plan:
    """Return as much of a plan as there is room for: what needs somebody, then what moves, then the rest."""

    def rank(status: Status) -> int:
        return 0 if status in NEEDS_SOMEBODY else 2 if status is Status.COMPLETE else 1

    pressing = sorted(plan.assessments, key=lambda item: rank(item.status))
    return replace(plan, assessments=tuple(pressing[: max(rows - len(plan.invalid), 1)]))


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let SIGTERM end it as Ctrl-C does."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
