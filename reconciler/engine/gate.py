"""Who may submit now: slots in flight, pauses the provider asked for, and account-wide trouble that closes the gate."""

from __future__ import annotations

from reconciler.core.schedule import Slots
from reconciler.engine.ports import Ports

_REMEMBERED = "slots"


class Gate:
    """The account's slots, as far as they are known, and who holds one.

    A slot is held from before the look that may lead to a create until the attempt is known to have ended.
    """

    def __init__(self, ports: Ports, ceiling: int | None) -> None:
        self._ports = ports
        learnt = ports.repository.recall(_REMEMBERED)
        limit = int(learnt) if learnt and learnt.isdigit() else Slots().limit
        self._slots = (
            Slots(limit=limit) if ceiling is None else Slots(limit=ceiling, ceiling=ceiling)
        )
        self._holders: set[str] = set()
        self.closed = ""  # why nothing may be submitted for anybody

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

    def close(self, reason: str) -> None:
        """Stop submitting for everybody, and say so once."""
        if not self.closed:
            self.closed = reason
            self._ports.report.say(f"submitting is paused for the whole account: {reason}")

    def _learn(self, slots: Slots) -> None:
        if slots.limit != self._slots.limit:
            self._ports.repository.remember(_REMEMBERED, str(slots.limit))
        self._slots = slots
