"""Who may submit now: slots in flight, pauses the provider asked for, and account-wide trouble that closes the gate."""

from __future__ import annotations

from reconciler.core.schedule import SECOND, Slots, account_pause
from reconciler.engine.ports import Options, Ports, Topic

_REMEMBERED = "slots"


class Gate:
    """The account's slots, as far as they are known, and who holds one.

    A slot is held from before the look that may lead to a create until the attempt is known to have ended.
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
        self.closed = ""  # why nothing may be submitted for anybody
        self._by_create = False  # a create was refused: that a question is answered proves nothing
        self._pauses = 0
        self._again_at = 0
        self._prober = ""
        self._shut_out: set[str] = set()

    def has_slot(self) -> bool:
        """Whether one more may be in flight."""
        return len(self._holders) < self._slots.allowed

    def holds_slot(self, key: str) -> bool:
        """Whether this generation holds a slot."""
        return key in self._holders

    def take_slot(self, key: str) -> None:
        """Give this generation a slot; what is in flight already takes one whatever the limit."""
        self._holders.add(key)

    def release(self, key: str) -> None:
        """Take the slot back."""
        self._holders.discard(key)

    def opens_at(self, key: str) -> int:
        """Return from when (ms) this generation may be submitted after a refusal."""
        return self._slots.open_at(key)

    def accepted(self, now: int) -> None:
        """Learn from an accepted task."""
        self._learn(self._slots.accepted(len(self._holders), now))

    def refused(self, key: str, now: int) -> int:
        """Learn from a refused slot (1303); return when to try again (ms)."""
        self._learn(self._slots.refused(len(self._holders) - 1, now))
        return self._slots.open_at(key)

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
        self._ports.report.say("the account can be used again; submitting goes on", Topic.ACCOUNT)

    def turn_over(self, key: str) -> None:
        """Let another generation try, where this one has not found out whether the trouble is over."""
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
