"""`status --watch`: the status, again whenever something changes."""

from __future__ import annotations

import itertools
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from reconciler.cli import streams, views
from reconciler.cli.console import out
from reconciler.cli.project import ProjectRoot, database_of, open_folder, plan_of, surveyed
from reconciler.cli.tables import status_table
from reconciler.cli.terminal import error_document, print_json
from reconciler.core.diff import NEEDS_SOMEBODY, Plan
from reconciler.core.errors import ReconcilerError
from reconciler.core.states import Status
from reconciler.workspace.files.outputs import signature
from reconciler.workspace.tree.walk import specs_folder, walk

_EVERY = 1.0  # s
_IDLE = 9  # times as long as the last look took: a large folder is looked at less often
_RESYNC = 30  # looks after which everything is read, for changes that no signature shows
_AROUND = 4  # lines of a terminal that are not rows of the table

_Seen = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class _View:
    """A status to show, and a function that tells whether it is still current."""

    document: dict[str, Any]
    plan: Plan | None = None  # None: an error
    look: Callable[[], _Seen] = tuple  # the same as long as nothing changed


def follow(root: ProjectRoot, paths: Sequence[Path] | None, *, as_json: bool) -> None:
    """Show the status until a signal, or until its reader leaves; only the first look raises errors."""
    see = partial(_view, root, paths)
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


def _view(root: ProjectRoot, paths: Sequence[Path] | None) -> _View:
    with open_folder(root) as folder:
        base, specs = folder.root, folder.settings.specs_dir
        database = database_of(base, folder.settings)
        trees = [_tree(base, specs, database)]
        chosen, survey = surveyed(folder, paths)
        plan = plan_of(survey, chosen)
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
    return Group(status_table(plan), Text(f"{summary}{more}"))


def _pressing_first(plan: Plan, rows: int) -> Plan:
    """Return as many rows of a plan as fit: first those that need the user, then those under way."""
    pressing = sorted(
        plan.assessments,
        key=lambda item: (item.status not in NEEDS_SOMEBODY, item.status is Status.COMPLETE),
    )
    return replace(plan, assessments=tuple(pressing[: max(rows - len(plan.invalid), 1)]))
