"""`refresh` and `plan --refresh`: asking the provider about what is not settled. Buys nothing, fetches nothing.

It believes what it is shown. What it is not shown stays as it is: absence is judged over time, by a run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from reconciler.core.diff import next_attempt
from reconciler.core.errors import counted, in_a_line
from reconciler.core.generations import Generation
from reconciler.core.identity import PREFIX
from reconciler.core.schedule import Rules, pages_to_read
from reconciler.core.states import LIVE, Record, Status, Task
from reconciler.core.transitions import Seen, step
from reconciler.engine.answers import Answers
from reconciler.engine.outcome import Ground, Outcome
from reconciler.engine.polling import PAGE_SIZE
from reconciler.engine.work import Work
from reconciler.kling.errors import AccountTrouble, ProviderError

_ASKED = LIVE | {Status.PENDING, Status.SUCCEEDED, Status.EXPIRED, Status.REJECTED}
_AT_ONCE = 8  # questions, before it is looked whether they are answered at all
_MOST_UNLISTED = 100  # of those that a whole list did not show, asked for by `plan --refresh`: a plan promises nothing


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
    shown, trouble = await _ask(Answers(ground.ports.client, ground.ports.repository), asked)
    changed = [_write(ground, works[base], asked[base], *shown[base]) for base in shown]
    outcome = Outcome.of(part for part in changed if part is not None)
    if not outcome.said and trouble is None:
        outcome = Outcome.left(f"nothing changed; {counted(len(asked), 'generation')} asked about")
    if trouble is None:
        return outcome
    told = Outcome.refused(f"not everything was answered: {in_a_line(trouble)}")
    return Outcome.of([outcome, told])


async def refreshed(
    answers: Answers, records: Mapping[str, Record], wishes: Sequence[Generation]
) -> dict[str, Record]:
    """Return the records as the provider's answers make them, for a plan; a task that is found counts as known.

    Raises:
        ProviderError: an answer could not be read.
    """
    attempts = {
        wish.external_task_id: next_attempt(wish, records.get(wish.external_task_id))
        for wish in wishes
    }
    asked = {base: one for base, one in attempts.items() if one.status in LIVE | {Status.PENDING}}
    shown, trouble = await _ask(answers, asked, most_unlisted=_MOST_UNLISTED)
    if trouble is not None:
        raise trouble
    found = {
        base: step(asked[base], Seen(task), rules=Rules(), now=0).record
        for base, (task, _) in shown.items()
    }
    return {**records, **found}


def _works(ground: Ground, base_ids: Sequence[str]) -> dict[str, Work]:
    """Return what is wanted and, where nothing is named, what is on record and wanted no more."""
    wishes: dict[str, tuple[Generation, ...]] = {}
    for wish in ground.survey.valid_wishes():
        wishes[wish.external_task_id] = (*wishes.get(wish.external_task_id, ()), wish)
    bases = base_ids or [*wishes, *ground.journal.records()]
    return {base: Work(base, wishes.get(base, ())) for base in bases}


async def _ask(
    answers: Answers, asked: Mapping[str, Record], *, most_unlisted: int | None = None
) -> tuple[dict[str, tuple[Task, str]], ProviderError | None]:
    """Return the tasks that were shown, with the request's id, by base id, and the last trouble.

    Of what the list did not show although it was read to its end, only so many are asked for one by one.
    """
    shown: dict[str, tuple[Task, str]] = {}
    trouble: ProviderError | None = None
    is_whole = False
    try:
        is_whole = await _read_pages(answers, asked, shown)
    except AccountTrouble as error:
        return shown, error
    except ProviderError:
        pass  # a list that stumbles leaves the rest to single questions
    rest = [base for base in asked if base not in shown][: most_unlisted if is_whole else None]
    for start in range(0, len(rest), _AT_ONCE):
        bases = rest[start : start + _AT_ONCE]
        replies = await asyncio.gather(*(_query(answers, asked[base]) for base in bases))
        failures = [reply for reply in replies if isinstance(reply, ProviderError)]
        shown |= {
            base: reply
            for base, reply in zip(bases, replies, strict=True)
            if isinstance(reply, tuple)
        }
        if failures:
            trouble = failures[-1]
        if len(failures) == len(bases):
            break  # nobody answers: the rest would only take long
    return shown, trouble


async def _query(answers: Answers, record: Record) -> tuple[Task, str] | ProviderError | None:
    try:
        reply = await answers.about(record)
    except ProviderError as error:
        return error
    return None if reply.task is None else (reply.task, reply.request_id)


async def _read_pages(
    answers: Answers, asked: Mapping[str, Record], shown: dict[str, tuple[Task, str]]
) -> bool:
    """Read the list where many are asked about: requests grow with their number divided by the length of a page.

    Returns whether the list was read to its end.
    """
    waiting = {record.task_id or record.external_task_id: base for base, record in asked.items()}
    for number in range(1, pages_to_read(len(waiting)) + 1):
        tasks = await answers.client.page(number, PAGE_SIZE)
        for task in tasks:
            name = task.task_id if task.task_id in waiting else task.external_task_id
            if name in waiting and answers.accept(asked[waiting[name]], task):
                shown[waiting.pop(name)] = (task, "")
        if not waiting or len(tasks) < PAGE_SIZE:
            return True
    return False


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
        more = f": {seen.reason}" if seen.reason else "; more is known about it now"
        return Outcome.done(
            f"{ground.called(work.base_id)}: still {seen.status}{more}", work.base_id
        )
    told = f"{ground.called(work.base_id)}: {record.status} is now {seen.status}"
    if record.status is Status.PENDING and not record.base_id.startswith(PREFIX):
        told += "; an id of your own cannot prove what it was made from: look at the result"
    return Outcome.done(told, work.base_id)
