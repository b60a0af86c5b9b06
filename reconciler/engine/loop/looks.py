"""How the daemon's looks at the folder get on: whether the last one is old, and whether one hangs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class FolderLooks:
    """The progress of looks, by the loop's own clock, which no calendar corrects and no sleeping laptop moves.

    Made where a loop runs; `overdue` is how long (s) a look may go without a `step`.
    """

    def __init__(self, overdue: float) -> None:
        self._overdue = overdue
        self._now = asyncio.get_running_loop().time
        self._moved = self._now()
        self._ended: float | None = None
        self._bounded = False

    async def step(self) -> None:
        """Note that a piece of a look is done, and let the loop see to everything else."""
        self._moved = self._now()
        await asyncio.sleep(0)

    def over(self, *, well: bool) -> None:
        """Note that a look is over; one that met trouble (not `well`) has not seen the folder."""
        self._moved = self._now()
        if well:
            self._ended = self._moved

    @contextmanager
    def bounded(self) -> Iterator[None]:
        """Do not count this block as hanging: everything in it has a time limit of its own."""
        self._bounded = True
        try:
            yield
        finally:
            self._bounded = False
            self._moved = self._now()

    @property
    def hangs(self) -> bool:
        """Whether the look under way has not got on for too long."""
        return not self._bounded and self._now() - self._moved > self._overdue

    @property
    def trouble(self) -> str:
        """Why the folder is not known as it is now, or an empty string."""
        if self._ended is None:
            return "The first look at the folder has not ended yet."
        age = self._now() - self._ended
        if age <= self._overdue:
            return ""
        return (
            f"The last look at the folder ended {age:,.0f} s ago: the folder is very large, or a disk, a mount or git "
            "does not answer."
        )
