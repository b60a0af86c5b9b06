"""Generations that are left where they are, with a sentence that says why and what would free them.

A run that ends leaves them to the next one; a run that endures tries them again, later each time.
"""

from __future__ import annotations

from collections import Counter

from reconciler.core.errors import CapReached, ReconcilerError, told
from reconciler.core.schedule import SECOND, backoff
from reconciler.core.states import Record
from reconciler.engine.ports import Options, Ports, Topic
from reconciler.engine.saving import CannotKeep

_FIRST, _MOST = 30 * SECOND, 600 * SECOND  # between two tries


class Holds:
    """What is held back now, by base id."""

    def __init__(self, ports: Ports, options: Options) -> None:
        self._ports = ports
        self._endures = options.enduring
        self._times: Counter[str] = Counter()  # that a generation was held in a row
        self._fresh: set[str] = set()  # held in the turn that is under way
        self.reasons: dict[str, str] = {}
        self._limits: dict[str, CapReached | CannotKeep] = {}  # what a cap or the disk holds back
        self.capped = False  # a cap was met, and nothing was bought since

    def __contains__(self, key: str) -> bool:
        return key in self.reasons

    def hold(
        self, key: str, record: Record | None, reason: str, *, until: int | None = None
    ) -> int | None:
        """Leave a generation where it is, and say why; return when to try again (ms), if this run does.

        `until` is when that makes sense, where somebody knows.
        """
        self.reasons[key] = reason
        self._limits.pop(key, None)
        self._fresh.add(key)
        if record is not None:
            self._ports.report.held(record, reason)
        if not self._endures:
            return None
        if until is not None:
            return until
        self._times[key] += 1
        return self._ports.now() + backoff(self._times[key], key, first=_FIRST, most=_MOST)

    def hold_for(self, key: str, record: Record | None, error: ReconcilerError) -> int | None:
        """Hold for a reason that an error tells; a cap concerns everybody, and is said to everybody."""
        if isinstance(error, CapReached) and self._endures and not self.capped:
            self.capped = True
            self._ports.report.say(told(error), Topic.CAP)
        again_at = self.hold(key, record, told(error))
        if isinstance(error, CapReached | CannotKeep):
            self._limits[key] = error
        return again_at

    def limits(self) -> list[str]:
        """Return a sentence on a cap that is met, and one on a disk that does not take what was bought."""
        found = {type(error): told(error) for error in self._limits.values()}
        return sorted(found.values())

    def begin(self, key: str) -> None:
        """A turn begins: what held the generation before may be over."""
        self._fresh.discard(key)

    def end(self, key: str) -> None:
        """A turn is over: what was not held again is free."""
        if key not in self._fresh:
            self.free(key)

    def free(self, key: str) -> None:
        """Forget that a generation was held."""
        self.reasons.pop(key, None)
        self._limits.pop(key, None)
        del self._times[key]
