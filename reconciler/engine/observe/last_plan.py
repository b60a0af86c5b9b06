"""The last plan of a folder, where nothing was left to do, and whether it would be the same now: one comparison.

What a plan says of complete generations depends on what lies in the specs folder, on a few files elsewhere, on the
database, on some settings and on the program. As long as all of it carries the signatures that it carried then, the same
plan would be made again. Nothing is bought by this answer, and losing what is kept for it costs time alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from reconciler.core.diff import Action, Assessment, Plan, Standing
from reconciler.core.errors import WorkspaceError
from reconciler.core.generations import newer_models
from reconciler.core.naming import join
from reconciler.core.states import Role, Status
from reconciler.engine.observe.survey import Survey
from reconciler.store.file_cache import FileCache
from reconciler.workspace.files.outputs import RACY_NS, Signature
from reconciler.workspace.files.root import Root
from reconciler.workspace.tree.fingerprint import Whole, fingerprint_of_all, of_this_program
from reconciler.workspace.tree.ignoring import IGNORE_FILE
from reconciler.workspace.tree.walk import specs_folder

_KEY = "//plan"  # no path relative to the root begins so


class _Look(NamedTuple):
    """How everything stands that a plan depends on, but for a few files elsewhere."""

    specs: Whole
    program: str  # another one may read the same files in another way
    database: tuple[Signature | None, ...]  # and its log


class LastPlan:
    """What is remembered of the last plan of one folder; to be made before anything is read for the next."""

    def __init__(
        self,
        root: Path,
        specs_dir: str,
        database: Path,
        cache: FileCache,
        previews: frozenset[Role],  # those that are put back where they are missing
        terms: Iterable[object] = (),  # other settings that decide
        *,
        began_ns: int | None = None,  # None: now
    ) -> None:
        self._root, self._specs_dir, self._database, self._cache = root, specs_dir, database, cache
        self._previews, self._began = previews, time.time_ns() if began_ns is None else began_ns
        said = [specs_dir, sorted(previews), *terms]
        self._terms = json.dumps(said, sort_keys=True, default=str)
        self._before = self._look()

    def complete(self) -> int:
        """Return how many generations are complete, where a plan would say just that; 0 where nobody knows."""
        if self._before is None:
            return 0
        stamp, packed = self._cache.get(_KEY) or ("", b"")
        try:
            complete, elsewhere = json.loads(packed)
            files = self._files(map(str, elsewhere))
        except (ValueError, TypeError, RecursionError):  # nothing, or damaged
            return 0
        is_same = stamp == self._stamp(self._before, files)
        return complete if is_same and type(complete) is int else 0

    def keep(self, survey: Survey, plan: Plan) -> None:
        """Remember a plan of the whole folder that says just that, unless anything may have changed since this was made."""
        before = self._before
        if before is None or not _is_all_complete(survey, plan, self._previews):
            return
        elsewhere = _elsewhere(survey)
        files = self._files(elsewhere)
        is_as_read = all(survey.desired.seen.get(name) == one for name, one in files.items())
        is_young = before.specs.newest_ns > self._began - RACY_NS
        is_young = is_young or self._are_young((*files.values(), *before.database))
        if is_as_read and not is_young and self._look() == before:
            packed = json.dumps([len(plan.assessments), elsewhere]).encode()
            self._cache.save({_KEY: (self._stamp(before, files), packed)}, ())

    def _are_young(self, files: Iterable[Signature | None]) -> bool:
        """Whether one of these files could have changed since this was made and kept its signature."""
        since = self._began - RACY_NS
        return any(max(one.mtime_ns, one.ctime_ns) > since for one in filter(None, files))

    def _look(self) -> _Look | None:
        """Look at everything; None where no file lies, or a link, or a folder that cannot be listed: nobody can tell."""
        wal = self._database.with_name(f"{self._database.name}-wal")
        try:
            folder = specs_folder(self._root, self._specs_dir)
            if self._database.is_relative_to(self._root / folder):
                return None  # what is kept here would change it
            specs = fingerprint_of_all(self._root, folder)
            if specs is None or not specs.newest_ns:
                return None
            program = of_this_program()
        except WorkspaceError:
            return None
        if not program:
            return None
        return _Look(specs, program, (_signature(self._database), _signature(wal)))

    def _files(self, elsewhere: Iterable[str]) -> dict[str, Signature | None]:
        """Return how files stand that the look passes over."""
        root = Root(self._root)
        return {name: root.signature(name) for name in (IGNORE_FILE, *elsewhere)}

    def _stamp(self, look: _Look, files: dict[str, Signature | None]) -> str:
        said = repr((self._terms, look.specs.digest, *look[1:], files))
        return blake2b(said.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _is_all_complete(survey: Survey, plan: Plan, previews: frozenset[Role]) -> bool:
    """Whether nothing is left to do or to say."""
    desired = survey.desired
    newer = newer_models(desired.generations, desired.prices)
    others = plan.invalid, plan.orphans, desired.notes, newer, _missing(survey, previews)
    kept = [_is_kept(one, survey) for one in plan.assessments]
    return bool(kept) and all(kept) and not any(others)


def _missing(survey: Survey, previews: frozenset[Role]) -> list[str]:
    """Return where previews are missing that are put back once they turn up among the objects."""
    shown = [one for known in survey.known.values() for one in known.previews]
    gone = (one for one in shown if one.standing is Standing.MISSING)
    return [one.path for one in gone if one.role in previews]


def _is_kept(item: Assessment, survey: Survey) -> bool:
    """Whether a generation is complete, by this state alone."""
    record, due = item.record, (item.action, item.status)
    is_ours = record is not None and survey.stored.get(record.base_id) == record
    return is_ours and due == (Action.KEEP, Status.COMPLETE)


def _elsewhere(survey: Survey) -> list[str]:
    """Return what a plan depends on outside the specs folder, or hidden in it: media, and what we once put there."""
    inner = join(survey.desired.folder, "")
    named = {path for wish in survey.desired.generations for path in wish.files}
    named.update(survey.locations.publications)
    seen = {path for path in named if path.startswith(inner) and "/." not in f"/{path}"}
    return sorted(named - seen)


def _signature(path: Path) -> Signature | None:
    """Return how a file of the database stands; None where there is none, or an empty one."""
    try:
        found = Signature.of(path.stat())
    except OSError:
        return None
    return found if found.size else None
