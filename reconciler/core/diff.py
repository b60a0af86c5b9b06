"""The difference between the wanted and the known, shared by `plan`, `apply` and `status`: `diff(wanted, …) -> Plan`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from reconciler.core.documents import Problem
from reconciler.core.generations import Generation
from reconciler.core.identity import attempt_id, has_room
from reconciler.core.states import Record, Result, Role, Status


class Action(StrEnum):
    """What a plan means to do; the words are part of the contract."""

    SUBMIT = "submit"
    ADOPT = "adopt"
    WAIT = "wait"
    DOWNLOAD = "download"
    PUBLISH = "publish"
    KEEP = "keep"
    RETRY = "retry"
    BLOCKED = "blocked"
    INVALID = "invalid"
    FAILED = "failed"
    EXPIRED = "expired"
    ORPHAN = "orphan"


BUYS = frozenset({Action.SUBMIT, Action.RETRY})
IDLE = frozenset({Action.KEEP, Action.BLOCKED, Action.FAILED, Action.EXPIRED})
NEEDS_SOMEBODY = frozenset(
    {Status.FAILED, Status.REJECTED, Status.EXPIRED, Status.INVALID, Status.BLOCKED}
)
_SUSPENDED = (
    "suspended by `suspend: true` (in the spec or in a `_defaults.yaml`); remove it to buy this"
)


class Standing(StrEnum):
    """What is at the path where a result belongs."""

    MISSING = "missing"
    OURS = "ours"  # byte for byte the result that belongs there
    POINTER = "pointer"  # a Git LFS pointer to that result: ours, and git's to fetch
    OTHER = "other"  # byte for byte another result that was bought: may be replaced
    TAKEN = "taken"  # a file that is not ours, or was changed: never overwritten


# Neither fetched, published nor overwritten.
IN_PLACE = frozenset({Standing.OURS, Standing.POINTER})


class Output(NamedTuple):
    """A path where a result belongs, and what is there now."""

    role: Role
    path: str  # relative to the root
    standing: Standing
    problem: str = ""  # a sentence: why the file cannot be read; it counts as taken


class Known(NamedTuple):
    """What is known of one generation, apart from its spec."""

    record: Record | None = None
    outputs: tuple[Output, ...] = ()
    obtainable: bool = False  # the bytes of every missing output are on this disk
    previews: tuple[Output, ...] = ()  # nothing waits for one
    unshown: bool = False  # a preview is missing, and its bytes are on this disk
    hold: str = ""  # why the last run held it back
    obstacle: str = ""  # why it cannot be submitted: no media store, an unreadable receipt


class Assessment(NamedTuple):
    """What one generation needs, and why."""

    generation: Generation
    external_task_id: str  # of the attempt that the action is about
    action: Action
    status: Status
    reason: str = ""
    estimated_units: Decimal = Decimal(0)
    record: Record | None = None
    published: tuple[tuple[str, Result], ...] = ()  # (path, result) of every output that stands
    shown: tuple[tuple[str, Result], ...] = ()  # (path, preview) of every preview that stands


@dataclass(frozen=True, slots=True)
class Plan:
    """What the selected specs need, in their order."""

    assessments: tuple[Assessment, ...]
    invalid: Mapping[str, tuple[Problem, ...]]
    orphans: tuple[str, ...] = ()

    @property
    def estimated_units(self) -> Decimal:
        """The units that applying the plan is expected to cost; what two specs share is bought once."""
        costs = {a.external_task_id: a.estimated_units for a in self.assessments}
        return sum(costs.values(), Decimal(0))

    @property
    def changes(self) -> bool:
        """Whether applying the plan would do anything."""
        return any(assessment.action not in IDLE for assessment in self.assessments)

    def summary(self) -> dict[str, int]:
        """Return how many generations each action concerns."""
        counts = Counter(assessment.action for assessment in self.assessments)
        counts.update({Action.INVALID: len(self.invalid), Action.ORPHAN: len(self.orphans)})
        return {action: counts[action] for action in Action if counts[action]}


def diff(
    wanted: Sequence[Generation],
    known: Mapping[tuple[str, str], Known],
    invalid: Mapping[str, tuple[Problem, ...]],
    orphans: Iterable[str] = (),
) -> Plan:
    """Compare what is wanted with what is known; `known` is keyed by (spec, label)."""
    assessments = tuple(
        assess(generation, known[generation.spec, generation.label]) for generation in wanted
    )
    return Plan(assessments, dict(invalid), tuple(sorted(orphans)))


_Due = tuple[Action, Status, str]  # and the reason
_ACTIONS = {
    Status.SUBMITTING: Action.ADOPT,
    Status.SUBMITTED: Action.WAIT,
    Status.PROCESSING: Action.WAIT,
    Status.SUCCEEDED: Action.DOWNLOAD,
    Status.EXPIRED: Action.EXPIRED,
}
_UNTOLD = {  # why, where the record does not say
    Status.SUBMITTING: "it is not known whether the last request made a task; asking the provider",
    Status.SUCCEEDED: "bought; the result is not saved yet",
}


def assess(generation: Generation, known: Known) -> Assessment:
    """Return what this generation needs."""
    record = known.record
    if record is None or record.status is Status.PENDING:
        return _unbought(generation, known, attempt=1 if record is None else record.attempt)
    if record.status is Status.COMPLETE:
        return _of(generation, record, known, _bought(known))
    if _may_retry(generation, record):
        return _unbought(generation, known, attempt=record.attempt + 1)
    action = _ACTIONS.get(record.status, Action.FAILED)
    reason = record.reason or _UNTOLD.get(record.status, "")
    return _of(generation, record, known, (action, record.status, reason))


def next_attempt(generation: Generation, record: Record | None) -> Record:
    """Return the record to work on: the latest attempt or, where it is known to have ended (rule 6), a new one."""
    if record is not None and record.status is Status.PENDING:
        return as_wanted(generation, record)
    if record is not None and (generation.suspended or not _may_retry(generation, record)):
        return record
    return attempt_of(generation, 1 if record is None else record.attempt + 1)


def attempt_of(generation: Generation, attempt: int, reason: str = "") -> Record:
    """Return the record of an attempt (from 1) that was not sent; `reason` says why there is another one."""
    named = {"spec": generation.spec, "label": generation.label, "reason": reason}
    base_id, request = generation.external_task_id, generation.canonical
    return as_wanted(generation, Record.unsent(base_id, attempt, request=request, **named))


def as_wanted(generation: Generation, unsent: Record) -> Record:
    """Return an attempt that was not created, with the request that its spec asks for now."""
    return unsent.evolve(request=generation.canonical, estimated_units=generation.estimated_units)


def _may_retry(generation: Generation, record: Record) -> bool:
    further = record.status is Status.FAILED and record.attempt <= generation.retries
    return further and has_room(record.base_id, record.attempt + 1)


def content_problem(generation: Generation, record: Record | None) -> str:
    """Return why this generation may not be bought under its own id, or an empty string; `record` is its latest.

    An id that a spec sets itself always stands for one content; a computed one cannot disagree.
    """
    if record is None or record.request == generation.canonical:
        return ""
    if record.status is Status.PENDING and not record.doubtful:  # it was not sent
        return ""
    told = ", as a receipt says" if record.claimed else ""
    return (
        f"`external_task_id: {generation.external_task_id}` was bought with different content{told}; "
        "give the changed generation a new id, or restore the old content"
    )


def _of(generation: Generation, record: Record, known: Known, due: _Due) -> Assessment:
    """Assess a generation that has a record; what held it back in the last run is its reason, and is tried again."""
    action, status, reason = due
    if known.hold and status not in NEEDS_SOMEBODY:
        status, reason = Status.BLOCKED, known.hold
    return Assessment(
        generation,
        record.external_task_id,
        action,
        status,
        reason,
        record=record,
        published=_standing(known.outputs, record.results),
        shown=_standing(known.previews, record.previews),
    )


def _standing(
    outputs: Iterable[Output], results: Iterable[Result]
) -> tuple[tuple[str, Result], ...]:
    by_role = {result.role: result for result in results}
    return tuple(
        (output.path, by_role[output.role])
        for output in outputs
        if output.standing in IN_PLACE and output.role in by_role
    )


def _taken(known: Known) -> str:
    for output in known.outputs:
        if output.standing is Standing.TAKEN:
            return output.problem or (
                f"`{output.path}` holds a file that is not ours, or was changed; move it away and run again"
            )
    return ""


def _unbought(generation: Generation, known: Known, attempt: int) -> Assessment:
    name, record = attempt_id(generation.external_task_id, attempt), known.record
    suspended = _SUSPENDED if generation.suspended else ""
    if obstacle := suspended or known.obstacle or _taken(known):
        return Assessment(generation, name, Action.BLOCKED, Status.BLOCKED, obstacle, record=record)
    refused, earlier = (record.refusal, record.reason) if record else ("", "")
    action = Action.RETRY if attempt > 1 or refused else Action.SUBMIT
    status, reason = Status.PENDING, "wanted, not bought yet"
    if known.hold:
        status, reason = Status.BLOCKED, known.hold
    elif refused:
        reason = f"to be tried again; it was refused before: {refused}"
    elif attempt > 1:
        reason = f"attempt {attempt}: the last one failed: {earlier}"
    return Assessment(generation, name, action, status, reason, generation.estimated_units, record)


def _bought(known: Known) -> _Due:
    if obstacle := _taken(known):
        return Action.BLOCKED, Status.BLOCKED, f"bought and saved, but {obstacle}"
    if all(output.standing in IN_PLACE for output in known.outputs):
        if not known.unshown:
            return Action.KEEP, Status.COMPLETE, ""
        unshown = "bought, saved and published; a preview is missing"
        return Action.PUBLISH, Status.COMPLETE, unshown
    if known.obtainable:
        return Action.PUBLISH, Status.SUCCEEDED, "bought and saved; the output is missing"
    lost = "bought; the saved result is missing and is fetched again by its id"
    return Action.DOWNLOAD, Status.SUCCEEDED, lost
