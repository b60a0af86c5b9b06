"""Making a plan true once: which generations need work, the run over them, and what is held after it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from reconciler.core.diff import Assessment, Plan, content_problem
from reconciler.core.errors import WorkspaceError
from reconciler.core.generations import Generation
from reconciler.core.progress import Ended, Work, is_unsaved, work_for
from reconciler.core.schedule import SECOND
from reconciler.core.states import Record
from reconciler.engine.loop.loop import Loop
from reconciler.engine.loop.turn import Turns
from reconciler.engine.observe.survey import Survey
from reconciler.engine.ports import Options, Ports
from reconciler.engine.records import Records
from reconciler.workspace.files.root import Root
from reconciler.workspace.git import index_lock
from reconciler.workspace.index.spec_index import SpecIndex
from reconciler.workspace.tree.ignoring import IGNORE_FILE
from reconciler.workspace.tree.walk import defaults_above

_QUIET = 2 * SECOND  # since the last change to what a spec is made of
_LONGEST_UNREST = 30 * SECOND  # then what stands there counts: a lock may be left over from a crash
_PATIENCE = 10.0  # s for media that have changed since: results that arrive wait meanwhile
_NS = 1_000_000  # in a millisecond


class SpecsNow:
    """The specs of a survey, read again as far as they have changed since."""

    def __init__(self, ports: Ports, survey: Survey, records: Records) -> None:
        self._ports = ports
        self._desired = survey.desired
        self._records = records
        self._lock = index_lock(ports.root)
        self._index: SpecIndex | None = None  # from the first change on
        self._restless: dict[str, int] = {}  # spec -> since when (ms)
        self._planned: dict[str, list[Generation]] = {}
        for wish in survey.valid_wishes():
            self._planned.setdefault(wish.spec, []).append(wish)

    def is_wanted(self, wish: Generation) -> bool:  # noqa: ARG002 - see below
        """The plan is bought as the user agreed to it, whatever is written meanwhile."""
        return True

    def declared(self, spec: str) -> Sequence[Generation]:
        """Return the generations of a spec as it was last found at rest; none where it is invalid."""
        if self._index is None:
            return self._planned.get(spec, ())
        return [
            wish
            for wish in self._index.generations(spec)
            if not content_problem(wish, self._records.get(wish.external_task_id))
        ]

    def is_at_rest(self, spec: str) -> bool:
        """Read a spec again if it has changed; return whether it is at rest, or was restless for half a minute.

        Raises WorkspaceError: it could not be read for half a minute.
        """
        since = self._restless.setdefault(spec, self._ports.now())
        is_over = self._ports.now() - since > _LONGEST_UNREST
        try:
            calm = self._is_calm(spec)
        except WorkspaceError:
            if is_over:
                raise
            return False  # it is being replaced, folder and all
        if calm:
            del self._restless[spec]
        return calm or is_over

    def asks_for(self, item: Assessment) -> bool:
        """Whether a spec, at rest, still asks for this result at this place."""
        wish = item.generation
        try:
            calm = self.is_at_rest(wish.spec)
        except WorkspaceError:
            return False
        return calm and any(
            (one.external_task_id, one.label) == (wish.external_task_id, wish.label)
            for one in self.declared(wish.spec)
        )

    def _is_calm(self, spec: str) -> bool:
        git_is_at_work = self._lock is not None and self._lock.exists()
        planned, root = self._desired, self._ports.root
        names = spec, IGNORE_FILE, *defaults_above(planned.folder, spec)
        if self._index is None:
            if self._is_as_planned(spec, names):
                return not git_is_at_work
            self._index = SpecIndex(
                root,
                planned.folder,
                prices=planned.prices,
                sources=planned.sources,
                patience=_PATIENCE,
            )
        elif not self._index.is_as_read(spec):
            self._index.refresh({*names, *self._index.inputs(spec)})
        # A time in the future does not tell whether a file was written a moment ago.
        found, now = map(Root(root).signature, self._index.inputs(spec)), self._ports.now()
        is_young = any(one and 0 <= now - one.mtime_ns // _NS < _QUIET for one in found)
        return not (git_is_at_work or is_young)

    def _is_as_planned(self, spec: str, names: Iterable[str]) -> bool:
        """Whether these files and the media of a spec stand as the survey saw them."""
        media = (path for wish in self._planned.get(spec, ()) for path in wish.files)
        root, seen = Root(self._ports.root), self._desired.seen
        return all(root.signature(name) == seen.get(name) for name in (*names, *media))


@dataclass(frozen=True, slots=True)
class Run:
    """One application of a plan."""

    ports: Ports
    options: Options
    survey: Survey

    async def apply(
        self, plan: Plan, works: Sequence[Work], stop: asyncio.Event, deadline: int | None
    ) -> Ended:
        """Bring the plan's generations forward until they settle; see `Loop.run` for what it raises."""
        ports = self.ports
        records = Records(ports, self.options, self.survey.stored)
        records.take_over(self.survey.records.values())
        specs = SpecsNow(ports, self.survey, records)
        turns = Turns(ports, self.options, records, self.survey.locations, specs)
        loop = Loop(ports, self.options, turns)
        for work in works:
            records.want(work.base_id, work)
            loop.add(work.base_id)
        confirmed: dict[str, str] = {}
        try:
            ended = await loop.run(stop, deadline=deadline)
            confirmed = _confirm(turns, filter(specs.asks_for, plan.assessments))
        finally:
            looked_at = {item.generation.external_task_id for item in plan.assessments}
            looked_at.update(work.base_id for work in works)
            earlier = ports.repository.holds().items()
            holds = {base: reason for base, reason in earlier if base not in looked_at}
            holds |= records.holds() | confirmed
            ports.repository.replace_holds(holds, now=ports.now())
        return ended


def _confirm(turns: Turns, standing: Iterable[Assessment]) -> dict[str, str]:
    """Confirm what stands, spec by spec; return failures by base id."""
    found: dict[str, str] = {}
    for spec, items in groupby(standing, lambda item: item.generation.spec):
        found |= turns.confirm(spec, list(items))
    return found


def works_of(plan: Plan, survey: Survey, *, whole: bool) -> list[Work]:
    """Return the work of a plan, downloads first (rule 7); `whole`: also that of paid tasks that no spec wants."""
    wishes: dict[str, list[Generation]] = {}
    for wish in survey.valid_wishes():
        wishes.setdefault(wish.external_task_id, []).append(wish)
    items: dict[str, list[Assessment]] = {}
    for item in plan.assessments:
        items.setdefault(item.generation.external_task_id, []).append(item)
    works = [work_for(found, wishes[base]) for base, found in items.items()]
    if whole:
        works += [Work(record.base_id) for record in unsaved(survey)]
    return sorted((work for work in works if work is not None), key=lambda work: work.rank)


def unsaved(survey: Survey) -> list[Record]:
    """Return the attempts that are, or may be, paid for, are not saved, and that no valid spec wants."""
    wanted = {wish.external_task_id for wish in survey.valid_wishes()}
    return [
        record
        for base, record in survey.stored.items()
        if base not in wanted and is_unsaved(record)
    ]
