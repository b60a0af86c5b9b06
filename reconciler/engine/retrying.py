"""`retry`: another attempt at a generation whose last one ended without a result that can be had (rule 6).

It only writes down that the attempt is wanted; a run sends it, as it sends everything.
"""

from __future__ import annotations

from reconciler.core.diff import attempt_of
from reconciler.core.generations import Generation
from reconciler.core.identity import has_room
from reconciler.core.states import Record, Status
from reconciler.core.transitions import Seen
from reconciler.engine.answers import Answers
from reconciler.engine.outcome import Ground, Outcome

RETRIABLE = frozenset({Status.FAILED, Status.REJECTED, Status.EXPIRED})
_WAITS = {
    Status.SUBMITTING: "was sent, and it is not known yet what became of it: the provider is asked by its id, and a second attempt now could be paid for twice",
    Status.SUBMITTED: "is under way",
    Status.PROCESSING: "is under way",
    Status.SUCCEEDED: "is bought; its result is still to be saved",
    Status.COMPLETE: "is complete; raise `takes` in its spec for another result",
}


def why_not(record: Record | None, hold: str = "") -> str:
    """Return why no further attempt can be ordered now, as the end of a sentence; empty where it can be."""
    held = f"; it is held: {hold}" if hold else ""
    if record is None or record.status is Status.PENDING:
        again = record is not None and (record.attempt > 1 or record.refusal != "")
        return f"{'is waiting to be sent again' if again else 'has not been sent yet'}{held}"
    return f"{_WAITS[record.status]}{held}" if record.status in _WAITS else ""


async def retry(ground: Ground, base_id: str, attempt: int | None = None) -> Outcome:
    """Put another attempt on record, waiting to be sent; with `attempt`, only if it is the one that was meant."""
    name, wish = ground.called(base_id), next(iter(ground.wishes(base_id)), None)
    if wish is None:
        return Outcome.refused(f"{name}: no valid spec wants it, so it is not tried again")
    if wish.suspended:
        return Outcome.refused(f"{name} is suspended by its spec")
    record = ground.records.get(base_id)
    if record is not None and record.status in RETRIABLE:
        if found := await _found_after_all(ground, record):
            return found
        record = ground.records.get(base_id)  # time passed
    if record is None or record.status not in RETRIABLE:
        hold = ground.ports.repository.holds().get(base_id, "")
        return Outcome.left(f"{name} {why_not(record, hold)}")
    again = again_of(record, wish)
    if not has_room(base_id, again.attempt):
        return Outcome.refused(
            f"{name}: `external_task_id: {base_id}` is too long for a further attempt, whose id ends in "
            f"`-r{again.attempt}`; give the spec a shorter one"
        )
    if attempt not in {None, again.attempt}:
        return Outcome.left(
            f"{name}: attempt {record.attempt} has ended in the meantime: {record.reason}"
        )
    ground.records.commit(again, kind="retry", detail=f"attempt {again.attempt} was asked for")
    return Outcome.done(f"{name}: attempt {again.attempt} is wanted", base_id)


async def _found_after_all(ground: Ground, record: Record) -> Outcome | None:
    """Ask for the last attempt once more: what the provider has need not be paid again."""
    reply = await Answers(ground.ports.client, ground.ports.repository).about(record)
    now = ground.records.get(record.base_id)
    if reply.task is None or now != record:
        return None
    seen = ground.records.apply(
        record, Seen(reply.task), kind="retry", request_id=reply.request_id
    ).record
    if seen.status in {record.status, Status.FAILED}:
        return None
    name = ground.called(record.base_id)
    return Outcome.done(
        f"{name}: the provider has its task after all ({seen.status}); nothing is paid for again",
        record.base_id,
    )


def next_number(record: Record) -> int:
    """Return which attempt (from 1) follows one that has ended.

    Under a rejected id nothing exists: it is sent again under the same one, which a provider may know to be used.
    """
    return record.attempt + (record.status is not Status.REJECTED)


def again_of(record: Record, wish: Generation) -> Record:
    """Return the attempt that follows one that has ended, waiting to be sent."""
    if record.status is not Status.REJECTED:
        return attempt_of(wish, next_number(record), record.reason)
    again = record.evolve(status=Status.PENDING, refusal=record.reason, request=wish.canonical)
    return again.evolve(estimated_units=wish.estimated_units, gave_up_at=None, absent_looks=0)
