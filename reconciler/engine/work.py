"""What a run has to bring forward: one piece of work for each generation, however many places want it."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.core.diff import next_attempt
from reconciler.core.generations import Generation
from reconciler.core.states import Record


@dataclass(frozen=True, slots=True)
class Work:
    """One generation to bring forward."""

    base_id: str
    wishes: tuple[
        Generation, ...
    ] = ()  # every place that wants it; none: paid for, and no longer wanted
    obstacle: str = ""  # why it may not be bought now, though it may be found
    local: bool = False  # the bytes are on this disk; no provider is needed
    optional: bool = False  # a look that may find something, and may as well not be made

    def attempt(self, known: Record | None) -> Record | None:
        """Return the attempt to work on."""
        if not self.wishes:
            return known
        return next_attempt(max(self.wishes, key=lambda wish: wish.retries), known)
