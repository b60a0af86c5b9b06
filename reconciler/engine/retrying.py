"""`retry`: another attempt at a generation whose last one ended without a result that can be had (rule 6).

It only writes down that the attempt is wanted; a run sends it, as it sends everything.
"""

from __future__ import annotations

from reconciler.core.generations import Generation
from reconciler.core.identity import attempt_id
from reconciler.core.states import Record, Status
from reconciler.core.transitions import Seen, step
from reconciler.engine.outcome import Ground, Outcome

RETRIABLE = frozenset({Status.FAILED, Status.REJECTED, Status.EXPIRED})
_MAY_BE_BACK = frozenset(
    {Status.REJECTED, Status.EXPIRED}
)  # the provider's word was not the last one
_WAITS = {
    Status.SUBMITTING: "was sent, and what became of it is not known yet: it is asked for by its id, "
    "and a second attempt now could be paid twice",
    Status.SUBMITTED: "is under way",
    Status.PROCESSING: "is under way",
    Status.SUCCEEDED: "is bought; its result is still to be saved",
    Status.COMPLETE: "is complete; raise `takes` in its spec for another result",
}


def why_not(record: Record | None, hold: str = "") -> str:
    """Return why no further attempt can be ordered now, as the end of a sentence; empty where it can be."""
    held = f"; it is held: {hold}" if hold else ""
    if record is None or record.status is Status.PENDING:
        again = record is not None and record.attempt > 1
        return f"{'waits to be sent again' if again else 'was not sent yet'}{held}"
    return f"{_WAITS[record.status]}{held}" if record.status in _WAITS else ""


async def retry(ground: Ground, base_id: str, attempt: int | None = None) -> Outcome:
    """Put another attempt on record, waiting to be sent; with `attempt`, only if it is the one that was meant."""
    name, wish = ground.called(base_id), next(iter(ground.wishes(base_id)), None)
    if wish is None:
        return Outcome.refused(f"{name}: no valid spec wants it, so it is not tried again")
    if wish.suspended:
        return Outcome.refused(f"{name} is suspended by its spec")
    record = ground.journal.get(base_id)
    if record is not None and record.status in _MAY_BE_BACK:
        if found := await _found_after_all(ground, record):
            return found
        record = ground.journal.get(base_id)  # time passed
    if record is None or record.status not in RETRIABLE:
        hold = ground.ports.repository.holds().get(base_id, "")
        return Outcome.left(f"{name} {why_not(record, hold)}")
    again = _next(record, wish)
    if attempt not in {None, again.attempt}:
        return Outcome.left(
            f"{name}: attempt {record.attempt} has ended meanwhile: {record.reason}"
        )
    ground.journal.commit(again, kind="retry", detail=f"attempt {again.attempt} was asked for")
    return Outcome.done(f"{name}: attempt {again.attempt} is wanted", base_id)


async def _found_after_all(ground: Ground, record: Record) -> Outcome | None:
    """Ask for the last attempt once more: what the provider has need not be paid again."""
    reply = await ground.ports.client.query(record.task_id or record.external_task_id)
    now = ground.journal.get(record.base_id)
    if reply.task is None or now != record:
        return None
    seen = step(record, Seen(reply.task), rules=ground.options.rules, now=ground.ports.now()).record
    ground.journal.commit(seen, kind="retry", request_id=reply.request_id)
    if seen.status in {record.status, Status.FAILED}:
        return None
    name = ground.called(record.base_id)
    return Outcome.done(
        f"{name}: the provider has its task after all ({seen.status}); nothing is paid again",
        record.base_id,
    )


def _next(record: Record, wish: Generation) -> Record:
    attempt = record.attempt + 1
    return Record(
        external_task_id=attempt_id(record.base_id, attempt),
        base_id=record.base_id,
        attempt=attempt,
        status=Status.PENDING,
        request=wish.canonical,
        spec=wish.spec,
        label=wish.label,
        reason=record.reason,  # why there is another attempt
        estimated_units=wish.estimated_units,
    )
