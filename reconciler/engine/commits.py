"""Which files that wishes are made of are not committed, where only what is committed may be bought. Reads only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from reconciler.core.errors import WorkspaceError
from reconciler.core.generations import Generation

Inputs = Callable[[str], frozenset[str]]
"""Gives the files that a spec was read from: itself, its defaults files, its local media."""


class Checkout(Protocol):
    """A git checkout, as `workspace.git` offers it."""

    def uncommitted(self, names: frozenset[str]) -> frozenset[str]:
        """Return those of these names that are not at HEAD as they are on disk."""
        ...

    def signs(self) -> tuple[Path, ...]:
        """Return the folders that change when HEAD or the index does."""
        ...


class Commits:
    """Remembers what git said; without a checkout nothing waits for a commit."""

    def __init__(self, checkout: Checkout | None, inputs: Inputs) -> None:
        self._checkout = checkout
        self._inputs = inputs
        self._uncommitted: set[str] = set()
        self._seen = self._signature()

    async def look(self, specs: Iterable[str]) -> None:
        """Ask git about the files of these specs. What git cannot say counts as not committed."""
        names = frozenset().union(*(self._inputs(spec) for spec in specs))
        if self._checkout is None or not names:
            return
        try:
            found = await asyncio.to_thread(self._checkout.uncommitted, names)
        except WorkspaceError:
            found = names
        self._uncommitted = (self._uncommitted - names) | found

    def lacking(self, wish: Generation) -> str:
        """Return the first file of a wish that is not committed, or an empty string."""
        return min(self._inputs(wish.spec) & self._uncommitted, default="")

    def moved(self) -> bool:
        """Whether HEAD or the index may have changed since this was asked last."""
        before, self._seen = self._seen, self._signature()
        return before != self._seen

    def _signature(self) -> tuple[int, ...]:
        found = []
        for place in self._checkout.signs() if self._checkout else ():
            try:
                found.append(place.stat().st_mtime_ns)
            except OSError:
                found.append(0)  # a checkout under repair: it is looked at again when it is back
        return tuple(found)
