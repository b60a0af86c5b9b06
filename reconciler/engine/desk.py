"""What everybody who works in one run shares: the world, the records, the gate, what is held, and patience."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.engine.gate import Gate
from reconciler.engine.holding import Holds
from reconciler.engine.journal import Journal
from reconciler.engine.patience import Patience
from reconciler.engine.ports import Options, Ports
from reconciler.engine.work import Work


@dataclass(frozen=True, slots=True)
class Desk:
    """One run's."""

    ports: Ports
    options: Options
    journal: Journal
    works: Mapping[str, Work]  # by base id; they may change while a run that endures goes on
    gate: Gate
    holds: Holds
    patience: Patience

    @classmethod
    def open(
        cls, ports: Ports, options: Options, journal: Journal, works: Mapping[str, Work]
    ) -> Desk:
        """Return the desk of a run that begins."""
        gate, holds = Gate(ports, options), Holds(ports, options)
        return cls(ports, options, journal, works, gate, holds, Patience(ports, options))

    def now(self) -> int:
        """Milliseconds since the epoch."""
        return self.ports.now()
