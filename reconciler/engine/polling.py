"""Asking how the tasks in flight are doing: one by one when they are few, by pages of the list when they are many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from reconciler.core.schedule import pages_to_read
from reconciler.core.states import Record, Task
from reconciler.core.transitions import Absent, Event, Seen, step
from reconciler.engine.answers import Answers
from reconciler.engine.journal import Journal
from reconciler.engine.ports import Options, Ports
from reconciler.kling.errors import ProviderError, Unreadable

PAGE_SIZE = 500  # the longest page (documented)
_STRAGGLERS = 20  # tasks that the list did not show, asked for one by one in a round


@dataclass(slots=True)
class _Round:
    """What one round found out, by external task id."""

    events: dict[str, tuple[Event, str]] = field(default_factory=dict)  # event, request id
    trouble: ProviderError | None = None  # the last question that was not answered


class Poller:
    """Observes tasks in flight; it can fail nothing: whatever stays unseen is asked for in a later round (rule 5)."""

    def __init__(self, ports: Ports, options: Options, journal: Journal) -> None:
        self._ports = ports
        self._options = options
        self._journal = journal
        self._answers = Answers(ports)
        self._turn = 0  # which stragglers are asked for next

    async def observe(self, flying: Mapping[str, Record]) -> None:
        """Ask once for every record (by base id) and write down what changed, in one transaction.

        Raises:
            ProviderError: not one answer could be read.
        """
        found = _Round()
        try:
            await self._ask(flying.values(), found)
        finally:
            self._write(flying, found)
        if found.trouble is not None and not found.events:
            raise found.trouble

    async def _ask(self, records: Iterable[Record], found: _Round) -> None:
        waiting = {record.external_task_id: record for record in records}
        if pages := pages_to_read(len(waiting)):
            await self._read_pages(pages, waiting, found)
        stragglers = list(waiting.values())
        if pages and len(stragglers) > _STRAGGLERS:  # others' turn in the next round
            self._turn = (self._turn + _STRAGGLERS) % len(stragglers)
            stragglers = (stragglers[self._turn :] + stragglers[: self._turn])[:_STRAGGLERS]
        for record in stragglers:
            try:
                reply = await self._answers.about(record)
            except ProviderError as error:
                found.trouble = error  # one bad answer must not starve the others
                continue
            event: Event = Absent() if reply.task is None else Seen(reply.task)
            found.events[record.external_task_id] = (event, reply.request_id)

    async def _read_pages(self, pages: int, waiting: dict[str, Record], found: _Round) -> None:
        """Take what the list shows out of `waiting`; a list that stumbles leaves the rest to single queries."""
        by_task = {record.task_id: name for name, record in waiting.items() if record.task_id}
        for number in range(1, pages + 1):
            try:
                tasks = await self._ports.client.page(number, PAGE_SIZE)
            except ProviderError as error:
                found.trouble = error
                return
            for task in tasks:
                name = by_task.get(task.task_id) or _named(task, waiting)
                if name in waiting and self._is_of(waiting[name], task):
                    del waiting[name]
                    found.events[name] = (Seen(task), "")
            if not waiting or len(tasks) < PAGE_SIZE:
                return

    def _is_of(self, record: Record, task: Task) -> bool:
        try:
            self._answers.check(record, task)
        except Unreadable:
            return False
        return True

    def _write(self, flying: Mapping[str, Record], found: _Round) -> None:
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
                    changes.append((decision.record, "observed", "", request_id))
        self._journal.commit_all(changes)


def _named(task: Task, waiting: Mapping[str, Record]) -> str | None:
    """A task that the list names by our id, where its task id is not known to us."""
    name = task.external_task_id
    return name if name in waiting and waiting[name].task_id is None else None
