"""The work of a run: one piece for each generation, however many places want it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.core.diff import BUYS, Action, Assessment, next_attempt
from reconciler.core.generations import Generation
from reconciler.core.states import LIVE, Record, Status

_WORKED_ON = BUYS | {Action.ADOPT, Action.WAIT, Action.DOWNLOAD, Action.PUBLISH}
_RANKS = {
    Action.DOWNLOAD: 0,
    Action.PUBLISH: 0,
    Action.SUBMIT: 2,
    Action.RETRY: 2,
    Action.BLOCKED: 3,  # a wish that is blocked in one place may be free in another
}
GIVEN_UP = frozenset({Status.EXPIRED, Status.REJECTED, Status.FAILED})
_UNSENT = frozenset({None, Status.PENDING})


@dataclass(frozen=True, slots=True)
class Work:
    """One generation to bring forward."""

    base_id: str
    wishes: tuple[Generation, ...] = ()  # of every place that wants it; none: only paid for
    obstacle: str = ""  # why it may not be bought now, though it may be found
    local: bool = False  # the bytes are on this disk; no provider is needed
    optional: bool = False  # the provider is only asked whether it exists after all
    rank: int = 0  # downloads and outputs first (rule 7)

    def attempt(self, known: Record | None) -> Record | None:
        """Return the attempt to work on."""
        if not self.wishes:
            return known
        keenest = max(self.wishes, key=lambda wish: (not wish.suspended, wish.retries))
        return next_attempt(keenest, known)


def work_for(items: Sequence[Assessment], wishes: Sequence[Generation]) -> Work | None:
    """Return the work of one generation after its assessments, None where nothing is to be done.

    A generation that may not be bought is still looked for: it may have been bought before the state was lost.
    """
    works = [work for item in items if (work := _work(item, wishes)) is not None]
    return min(works, key=lambda work: work.rank, default=None)


def is_unsaved(record: Record) -> bool:
    """Whether an attempt is, or may be, paid for, and its result is not saved."""
    return record.status in LIVE or record.status is Status.SUCCEEDED


def _work(item: Assessment, wishes: Sequence[Generation]) -> Work | None:
    unsent = (item.record.status if item.record else None) in _UNSENT
    blocked = item.action is Action.BLOCKED and unsent
    again = item.status in GIVEN_UP
    if not (item.action in _WORKED_ON or blocked or again):
        return None
    return Work(
        item.generation.external_task_id,
        tuple(wishes),
        obstacle=item.reason if blocked else "",
        local=item.action is Action.PUBLISH,
        optional=blocked or again,
        rank=_RANKS.get(item.action, 1),
    )
