"""Who may submit now: slots in flight, pauses the provider asked for, and account-wide trouble that closes the gate."""

from __future__ import annotations

from reconciler.core.schedule import SECOND, STANDS_FOR, Slots, account_pause
from reconciler.engine.ports import Options, Ports, Topic

_REMEMBERED = "slots"


class Gate:
    """The account's slots, as far as they are known, and who holds one.

    A slot is held from right before the intent until the attempt is known to have ended, or nothing is seen of it
    any more. Who comes forward to be sent holds none: its look may not be answered, its upload may take an hour. A
    free one is kept for it for some seconds, so that not everybody comes at once.
    A gate that account-wide trouble closed stays closed for the run; for one that endures, a single generation
    tries from time to time whether the trouble is over.
    """

    def __init__(self, ports: Ports, options: Options) -> None:
        self._ports = ports
        self._reopens = options.enduring
        learnt = ports.repository.recall(_REMEMBERED)
        limit = int(learnt) if learnt and learnt.isdigit() else Slots().limit
        ceiling = options.max_concurrency
        self._slots = (
            Slots(limit=limit) if ceiling is None else Slots(limit=ceiling, ceiling=ceiling)
        )
        self._holders: set[str] = set()
        self._forward: dict[
            str, int
        ] = {}  # who came forward -> until when a slot is kept for it (ms)
        self.closed = ""  # why nothing may be submitted for anybody
        self._by_create = False  # a create was refused: that a question is answered proves nothing
        self._pauses = 0
        self._again_at = 0
        self._prober = ""
        self._shut_out: set[str] = set()

    def room_at(self) -> int | None:
        """Return from when (ms) one more may come forward; None: not before something ends."""
        return self._slots.room_at(len(self._holders), self._forward.values())

    def come_forward(self, key: str) -> None:
        """Let this generation look and prepare itself; its turn's end takes it back."""
        self._forward[key] = self._ports.now() + STANDS_FOR

    def is_forward(self, key: str) -> bool:
        """Whether this generation came forward."""
        return key in self._forward

    def take_slot(self, key: str) -> bool:
        """Give this generation a slot for a create that is about to be sent; return whether there was one."""
        if key not in self._holders and len(self._holders) >= self._slots.allowed:
            return False
        self.count(key, in_flight=True)
        return True

    def count(self, key: str, *, in_flight: bool) -> None:
        """Count this generation as what it is; what is in flight holds a slot whatever the limit."""
        if in_flight:
            self._forward.pop(key, None)
            self._holders.add(key)
        else:
            self._holders.discard(key)

    def accepted(self, now: int) -> None:
        """Learn from an accepted task."""
        self._learn(self._slots.accepted(len(self._holders), now))

    def refused(self, now: int) -> None:
        """Learn from a refused slot (1303); for a while nobody comes forward."""
        self._learn(self._slots.refused(len(self._holders) - 1, now))

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
        self._forward.pop(key, None)
        if self._prober == key:
            self._prober = ""
            self._again_at = max(self._again_at, self._ports.now() + account_pause(1))

    def readmitted(self) -> list[str]:
        """Return the generations that were shut out and need not wait any longer."""
        if self.closed or not self._shut_out:
            return []
        readmitted, self._shut_out = sorted(self._shut_out), set()
        return readmitted

    def _learn(self, slots: Slots) -> None:
        if slots.limit != self._slots.limit:
            self._ports.repository.remember(_REMEMBERED, str(slots.limit))
        self._slots = slots
