"""Asking how the tasks in flight are doing: one by one when they are few, by pages of the list when they are many."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from reconciler.core.schedule import pages_to_read
from reconciler.core.states import Record, Task
from reconciler.core.transitions import Absent, Event, Seen, step
from reconciler.engine.answers import Answers
from reconciler.engine.journal import Journal
from reconciler.engine.ports import Options, Ports
from reconciler.kling.errors import AccountTrouble, ProviderError

PAGE_SIZE = 500  # the longest page (documented)
_STRAGGLERS = 20  # tasks that the list did not show, asked for one by one in a round


@dataclass(slots=True)
class Round:
    """What one round found out, by external task id."""

    events: dict[str, tuple[Event, str]] = field(default_factory=dict)  # event, request id
    troubles: dict[str, ProviderError] = field(default_factory=dict)  # of questions about one task
    answered: bool = False  # whether anything was, a page of the list included

    def sees(self, record: Record) -> bool:
        """Whether the provider showed the task."""
        event, _ = self.events.get(record.external_task_id, (None, ""))
        return isinstance(event, Seen)


class Poller:
    """Observes tasks in flight; it can fail nothing: whatever stays unseen is asked for in a later round (rule 5)."""

    def __init__(self, ports: Ports, options: Options, journal: Journal) -> None:
        self._ports = ports
        self._options = options
        self._journal = journal
        self._answers = Answers(ports.client, ports.repository)
        self._turn = 0  # which stragglers are asked for next

    async def observe(self, flying: Mapping[str, Record]) -> Round:
        """Ask once for every record (by base id), write down what changed, in one transaction, and return it all.

        Raises:
            AccountTrouble: there was no answer but this.
        """
        found = Round()
        try:
            await self._ask(flying.values(), found)
        finally:
            self._write(flying, found)
        if not found.answered:
            for trouble in found.troubles.values():
                if isinstance(trouble, AccountTrouble):
                    raise trouble
        return found

    async def _ask(self, records: Iterable[Record], found: Round) -> None:
        waiting = {record.external_task_id: record for record in records}
        kinds = Counter(record.endpoint for record in waiting.values())
        pages = {endpoint: pages_to_read(count) for endpoint, count in kinds.items()}
        for endpoint, number in pages.items():
            await self._read_pages(endpoint, number, waiting, found)
        stragglers = list(waiting.values())
        if any(pages.values()) and len(stragglers) > _STRAGGLERS:  # others' turn in the next round
            self._turn = (self._turn + _STRAGGLERS) % len(stragglers)
            stragglers = (stragglers[self._turn :] + stragglers[: self._turn])[:_STRAGGLERS]
        # Side by side: one that hangs must not keep the others waiting.
        await asyncio.gather(*(self._query(record, found) for record in stragglers))

    async def _query(self, record: Record, found: Round) -> None:
        try:
            reply = await self._answers.about(record)
        except ProviderError as error:
            found.troubles[record.external_task_id] = (
                error  # one bad answer must not starve the others
            )
            return
        event: Event = Absent() if reply.task is None else Seen(reply.task)
        found.events[record.external_task_id] = (event, reply.request_id)
        found.answered = True

    async def _read_pages(
        self, endpoint: str, pages: int, waiting: dict[str, Record], found: Round
    ) -> None:
        """Take what the list shows out of `waiting`; a list that stumbles leaves the rest to single queries."""
        by_task = {record.task_id: name for name, record in waiting.items() if record.task_id}
        for number in range(1, pages + 1):
            try:
                tasks = await self._ports.client.page(number, PAGE_SIZE, endpoint=endpoint)
            except ProviderError:
                return
            found.answered = True
            for task in tasks:
                name = by_task.get(task.task_id) or _named(task, waiting)
                if name in waiting and self._answers.accept(waiting[name], task):
                    del waiting[name]
                    found.events[name] = (Seen(task), "")
            if not waiting or len(tasks) < PAGE_SIZE:
                return

    def _write(self, flying: Mapping[str, Record], found: Round) -> None:
        now = self._ports.now()
        changes = []
        for record in flying.values():
            if record.external_task_id in found.events:
                event, request_id = found.events[record.external_task_id]
                now_known = self._journal.get(record.base_id) or record
                if now_known.external_task_id != record.external_task_id:
                    continue  # another attempt began meanwhile
                decision = step(now_known, event, rules=self._options.rules, now=now)
                if decision.record != now_known:
                    # A reason is what people need first; what was paid is told where there is none.
                    paid = event.task.paid if isinstance(event, Seen) else ""
                    told = "" if decision.record.reason else paid
                    changes.append((decision.record, "observed", told, request_id))
        self._journal.commit_all(changes)


def _named(task: Task, waiting: Mapping[str, Record]) -> str | None:
    """A task that the list names by our id, where its task id is not known to us."""
    name = task.external_task_id
    return name if name in waiting and waiting[name].task_id is None else None
