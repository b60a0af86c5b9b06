"""The account's slots, which it has for each model version: what one model lacks keeps no other waiting."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

import httpx

from reconciler.core.progress import Ended
from reconciler.core.states import Status
from tests.simulation.loop import run, running
from tests.simulation.test_not_asked_about import SPEC, refusal, scene
from tests.simulation.world import START


@dataclass
class Full(httpx.AsyncBaseTransport):
    """Has no slot for one model until a time, s."""

    behind: httpx.AsyncBaseTransport
    model: str
    until: float

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        about = request.method == "POST" and json.loads(request.content)["model_name"] == self.model
        if about and running().time() < self.until:
            return refusal(1303, 429)
        return await self.behind.handle_async_request(request)


def test_a_model_without_a_slot_keeps_no_other_from_being_bought(tmp_path: Path) -> None:
    """For an hour there is none for kling-v3: twelve of the other are done in minutes, and then these four."""

    async def story() -> None:
        async with scene(tmp_path, task_s=60, concurrency=12) as it:
            began = running().time()
            it.wall.behind = Full(it.wall.behind, "kling-v3", began + 3600)
            for number in range(4):
                name = f"a{number}"
                text = SPEC.format(name=name) + "model_name: kling-v3\n"
                (it.root / "specs" / f"{name}.yaml").write_text(text)
            others = [f"b{number}" for number in range(12)]
            it.write(*others)
            task = asyncio.create_task(it.apply(seconds=3 * 3600))
            await asyncio.sleep(600)
            assert it.billed == sorted(others)
            assert {it.statuses[name] for name in others} == {Status.COMPLETE}
            assert await task is Ended.SETTLED
            assert set(it.statuses.values()) == {Status.COMPLETE}
            assert len(it.billed) == 16

    run(story(), start=START)
