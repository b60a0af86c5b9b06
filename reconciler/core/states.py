"""The frozen values that the core decides on: statuses, records, tasks, results."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple, Self

from reconciler.core.identity import attempt_id
from reconciler.core.kinds import kind_behind


class Status(StrEnum):
    """Where a generation stands; the words are part of the contract."""

    PENDING = "pending"  # wanted, nothing sent
    SUBMITTING = "submitting"  # intent on disk, outcome unknown
    SUBMITTED = "submitted"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"  # ended well, result not yet saved
    COMPLETE = "complete"  # saved and verified
    FAILED = "failed"
    REJECTED = "rejected"
    EXPIRED = "expired"
    INVALID = "invalid"  # never stored: a spec that is wrong has no record
    BLOCKED = "blocked"  # never stored: a reason on our side, kept beside the records


LIVE = frozenset({Status.SUBMITTING, Status.SUBMITTED, Status.PROCESSING})
"""A task exists or may exist at the provider and has not ended: it can hold a slot and can be billed."""

ENDED = frozenset(
    {Status.SUCCEEDED, Status.COMPLETE, Status.FAILED, Status.REJECTED, Status.EXPIRED}
)
"""The attempt is known to have ended at the provider (or never to have begun)."""

BOUGHT = frozenset({Status.SUCCEEDED, Status.COMPLETE, Status.EXPIRED})
"""The attempt was paid for."""

ALIVE = LIVE | {Status.SUCCEEDED, Status.COMPLETE}
"""The attempt goes on, or its result is here or can be fetched: no other one is needed."""


class TaskState(StrEnum):
    """A task's state at the provider, in one spelling for every API family."""

    SUBMITTED = "submitted"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"  # the wire says `succeed`; the newer family `succeeded`
    FAILED = "failed"
    UNLISTED = "unlisted"  # a word in no list: wait, say so, never crash


class Role(StrEnum):
    """What a result's file is."""

    VIDEO = "video"
    WATERMARK = "watermark"
    POSTER = "poster"  # a preview: one frame of the video
    SHEET = "sheet"  # a preview: a contact sheet, frames of all its length


PREVIEWS = (Role.POSTER, Role.SHEET)
"""Pictures that are made here of a saved video: never bought, never fetched, and nothing waits for one."""


def asked_roles(canonical: str) -> tuple[Role, ...]:
    """Return the roles of the results that a canonical JSON asks for; what else an answer lists is ignored."""
    return tuple(map(Role, kind_behind(canonical).results(canonical)))


class Video(NamedTuple):
    """One video of a finished task, as announced; URLs are signed and expire."""

    url: str
    watermark_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What the provider says of one task."""

    task_id: str  # a decimal string; never a number
    state: TaskState
    said: str  # the provider's own word for the state
    external_task_id: str = ""  # empty when the answer does not name it
    message: str = ""  # the reason, when failed
    videos: tuple[Video, ...] = ()
    units: Decimal | None = None  # final_unit_deduction
    paid: str = ""  # what the account's balance paid beside that, in words; for the history
    created_at: int | None = None  # ms since the epoch, by the provider's clock
    updated_at: int | None = None  # ms since the epoch, by the provider's clock


class Reply(NamedTuple):
    """The provider's answer to one request."""

    task: Task | None  # None: the provider says that it knows none
    request_id: str


@dataclass(frozen=True, slots=True)
class Result:
    """A file whose bytes are in the object store (or were, when only a receipt remembers them)."""

    role: Role
    sha256: str  # 64 lower-case hex digits
    size: int  # bytes
    duration: float | None = None  # seconds, read from the file itself
    # Not compared: older programs did not record them.
    width: int | None = field(default=None, compare=False)  # px, as shown
    height: int | None = field(default=None, compare=False)  # px


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One attempt at a generation: the unit that can be billed. Keyed by `external_task_id`."""

    external_task_id: str  # this attempt's id: the base id, or the base id with -r2, -r3, …
    base_id: str
    attempt: int = 1
    status: Status
    request: str  # the canonical JSON of the generation
    spec: str = ""  # the spec that first asked for it, relative to the root; for people
    label: str = ""
    task_id: str | None = None
    reason: str = ""  # one sentence for people: why it waits or how it ended
    estimated_units: Decimal = Decimal(0)
    units: Decimal | None = None  # what the provider deducted, once it said so
    intent_at: int | None = None  # ms, our clock: when the last create was recorded
    calendar_at: int | None = None  # ms, by the machine's calendar then; caps count both days
    creates: int = 0  # create requests recorded, answered or not
    doubtful: bool = False  # some create of this attempt had an unknown outcome
    in_use: bool = False  # the provider said that a task has this id: it is not sent again
    gave_up_at: int | None = None  # ms, our clock: absence counts from then; None during a create
    absent_looks: int = 0  # readable answers of "unknown id" since `gave_up_at`
    refusal: str = ""  # of a create, not final: a task may turn up, or it is to be tried again
    created_at: int | None = None  # ms, the provider's clock
    finished_at: int | None = None  # ms, the provider's clock
    results: tuple[Result, ...] = ()  # what was bought
    previews: tuple[Result, ...] = ()  # made here of the results
    # Known from a receipt alone, which any commit may bring; the provider has shown neither task nor bytes. It keeps
    # from buying, makes no file ours, and its task has to prove itself.
    claimed: bool = False

    @classmethod
    def unsent(cls, base_id: str, attempt: int, *, request: str, **known: Any) -> Self:
        """Return the record of an attempt (from 1) that was not sent, with these fields; the only place that makes one."""
        return cls(
            external_task_id=attempt_id(base_id, attempt),
            base_id=base_id,
            attempt=attempt,
            status=Status.PENDING,
            request=request,
            **known,
        )

    def evolve(self, **changes: object) -> Self:
        """Return a copy with these fields changed."""
        return replace(self, **changes)  # type: ignore[arg-type]

    @property
    def model(self) -> str:
        """The model's name; empty where the request does not say."""
        try:
            name = json.loads(self.request)["request"]["model_name"]
        except (ValueError, KeyError, TypeError, RecursionError):  # a request out of a receipt
            return ""
        return name if isinstance(name, str) else ""

    @property
    def endpoint(self) -> str:
        """The API's path to create it and to ask for it."""
        return kind_behind(self.request).ENDPOINT

    @property
    def asked(self) -> tuple[Role, ...]:
        """The roles that the request asked for."""
        return asked_roles(self.request)

    @property
    def lacking(self) -> tuple[Role, ...]:
        """The roles that the request asked for and that are not saved."""
        saved = {result.role for result in self.results}
        return tuple(role for role in self.asked if role not in saved)


def foremost(attempts: Iterable[Record]) -> Record | None:
    """Return the attempt that stands for its generation: one that is alive, else the latest; None for no attempts."""
    return max(attempts, key=lambda one: (one.status in ALIVE, one.attempt), default=None)
