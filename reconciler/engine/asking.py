"""`refresh`: asking the provider about everything that is not settled. Buys nothing, fetches nothing.

It believes what it is shown. What it is not shown stays as it is: absence is judged over time, by a run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from reconciler.core.generations import Generation
from reconciler.core.identity import PREFIX
from reconciler.core.schedule import pages_to_read
from reconciler.core.states import LIVE, Record, Status, Task
from reconciler.core.transitions import Seen, step
from reconciler.engine.answers import Answers
from reconciler.engine.outcome import Ground, Outcome, in_a_line
from reconciler.engine.polling import PAGE_SIZE
from reconciler.engine.work import Work
from reconciler.kling.errors import AccountTrouble, ProviderError

_ASKED = LIVE | {Status.PENDING, Status.SUCCEEDED, Status.EXPIRED, Status.REJECTED}
_AT_ONCE = 16  # questions, before it is looked whether they are answered at all


async def ask_again(ground: Ground, base_ids: Sequence[str]) -> Outcome:
    """Write down what the provider shows of these generations (none: of all), and say what changed."""
    works = _works(ground, base_ids)
    asked = {
        base: record
        for base, work in works.items()
        if (record := work.attempt(ground.journal.get(base))) and record.status in _ASKED
    }
    if not asked:
        return Outcome.left("everything is settled: there was nothing to ask about")
    shown, trouble = await _ask(ground, asked)
    changed = [_write(ground, works[base], asked[base], *shown[base]) for base in shown]
    outcome = Outcome.of(part for part in changed if part is not None)
    if not outcome.said and trouble is None:
        outcome = Outcome.left(f"nothing changed ({len(asked)} asked about)")
    if trouble is None:
        return outcome
    told = Outcome.refused(f"not everything was answered: {in_a_line(trouble)}")
    return Outcome.of([outcome, told])


def _works(ground: Ground, base_ids: Sequence[str]) -> dict[str, Work]:
    """Return what is wanted and, where nothing is named, what is on record and wanted no more."""
    wishes: dict[str, tuple[Generation, ...]] = {}
    for wish in ground.survey.valid_wishes():
        wishes[wish.external_task_id] = (*wishes.get(wish.external_task_id, ()), wish)
    bases = base_ids or [*wishes, *ground.journal.records()]
    return {base: Work(base, wishes.get(base, ())) for base in bases}


async def _ask(
    ground: Ground, asked: Mapping[str, Record]
) -> tuple[dict[str, tuple[Task, str]], ProviderError | None]:
    """Return the tasks that were shown, with the request's id, by base id, and the last trouble."""
    shown: dict[str, tuple[Task, str]] = {}
    trouble: ProviderError | None = None
    try:
        await _read_pages(ground, asked, shown)
    except AccountTrouble as error:
        return shown, error
    except ProviderError as error:
        trouble = error  # a list that stumbles leaves the rest to single questions
    rest = [base for base in asked if base not in shown]
    for start in range(0, len(rest), _AT_ONCE):
        bases = rest[start : start + _AT_ONCE]
        answers = await asyncio.gather(*(_query(ground, asked[base]) for base in bases))
        failures = [answer for answer in answers if isinstance(answer, ProviderError)]
        shown |= {
            base: answer
            for base, answer in zip(bases, answers, strict=True)
            if isinstance(answer, tuple)
        }
        if failures:
            trouble = failures[-1]
        if len(failures) == len(bases):
            break  # nobody answers: the rest would only take long
    return shown, trouble


async def _query(ground: Ground, record: Record) -> tuple[Task, str] | ProviderError | None:
    try:
        reply = await Answers(ground.ports).about(record)
    except ProviderError as error:
        return error
    return None if reply.task is None else (reply.task, reply.request_id)


async def _read_pages(
    ground: Ground, asked: Mapping[str, Record], shown: dict[str, tuple[Task, str]]
) -> None:
    """Read the list where many have a task: requests grow with their number divided by the length of a page."""
    waiting = {record.task_id: base for base, record in asked.items() if record.task_id}
    for number in range(1, pages_to_read(len(waiting)) + 1):
        tasks = await ground.ports.client.page(number, PAGE_SIZE)
        for task in tasks:
            if base := waiting.pop(task.task_id, None):
                shown[base] = (task, "")
        if not waiting or len(tasks) < PAGE_SIZE:
            return


def _write(
    ground: Ground, work: Work, asked: Record, task: Task, request_id: str
) -> Outcome | None:
    record = work.attempt(ground.journal.get(work.base_id))
    if record is None or record.external_task_id != asked.external_task_id:
        return None  # another attempt began while the answer came
    seen = step(record, Seen(task), rules=ground.options.rules, now=ground.ports.now()).record
    if seen == record:
        return None
    ground.journal.commit(seen, kind="refreshed", request_id=request_id)
    if seen.status is record.status:
        more = f": {seen.reason}" if seen.reason else "; more is known of it"
        return Outcome.done(
            f"{ground.called(work.base_id)}: still {seen.status}{more}", work.base_id
        )
    told = f"{ground.called(work.base_id)}: {record.status} is now {seen.status}"
    if record.status is Status.PENDING and not record.base_id.startswith(PREFIX):
        told += "; an id of your own cannot prove what it was made from: look at the result"
    return Outcome.done(told, work.base_id)
