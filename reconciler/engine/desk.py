"""What everybody who works in one run shares: the world, the records, the gate, what is held, and patience."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.core.generations import Generation
from reconciler.core.states import Status
from reconciler.engine.gate import Gate
from reconciler.engine.holding import Holds
from reconciler.engine.journal import Journal
from reconciler.engine.patience import Patience
from reconciler.engine.ports import Options, Ports
from reconciler.engine.work import Work

StillWanted = Callable[[Generation], bool]
"""Whether a spec still says just this, and is at rest: asked at the last moment before money is spent."""

Declared = Callable[[str], Sequence[Generation]]
"""What a spec, where it is valid in every respect, asks for as it was last read."""

AtRest = Callable[[str], bool]
"""Whether a spec, with all that it is made of, stands as it was read. Asked at the last moment before money is spent,
or before something is written beside it: in between, somebody may have switched to another branch."""


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
    unwritten: set[str] = field(
        default_factory=set
    )  # base ids whose receipt waits for its spec to be at rest

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

    def in_doubt(self) -> bool:
        """Whether the outcome of some create is not known."""
        records = (self.journal.get(base) for base in self.works)
        return any(record.status is Status.SUBMITTING for record in records if record)
