"""`retry`, `import` and `refresh`: orders that put attempts and the provider's answers on record. A run sends them.

`retry` wants another attempt at a generation whose last one ended without a result (rule 6). `import` takes over tasks
that this state does not know. An id of ours proves what a task was made from; a task under another id is bound to a
generation only where the user names both, and only to one that was never sent. `refresh` asks about what is not settled.
"""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.core.diff import as_wanted, attempt_of
from reconciler.core.errors import counted, in_a_line
from reconciler.core.generations import Generation
from reconciler.core.identity import PREFIX, has_room, is_computed, split_attempt
from reconciler.core.kinds import KINDS
from reconciler.core.orders import Outcome
from reconciler.core.progress import GIVEN_UP, Work
from reconciler.core.states import LIVE, Record, Reply, Status, Task
from reconciler.core.transitions import Seen
from reconciler.engine.ask.answers import UNPROVEN, Answers
from reconciler.engine.ask.poll import ask
from reconciler.engine.deliver.publish import Receipts
from reconciler.engine.orders.context import OrderContext

_ASKED = LIVE | {Status.PENDING, Status.SUCCEEDED, Status.EXPIRED, Status.REJECTED}
_SETTLED = frozenset({Status.SUCCEEDED, Status.COMPLETE, Status.FAILED})
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


async def retry(context: OrderContext, base_id: str, attempt: int | None = None) -> Outcome:
    """Put another attempt on record, waiting to be sent; with `attempt`, only if it has that number."""
    name, wish = context.called(base_id), context.wish(base_id)
    if wish is None:
        return Outcome.refused(f"{name}: no valid spec wants it, so it is not tried again")
    if wish.suspended:
        return Outcome.refused(f"{name} is suspended by its spec")
    record = context.records.get(base_id)
    if record is not None and record.status in GIVEN_UP:
        if found := await _found_after_all(context, record):
            return found
        record = context.records.get(base_id)  # time passed
    if record is None or record.status not in GIVEN_UP:
        hold = context.ports.repository.holds().get(base_id, "")
        return Outcome.left(f"{name} {why_not(record, hold)}")
    again = _again(record, wish)
    if not has_room(base_id, again.attempt):
        return Outcome.refused(
            f"{name}: `external_task_id: {base_id}` is too long for a further attempt, whose id ends in "
            f"`-r{again.attempt}`; give the spec a shorter one"
        )
    if attempt not in {None, again.attempt}:
        return Outcome.left(
            f"{name}: attempt {record.attempt} has ended in the meantime: {record.reason}"
        )
    context.records.commit(again, "retry", detail=f"attempt {again.attempt} was asked for")
    return Outcome.done(f"{name}: attempt {again.attempt} is wanted", base_id)


async def _found_after_all(context: OrderContext, record: Record) -> Outcome | None:
    """Ask for the last attempt once more: a task that the provider has need not be paid again."""
    reply = await Answers(context.ports.client, context.ports.repository).about(record)
    now = context.records.get(record.base_id)
    if reply.task is None or now != record:
        return None
    seen = context.records.apply(
        record, Seen(reply.task), "retry", request_id=reply.request_id
    ).record
    if seen.status in {record.status, Status.FAILED}:
        return None
    name = context.called(record.base_id)
    return Outcome.done(
        f"{name}: the provider has its task after all ({seen.status}); nothing is paid for again",
        record.base_id,
    )


def next_number(record: Record) -> int:
    """Return the number of the attempt after one that has ended; a rejected one is sent again under its own id."""
    return record.attempt + (record.status is not Status.REJECTED)


def _again(record: Record, wish: Generation) -> Record:
    if record.status is not Status.REJECTED:
        return attempt_of(wish, next_number(record), record.reason)
    again = record.evolve(status=Status.PENDING, refusal=record.reason)
    return as_wanted(wish, again.evolve(gave_up_at=None, absent_looks=0))


async def adopt(context: OrderContext, name: str, base_id: str = "") -> Outcome:
    """Ask for a task by either of its ids, and put it on record for the generation it was made for, or for `base_id`."""
    wanted = context.wish(base_id)
    kinds = KINDS.values() if wanted is None else (wanted.kind,)
    replies = [await context.ports.client.query(name, endpoint=kind.ENDPOINT) for kind in kinds]
    reply = next((one for one in replies if one.task is not None), replies[0])
    task = reply.task
    if task is None:
        return Outcome.refused(f"the provider knows no task `{name}`")
    external = task.external_task_id or (name if name != task.task_id else "")
    # An id of one's own may end in `-r2` itself.
    ours, attempt = (external, 1) if context.wish(external) else split_attempt(external)
    if base_id and base_id != ours:
        return await _bind(context, task, external, base_id)
    wish = context.wish(ours)
    if wish is None:
        made = f"made as `{external}`, " if external else ""
        return Outcome.refused(
            f"`{name}` is a task ({task.said}) {made}that no valid spec wants; `--for SPEC` binds it to "
            "the generation that it was made for"
        )
    return _take(context, task, wish, attempt, reply.request_id)


def _take(
    context: OrderContext, task: Task, wish: Generation, attempt: int, request_id: str
) -> Outcome:
    base_id = wish.external_task_id
    name, known = context.called(base_id), context.records.get(base_id)
    if known is not None and (sentence := _stands_against(task, attempt, known)):
        return Outcome.left(f"{name} {sentence}; nothing was changed")
    if refused := _anothers(context, task, base_id):
        return refused
    record = _attempt(wish, attempt, known)
    detail = "taken over by `import`"
    seen = context.records.apply(
        record, Seen(task), "imported", detail=detail, request_id=request_id
    ).record
    if seen.status is Status.EXPIRED:
        return Outcome.left(f"{name} has expired, and the provider has no result for it either")
    name += "" if base_id.startswith(PREFIX) else UNPROVEN
    return Outcome.done(f"task {task.task_id} ({seen.status}) was taken over for {name}", base_id)


def _stands_against(task: Task, attempt: int, known: Record) -> str:
    """Return why a record stays as it is, as the end of a sentence; empty where it takes the task."""
    if known.attempt > attempt:
        return f"is further on: attempt {known.attempt} is {known.status}"
    if known.attempt < attempt:
        is_free = known.status in GIVEN_UP or known.status is Status.PENDING
        return "" if is_free else f"is already {known.status}"
    if known.task_id is not None and known.task_id != task.task_id:
        return f"already has another task: {known.task_id}, not {task.task_id}"
    if known.status in _SETTLED or (known.status in LIVE and known.task_id is not None):
        return f"is already known: it is {known.status}"
    return ""


async def _bind(context: OrderContext, task: Task, external: str, base_id: str) -> Outcome:
    """Bind a task whose id does not say what it was made from to a generation that was never sent."""
    wish = context.wish(base_id)
    if wish is None:
        return Outcome.refused(f"no valid spec wants {base_id}")
    own = await context.ports.client.query(base_id, ours=True, endpoint=wish.kind.ENDPOINT)
    name = context.called(base_id)
    if is_computed(external):
        return Outcome.refused(
            f"task {task.task_id} was made for another generation, as its id `{external}` shows; "
            f"it is not bound to {name}"
        )
    if own.task is not None:
        return Outcome.refused(
            f"the provider already has a task for {name}; `import {base_id}` takes it over"
        )
    if refused := _anothers(context, task, base_id):
        return refused
    known = context.records.get(base_id)
    if known is not None and not _is_unsent(known):
        return Outcome.refused(f"{name} was already sent ({known.status}); nothing was changed")
    made = f"made as `{external}`" if external else "made without an id"
    detail = f"{made}, bound by `import --for`"
    if known is not None and known.claimed:
        record = attempt_of(wish, known.attempt)
    else:
        record = _attempt(wish, 1, known)
    seen = context.records.apply(
        record, Seen(task), "imported", detail=detail, request_id=own.request_id
    ).record
    _put_on_receipts(context, seen)
    return Outcome.done(
        f"task {task.task_id} ({seen.status}) now stands for {name}. NOTHING PROVES that it was made from "
        "what this spec says: look at the result",
        base_id,
    )


def _put_on_receipts(context: OrderContext, bound: Record) -> None:
    """List a bound task on receipts: if the state is lost, nothing else remembers what it was bound to."""
    declared: dict[str, list[Generation]] = {}
    for wish in context.survey.valid_wishes():
        declared.setdefault(wish.spec, []).append(wish)
    receipts = Receipts(context.ports.root, context.records, declared.__getitem__)
    for spec, wishes in sorted(declared.items()):
        if any(wish.external_task_id == bound.base_id for wish in wishes):
            receipts.write(spec, newly=bound)


def _is_unsent(known: Record) -> bool:
    """Whether an attempt was never sent, or only a receipt says that it was, and its result is not here."""
    if known.claimed and known.status is not Status.COMPLETE:
        return True
    was_tried = known.attempt > 1 or known.creates or known.doubtful
    return known.status is Status.PENDING and not was_tried


def _anothers(context: OrderContext, task: Task, base_id: str) -> Outcome | None:
    """Refuse a task that another generation has on record (a receipt alone gives it to none)."""
    found = context.ports.repository.find(task.task_id)
    if found is None or found.base_id == base_id or found.claimed:
        return None
    owner = context.called(found.base_id)
    return Outcome.refused(f"task {task.task_id} belongs to {owner}; nothing was changed")


def _attempt(wish: Generation, attempt: int, known: Record | None) -> Record:
    """Return the record of this attempt, as it is known or as it would be sent now."""
    if known is not None and known.attempt == attempt:
        return as_wanted(wish, known) if known.status is Status.PENDING else known
    return attempt_of(wish, attempt)


async def refresh(context: OrderContext, base_ids: Sequence[str]) -> Outcome:
    """Ask about these generations (none: all), write down what is shown, and say what changed."""
    wishes: dict[str, list[Generation]] = {}
    for wish in context.survey.valid_wishes():
        wishes.setdefault(wish.external_task_id, []).append(wish)
    # Where nothing is named: what is wanted, and what is on record and wanted no more.
    bases = base_ids or [*wishes, *context.records.latest()]
    works = {base: Work(base, tuple(wishes.get(base, ()))) for base in bases}
    asked = {
        base: record
        for base, work in works.items()
        if (record := work.attempt(context.records.get(base))) and record.status in _ASKED
    }
    if not asked:
        return Outcome.left("everything is settled: there was nothing to ask about")
    found = await ask(Answers(context.ports.client, context.ports.repository), asked)
    changed = [
        _write(context, works[base], asked[base].external_task_id, reply)
        for base, reply in found.replies.items()
    ]
    outcome = Outcome.of(part for part in changed if part is not None)
    if not outcome.said and found.trouble is None:
        outcome = Outcome.left(f"nothing changed; {counted(len(asked), 'generation')} asked about")
    if found.trouble is None:
        return outcome
    told = Outcome.refused(f"not everything was answered: {in_a_line(found.trouble)}")
    return Outcome.of([outcome, told])


def _write(context: OrderContext, work: Work, asked: str, reply: Reply) -> Outcome | None:
    record = work.attempt(context.records.get(work.base_id))
    if reply.task is None or record is None or record.external_task_id != asked:
        return None  # another attempt began while the answer came
    event, request_id = Seen(reply.task), reply.request_id
    seen = context.records.apply(record, event, "refreshed", request_id=request_id).record
    if seen == record:
        return None
    name = context.called(work.base_id)
    if seen.status is record.status:
        more = f": {seen.reason}" if seen.reason else "; more is known about it now"
        return Outcome.done(f"{name}: still {seen.status}{more}", work.base_id)
    told = f"{name}: {record.status} is now {seen.status}"
    if record.status is Status.PENDING and not record.base_id.startswith(PREFIX):
        told += UNPROVEN
    return Outcome.done(told, work.base_id)
