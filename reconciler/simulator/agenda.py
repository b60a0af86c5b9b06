"""The agenda of callbacks: which change of status is told to whom, and when. Calls nobody: that is `callbacks`'s.

The provider promises little here: calls can repeat, come late, out of order, or never (see `SimulatorConfig`).
What happens to each is drawn from the seed and the task, so that the same account tells the same again.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from reconciler.simulator.config import SimulatorConfig
from reconciler.simulator.tasks import Task


@dataclass(frozen=True, order=True)
class Call:
    """One call that is due at a time, virtual ms; calls of the same time are made in their order."""

    due: int
    number: int
    task: Task = field(compare=False)
    moment: int = field(compare=False)
    """The change that it tells, virtual ms."""


class Agenda:
    """The calls that are still to be made; used from one thread at a time."""

    def __init__(self, config: SimulatorConfig, seed: str) -> None:
        """`seed` decides the draws."""
        self._config = config
        self._seed = seed
        self._calls: list[Call] = []
        self._made = 0
        self._grown: list[Callable[[], None]] = []

    def on_growth(self, call: Callable[[], None]) -> None:
        """Have `call` called whenever there are more calls to make."""
        self._grown.append(call)

    def expect(self, task: Task, moments: Sequence[int], *, after: int) -> None:
        """Note the calls of a task whose status changes at `moments` (its creation first); those until `after` are over."""
        if not task.callback_url or self._config.callbacks == "off":
            return
        first = 0 if self._config.callback_first == "submitted" else 1
        for number, moment in enumerate(moments):
            if number >= first and moment > after:
                self._note(task, number, moment)
        for call in self._grown:
            call()

    def next_due(self) -> int | None:
        """Return when the next call is due, virtual ms; None for no call."""
        return self._calls[0].due if self._calls else None

    def take(self, now: int) -> list[Call]:
        """Return the calls that are due, and forget them."""
        due = []
        while self._calls and self._calls[0].due <= now:
            due.append(heapq.heappop(self._calls))
        return due

    def _note(self, task: Task, number: int, moment: int) -> None:
        reverse = self._config.callback_order == "reversed"
        earliest = 2 * task.ended_at - moment if reverse else moment
        for copy in range(1 + self._config.callback_repeats):
            draw = f"{self._seed}/{task.task_id}/{number}/{copy}"
            if _chance(f"{draw}/lost") < self._config.callback_lost:
                continue
            late = round(_chance(f"{draw}/late") * self._config.callback_late_s * 1000)
            self._made += 1
            heapq.heappush(self._calls, Call(earliest + late, self._made, task, moment))


def _chance(draw: str) -> float:
    """Return a number in [0, 1) that the draw's name decides."""
    return int.from_bytes(hashlib.sha256(draw.encode()).digest()[:6]) / 2**48
