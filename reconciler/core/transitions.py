"""What becomes of a record when something happens: `step(record, event, …) -> Step`.

The money rules live here as branches without I/O:

- a create is only ever decided as the answer to `Absent`: a readable "unknown id" (rule 3);
- an outcome that is not known leaves the record `submitting`; only absence that lasts over the grace period,
  seen by several looks, ends the doubt (rule 4);
- no event that is about waiting can fail a task (rule 5).

The shell persists `Step.record` before it acts on `Step.create` (rule 2).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reconciler.core.moments import bought_at
from reconciler.core.schedule import HOUR, RETENTION, Rules
from reconciler.core.states import (
    ALIVE,
    BOUGHT,
    PREVIEWS,
    Record,
    Result,
    Role,
    Status,
    Task,
    TaskState,
)

_SLIP = 2 * HOUR  # for how long a failure is looked at once more


@dataclass(frozen=True, slots=True)
class Seen:
    """The provider showed the task: by a create's answer, a query or a page of the list."""

    task: Task


@dataclass(frozen=True, slots=True)
class Absent:
    """A query by id was answered, readably, with *unknown*."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A record in `submitting` was found, and the process that waited for its answer is gone.

    That process's clock may have been set since: absence counts anew.
    """


@dataclass(frozen=True, slots=True)
class NotCreated:
    """A create was refused for a reason that is not the request's, or never left: nothing was created."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """A create was given up without a readable answer: the task may exist, and may be billed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Exists:
    """A create was refused because a task with its id exists, even if a query does not show it (rule 4)."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A create was refused because of the request."""

    reason: str
    surely_ours: bool  # the code cannot mean "this id is already used": believed without a look


@dataclass(frozen=True, slots=True)
class Kept:
    """One of the task's results is in the object store, verified; others may be missing yet."""

    result: Result


@dataclass(frozen=True, slots=True)
class Saved:
    """All results of the task are in the object store, verified, and perhaps previews of them."""

    results: tuple[Result, ...]
    previews: tuple[Result, ...] = ()


@dataclass(frozen=True, slots=True)
class Lost:
    """The saved bytes are found nowhere any more."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The provider knows the finished task, and no longer has its result."""

    reason: str


Event = (
    Seen | Absent | Taken | NotCreated | Ambiguous | Exists | Refused | Kept | Saved | Lost | Gone
)


@dataclass(frozen=True, slots=True)
class Step:
    """A decision: the record as it is now, whether to create, and when to look again (ms; None: no look is due)."""

    record: Record
    create: bool = False
    again_at: int | None = None


def step(record: Record, event: Event, *, rules: Rules, now: int, wanted: bool = True) -> Step:
    """Return what the event makes of the record. `wanted`: some spec still asks for this generation.

    An event that cannot happen in the record's status changes nothing: answers can come late and twice.
    """
    match event:
        case Seen(task):
            return _shown(record, task, rules, now)
        case Absent():
            return _absent(record, rules, now, wanted=wanted)
        case Taken() | NotCreated() | Ambiguous() | Exists() | Refused():
            is_awaited = record.status is Status.SUBMITTING
            return _create_over(record, event, rules, now) if is_awaited else Step(record)
        case Kept(result) if record.status is Status.SUCCEEDED:
            return Step(_kept(record, result))
        case Saved(results, made) if record.status in {Status.SUCCEEDED, Status.EXPIRED}:
            previews = {one.role: one for one in (*record.previews, *made)}
            # What is put back after it expired has the bytes that were told; only what is fetched shows them.
            claimed = record.claimed and record.status is Status.EXPIRED
            ordered = tuple(previews[role] for role in PREVIEWS if role in previews)
            saved = record.evolve(status=Status.COMPLETE, results=results, reason="")
            return Step(saved.evolve(claimed=claimed, previews=ordered))
        case Lost() if record.status is Status.COMPLETE:
            reason = "the saved result was lost; fetching it again"
            return Step(record.evolve(status=Status.SUCCEEDED, reason=reason, gave_up_at=None))
        case Gone(reason) if record.status is Status.SUCCEEDED:
            return Step(_gone(record, reason))
        case _:
            return Step(record)


def observed(record: Record, task: Task) -> Record:
    """Return the record that a task makes of another, for display; it is not stored."""
    return step(record, Seen(task), rules=Rules(), now=0).record


def put_back(record: Record) -> Record:
    """Return the record of an expired result whose files are here again."""
    return step(record, Saved(record.results), rules=Rules(), now=0).record


def _create_over(
    record: Record, event: Taken | NotCreated | Ambiguous | Exists | Refused, rules: Rules, now: int
) -> Step:
    match event:
        case Taken() if record.gave_up_at is not None:
            return Step(record.evolve(gave_up_at=now, absent_looks=0), again_at=now)
        case Taken():
            told = "the program stopped before the answer came; asking the provider"
            return Step(_doubt(record, now, told), again_at=now)
        case NotCreated(reason):
            creates = max(record.creates - 1, 0)  # nothing came of it, not even a doubt
            held = record.evolve(status=Status.PENDING, reason=reason, creates=creates)
            return Step(held.evolve(gave_up_at=None))
        case Ambiguous(reason):
            return Step(_doubt(record, now, reason), again_at=rules.next_look(0, now, now))
        case Exists(reason):
            found = _doubt(record, now, f"{reason.rstrip('.')}; looking for the task")
            return Step(found.evolve(in_use=True), again_at=rules.next_look(0, now, now))
        case Refused():
            return _refused(record, event, rules, now)


def in_place_of(record: Record, others: Iterable[Record]) -> Record | None:
    """Return the attempt to go on with in place of one that the provider does not have, or that has ended.

    `others` are all further attempts that it has, as they are now. One that is alive is taken; else a later one that
    has ended: its maker knew of this one, and what has failed is not wanted again by itself.
    """
    done = {Status.SUCCEEDED, Status.COMPLETE}  # of what is alive
    found = (one for one in others if one.status in ALIVE or one.attempt > record.attempt)
    return max(
        found, key=lambda one: (one.status in ALIVE, one.status in done, one.attempt), default=None
    )


def intend(record: Record, now: int) -> Record:
    """Return the record of the intent to create, to be on disk before the first byte leaves (rule 2)."""
    return record.evolve(
        status=Status.SUBMITTING,
        reason="",
        intent_at=now,
        creates=record.creates + 1,
        gave_up_at=None,
        absent_looks=0,
        refusal="",
        claimed=False,
    )


def without_task(record: Record) -> Record:
    """Return the record of an attempt whose task is another's: in flight, it is in doubt again."""
    flies = record.status in {Status.SUBMITTED, Status.PROCESSING}
    status = Status.SUBMITTING if flies else record.status
    return record.evolve(task_id=None, status=status, gave_up_at=None, absent_looks=0)


def _kept(record: Record, result: Result) -> Record:
    """Replace the result of its role; previews of another video are dropped."""
    others = tuple(one for one in record.results if one.role is not result.role)
    if result.role is Role.VIDEO and all(one.sha256 != result.sha256 for one in record.results):
        record = record.evolve(previews=())
    return record.evolve(results=(*others, result))


def _doubt(record: Record, now: int, reason: str) -> Record:
    return record.evolve(reason=reason, doubtful=True, gave_up_at=now, absent_looks=0)


def _shown(record: Record, task: Task, rules: Rules, now: int) -> Step:
    """A task that had succeeded fails only when the provider says so over the grace period: its last word counts."""
    if record.status is not Status.SUCCEEDED or task.state is not TaskState.FAILED:
        return Step(_seen(record, task, now))
    told = task.message or "no reason given"
    reason = f"the provider first reported success, and now failure: {told}"
    return _ended_for_good(record, rules, now, record.evolve(status=Status.FAILED, reason=reason))


def _seen(record: Record, task: Task, now: int) -> Record:
    """Take over what the provider shows, but never lead backward."""
    units = record.units if task.units is None else task.units
    if record.claimed:  # it is the task that has proved itself; the bytes of results have yet to
        record = record.evolve(task_id=task.task_id, claimed=bool(record.results))
    if record.status in BOUGHT | {Status.FAILED} and not _is_back(record, task, now):
        return record.evolve(units=units, gave_up_at=None, absent_looks=0)
    facts = record.evolve(
        task_id=task.task_id,
        created_at=task.created_at if task.created_at is not None else record.created_at,
        units=units,
        gave_up_at=None,
        absent_looks=0,
        in_use=False,
        refusal="",
        reason="",
    )
    if facts.intent_at is None:  # not by us: it counts for the day when it was bought, or found
        found = bought_at(task.created_at, now)
        facts = facts.evolve(intent_at=found, calendar_at=found)
    match task.state:
        case TaskState.SUCCEEDED:
            return facts.evolve(status=Status.SUCCEEDED, finished_at=task.updated_at)
        case TaskState.FAILED:
            reason = task.message or "the provider gave no reason"
            return facts.evolve(status=Status.FAILED, finished_at=task.updated_at, reason=reason)
        case TaskState.UNLISTED:
            kept = record.status if record.status is Status.PROCESSING else Status.SUBMITTED
            told = f"the provider reports the status `{task.said[:40]}`, which is not documented; waiting"
            return facts.evolve(status=kept, reason=told)
        case TaskState.SUBMITTED if record.status is not Status.PROCESSING:
            return facts.evolve(status=Status.SUBMITTED)
        case _:
            return facts.evolve(status=Status.PROCESSING)


def _is_back(record: Record, task: Task, now: int) -> bool:
    """Return whether an attempt that had failed or expired is there after all; a list may name what is long cleared (O)."""
    if record.status not in {Status.EXPIRED, Status.FAILED} or task.state is TaskState.FAILED:
        return False
    if task.state is not TaskState.SUCCEEDED:
        return task.state is not TaskState.UNLISTED or record.status is Status.FAILED
    made = task.updated_at or record.finished_at or task.created_at or record.created_at
    is_kept = made is None or now - made <= RETENTION
    return is_kept and (record.status is Status.FAILED or any(v.url for v in task.videos))


def may_turn_up(record: Record, now: int) -> bool:
    """Return whether an attempt that was given up may be paid for, and its result still be there.

    A failure is the provider's own word: one more look, a while later, finds out whether it was a slip.
    """
    within = {Status.EXPIRED: RETENTION, Status.FAILED: _SLIP}
    if record.doubtful:
        within[Status.REJECTED] = RETENTION
    made = record.finished_at or record.created_at or record.intent_at
    return made is not None and record.status in within and now - made <= within[record.status]


def _gone(record: Record, reason: str) -> Record:
    """End a task whose result the provider no longer has; what is known of its results stays on record."""
    return record.evolve(status=Status.EXPIRED, reason=reason, gave_up_at=None, absent_looks=0)


def _absent(record: Record, rules: Rules, now: int, *, wanted: bool) -> Step:
    match record.status:
        case Status.PENDING:
            return Step(intend(record, now), create=True) if wanted else Step(record)
        case Status.SUBMITTING:
            return _absent_in_doubt(record, rules, now, wanted=wanted)
        case Status.SUBMITTED | Status.PROCESSING:
            # A task that was seen does not end by being unknown; only its retention can be over, and is looked at twice.
            if now - (record.created_at or record.intent_at or now) <= rules.retention:
                reason = "the provider does not know the task at the moment; waiting"
                return Step(record.evolve(reason=reason), again_at=now + rules.poll_interval)
            reason = "the provider cleared the task before its result was saved"
        case Status.SUCCEEDED:
            # Unknown over the grace period, it is expired, until a later run finds it after all.
            told = "; only a receipt says that there was one" if record.claimed else ""
            reason = f"the provider no longer has the result{told}"
        case _:
            return Step(record)
    return _ended_for_good(record, rules, now, _gone(record, reason))


def _absent_in_doubt(record: Record, rules: Rules, now: int, *, wanted: bool) -> Step:
    # Absence lasts from when it was first seen: before, the provider was perhaps out of reach, and the request too.
    since = _since(record, now) if record.absent_looks else now
    looked = record.evolve(gave_up_at=since, absent_looks=record.absent_looks + 1)
    # Each create that came to nothing makes the next one wait twice as long: the task may only be slow to show.
    rules = rules.stretched(record.creates)
    if record.in_use:
        if now - (record.intent_at or now) > rules.retention:
            told = "the provider says that the id is in use, but showed no task for as long as it keeps results"
            return Step(_gone(looked, told))
        return Step(looked, again_at=now + rules.search_again(looked.absent_looks, record.base_id))
    if not rules.is_absent(looked.absent_looks, since, now):
        return Step(looked, again_at=rules.next_look(looked.absent_looks, since, now))
    if looked.refusal:
        return Step(looked.evolve(status=Status.REJECTED, reason=looked.refusal, refusal=""))
    if not wanted:
        told = "never began, as far as the provider knows"
        return Step(looked.evolve(status=Status.PENDING, reason=told, gave_up_at=None))
    return Step(intend(looked, now), create=True)


def _since(record: Record, now: int) -> int:
    """Return since when absence counts; a moment in the future is a clock that was set back, and counts as now."""
    return now if record.gave_up_at is None else min(record.gave_up_at, now)


def _ended_for_good(record: Record, rules: Rules, now: int, ended: Record) -> Step:
    """End a task that had succeeded only when several looks over the grace period say the same."""
    since, looks = _since(record, now), record.absent_looks + 1
    if rules.is_absent(looks, since, now):
        return Step(ended.evolve(gave_up_at=None, absent_looks=0))
    waits = record.evolve(gave_up_at=since, absent_looks=looks)
    return Step(waits, again_at=rules.next_look(looks, since, now))


def _refused(record: Record, event: Refused, rules: Rules, now: int) -> Step:
    """Believe a refusal at once only when no create can be behind it, of this store or of one that was lost."""
    if event.surely_ours and not record.doubtful:
        return Step(record.evolve(status=Status.REJECTED, reason=event.reason))
    why = f"refused ({event.reason}); making sure that no earlier task has this id"
    held = record.evolve(refusal=event.reason, reason=why, gave_up_at=now, absent_looks=0)
    return Step(held, again_at=rules.next_look(0, now, now))
