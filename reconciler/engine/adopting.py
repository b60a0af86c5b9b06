"""`import`: tasks that exist at the provider and that this state does not know become records of what a spec wants.

An id of ours proves what a task was made from. A task under another id proves nothing: it is bound to a
generation only where somebody names both, and only to one that was never sent.
"""

from __future__ import annotations

from reconciler.core.diff import attempt_of
from reconciler.core.generations import Generation
from reconciler.core.identity import PREFIX, is_computed, split_attempt
from reconciler.core.kinds import KINDS
from reconciler.core.states import ENDED, LIVE, Record, Status, Task
from reconciler.core.transitions import Seen, step
from reconciler.engine.outcome import Ground, Outcome
from reconciler.engine.receipts import Receipts

_SETTLED = frozenset({Status.SUCCEEDED, Status.COMPLETE, Status.FAILED})


async def adopt(ground: Ground, name: str, base_id: str = "") -> Outcome:
    """Ask for a task by either of its ids, and make it the record of what it is; with `base_id`, of that."""
    asked = [wish.kind for wish in ground.wishes(base_id)] or list(KINDS.values())
    replies = [await ground.ports.client.query(name, endpoint=kind.ENDPOINT) for kind in asked]
    reply = next((one for one in replies if one.task is not None), replies[0])
    task = reply.task
    if task is None:
        return Outcome.refused(f"the provider knows no task `{name}`")
    external = task.external_task_id or (name if name != task.task_id else "")
    ours, attempt = _generation_of(ground, external)
    if base_id and base_id != ours:
        return await _bind(ground, task, external, base_id)
    wish = next(iter(ground.wishes(ours)), None)
    if wish is None:
        made = f"made as `{external}`, " if external else ""
        return Outcome.refused(
            f"`{name}` is a task ({task.said}) {made}that no valid spec wants; `--for SPEC` binds it to "
            "the generation that it was made for"
        )
    return _take(ground, task, wish, attempt, reply.request_id)


def _generation_of(ground: Ground, external: str) -> tuple[str, int]:
    """Return the base id and the attempt that an external id means; an id of one's own may end in `-r2` itself."""
    return (external, 1) if ground.wishes(external) else split_attempt(external)


def _take(ground: Ground, task: Task, wish: Generation, attempt: int, request_id: str) -> Outcome:
    base_id = wish.external_task_id
    name, known = ground.called(base_id), ground.journal.get(base_id)
    if known is not None and (sentence := _stands_against(task, attempt, known)):
        return Outcome.left(f"{name} {sentence}; nothing was changed")
    if other := _owner(ground, task, base_id):
        return Outcome.refused(f"task {task.task_id} belongs to {other}; nothing was changed")
    record = _record(wish, attempt, known)
    seen = _commit(ground, record, task, "taken over by `import`", request_id)
    if seen.status is Status.EXPIRED:
        return Outcome.left(f"{name} has expired, and the provider has no result for it either")
    if not base_id.startswith(PREFIX):
        name += "; an id of your own cannot prove what it was made from: look at the result"
    return Outcome.done(f"task {task.task_id} ({seen.status}) was taken over for {name}", base_id)


def _stands_against(task: Task, attempt: int, known: Record) -> str:
    """Return why a record stays as it is, as the end of a sentence; empty where it takes the task."""
    if known.attempt > attempt:
        return f"is further on: attempt {known.attempt} is {known.status}"
    if known.attempt < attempt:
        ended = known.status in ENDED - {Status.SUCCEEDED, Status.COMPLETE}
        return "" if ended or known.status is Status.PENDING else f"is already {known.status}"
    if known.task_id is not None and known.task_id != task.task_id:
        return f"already has another task: {known.task_id}, not {task.task_id}"
    if known.status in _SETTLED or (known.status in LIVE and known.task_id is not None):
        return f"is already known: it is {known.status}"
    return ""


async def _bind(ground: Ground, task: Task, external: str, base_id: str) -> Outcome:
    """Take a task that does not say what it was made from for a generation that was never sent."""
    wish = next(iter(ground.wishes(base_id)), None)
    if wish is None:
        return Outcome.refused(f"no valid spec wants {base_id}")
    own = await ground.ports.client.query(base_id, ours=True, endpoint=wish.kind.ENDPOINT)
    name = ground.called(base_id)
    if is_computed(external):
        return Outcome.refused(
            f"task {task.task_id} was made for another generation, as its id `{external}` shows; "
            f"it is not bound to {name}"
        )
    if own.task is not None:
        return Outcome.refused(
            f"the provider already has a task for {name}; `import {base_id}` takes it over"
        )
    if other := _owner(ground, task, base_id):
        return Outcome.refused(f"task {task.task_id} belongs to {other}; nothing was changed")
    known = ground.journal.get(base_id)
    if known is not None and not (_was_never_sent(known) or _is_only_told(known)):
        return Outcome.refused(f"{name} was already sent ({known.status}); nothing was changed")
    made = (
        f"made as `{external}`, bound by `import --for`"
        if external
        else "made without an id, bound by `import --for`"
    )
    told = known is not None and known.claimed
    record = attempt_of(wish, known.attempt) if known and told else _record(wish, 1, known)
    seen = _commit(ground, record, task, made, own.request_id)
    _put_on_receipts(ground, seen)
    return Outcome.done(
        f"task {task.task_id} ({seen.status}) now stands for {name}. NOTHING PROVES that it was made from "
        "what this spec says: look at the result",
        base_id,
    )


def _put_on_receipts(ground: Ground, bound: Record) -> None:
    """List a task whose id does not tell what it is for: if the state is lost, nothing else remembers that."""
    declared: dict[str, list[Generation]] = {}
    for wish in ground.survey.valid_wishes():
        declared.setdefault(wish.spec, []).append(wish)
    receipts = Receipts(ground.ports.root, ground.journal, lambda spec: declared.get(spec, []))
    for spec in sorted({wish.spec for wish in ground.wishes(bound.base_id)}):
        receipts.write(spec, newly=bound)


def _was_never_sent(known: Record) -> bool:
    return (
        known.status is Status.PENDING
        and known.attempt == 1
        and not known.creates
        and not known.doubtful
    )


def _is_only_told(known: Record) -> bool:
    """Whether nothing but a receipt says that it was sent, and its result is not here."""
    return known.claimed and known.status is not Status.COMPLETE


def _owner(ground: Ground, task: Task, base_id: str) -> str:
    """Return the generation that has this task on record, where it is another one; a receipt's word gives it to none."""
    found = ground.ports.repository.find(task.task_id)
    is_free = found is None or found.base_id == base_id or found.claimed
    return "" if found is None or is_free else ground.called(found.base_id)


def _record(wish: Generation, attempt: int, known: Record | None) -> Record:
    """Return the record of this attempt, as it is known or as it would be sent now."""
    if known is not None and known.attempt == attempt:
        unsent = known.status is Status.PENDING
        return known.evolve(request=wish.canonical) if unsent else known
    return attempt_of(wish, attempt)


def _commit(ground: Ground, record: Record, task: Task, detail: str, request_id: str) -> Record:
    seen = step(record, Seen(task), rules=ground.options.rules, now=ground.ports.now()).record
    return ground.journal.commit(seen, kind="imported", detail=detail, request_id=request_id)
