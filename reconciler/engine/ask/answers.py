"""Questions to the provider about attempts.

An answer that names another attempt, or whose task is on record for one, counts as unreadable. Nothing is written here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress

from reconciler.core.errors import ReconcilerError, told
from reconciler.core.identity import has_room, is_computed, may_name, split_attempt
from reconciler.core.progress import Trouble, TroubleKind
from reconciler.core.states import LIVE, Record, Reply, Status, Task
from reconciler.core.transitions import Absent, Seen
from reconciler.engine.ports import Provider
from reconciler.kling import errors
from reconciler.kling.errors import ProviderError, TryLater, Unproven, Unreadable
from reconciler.store.state import State

UNPROVEN = "; an id of your own cannot prove what it was made from: look at the result"
_BOUGHT = frozenset({Status.SUCCEEDED, Status.COMPLETE})
_TRIES = 4  # at one of several questions, in a row
_BEFORE = 30  # attempts that are asked for before it, at most
_BEYOND = 3  # attempts that are asked for beyond the last one that is known, over gaps
_KINDS: tuple[tuple[type[ProviderError], TroubleKind], ...] = (
    (errors.AccountTrouble, TroubleKind.ACCOUNT),
    (errors.SlotsExhausted, TroubleKind.SLOTS),
    (errors.SlowDown, TroubleKind.SLOW_DOWN),
    (errors.TryLater, TroubleKind.LATER),
    (errors.Unproven, TroubleKind.UNPROVEN),
    (errors.RequestRefused, TroubleKind.REFUSED),
    (errors.SendingBroke, TroubleKind.BROKE),
    (errors.Misdirected, TroubleKind.MISDIRECTED),
    (errors.ResultTooLarge, TroubleKind.TOO_LARGE),
    (errors.ResultUnsafe, TroubleKind.UNSAFE),
)
_NO_ANSWER = errors.TryLater | errors.OutcomeUnknown | errors.AccountTrouble


def trouble_of(error: ReconcilerError) -> Trouble:
    """Return a failed request as `core.progress` sorts it; an outage or a refused account is no answer."""
    kind = next((kind for cls, kind in _KINDS if isinstance(error, cls)), TroubleKind.OTHER)
    coded = isinstance(error, ProviderError) and error.code is not None
    is_answer = coded and not isinstance(error, _NO_ANSWER)
    return Trouble(kind, told(error), error.message, is_answer)


def event_of(reply: Reply) -> Seen | Absent:
    """Return what an answer about an attempt means for its record."""
    return Absent() if reply.task is None else Seen(reply.task)


class Answers:
    """Asks the provider about attempts, and checks that the answers are about them."""

    def __init__(self, client: Provider, repository: State) -> None:
        self.client = client
        self._repository = repository

    async def about(self, record: Record) -> Reply:
        """Ask for an attempt by its `task_id`, and where that finds nothing, by its own id.

        A `task_id` from a receipt or an older program may be wrong. A task that an order bound to the attempt, or whose
        id was cut, is known by its `task_id` alone: while that question is not answered, the task is not unknown.

        Raises:
            Unproven: only a receipt says that the task which is there is this attempt's.
            ProviderError: the question was not answered readably.
        """
        unanswered: Unreadable | Unproven | None = None
        try:
            if found := await self._by_task_id(record):
                return found
        except (Unreadable, Unproven) as error:
            unanswered = error
        name = record.external_task_id
        reply = await self.client.query(name, ours=True, endpoint=record.endpoint)
        self.check(record, reply.task)  # asked for by our id, it need not name it
        if reply.task is None and record.claimed and record.status in LIVE:
            raise _unproven(record)  # otherwise this task would be waited for without end
        if reply.task is None and unanswered is not None:
            raise unanswered
        return reply

    async def _by_task_id(self, record: Record) -> Reply | None:
        """Return the answer about its `task_id`; None where that shows no task of this attempt."""
        if record.task_id is None:
            return None
        reply = await self.client.query(record.task_id, endpoint=record.endpoint)
        if reply.task is not None and self.accept(record, reply.task):
            return reply
        if reply.task is not None and record.claimed:
            raise _unproven(record)
        return None

    async def about_others(self, record: Record) -> list[tuple[Record, Reply]]:
        """Ask for all other attempts at a generation; return those that the provider has, as they were known here.

        Another machine, or a lost state, may have made attempts unknown here: every number is asked for, up to some
        beyond the last one that is found.

        Raises ProviderError: not all questions were answered readably.
        """
        known = {one.attempt: one for one in self._repository.attempts(record.base_id)}
        found: dict[int, tuple[Record, Reply]] = {}
        asked, last = {record.attempt}, max((record.attempt, *known))
        # What a receipt claims must not mean endless questions.
        while numbers := set(range(max(1, last - _BEFORE), last + _BEYOND + 1)) - asked:
            asked |= numbers
            possible = (n for n in sorted(numbers) if has_room(record.base_id, n))
            found |= await self._existing([known.get(n) or _unsent(record, n) for n in possible])
            _require_distinct(found.values())
            last = max((last, *found))
        return list(found.values())

    async def _existing(self, records: Sequence[Record]) -> dict[int, tuple[Record, Reply]]:
        """Ask for attempts side by side; return those that the provider has, by their numbers."""
        found = {}
        replies = await asyncio.gather(*map(self._patiently, records), return_exceptions=True)
        for one, reply in zip(records, replies, strict=True):
            if isinstance(reply, BaseException):
                raise reply
            if reply.task is not None:
                found[one.attempt] = one, reply
        return found

    async def _patiently(self, record: Record) -> Reply:
        """Ask for one of several attempts, repeatedly: one failed question would waste all the others."""
        for _ in range(_TRIES - 1):
            with suppress(TryLater):
                return await self.about(record)
        return await self.about(record)

    def check(self, record: Record, task: Task | None) -> None:
        """Raise Unreadable for an answer that is about another attempt's task."""
        if task is not None and (whose := self._whose(record, task)):
            raise Unreadable(f"The answer is about {whose}.")

    def accept(self, record: Record, task: Task) -> bool:
        """Whether a task is about this attempt; where only a receipt says so, the task has to carry our id."""
        named = task.external_task_id
        if record.claimed and not (named and may_name(named, record.external_task_id)):
            return False
        return not self._whose(record, task)

    def _whose(self, record: Record, task: Task) -> str:
        """Return a task in words where it is shown to be another attempt's; an empty string where it is not."""
        named = task.external_task_id
        if named == record.external_task_id and record.status in _BOUGHT:
            return ""  # receipts may have mixed up the tasks; the name is right, and its `task_id` does not change now
        base = split_attempt(named)[0] if named else record.base_id
        # The id, or the state, shows that it belongs to another generation.
        if base != record.base_id and (is_computed(named) or self._repository.record(base)):
            return f"another task, `{named}`"
        return "" if task.task_id == record.task_id else self._whose_on_record(record, task)

    def _whose_on_record(self, record: Record, task: Task) -> str:
        """Return whose a task is, in words, where another attempt has it on record; an empty string otherwise."""
        owner, name = self._repository.find(task.task_id), record.external_task_id
        if owner is None or owner.external_task_id == name:
            return ""
        if owner.claimed and task.external_task_id == name:
            return ""  # only a receipt gives it to another attempt; the provider names this one
        return f"task {task.task_id}, which belongs to {owner.external_task_id}"


def _unproven(record: Record) -> Unproven:
    name = record.external_task_id
    task = f"names task {record.task_id} for this" if record.task_id else "says that this was sent"
    return Unproven(f"a receipt {task}, and the provider does not know it as `{name}`")


def _require_distinct(found: Iterable[tuple[Record, Reply]]) -> None:
    """Raise Unreadable where the provider shows one task for two attempts."""
    shown: dict[str, Record] = {}
    for record, reply in found:
        task = reply.task
        if task is not None and shown.setdefault(task.task_id, record) is not record:
            names = f"{shown[task.task_id].external_task_id} and {record.external_task_id}"
            raise Unreadable(f"The answers for {names} are about the same task, {task.task_id}.")


def _unsent(record: Record, attempt: int) -> Record:
    other = Record.unsent(record.base_id, attempt, request=record.request)
    units = record.estimated_units
    return other.evolve(spec=record.spec, label=record.label, estimated_units=units)
