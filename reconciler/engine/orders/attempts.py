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
    if found := await _found_after_all(context, base_id):
        return found
    last = context.records.get(base_id)  # time passed
    if last is None or last.status not in GIVEN_UP:
        hold = context.ports.repository.holds().get(base_id, "")
        return Outcome.left(f"{name} {why_not(last, hold)}")
    again = _again(last, wish)
    if not has_room(base_id, again.attempt):
        return Outcome.refused(
            f"{name}: `external_task_id: {base_id}` is too long for a further attempt, whose id ends in "
            f"`-r{again.attempt}`; give the spec a shorter one"
        )
    if attempt not in {None, again.attempt}:
        return Outcome.left(
            f"{name}: attempt {last.attempt} has ended in the meantime: {last.reason}"
        )
    context.records.commit(again, "retry", detail=f"attempt {again.attempt} was asked for")
    return Outcome.done(f"{name}: attempt {again.attempt} is wanted", base_id)


async def _found_after_all(context: OrderContext, base_id: str) -> Outcome | None:
    """Ask once more for an attempt that was given up: a task that the provider has need not be paid again."""
    record = context.records.get(base_id)
    if record is None or record.status not in GIVEN_UP:
        return None
    reply = await Answers(context.ports.client, context.ports.repository).about(record)
    if reply.task is None or context.records.get(base_id) != record:
        return None
    event, request_id = Seen(reply.task), reply.request_id
    seen = context.records.apply(record, event, "retry", request_id=request_id).record
    if seen.status in {record.status, Status.FAILED}:
        return None
    told = f"the provider has its task after all ({seen.status}); nothing is paid for again"
    return Outcome.done(f"{context.called(base_id)}: {told}", base_id)


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
    reply = await _look_up(context, name, context.wish(base_id))
    if (task := reply.task) is None:
        return Outcome.refused(f"the provider knows no task `{name}`")
    external = task.external_task_id or (name if name != task.task_id else "")
    # An id of one's own may end in `-r2` itself.
    ours, attempt = (external, 1) if context.wish(external) else split_attempt(external)
    if base_id not in {"", ours}:
        return await _bind(context, task, external, base_id)
    if (wish := context.wish(ours)) is None:
        made = f"made as `{external}`, " if external else ""
        return Outcome.refused(
            f"`{name}` is a task ({task.said}) {made}that no valid spec wants; `--for SPEC` binds it to "
            "the generation that it was made for"
        )
    return _take(context, task, wish, attempt, reply.request_id)


async def _look_up(context: OrderContext, name: str, wish: Generation | None) -> Reply:
    """Ask for a task by either of its ids: as one of the kind of `wish`, else of every kind."""
    kinds = KINDS.values() if wish is None else (wish.kind,)
    replies = [await context.ports.client.query(name, endpoint=kind.ENDPOINT) for kind in kinds]
    return next((one for one in replies if one.task is not None), replies[0])


def _take(
    context: OrderContext, task: Task, wish: Generation, attempt: int, request_id: str
) -> Outcome:
    base_id = wish.external_task_id
    name = context.called(base_id)
    known = context.records.get(base_id) or attempt_of(wish, attempt)
    if sentence := _stands_against(task, attempt, known):
        return Outcome.left(f"{name} {sentence}; nothing was changed")
    if refused := _anothers(context, task, base_id):
        return refused
    record = known if known.attempt == attempt else attempt_of(wish, attempt)
    if record.status is Status.PENDING:
        record = as_wanted(wish, record)
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
        return "" if known.status in {*GIVEN_UP, Status.PENDING} else f"is already {known.status}"
    if known.task_id not in {None, task.task_id}:
        return f"already has another task: {known.task_id}, not {task.task_id}"
    is_known = known.status in _SETTLED or (known.status in LIVE and known.task_id is not None)
    return f"is already known: it is {known.status}" if is_known else ""


async def _bind(context: OrderContext, task: Task, external: str, base_id: str) -> Outcome:
    """Bind a task whose id does not say what it was made from to a generation that was never sent."""
    if (wish := context.wish(base_id)) is None:
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
    known = context.records.get(base_id) or attempt_of(wish, 1)
    if not _is_unsent(known):
        return Outcome.refused(f"{name} was already sent ({known.status}); nothing was changed")
    made = f"made as `{external}`" if external else "made without an id"
    detail = f"{made}, bound by `import --for`"
    record = _without_claims(wish, known)
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
    if known.claimed:
        return known.status is not Status.COMPLETE
    was_tried = known.attempt > 1 or known.creates or known.doubtful
    return known.status is Status.PENDING and not was_tried


def _without_claims(wish: Generation, unsent: Record) -> Record:
    """Return an unsent attempt as it would be sent now, without what only a receipt says of it."""
    return attempt_of(wish, unsent.attempt) if unsent.claimed else as_wanted(wish, unsent)


def _anothers(context: OrderContext, task: Task, base_id: str) -> Outcome | None:
    """Refuse a task that another generation has on record (a receipt alone gives it to none)."""
    found = context.ports.repository.find(task.task_id)
    if found is None or found.base_id == base_id or found.claimed:
        return None
    owner = context.called(found.base_id)
    return Outcome.refused(f"task {task.task_id} belongs to {owner}; nothing was changed")


async def refresh(context: OrderContext, base_ids: Sequence[str]) -> Outcome:
    """Ask about these generations (none: all), write down what is shown, and say what changed."""
    works = _works(context, base_ids)
    asked = {
        base: record
        for base, work in works.items()
        if (record := work.attempt(context.records.get(base))) and record.status in _ASKED
    }
    if not asked:
        return Outcome.left("everything is settled: there was nothing to ask about")
    found = await ask(Answers(context.ports.client, context.ports.repository), asked)
    outcome = Outcome.of(
        _write(context, works[base], asked[base].external_task_id, reply)
        for base, reply in found.replies.items()
    )
    if found.trouble is not None:
        told = Outcome.refused(f"not everything was answered: {in_a_line(found.trouble)}")
        return Outcome.of([outcome, told])
    if not outcome.said:
        return Outcome.left(f"nothing changed; {counted(len(asked), 'generation')} asked about")
    return outcome


def _works(context: OrderContext, base_ids: Sequence[str]) -> dict[str, Work]:
    """Return the work of these generations (none: of all that are wanted, or on record and wanted no more)."""
    wishes: dict[str, list[Generation]] = {}
    for wish in context.survey.valid_wishes():
        wishes.setdefault(wish.external_task_id, []).append(wish)
    bases = base_ids or [*wishes, *context.survey.records]
    return {base: Work(base, tuple(wishes.get(base, ()))) for base in bases}


def _write(context: OrderContext, work: Work, asked: str, reply: Reply) -> Outcome:
    record = work.attempt(context.records.get(work.base_id))
    if reply.task is None or record is None or record.external_task_id != asked:
        return Outcome()  # another attempt began while the answer came
    event, request_id = Seen(reply.task), reply.request_id
    seen = context.records.apply(record, event, "refreshed", request_id=request_id).record
    if seen == record:
        return Outcome()
    return Outcome.done(f"{context.called(work.base_id)}: {_change(record, seen)}", work.base_id)


def _change(record: Record, seen: Record) -> str:
    if seen.status is record.status:
        more = f": {seen.reason}" if seen.reason else "; more is known about it now"
        return f"still {seen.status}{more}"
    is_unproven = record.status is Status.PENDING and not record.base_id.startswith(PREFIX)
    return f"{record.status} is now {seen.status}{UNPROVEN if is_unproven else ''}"
