"""The loop that drives turns: however it ends, nothing of it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, cast

import pytest

from reconciler.core.progress import Verdict
from reconciler.engine.loop.loop import Loop
from reconciler.engine.ports import Options


class Slow:
    """Turns of which one never ends by itself."""

    def __init__(self) -> None:
        self.begun, self.ended = asyncio.Event(), False

    def now(self) -> int:
        return 0

    def readmitted(self) -> list[str]:
        return []

    def room_at(self, models: Iterable[str]) -> list[tuple[int, str]]:
        return []

    def stop_buying(self) -> None:
        pass

    async def take(self, key: str) -> Verdict:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended = True
        raise AssertionError


def test_who_interrupts_a_second_time_leaves_nothing_running() -> None:
    """The first time answers that are nearly there are awaited; the second time what is left is cut off before it returns.

    Otherwise a turn would find its state closed, and say so in a traceback.
    """

    async def story() -> None:
        turns = Slow()
        loop = Loop(cast(Any, turns), Options("run"), cast(Any, turns))
        loop.add("one")
        running = asyncio.create_task(loop.run(asyncio.Event()))
        await turns.begun.wait()
        running.cancel()
        await asyncio.sleep(0)
        assert not turns.ended
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert turns.ended

    asyncio.run(story())
