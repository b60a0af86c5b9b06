"""Making a plan true once: which generations need work, the run over them, and what it left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from reconciler.core.diff import BUYS, Action, Assessment, Plan
from reconciler.core.errors import SpecError, WorkspaceError
from reconciler.core.generations import Generation
from reconciler.core.states import LIVE, Record, Status
from reconciler.engine.cycle import Cycle
from reconciler.engine.effects import Purchases
from reconciler.engine.ended import Ended
from reconciler.engine.gate import Gate
from reconciler.engine.journal import Journal
from reconciler.engine.polling import Poller
from reconciler.engine.ports import Options, Ports
from reconciler.engine.publishing import Publisher
from reconciler.engine.receipts import Receipts
from reconciler.engine.saving import Saver
from reconciler.engine.survey import Survey
from reconciler.engine.turns import Crew, Turns
from reconciler.engine.work import Work

_WORKED_ON = BUYS | {Action.ADOPT, Action.WAIT, Action.DOWNLOAD, Action.PUBLISH}
_RANKS = {
    Action.DOWNLOAD: 0,
    Action.PUBLISH: 0,
    Action.SUBMIT: 2,
    Action.RETRY: 2,
    Action.BLOCKED: 3,  # a wish that is blocked in one place may be free in another
}
_LOOKED_AT_AGAIN = frozenset({Status.EXPIRED, Status.REJECTED})
_UNSENT = frozenset({None, Status.PENDING})


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
        ports, options = self.ports, self.options
        journal = Journal(ports, options, self.survey.stored)
        journal.take_over(self.survey.records.values())
        receipts = Receipts(ports.root, journal, self._valid_wishes())
        crew = Crew(
            purchases=Purchases(ports, options, journal),
            poller=Poller(ports, options, journal),
            saver=Saver(ports, options, journal),
            publisher=Publisher(ports, self.survey.whereabouts),
            receipts=receipts,
            gate=Gate(ports, options.max_concurrency),
        )
        turns = Turns(ports, options, journal, crew, works)
        try:
            ended = await Cycle(turns, [work.base_id for work in works]).run(
                stop, deadline=deadline
            )
            self._confirm(plan.assessments, crew, turns)
        finally:
            looked_at = {item.generation.external_task_id for item in plan.assessments} | {
                work.base_id for work in works
            }
            holds = _remaining_holds(ports.repository.holds(), looked_at, turns.holds)
            if holds != ports.repository.holds():
                ports.repository.replace_holds(holds, now=ports.now())
        return ended

    def _confirm(self, assessments: Iterable[Assessment], crew: Crew, turns: Turns) -> None:
        """Remember the signatures of outputs that stood already, and write receipts that are missing."""
        by_spec: dict[str, list[Assessment]] = {}
        for item in assessments:
            by_spec.setdefault(item.generation.spec, []).append(item)
        for spec, items in by_spec.items():
            try:
                for item in items:
                    if item.action is Action.KEEP and item.record is not None:
                        crew.publisher.publish(item.generation, item.record)
                crew.receipts.write(spec)
            except (SpecError, WorkspaceError) as error:
                turns.holds |= {item.generation.external_task_id: error.message for item in items}

    def _valid_wishes(self) -> list[Generation]:
        return [
            wish for wish in self.survey.desired.generations if wish.spec not in self.survey.invalid
        ]


def works_of(plan: Plan, survey: Survey, *, whole: bool) -> list[Work]:
    """Return the work that a plan means, downloads first (rule 7).

    Over the whole folder, tasks that are paid for and no longer wanted are seen home too. What is blocked from
    being bought is still looked for: it may have been bought before the state was lost.
    """
    wishes: dict[str, list[Generation]] = {}
    for wish in survey.desired.generations:
        if wish.spec not in survey.invalid:
            wishes.setdefault(wish.external_task_id, []).append(wish)
    works: dict[str, tuple[int, Work]] = {}
    for item in plan.assessments:
        base = item.generation.external_task_id
        unsent = (item.record.status if item.record else None) in _UNSENT
        blocked = item.action is Action.BLOCKED and unsent
        if item.action in _WORKED_ON or blocked or item.status in _LOOKED_AT_AGAIN:
            ranked = (_RANKS.get(item.action, 1), _work(item, wishes[base], blocked=blocked))
            works[base] = min(works.get(base, ranked), ranked, key=lambda pair: pair[0])
    for record in unsaved(survey) if whole else ():
        works.setdefault(record.base_id, (0, Work(record.base_id)))
    return [work for _, work in sorted(works.values(), key=lambda ranked: ranked[0])]


def unsaved(survey: Survey) -> list[Record]:
    """Return what is, or may be, paid for, is not saved, and is wanted by no valid spec."""
    wanted = {
        wish.external_task_id
        for wish in survey.desired.generations
        if wish.spec not in survey.invalid
    }
    return [
        record
        for base, record in survey.stored.items()
        if base not in wanted and (record.status in LIVE or record.status is Status.SUCCEEDED)
    ]


def _work(item: Assessment, wishes: Sequence[Generation], *, blocked: bool) -> Work:
    return Work(
        item.generation.external_task_id,
        tuple(wishes),
        obstacle=item.reason if blocked else "",
        local=item.action is Action.PUBLISH,
        optional=blocked or item.status in _LOOKED_AT_AGAIN,
    )


def _remaining_holds(
    earlier: Mapping[str, str], selected: Iterable[str], held: Mapping[str, str]
) -> dict[str, str]:
    """Return the holds to remember: this run's, and those of generations that it did not look at."""
    looked_at = set(selected)
    return {**{key: reason for key, reason in earlier.items() if key not in looked_at}, **held}
