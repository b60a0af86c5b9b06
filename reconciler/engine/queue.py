"""A queue of keys that become due: a key stands in it once, and the earliest wish to look at it wins."""

from __future__ import annotations

import heapq
import itertools


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
