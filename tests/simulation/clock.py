"""The machine's clock in virtual time, as the modules of the product read it that read it by themselves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import reconciler.cli.running
import reconciler.workspace.index.spec_index
import reconciler.workspace.read.loader
from tests.simulation.loop import running

CLOCKED: tuple[Any, ...] = (
    reconciler.cli.running,
    reconciler.workspace.index.spec_index,
    reconciler.workspace.read.loader,
)
"""The modules of the product that read the machine's clock by themselves."""


@dataclass
class Clock:
    """The machine's clock: what the wall shows can be set, what counts since boot cannot."""

    ahead: float = 0.0  # s

    def wall(self) -> float:
        """Return seconds since the epoch, as the wall shows them."""
        return running().wall() + self.ahead

    def wall_ns(self) -> int:
        """Return the same in ns."""
        return int(self.wall() * 1e9)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Be the clock of the product while the block lasts."""
        face = SimpleNamespace(
            **{
                **vars(time),
                "time": self.wall,
                "time_ns": self.wall_ns,
                "clock_gettime": lambda _: running().time(),
            }
        )
        for module in CLOCKED:
            module.time = face
        try:
            yield
        finally:
            for module in CLOCKED:
                module.time = time
