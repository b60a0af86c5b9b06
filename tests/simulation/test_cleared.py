"""What is lost here when the provider has cleared it, too: said as `expired`, and never bought again by itself."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from reconciler.core.progress import Ended
from reconciler.core.states import Status
from tests.simulation.loop import run
from tests.simulation.test_not_asked_about import scene
from tests.simulation.world import START

MONTH = 31 * 86_400


@pytest.mark.parametrize("cleared", ["dead_url", "no_url", "unknown"])
def test_a_result_that_is_gone_everywhere_is_expired(tmp_path: Path, cleared: str) -> None:
    """Whether the task stays listed with a dead URL, without one, or not at all: one bill, and the truth."""

    async def story() -> None:
        async with scene(tmp_path, cleared=cleared, duplicate_ids="bill_again") as it:
            it.write("a1")
            assert await it.apply() is Ended.SETTLED
            assert it.statuses == {"a1": Status.COMPLETE}
            (it.root / "specs" / "a1.mp4").unlink()
            shutil.rmtree(it.root / "state" / "objects")
            await asyncio.sleep(MONTH)
            for _ in range(2):
                assert await it.apply() is Ended.SETTLED
                assert it.statuses == {"a1": Status.EXPIRED}
            assert it.billed == ["a1"]

    run(story(), start=START)
