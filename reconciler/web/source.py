"""What the pages are given: the documents of whoever keeps the folder true, asked for now and then. No HTML here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any, Generic, Protocol, TypeVar

_KEPT_S = 1.0
"""Seconds for which an answer is given again: many tabs, or a page that asks in a loop, cost one document a second."""

Document = Mapping[str, Any]
Answer = TypeVar("Answer")


class StatusSource(Protocol):
    """Whoever knows how things stand; called on the event loop, and quick."""

    def document(self) -> Document:
        """Return the document of `status --json`."""
        ...

    def health(self) -> Document:
        """Return `ok` (bool), `since` and `last_look` (ISO 8601), `in_flight` (count), and what is wrong.

        `trouble` is why all is not well, and `paused` why nothing is bought, or empty; `provider` is `answers`, or
        a sentence on its silence.
        """
        ...

    def unready(self) -> Sequence[str]:
        """Return, in sentences, what keeps things from being bought; empty when all is ready."""
        ...


class Recent(Generic[Answer]):
    """An answer that is made at most once a second, however many ask."""

    def __init__(self, make: Callable[[], Answer]) -> None:
        self._make = make
        self._made: tuple[float, Answer] | None = None

    def get(self) -> Answer:
        """Return the answer of this second; raises what making it raises."""
        if self._made is None or monotonic() - self._made[0] >= _KEPT_S:
            self._made = monotonic(), self._make()
        return self._made[1]
