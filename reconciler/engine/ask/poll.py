"""Asking how tasks are doing: one by one when they are few, by pages of the list when they are many.

It fails none: a task that stays unseen is asked for again later (rule 5).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from reconciler.core.diff import next_attempt
from reconciler.core.generations import Generation
from reconciler.core.schedule import Rules, pages_to_read
from reconciler.core.states import LIVE, Record, Reply, Status, Task
from reconciler.core.transitions import observed
from reconciler.engine.ask.answers import Answers, event_of
from reconciler.engine.ports import Options, Ports
from reconciler.engine.records import Records
from reconciler.kling.errors import AccountTrouble, ProviderError

_STRAGGLERS = 20  # tasks that the list did not show, asked for one by one in a round
_AT_ONCE = 8  # questions; when none of them is answered, no further ones are asked
_MOST_UNLISTED = 100  # of those that a whole list did not show, asked for by `plan --refresh`: a plan promises nothing


@dataclass(slots=True)
class Round:
    """The records that are asked about, by base id, and the provider's answers."""

    answers: Answers
    asked: Mapping[str, Record]
    replies: dict[str, Reply] = field(default_factory=dict)
    troubles: dict[str, ProviderError] = field(default_factory=dict)  # of questions about one task
    answered: bool = False  # whether any question was, a page of the list included
    listed: bool = False  # whether the list was read to its end

    @property
    def trouble(self) -> ProviderError | None:
        """The last question's error; None where every one was answered."""
        return next(reversed(self.troubles.values()), None)

    def open(self) -> list[str]:
        """Return the base ids without an answer."""
        return [base for base in self.asked if base not in self.replies]

    async def read_lists(self, size: int) -> None:
        """Read the lists of the kinds of which many are asked about.

        Raises ProviderError: a page was not answered; what earlier pages showed is kept.
        """
        kinds = Counter(record.endpoint for record in self.asked.values())
        ends = [await self._read_list(kind, count, size) for kind, count in kinds.items()]
        self.listed = all(ends)

    async def _read_list(self, endpoint: str, count: int, size: int) -> bool:
        """Read a kind's list, of which `count` are asked about; return whether it was read to its end."""
        waiting = {one.task_id or one.external_task_id: base for base, one in self.asked.items()}
        for number in range(1, pages_to_read(count, size) + 1):
            tasks = await self.answers.client.page(number, size, endpoint=endpoint)
            self.answered = True
            self._take(tasks, waiting)
            if not waiting or len(tasks) < size:
                return True
        return False

    def _take(self, tasks: Iterable[Task], waiting: dict[str, str]) -> None:
        """Keep what a page shows of `waiting` (base ids, by the id that each is known by), and remove it there."""
        for task in tasks:
            name = task.task_id if task.task_id in waiting else task.external_task_id
            if name in waiting and self.answers.accept(self.asked[waiting[name]], task):
                self.replies[waiting.pop(name)] = Reply(task, "")

    async def ask_each(self, bases: Sequence[str], at_once: int = _AT_ONCE) -> None:
        """Ask for each by itself, side by side: a question that hangs must not delay the others."""
        for start in range(0, len(bases), at_once):
            some = bases[start : start + at_once]
            await asyncio.gather(*map(self._ask, some))
            if self.troubles.keys() >= set(some):
                return  # the provider does not answer: the rest would only take long

    async def _ask(self, base: str) -> None:
        try:
            self.replies[base] = await self.answers.about(self.asked[base])
            self.answered = True
        except ProviderError as error:
            self.troubles[base] = error  # one bad answer must not starve the others


async def ask(
    answers: Answers, asked: Mapping[str, Record], most_unlisted: int | None = None
) -> Round:
    """Ask about records, by the list and one by one: at most `most_unlisted` that a whole list did not show."""
    found = Round(answers, asked)
    try:
        await found.read_lists(Rules().page)
    except AccountTrouble as error:
        found.troubles[""] = error
        return found
    except ProviderError:
        pass  # a list that stumbles leaves the rest to single questions
    await found.ask_each(found.open()[: most_unlisted if found.listed else None])
    return found


async def refreshed(
    answers: Answers, records: Mapping[str, Record], wishes: Sequence[Generation]
) -> dict[str, Record]:
    """Return the records with the provider's answers, for a plan. Raises ProviderError: one could not be read."""
    attempts = {
        wish.external_task_id: next_attempt(wish, records.get(wish.external_task_id))
        for wish in wishes
    }
    asked = {base: one for base, one in attempts.items() if one.status in LIVE | {Status.PENDING}}
    found = await ask(answers, asked, _MOST_UNLISTED)
    if found.trouble is not None:
        raise found.trouble
    tasks = {base: reply.task for base, reply in found.replies.items() if reply.task}
    return {**records, **{base: observed(asked[base], task) for base, task in tasks.items()}}


class Poller:
    """Observes tasks in flight, round by round, and writes down what changed."""

    def __init__(self, ports: Ports, options: Options, records: Records) -> None:
        self._page = options.rules.page
        self._answers = Answers(ports.client, ports.repository)
        self._records = records
        self._round = 0  # where the next round begins among the tasks that the list does not show

    async def observe(self, flying: Mapping[str, Record]) -> Round:
        """Ask once for every record (by base id) and write what changed in one transaction.

        Raises AccountTrouble: no question got another answer.
        """
        found = Round(self._answers, flying)
        try:
            # A list that stumbles leaves the rest to single questions.
            with suppress(ProviderError):
                await found.read_lists(self._page)
            rest = found.open()
            if len(rest) > _STRAGGLERS:  # others' turn in the next round
                self._round = (self._round + _STRAGGLERS) % len(rest)
                rest = (rest[self._round :] + rest[: self._round])[:_STRAGGLERS]
            await found.ask_each(rest, _STRAGGLERS)
        finally:
            self._write(found)
        if not found.answered:
            for trouble in found.troubles.values():
                if isinstance(trouble, AccountTrouble):
                    raise trouble
        return found

    def _write(self, found: Round) -> None:
        changes = []
        for base, reply in found.replies.items():
            known = self._records.get(base) or found.asked[base]
            if known.external_task_id != found.asked[base].external_task_id:
                continue  # another attempt began meanwhile
            record = self._records.decide(known, event_of(reply)).record
            # The history has room for one detail: what was paid where there is no reason.
            paid = reply.task.paid if reply.task is not None and not record.reason else ""
            if record != known:
                changes.append((record, "observed", paid, reply.request_id))
        self._records.commit_all(changes, durable=False)
