"""`refresh`: what the provider shows of what is not settled is written down; what it does not show stays as it is."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.core.errors import counted, in_a_line
from reconciler.core.generations import Generation
from reconciler.core.identity import PREFIX
from reconciler.core.states import LIVE, Status, Task
from reconciler.core.transitions import Seen
from reconciler.core.work import Work
from reconciler.engine.ask.answers import Answers
from reconciler.engine.ask.poll import ask
from reconciler.engine.orders.outcome import OrderContext, Outcome

_ASKED = LIVE | {Status.PENDING, Status.SUCCEEDED, Status.EXPIRED, Status.REJECTED}


async def refresh(context: OrderContext, base_ids: Sequence[str]) -> Outcome:
    """Ask about these generations (none: all), write down what is shown, and say what changed."""
    works = _works(context, base_ids)
    asked = {
        base: record
        for base, work in works.items()
        if (record := work.attempt(context.records.get(base))) and record.status in _ASKED
    }
    if not asked:
        return Outcome.left("everything is settled: there was nothing to ask about")
    found = await ask(Answers(context.ports.client, context.ports.repository), asked)
    changed = [
        _write(context, works[base], asked[base].external_task_id, *found.shown[base])
        for base in found.shown
    ]
    outcome = Outcome.of(part for part in changed if part is not None)
    if not outcome.said and found.trouble is None:
        outcome = Outcome.left(f"nothing changed; {counted(len(asked), 'generation')} asked about")
    if found.trouble is None:
        return outcome
    told = Outcome.refused(f"not everything was answered: {in_a_line(found.trouble)}")
    return Outcome.of([outcome, told])


def _works(context: OrderContext, base_ids: Sequence[str]) -> dict[str, Work]:
    """Return what is wanted and, where nothing is named, what is on record and wanted no more."""
    wishes: dict[str, tuple[Generation, ...]] = {}
    for wish in context.survey.valid_wishes():
        wishes[wish.external_task_id] = (*wishes.get(wish.external_task_id, ()), wish)
    bases = base_ids or [*wishes, *context.records.latest()]
    return {base: Work(base, wishes.get(base, ())) for base in bases}


def _write(
    context: OrderContext, work: Work, asked: str, task: Task, request_id: str
) -> Outcome | None:
    record = work.attempt(context.records.get(work.base_id))
    if record is None or record.external_task_id != asked:
        return None  # another attempt began while the answer came
    seen = context.records.apply(record, Seen(task), "refreshed", request_id=request_id).record
    if seen == record:
        return None
    if seen.status is record.status:
        more = f": {seen.reason}" if seen.reason else "; more is known about it now"
        return Outcome.done(
            f"{context.called(work.base_id)}: still {seen.status}{more}", work.base_id
        )
    told = f"{context.called(work.base_id)}: {record.status} is now {seen.status}"
    if record.status is Status.PENDING and not record.base_id.startswith(PREFIX):
        told += "; an id of your own cannot prove what it was made from: look at the result"
    return Outcome.done(told, work.base_id)
