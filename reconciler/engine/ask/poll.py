"""Asking how tasks are doing: one by one when they are few, by pages of the list when they are many.

It buys nothing, fetches nothing and fails nothing: what stays unseen is asked for again later (rule 5), and absence is
judged over time, by a run.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from reconciler.core.diff import next_attempt
from reconciler.core.generations import Generation
from reconciler.core.schedule import Rules, pages_to_read
from reconciler.core.states import LIVE, Record, Status, Task
from reconciler.core.transitions import Absent, Event, Seen, observed
from reconciler.engine.ask.answers import Answers
from reconciler.engine.ports import Options, Ports
from reconciler.engine.records import Records
from reconciler.kling.errors import AccountTrouble, ProviderError

_STRAGGLERS = 20  # tasks that the list did not show, asked for one by one in a round
_AT_ONCE = 8  # questions, before it is looked whether they are answered at all
_MOST_UNLISTED = 100  # of those that a whole list did not show, asked for by `plan --refresh`: a plan promises nothing


@dataclass(slots=True)
class Round:
    """What was found out of some records, by base id."""

    shown: dict[str, tuple[Task, str]] = field(default_factory=dict)  # task, request id
    unknown: dict[str, str] = field(default_factory=dict)  # request id
    troubles: dict[str, ProviderError] = field(default_factory=dict)  # of questions about one task
    answered: bool = False  # whether anything was, a page of the list included
    listed: bool = False  # whether the list was read to its end

    @property
    def trouble(self) -> ProviderError | None:
        """Why not everything was answered."""
        return next(reversed(self.troubles.values()), None)

    def unshown(self, asked: Mapping[str, Record]) -> dict[str, Record]:
        """Return those that were not shown yet."""
        return {base: record for base, record in asked.items() if base not in self.shown}


async def read_lists(
    answers: Answers, asked: Mapping[str, Record], found: Round, size: int
) -> None:
    """Read the lists of those kinds of which many are asked about: requests grow with their number by pages.

    Raises:
        ProviderError: a page was not answered; what others showed stands.
    """
    kinds = Counter(record.endpoint for record in asked.values())
    ends = [await _read_list(answers, asked, found, kind, size) for kind in kinds.items()]
    found.listed = all(ends)


async def _read_list(
    answers: Answers, asked: Mapping[str, Record], found: Round, kind: tuple[str, int], size: int
) -> bool:
    """Read the list of a kind (its endpoint, and how many are asked about); return whether to its end."""
    endpoint, count = kind
    waiting = {record.task_id or record.external_task_id: base for base, record in asked.items()}
    for number in range(1, pages_to_read(count, size) + 1):
        tasks = await answers.client.page(number, size, endpoint=endpoint)
        found.answered = True
        for task in tasks:
            name = task.task_id if task.task_id in waiting else task.external_task_id
            if name in waiting and answers.accept(asked[waiting[name]], task):
                found.shown[waiting.pop(name)] = (task, "")
        if not waiting or len(tasks) < size:
            return True
    return False


async def ask_each(
    answers: Answers, asked: Mapping[str, Record], found: Round, at_once: int = _AT_ONCE
) -> None:
    """Ask for each by itself, side by side: one that hangs must not keep the others waiting."""
    bases = list(asked)
    for start in range(0, len(bases), at_once):
        some = bases[start : start + at_once]
        await asyncio.gather(*(_ask(answers, base, asked[base], found) for base in some))
        if found.troubles.keys() >= set(some):
            return  # nobody answers: the rest would only take long


async def _ask(answers: Answers, base: str, record: Record, found: Round) -> None:
    try:
        reply = await answers.about(record)
    except ProviderError as error:
        found.troubles[base] = error  # one bad answer must not starve the others
        return
    found.answered = True
    if reply.task is None:
        found.unknown[base] = reply.request_id
    else:
        found.shown[base] = (reply.task, reply.request_id)


async def ask(
    answers: Answers, asked: Mapping[str, Record], most_unlisted: int | None = None
) -> Round:
    """Ask about records, by the list and one by one.

    Of what the list did not show although it was read to its end, only so many are asked for one by one.
    """
    found = Round()
    try:
        await read_lists(answers, asked, found, Rules().page)
    except AccountTrouble as error:
        found.troubles[""] = error
        return found
    except ProviderError:
        pass  # a list that stumbles leaves the rest to single questions
    rest = list(found.unshown(asked).items())
    await ask_each(answers, dict(rest[: most_unlisted if found.listed else None]), found)
    return found


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
    found = await ask(answers, asked, _MOST_UNLISTED)
    if found.trouble is not None:
        raise found.trouble
    shown = {base: observed(asked[base], task) for base, (task, _) in found.shown.items()}
    return {**records, **shown}


class Poller:
    """Observes tasks in flight, round by round, and writes down what changed."""

    def __init__(self, ports: Ports, options: Options, records: Records) -> None:
        self._page = options.rules.page
        self._answers = Answers(ports.client, ports.repository)
        self._records = records
        self._round = 0  # whose turn it is of those that the list does not show

    async def observe(self, flying: Mapping[str, Record]) -> Round:
        """Ask once for every record (by base id), write down what changed, in one transaction, and return it all.

        Raises:
            AccountTrouble: there was no answer but this.
        """
        found = Round()
        try:
            await self._ask(flying, found)
        finally:
            self._write(flying, found)
        if not found.answered:
            for trouble in found.troubles.values():
                if isinstance(trouble, AccountTrouble):
                    raise trouble
        return found

    async def _ask(self, flying: Mapping[str, Record], found: Round) -> None:
        with suppress(ProviderError):  # a list that stumbles leaves the rest to single questions
            await read_lists(self._answers, flying, found, self._page)
        rest = list(found.unshown(flying).items())
        if len(rest) > _STRAGGLERS:  # others' turn in the next round
            self._round = (self._round + _STRAGGLERS) % len(rest)
            rest = (rest[self._round :] + rest[: self._round])[:_STRAGGLERS]
        await ask_each(self._answers, dict(rest), found, _STRAGGLERS)

    def _write(self, flying: Mapping[str, Record], found: Round) -> None:
        events: dict[str, tuple[Event, str]] = {
            **{base: (Seen(task), request) for base, (task, request) in found.shown.items()},
            **{base: (Absent(), request) for base, request in found.unknown.items()},
        }
        changes = []
        for base, (event, request_id) in events.items():
            known = self._records.get(base) or flying[base]
            if known.external_task_id != flying[base].external_task_id:
                continue  # another attempt began meanwhile
            record = self._records.decide(known, event).record
            # A reason is what people need first; what was paid is told where there is none.
            paid = event.task.paid if isinstance(event, Seen) and not record.reason else ""
            if record != known:
                changes.append((record, "observed", paid, request_id))
        self._records.commit_all(changes)
