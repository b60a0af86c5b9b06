"""Who may submit now: slots in flight, pauses the provider asked for, and account-wide trouble that closes the gate."""

from __future__ import annotations

from dataclasses import dataclass, field

from reconciler.core.schedule import SECOND, STANDS_FOR, Slots, account_pause
from reconciler.core.states import Record
from reconciler.engine.ports import Options, Ports, Topic

_REMEMBERED = "slots"


@dataclass(slots=True)
class _Lane:
    """The slots of one model version, as far as they are known, and who has one."""

    slots: Slots
    holders: set[str] = field(default_factory=set)
    forward: dict[str, int] = field(default_factory=dict)
    """Who came forward, and until when a slot is kept for it (ms)."""

    def room_at(self) -> int | None:
        return self.slots.room_at(len(self.holders), self.forward.values())


class Gate:
    """The account's slots, which it has for each model version (API: documented, 2026-11), and who holds one.

    A slot is held from right before the intent until the attempt is known to have ended, or nothing is seen of it
    any more. Who comes forward to be sent holds none: its look may not be answered, its upload may take an hour. A
    free one is kept for it for some seconds, so that not everybody comes at once.
    What the user allows bounds all models together; what is learnt of one says nothing about another.
    A gate that account-wide trouble closed stays closed for the run; for one that endures, a single generation
    tries from time to time whether the trouble is over.
    """

    def __init__(self, ports: Ports, options: Options) -> None:
        self._ports = ports
        self._reopens = options.enduring
        self._ceiling = options.max_concurrency
        self._lanes: dict[str, _Lane] = {}  # by model version
        self.closed = ""  # why nothing may be submitted for anybody
        self._by_create = False  # a create was refused: that a question is answered proves nothing
        self._pauses = 0
        self._again_at = 0
        self._prober = ""
        self._shut_out: set[str] = set()

    def room_at(self, model: str) -> int | None:
        """Return from when (ms) one more of this model may come forward; None: not before something ends."""
        at = self._lane(model).room_at()
        if at is None or self._ceiling is None:
            return at
        bound = Slots(limit=self._ceiling, ceiling=self._ceiling)
        forward = [until for lane in self._lanes.values() for until in lane.forward.values()]
        everywhere = bound.room_at(self._in_flight(), forward)
        return None if everywhere is None else max(at, everywhere)

    def come_forward(self, key: str, model: str) -> None:
        """Let this generation look and prepare itself; its turn's end takes it back."""
        self._lane(model).forward[key] = self._ports.now() + STANDS_FOR

    def is_forward(self, key: str) -> bool:
        """Whether this generation came forward."""
        return any(key in lane.forward for lane in self._lanes.values())

    def take_slot(self, record: Record) -> bool:
        """Give this generation a slot for a create that is about to be sent; return whether there was one."""
        lane, key = self._lane(record.model), record.base_id
        if key not in lane.holders:
            is_full = self._ceiling is not None and self._in_flight() >= self._ceiling
            if is_full or len(lane.holders) >= lane.slots.allowed:
                return False
        self.hold(record)
        return True

    def hold(self, record: Record) -> None:
        """Count this attempt as in flight; it holds a slot whatever the limit."""
        lane = self._lane(record.model)
        lane.forward.pop(record.base_id, None)
        lane.holders.add(record.base_id)

    def free(self, key: str) -> None:
        """Count this generation as one that has nothing in flight."""
        for lane in self._lanes.values():
            lane.holders.discard(key)

    def accepted(self, record: Record, now: int) -> None:
        """Learn from an accepted task."""
        lane = self._lane(record.model)
        self._learn(record.model, lane.slots.accepted(len(lane.holders), now))

    def refused(self, record: Record, now: int) -> None:
        """Learn from a refused slot (1303); for a while nobody of this model comes forward."""
        lane = self._lane(record.model)
        self._learn(record.model, lane.slots.refused(len(lane.holders) - 1, now))

    def close(self, reason: str, *, by_create: bool) -> None:
        """Stop submitting for everybody, and say so once."""
        now = self._ports.now()
        if not self.closed:
            self._pauses, self._again_at = 0, now
            self._ports.report.say(
                f"submitting is paused for the whole account: {reason}", Topic.ACCOUNT
            )
        if now >= self._again_at:  # not another victim of the same trouble
            self._pauses += 1
            self._again_at = now + account_pause(self._pauses)
        self.closed, self._prober = reason, ""
        self._by_create = self._by_create or by_create

    def again_at(self) -> int:
        """Return when to ask again (ms): after the pause or, while somebody tries, a moment later."""
        return max(self._again_at, self._ports.now() + SECOND)

    def obstacle(self, key: str) -> str:
        """Return why this generation may not be submitted now; the first to ask after a pause may try."""
        if not self.closed:
            return ""
        if self._reopens and self._ports.now() >= self._again_at and self._prober in {"", key}:
            self._prober = key
            return ""
        self._shut_out.add(key)
        return self.closed

    def answered(self, *, create: bool = False) -> None:
        """The provider answered as it does to an account without trouble: a create, or a question."""
        if not (self.closed and self._reopens) or (self._by_create and not create):
            return
        self.closed, self._prober, self._by_create = "", "", False
        self._ports.report.say("the account can be used again; submitting resumes", Topic.ACCOUNT)

    def turn_over(self, key: str) -> None:
        """Let others come forward, and try where this one has not found out whether the account's trouble is over."""
        for lane in self._lanes.values():
            lane.forward.pop(key, None)
        if self._prober == key:
            self._prober = ""
            self._again_at = max(self._again_at, self._ports.now() + account_pause(1))

    def readmitted(self) -> list[str]:
        """Return the generations that were shut out and need not wait any longer."""
        if self.closed or not self._shut_out:
            return []
        readmitted, self._shut_out = sorted(self._shut_out), set()
        return readmitted

    def _in_flight(self) -> int:
        return sum(len(lane.holders) for lane in self._lanes.values())

    def _lane(self, model: str) -> _Lane:
        if model not in self._lanes:
            self._lanes[model] = _Lane(self._known_slots(model))
        return self._lanes[model]

    def _known_slots(self, model: str) -> Slots:
        """Return what an earlier run learnt of a model; older programs learnt one number for all."""
        if self._ceiling is not None:
            return Slots(limit=self._ceiling, ceiling=self._ceiling)
        recall = self._ports.repository.recall
        learnt = recall(f"{_REMEMBERED} {model}") or recall(_REMEMBERED)
        return Slots(limit=int(learnt)) if learnt and learnt.isdigit() else Slots()

    def _learn(self, model: str, slots: Slots) -> None:
        lane = self._lanes[model]
        if slots.limit != lane.slots.limit:
            self._ports.repository.remember(f"{_REMEMBERED} {model}", str(slots.limit))
        lane.slots = slots
