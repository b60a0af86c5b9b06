"""The values that `core.advance` decides on: work, a generation under way, events, effects, verdicts. Times are in ms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from reconciler.core.account import Failures
from reconciler.core.diff import BUYS, Action, Assessment, next_attempt
from reconciler.core.generations import Generation
from reconciler.core.schedule import FIRST_RETRY, HOUR, SECOND, Brake, Rules
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


def is_unsaved(record: Record | None) -> bool:
    """Whether there is an attempt that is, or may be, paid for, and its result is not saved."""
    return record is not None and (record.status in LIVE or record.status is Status.SUCCEEDED)


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


FLYING = frozenset({Status.SUBMITTED, Status.PROCESSING})

_NO_FAILURES, _NO_BRAKE = Failures(), Brake()
_UNREACHABLE = (
    "Nothing is lost: what was sent is on record. "
    "Check the network and KLING_BASE_URL, and run again."
)


class Topic(Enum):
    """What a sentence for the user is about."""

    OTHER = auto()
    ACCOUNT = auto()  # account-wide trouble, its beginning and its end
    CAP = auto()  # spend near a cap, or at it


class Cause(Enum):
    """What holds a generation back: something of its own, or something that holds others back too."""

    OWN = auto()
    ACCOUNT = auto()
    CAP = auto()
    DISK = auto()


class TroubleKind(Enum):
    """Why a request to the provider, or to the host of a result, failed; `engine` sorts the errors into these."""

    ACCOUNT = auto()  # the account or its key cannot be used
    SLOTS = auto()  # every slot is taken
    SLOW_DOWN = auto()  # fewer requests, please
    LATER = auto()  # no answer that can be read
    UNPROVEN = auto()  # only a receipt says that the task is ours
    REFUSED = auto()  # the provider refused this request
    BROKE = auto()  # a mistake of our own ended the request
    MISDIRECTED = auto()  # what answered is not the API
    UNSAFE = auto()  # the result may not be fetched from its address
    TOO_LARGE = auto()  # the result is larger than allowed
    OTHER = auto()


@dataclass(frozen=True, slots=True)
class Trouble:
    """A request that came to nothing."""

    kind: TroubleKind
    told: str  # what happened and what to do, in one line
    message: str  # what happened
    is_answer: bool = False  # the provider itself answered, if only to refuse


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a generation is left where it is."""

    reason: str
    cause: Cause = Cause.OWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """All that is known of one generation, beside what all share (`Account`)."""

    base_id: str
    record: Record | None = None  # the latest attempt, as it is on disk
    work: Work | None = None  # what is to be brought forward; None: nothing
    hold: Hold | None = None
    tries: int = 0  # holds in a row without a known time to try again
    failures: Failures = _NO_FAILURES  # requests for it, in a row, that came to nothing
    brake: Brake = _NO_BRAKE  # of this run
    slot: str | None = None  # the model version whose slot it holds
    # The attempt that was given up in this run, or looked at again since, and when (ms).
    looked_at: tuple[str, int] | None = None
    # In doubt since an earlier process, by a clock that may have been set since: counted anew (rule 4).
    inherited: bool = False
    began_as: Status | None = None  # what it was when its turn began
    unwritten: bool = False  # its receipt waits for its spec to be at rest

    def attempt(self) -> Record | None:
        """Return the attempt to work on; None where there is nothing to do."""
        return None if self.work is None else self.work.attempt(self.record)

    def current(self) -> Record | None:
        """Return the attempt to work on or, where there is nothing to do, the latest one."""
        return self.attempt() or self.record


class Ended(Enum):
    """Why a run came back."""

    SETTLED = auto()  # nothing is left that this run could bring forward
    STOPPED = auto()
    TIMED_OUT = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a run works, as far as decisions about turns need it; times in ms."""

    rules: Rules = field(default_factory=Rules)
    enduring: bool = False  # it never gives up: what is held back is tried again later
    patience: int = 300 * SECOND  # without any readable answer before it gives up
    first_patience: int = 15 * SECOND  # the same before the first answer
    first_retry: int = FIRST_RETRY  # of what is held
    look_again: int = HOUR  # between two looks, where it endures, at what was given up


# What happens to a generation.


@dataclass(frozen=True, slots=True)
class Due:
    """Its turn has come."""


@dataclass(frozen=True, slots=True)
class Looked:
    """The question about it was answered, and a create followed, or none."""

    record: Record
    again_at: int | None = None  # ms: when the next look is due, if one is
    trouble: Trouble | None = None  # why nothing was created, where the cause is not the request
    full: bool = False  # ready to be created, and no slot was free


@dataclass(frozen=True, slots=True)
class Fetched:
    """A result was saved, or is looked for again."""

    record: Record
    again_at: int | None = None  # ms


@dataclass(frozen=True, slots=True)
class Failed:
    """A request for it came to nothing."""

    asked: Asked
    record: Record
    trouble: Trouble
    is_counted: bool = False  # it was heard of before, and meanwhile anything was asked


@dataclass(frozen=True, slots=True)
class Polled:
    """The poll was answered, and showed its task, or did not."""

    shown: bool


@dataclass(frozen=True, slots=True)
class Delivered:
    """What is saved was published, and the receipts were written, as far as they could be."""

    record: Record
    lost: bool = False  # the bytes are nowhere on this disk
    waits: bool = False  # a spec is not at rest: soon again
    unwritten: bool = False  # its receipt waits for its spec
    reason: str = ""  # why something could not be written


@dataclass(frozen=True, slots=True)
class Stopped:
    """It cannot be brought forward now, for a reason that is not the provider's."""

    reason: str
    cause: Cause = Cause.OWN
    in_turn: bool = True  # False: found outside of its turn, by the daemon's look at the folder


Event = Due | Looked | Fetched | Failed | Polled | Delivered | Stopped


# What `engine` is to do. Look, Fetch, Deliver and AskAnything act on the outside, and end in an event.


@dataclass(frozen=True, slots=True)
class Say:
    """Tell the user, once."""

    sentence: str
    topic: Topic = Topic.OTHER


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell those who follow this generation why it is held."""

    record: Record
    reason: str


@dataclass(frozen=True, slots=True)
class Learn:
    """Remember how many slots a model has, for later runs."""

    model: str
    limit: int


@dataclass(frozen=True, slots=True)
class Readmit:
    """The pause of the account is over: have the turn come of all that it holds back."""


@dataclass(frozen=True, slots=True)
class TakeUp:
    """Put on record that a create of an earlier process is in doubt."""

    record: Record


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End the run: the provider gave no readable answer for too long."""

    message: str
    hint: str = _UNREACHABLE


@dataclass(frozen=True, slots=True)
class Look:
    """Ask for the task, and create it where it is unknown and wanted."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """Download what was paid for."""


@dataclass(frozen=True, slots=True)
class Deliver:
    """Publish what is saved; write receipts."""

    publish: bool = True
    receipts: bool = True


@dataclass(frozen=True, slots=True)
class AskAnything:
    """Find out whether the provider answers at all; `failed` is the event after that."""

    failed: Failed


Effect = Say | Tell | Learn | Readmit | TakeUp | GiveUp | Look | Fetch | Deliver | AskAnything


# When it is this generation's turn again.


@dataclass(frozen=True, slots=True)
class Done:
    """There is no next turn, until a change asks for one."""


@dataclass(frozen=True, slots=True)
class At:
    """Its next turn is at this time (ms)."""

    at: int


@dataclass(frozen=True, slots=True)
class Held:
    """It is held until then (ms); None: until a later run, or a change."""

    until: int | None


@dataclass(frozen=True, slots=True)
class Waits:
    """It waits in line for a slot of this model."""

    model: str
    first: bool = False


@dataclass(frozen=True, slots=True)
class InFlight:
    """The poll observes its task."""


Verdict = Done | At | Held | Waits | InFlight


class Asked(Enum):
    """What a request was for."""

    LOOK = auto()
    CREATE = auto()
    FETCH = auto()
    POLL = auto()
