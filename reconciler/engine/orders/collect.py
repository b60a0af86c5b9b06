"""`gc`: what lies in the state, or beside specs, and nothing refers to any more. It is found, and removed by its name.

What could be the only copy of something that was paid for is referred to: by a result of any attempt that is on record, a
publication, a receipt of this folder, or a line of history. What is young stays: it may be on its way.
"""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from reconciler.core.errors import WorkspaceError, counted
from reconciler.core.schedule import HOUR
from reconciler.core.states import LIVE, Role, Status
from reconciler.engine.observe.receipts_read import Recalled, recall
from reconciler.engine.observe.survey import Survey
from reconciler.engine.orders.outcome import OrderContext, Outcome
from reconciler.store.objects import ObjectStore
from reconciler.store.repository import Repository
from reconciler.workspace.files.outputs import Signature, is_behind_a_link, remove
from reconciler.workspace.files.plain import temporary_beside
from reconciler.workspace.media.preparing import recipe

_UNSAVED = LIVE | {Status.SUCCEEDED}
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
        """What its name stands for, in short."""
        return f"{self.found.size}, {self.found.mtime_ns}"


def garbage(
    root: Path, survey: Survey, repository: Repository, objects: ObjectStore, *, now: int
) -> dict[str, Garbage]:
    """Return what could go, by the name that an order calls it; `now` (ms) is the calendar's.

    Raises:
        WorkspaceError: it cannot be told what is referred to.
        StateError: the state cannot be read.
    """
    known = _known_to_the_state(repository)
    return _garbage(root, survey, known, objects, recall(root, survey.desired.receipts), now)


async def collect(
    context: OrderContext, names: Collection[str], seen: Mapping[str, str]
) -> Outcome:
    """Remove what goes by these names, as far as nothing refers to it now and it is what was `seen`.

    Raises:
        WorkspaceError: it cannot be told what is referred to, or something cannot be removed.
        StateError: the state cannot be read.
    """
    ports, survey = context.ports, context.survey
    known = _known_to_the_state(ports.repository)
    # Off the loop: there may be very many receipts.
    recalled = await asyncio.to_thread(recall, ports.root, survey.desired.receipts)
    now = ports.calendar()
    found = _garbage(ports.root, survey, known, ports.objects, recalled, now)
    meant = [
        one
        for name in names
        if (one := found.get(name)) is not None and seen.get(name, one.seen) == one.seen
    ]
    removed = await asyncio.to_thread(_remove, meant)
    said = f"removed {counted(len(removed), 'file')} ({sum(removed):,} bytes)"
    if left := len(names) - len(removed):
        said += f"; left {counted(left, 'file')}, referred to by now, changed, or gone already"
    return Outcome.done(said)


def _remove(garbage: Iterable[Garbage]) -> list[int]:
    """Remove what is as it was found; return how large each was, in bytes."""
    return [one.found.size for one in garbage if remove(one.path, one.found)]


@dataclass(frozen=True, slots=True)
class _State:
    """What the database refers to."""

    objects: frozenset[str]  # SHA-256
    published: frozenset[str]  # paths relative to the root
    is_empty: bool


def _known_to_the_state(repository: Repository) -> _State:
    publications, results = repository.publications(), repository.known_results()
    digests = {*results, *(row.sha256 for row in publications.values()), *repository.kept_beside()}
    return _State(frozenset(digests), frozenset(publications), not repository.records())


def _garbage(
    root: Path,
    survey: Survey,
    known: _State,
    objects: ObjectStore,
    recalled: Recalled,
    now: int,
) -> dict[str, Garbage]:
    if recalled.unreadable:
        receipt, why = next(iter(recalled.unreadable.items()))
        raise WorkspaceError(
            f"`{receipt}` may refer to any of it, and cannot be read: {why}",
            hint="Restore or remove that receipt first.",
        )
    found = dict(_in_the_store(survey, known, objects, recalled, now))
    if known.is_empty and any(one.what == _OBJECT for one in found.values()):
        raise WorkspaceError(
            "the state remembers no purchase, so what lies in its objects may be all that is left of an earlier one",
            hint="Bring the earlier database back, or remove the folder of the objects by hand.",
        )
    found.update(_beside_specs(root, survey, known, now))
    return found


def _in_the_store(
    survey: Survey, known: _State, objects: ObjectStore, recalled: Recalled, now: int
) -> Iterator[tuple[str, Garbage]]:
    notes = objects.notes()
    wanted = set(_recipes(survey))
    kept = {
        digest
        for name, digest in notes.items()
        if name in wanted or _old(objects.note(name), now) is None
    }
    referred = known.objects | recalled.paths.keys() | kept
    for digest in objects.names():
        if digest not in referred and (old := _old(path := objects.path(digest), now)):
            yield f"objects/{digest}", Garbage(path, _OBJECT, old)
    for name in notes.keys() - wanted:
        if old := _old(path := objects.note(name), now):
            yield f"prepared/{name}", Garbage(path, "a note of what was prepared", old)
    under_way = {objects.partial(name).path.stem for name in _downloads(survey)}
    for path in objects.unfinished():
        if path.stem not in under_way and (old := _old(path, now)):
            yield f"partial/{path.name}", Garbage(path, "what is left of a download", old)


def _beside_specs(
    root: Path, survey: Survey, known: _State, now: int
) -> Iterator[tuple[str, Garbage]]:
    """Yield what was left where a copy was cut off; only names that belong to files of ours are looked at."""
    targets = {*survey.desired.receipts, *known.published}
    for wish in survey.desired.generations:
        targets.update(path for _, path in (*wish.outputs, *wish.previews))
    specs = root / survey.desired.folder
    for target in sorted(targets):
        path = temporary_beside(root / target)
        above = specs if specs in path.parents else root
        if (old := _old(path, now)) and not is_behind_a_link(above, path):
            yield f"beside/{target}", Garbage(path, f"what was left of writing {target}", old)


def _recipes(survey: Survey) -> Iterator[str]:
    """Yield the names of what is prepared for specs; that of what is bought may be wanted for another take."""
    for wish in survey.desired.generations:
        named = ((one.medium, wish.inputs[one.name]) for one in wish.kind.INPUTS)
        yield from (recipe(*one) for one in named if one[1].preparation is not None)


def _downloads(survey: Survey) -> Iterable[str]:
    """Yield the names of downloads that are, or will be, continued."""
    for record in survey.stored.values():
        if record.status in _UNSAVED:
            yield from (f"{record.external_task_id}.{role}" for role in Role)


def _old(path: Path, now: int) -> Signature | None:
    """Return what stands at a path where it is a file that was last written long ago; None otherwise."""
    with suppress(OSError):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode) and now - status.st_mtime_ns // _NS > HOUR:
            return Signature.of(status)
    return None
