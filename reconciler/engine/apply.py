"""Making a plan true once: which generations need work, the run over them, and what it left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from reconciler.core.diff import Action, Assessment, Plan
from reconciler.core.errors import SpecError, WorkspaceError
from reconciler.core.generations import Generation
from reconciler.core.states import Record
from reconciler.engine.crew import Crew, hire
from reconciler.engine.cycle import Cycle
from reconciler.engine.desk import Desk
from reconciler.engine.ended import Ended
from reconciler.engine.journal import Journal
from reconciler.engine.ports import Options, Ports
from reconciler.engine.rereading import Rereading
from reconciler.engine.survey import Survey
from reconciler.engine.turns import Turns
from reconciler.engine.work import Work, is_unsaved, work_for


@dataclass(frozen=True, slots=True)
class Run:
    """One application of a plan."""

    ports: Ports
    options: Options
    survey: Survey

    async def apply(
        self, plan: Plan, works: Sequence[Work], stop: asyncio.Event, deadline: int | None
    ) -> Ended:
        """Bring the plan's generations forward until they settle; see `Cycle.run` for what it raises."""
        ports = self.ports
        journal = Journal(ports, self.options, self.survey.stored)
        journal.take_over(self.survey.records.values())
        desk = Desk.open(ports, self.options, journal, {work.base_id: work for work in works})
        now = Rereading(ports, self.survey, journal)
        crew = hire(desk, self.survey.whereabouts, now.declared, now.is_at_rest, _as_planned)
        try:
            cycle = Cycle(Turns(desk, crew), [work.base_id for work in works])
            ended = await cycle.run(stop, deadline=deadline)
            standing = (item for item in plan.assessments if now.asks_for(item.generation))
            desk.holds.reasons.update(confirm(standing, crew))
        finally:
            looked_at = {item.generation.external_task_id for item in plan.assessments} | {
                work.base_id for work in works
            }
            holds = _remaining_holds(ports.repository.holds(), looked_at, desk.holds.reasons)
            ports.repository.replace_holds(holds, now=ports.now())
        return ended


def confirm(assessments: Iterable[Assessment], crew: Crew) -> dict[str, str]:
    """Remember the signatures of outputs that stood already, and write receipts that are missing.

    Returns what could not be confirmed, by base id, and why.
    """
    by_spec: dict[str, list[Assessment]] = {}
    for item in assessments:
        by_spec.setdefault(item.generation.spec, []).append(item)
    trouble: dict[str, str] = {}
    for spec, items in by_spec.items():
        try:
            for item in items:
                if item.action is Action.KEEP and item.record is not None:
                    crew.publisher.publish(item.generation, item.record)
            crew.receipts.write(spec)
        except (SpecError, WorkspaceError) as error:
            trouble |= {item.generation.external_task_id: error.message for item in items}
    return trouble


def works_of(plan: Plan, survey: Survey, *, whole: bool) -> list[Work]:
    """Return the work that a plan means, downloads first (rule 7).

    Over the whole folder, tasks that are paid for and no longer wanted are seen home too.
    """
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
    """Return what is, or may be, paid for, is not saved, and is wanted by no valid spec."""
    wanted = {wish.external_task_id for wish in survey.valid_wishes()}
    return [
        record
        for base, record in survey.stored.items()
        if base not in wanted and is_unsaved(record)
    ]


def _as_planned(_: object) -> bool:
    """A plan that somebody agreed to is bought as it was shown, whatever is written meanwhile."""
    return True


def _remaining_holds(
    earlier: Mapping[str, str], selected: Iterable[str], held: Mapping[str, str]
) -> dict[str, str]:
    """Return the holds to remember: this run's, and those of generations that it did not look at."""
    looked_at = set(selected)
    return {**{key: reason for key, reason in earlier.items() if key not in looked_at}, **held}
