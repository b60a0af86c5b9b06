"""Which touched names have been quiet for long enough to be acted on. Pure: the time is passed in."""

from __future__ import annotations

from collections.abc import Iterable


class Settling:
    """Names that were touched, each until it has been left alone for `settle` ms.

    Every name waits equally long, so the order of the last touches is the order in which they become due.
    A clock that goes back counts as one that stands still: nothing waits for the old time to come again.
    """

    def __init__(self, settle: int) -> None:
        self._settle = settle
        self._touched: dict[str, int] = {}  # name -> steady time of its last touch, oldest first
        self._latest = 0
        self._behind = 0  # ms by which the clock passed in has fallen behind

    def __contains__(self, name: object) -> bool:
        return name in self._touched

    def __len__(self) -> int:
        return len(self._touched)

    def touch(self, names: Iterable[str], now: int) -> None:
        """Have these names wait from now (ms) on."""
        steady = self._steady(now)
        for name in names:
            self._touched.pop(name, None)
            self._touched[name] = steady

    def due(self, now: int) -> frozenset[str]:
        """Take the names that were quiet for long enough."""
        quiet_since = self._steady(now) - self._settle
        due = []
        for name, touched in self._touched.items():
            if touched > quiet_since:
                break
            due.append(name)
        for name in due:
            del self._touched[name]
        return frozenset(due)

    def next_at(self) -> int | None:
        """Return when the next name is due (ms, by the clock passed in last), or None when none waits."""
        oldest = next(iter(self._touched.values()), None)
        return None if oldest is None else oldest + self._settle - self._behind

    def _steady(self, now: int) -> int:
        steady = now + self._behind
        if steady < self._latest:
            self._behind += self._latest - steady
            steady = self._latest
        self._latest = steady
        return steady
