"""Who is next: keys that become due, and keys that wait in lines. A key stands in either once. Nothing waits here."""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict


class DueQueue:
    """Keys ordered by when they are due (ms), then by when they were added."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, str]] = []
        self._due: dict[str, int] = {}
        self._turns = itertools.count()

    def __bool__(self) -> bool:
        return bool(self._due)

    def add(self, key: str, at: int) -> None:
        """Have this key looked at then, or earlier when that is asked for already."""
        if key not in self._due or at < self._due[key]:
            self._due[key] = at
            heapq.heappush(self._heap, (at, next(self._turns), key))

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


class Lines:
    """Keys that wait, each in the line of its kind; they leave in the order in which they came."""

    def __init__(self) -> None:
        self._lines: dict[str, OrderedDict[str, int]] = {}
        self._turns = itertools.count(1)

    def __contains__(self, key: str) -> bool:
        return any(key in line for line in self._lines.values())

    def join(self, key: str, kind: str, *, first: bool = False) -> None:
        """Have this key wait, at the end of its line or before all others; one that waits keeps its place."""
        line = self._lines.setdefault(kind, OrderedDict())
        if first:
            line[key] = -next(self._turns)
            line.move_to_end(key, last=False)
        elif key not in self:
            line[key] = next(self._turns)

    def kinds(self) -> list[str]:
        """Return the kinds for which somebody waits; the one whose first came first is first."""
        heads = {kind: next(iter(line.values())) for kind, line in self._lines.items() if line}
        return sorted(heads, key=heads.__getitem__)

    def pop(self, kind: str) -> str:
        """Take the first of a line."""
        return self._lines[kind].popitem(last=False)[0]
