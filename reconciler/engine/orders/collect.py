"""`gc`: files in the state, or beside specs, that nothing refers to any more.

Results of any attempt on record, publications, receipts of this folder and the history refer to files: any may be the
only copy of a purchase. Young files stay: they may be on their way.
"""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from reconciler.core.errors import WorkspaceError, counted
from reconciler.core.orders import Outcome
from reconciler.core.progress import is_unsaved
from reconciler.core.receipt_entries import Recalled
from reconciler.core.schedule import HOUR
from reconciler.core.states import Role
from reconciler.engine.observe.recall import recall
from reconciler.engine.observe.survey import Survey
from reconciler.engine.orders.context import OrderContext
from reconciler.store.objects import ObjectStore
from reconciler.store.state import State
from reconciler.workspace.files.outputs import Signature, is_behind_a_link, remove
from reconciler.workspace.files.plain import temporary_beside
from reconciler.workspace.media.preparing import recipe

_NS = 1_000_000  # in a ms
_OBJECT = "an object that no result, output or receipt refers to"


@dataclass(frozen=True, slots=True)
class Garbage:
    """A file that nothing refers to."""

    path: Path
    what: str  # it is, for people
    found: Signature

    @property
    def seen(self) -> str:
        """What the user saw: size and time."""
        return f"{self.found.size}, {self.found.mtime_ns}"


def garbage(
    root: Path,
    survey: Survey,
    repository: State,
    objects: ObjectStore,
    *,
    now: int,
    recalled: Recalled | None = None,
) -> dict[str, Garbage]:
    """Return what could go, by the name that an order calls it; `now` (ms) is the calendar's.

    `recalled` is what the folder's receipts say, where they were read already.

    Raises:
        WorkspaceError: it cannot be told what is referred to.
        StateError: the state cannot be read.
    """
    published, results = repository.publications(), repository.known_results()
    digests = {*results, *(row.sha256 for row in published.values()), *repository.kept_beside()}
    recalled = recalled or recall(root, survey.desired.receipts)
    if recalled.unreadable:
        receipt, why = next(iter(recalled.unreadable.items()))
        raise WorkspaceError(
            f"`{receipt}` may refer to any of it, and cannot be read: {why}",
            hint="Restore or remove that receipt first.",
        )
    found = dict(_in_the_store(survey, digests | recalled.paths.keys(), objects, now))
    if not repository.records() and any(one.what == _OBJECT for one in found.values()):
        raise WorkspaceError(
            "the state remembers no purchase, so what lies in its objects may be all that is left of an earlier one",
            hint="Bring the earlier database back, or remove the folder of the objects by hand.",
        )
    found.update(_beside_specs(root, survey, published, now))
    return found


async def collect(
    context: OrderContext, names: Collection[str], seen: Mapping[str, str]
) -> Outcome:
    """Remove the files of these names, as far as nothing refers to them now and they are what was `seen`.

    Raises:
        WorkspaceError: it cannot be told what is referred to, or something cannot be removed.
        StateError: the state cannot be read.
    """
    ports, survey = context.ports, context.survey
    # Off the loop: there may be very many receipts.
    recalled = await asyncio.to_thread(recall, ports.root, survey.desired.receipts)
    now, objects = ports.calendar(), ports.objects
    found = garbage(ports.root, survey, ports.repository, objects, now=now, recalled=recalled)
    there = [(name, found[name]) for name in names if name in found]
    meant = [one for name, one in there if seen.get(name, one.seen) == one.seen]
    removed = await asyncio.to_thread(
        lambda: [one.found.size for one in meant if remove(one.path, one.found)]
    )
    said = f"removed {counted(len(removed), 'file')} ({sum(removed):,} bytes)"
    if left := len(names) - len(removed):
        said += f"; left {counted(left, 'file')}, referred to by now, changed, or gone already"
    return Outcome.done(said)


def _in_the_store(
    survey: Survey, referred: Set[str], objects: ObjectStore, now: int
) -> Iterator[tuple[str, Garbage]]:
    """Yield old files in the store whose digest is not `referred` to."""
    for name, path, what in _unused(survey, referred, objects, now):
        if old := _old(path, now):
            yield name, Garbage(path, what, old)


def _unused(
    survey: Survey, referred: Set[str], objects: ObjectStore, now: int
) -> Iterator[tuple[str, Path, str]]:
    """Yield files in the store that nothing uses, of any age: what an order calls each, where and what it is."""
    notes, wanted = objects.notes(), _recipes(survey)
    kept = {notes[name] for name in notes if name in wanted or not _old(objects.note(name), now)}
    referred = referred | kept
    for digest in objects.names():
        if digest not in referred:
            yield f"objects/{digest}", objects.path(digest), _OBJECT
    for name in notes.keys() - wanted:
        yield f"prepared/{name}", objects.note(name), "a note of what was prepared"
    for path in _abandoned(survey, objects):
        yield f"partial/{path.name}", path, "what is left of a download"


def _recipes(survey: Survey) -> set[str]:
    """Return the notes of inputs prepared for specs, also of bought generations: another take may want them."""
    return {
        recipe(one.medium, source)
        for wish in survey.desired.generations
        for one in wish.kind.INPUTS
        if (source := wish.inputs[one.name]).preparation is not None
    }


def _abandoned(survey: Survey, objects: ObjectStore) -> list[Path]:
    """Return the files of downloads that are not, and will not be, continued."""
    under_way = {
        objects.partial(f"{record.external_task_id}.{role}").path.stem
        for record in survey.stored.values()
        if is_unsaved(record)
        for role in Role
    }
    return [path for path in objects.unfinished() if path.stem not in under_way]


def _beside_specs(
    root: Path, survey: Survey, published: Iterable[str], now: int
) -> Iterator[tuple[str, Garbage]]:
    """Yield temporary files of copies that were cut off, beside files of ours."""
    targets = {*survey.desired.receipts, *published}
    for wish in survey.desired.generations:
        targets.update(path for _, path in (*wish.outputs, *wish.previews))
    specs = root / survey.desired.folder
    for target in sorted(targets):
        path = temporary_beside(root / target)
        above = specs if specs in path.parents else root
        if (old := _old(path, now)) and not is_behind_a_link(above, path):
            yield f"beside/{target}", Garbage(path, f"what was left of writing {target}", old)


def _old(path: Path, now: int) -> Signature | None:
    """Return the signature of a file that was last written more than an hour ago; None otherwise."""
    with suppress(OSError):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode) and now - status.st_mtime_ns // _NS > HOUR:
            return Signature.of(status)
    return None
