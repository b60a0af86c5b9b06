"""Who is next: keys wait for a time, for a slot of a model version, or for the poll. Nothing waits here by itself."""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Iterator

from reconciler.core.progress import At, Held, InFlight, Verdict, Waits


class Queue:
    """Keys, each as the last verdict about it has it wait; whoever asks for one again has it come earlier."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, str]] = []  # when due (ms), in which order it was added
        self._due: dict[str, int] = {}
        self._lines: dict[str, OrderedDict[str, int]] = {}  # by model version
        self._order = itertools.count(1)
        self.in_flight: set[str] = set()

    def put(self, key: str, verdict: Verdict) -> None:
        """Have a key wait as the verdict says; one that is over waits for nothing."""
        if not isinstance(verdict, InFlight):
            self.in_flight.discard(key)
        match verdict:
            case At(at) | Held(int(at)):
                self.add(key, at)
            case Waits(model, first):
                self._join(key, model, first=first)
            case InFlight():
                self.in_flight.add(key)

    def add(self, key: str, at: int) -> None:
        """Have this key looked at then (ms), or earlier when that is asked for already."""
        if key not in self._due or at < self._due[key]:
            self._due[key] = at
            heapq.heappush(self._heap, (at, next(self._order), key))

    def is_empty(self) -> bool:
        """Whether no key is due at any time, or in flight; those in lines wait for something else to end."""
        return not (self._due or self.in_flight)

    def next_at(self) -> int | None:
        """Return when the next key is due (ms), or None when there is none."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)  # asked for again, earlier
        return self._heap[0][0] if self._heap else None

    def pop(self, now: int) -> str | None:
        """Take the key that is due longest, or None when none is due."""
        at = self.next_at()
        if at is None or at > now:
            return None
        _, _, key = heapq.heappop(self._heap)
        del self._due[key]
        return key

    def models(self) -> Iterator[str]:
        """Yield the model versions for which somebody waits; the one whose first came first is first."""
        heads = {model: next(iter(line.values())) for model, line in self._lines.items() if line}
        return iter(sorted(heads, key=heads.__getitem__))

    def pop_waiting(self, model: str) -> str:
        """Take the first in line for a slot of this model."""
        return self._lines[model].popitem(last=False)[0]

    def _join(self, key: str, model: str, *, first: bool) -> None:
        """Have this key wait, at the end of its line or before all others; one that waits keeps its place."""
        line = self._lines.setdefault(model, OrderedDict())
        if first:
            line[key] = -next(self._order)
            line.move_to_end(key, last=False)
        elif not any(key in one for one in self._lines.values()):
            line[key] = next(self._order)
