"""Making a plan true once: which generations need work, the run over them, and what is held after it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.core.diff import Assessment, Plan
from reconciler.core.generations import Generation
from reconciler.core.progress import Ended
from reconciler.core.states import Record
from reconciler.core.work import Work, is_unsaved, work_for
from reconciler.engine.loop.loop import Loop
from reconciler.engine.loop.turn import Turns
from reconciler.engine.observe.survey import Survey
from reconciler.engine.ports import Options, Ports
from reconciler.engine.records import Records
from reconciler.engine.run.specs import SpecsNow


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
            standing = (item for item in plan.assessments if specs.asks_for(item.generation))
            confirmed = turns.confirm(standing)
        finally:
            looked_at = {item.generation.external_task_id for item in plan.assessments}
            looked_at.update(work.base_id for work in works)
            earlier = ports.repository.holds().items()
            holds = {base: reason for base, reason in earlier if base not in looked_at}
            holds |= records.holds() | confirmed
            ports.repository.replace_holds(holds, now=ports.now())
        return ended


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
