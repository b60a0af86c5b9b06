"""Whether all still stands as it did when nothing was left to do: one comparison, instead of a survey.

What a plan says of complete generations depends on what lies in the specs folder, on a few files elsewhere, on the
database and on some settings. As long as all of it carries the signatures that it carried then, the same plan would be
made again. Nothing is bought by this answer, and losing what is kept for it costs time alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from reconciler.core.diff import Action, Plan
from reconciler.core.errors import WorkspaceError
from reconciler.core.generations import newer_models
from reconciler.core.naming import join
from reconciler.core.states import Status
from reconciler.engine.observe.survey import Survey
from reconciler.store.file_cache import FileCache
from reconciler.workspace.files.outputs import RACY_NS, Signature
from reconciler.workspace.files.root import Root
from reconciler.workspace.tree.fingerprint import fingerprint
from reconciler.workspace.tree.ignoring import IGNORE_FILE
from reconciler.workspace.tree.walk import specs_folder

_KEY = "//rest"  # no path relative to the root begins so
_DRIFT_NS = 100_000_000  # of the calendar against a clock that nobody sets


@dataclass(frozen=True, slots=True)
class Rest:
    """A folder in which nothing is left to do."""

    complete: int  # generations
    is_confirmed: bool  # by `apply`: receipts are written, and every paid task has a spec
    elsewhere: tuple[str, ...] = ()  # hidden files that specs name, and those outside their folder


class RestMemory:
    """What is remembered of one folder at rest; to be made before anything is read for a plan."""

    def __init__(
        self,
        root: Path,
        specs_dir: str,
        database: Path,
        cache: FileCache,
        terms: tuple[object, ...],  # the settings that decide
        *,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._root, self._specs_dir, self._database, self._cache = root, specs_dir, database, cache
        program = _signature(Path(__file__))  # another one may read the same files in another way
        self._terms = json.dumps((specs_dir, *terms, program), sort_keys=True, default=str)
        self._now_ns = now_ns
        self._began = now_ns(), time.monotonic_ns()

    def find(self) -> Rest | None:
        """Return the rest that is remembered if it still lasts; None where it does not, or where nobody knows."""
        stamp, packed = self._cache.get(_KEY) or ("", b"")
        try:
            complete, is_confirmed, elsewhere = json.loads(packed)
            rest = Rest(int(complete), bool(is_confirmed), tuple(map(str, elsewhere)))
        except (ValueError, TypeError, RecursionError):  # nothing, or damaged
            return None
        return rest if stamp and self._stamp(rest) == stamp else None

    def keep(self, survey: Survey, plan: Plan, *, is_confirmed: bool = False) -> None:
        """Remember that the plan of the whole folder has nothing to do or to say; where it has, or may have, nothing."""
        if not _is_at_rest(survey, plan):
            return
        rest = Rest(len(plan.assessments), is_confirmed, _elsewhere(survey))
        if stamp := self._stamp(rest, is_new=True):
            packed = json.dumps([rest.complete, rest.is_confirmed, rest.elsewhere]).encode()
            self._cache.save({_KEY: (stamp, packed)}, ())

    def _stamp(self, rest: Rest, *, is_new: bool = False) -> str:
        """Return what tells this state of everything from any other; nothing where that cannot be told.

        Links may lead to something else unseen. For a new one, nothing may have changed since the reading began: that
        shows in the times of files, unless the calendar was set meanwhile.
        """
        now = self._now_ns()
        drift = now - self._began[0] - (time.monotonic_ns() - self._began[1])
        reading = self._began[0] - RACY_NS, now + RACY_NS
        try:
            below = fingerprint(self._root, specs_folder(self._root, self._specs_dir), reading)
        except WorkspaceError:
            return ""
        beside = self._beside(rest)
        doubts = [below.has_links]
        if is_new:
            times = (one.is_of(*reading) for one in filter(None, beside))
            doubts += [below.is_restless, abs(drift) > _DRIFT_NS, *times]
        if any(doubts):
            return ""
        said = repr((self._terms, below.digest, beside))
        return blake2b(said.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    def _beside(self, rest: Rest) -> list[Signature | None]:
        """Return how everything stands that does not lie in the specs folder, or is hidden there."""
        root, wal = Root(self._root), self._database.with_name(f"{self._database.name}-wal")
        files = [root.signature(name) for name in (IGNORE_FILE, *rest.elsewhere)]
        return [*files, _signature(self._database), _signature(wal)]


def _elsewhere(survey: Survey) -> tuple[str, ...]:
    """Return the hidden files that specs name, and those outside their folder."""
    folder = survey.desired.folder
    named = {path for wish in survey.desired.generations for path in wish.files}
    seen = {p for p in named if p.startswith(join(folder, "")) and "/." not in f"/{p}"}
    return tuple(sorted(named - seen))


def _is_at_rest(survey: Survey, plan: Plan) -> bool:
    """Whether nothing is left to do or to say, as this state knows it; a missing preview may turn up among the objects."""
    desired = survey.desired
    newer = newer_models(desired.generations, desired.prices)
    others = plan.invalid, plan.orphans, desired.notes, newer
    return (
        bool(plan.assessments)
        and not any(others)
        and all(
            item.action is Action.KEEP
            and item.status is Status.COMPLETE
            and item.record is not None
            and survey.stored.get(item.record.base_id) == item.record
            and len(item.shown) == len(item.record.previews)
            for item in plan.assessments
        )
    )


def _signature(file: Path) -> Signature | None:
    """Return how a file that is not the folder's stands; None where there is none, or an empty one."""
    try:
        found = Signature.of(file.stat())
    except OSError:
        return None
    return found if found.size else None
