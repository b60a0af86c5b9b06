"""The provider's account lives in virtual time alone, and its films cost next to nothing."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from reconciler.core.states import Task, TaskState
from reconciler.kling.client import KlingClient
from reconciler.kling.errors import SlowDown
from reconciler.simulator.provider import Provider
from reconciler.workspace.media.result_media import examine_result
from tests.simulation.loop import run, running
from tests.simulation.wire import Wire
from tests.simulation.world import START, account, client_of
from tests.simulator.caller import order

DAY = 24 * 3600.0


async def state_of(client: KlingClient, name: str) -> TaskState | None:
    """Return what a query says."""
    reply = await client.query(name)
    return None if reply.task is None else reply.task.state


def test_a_task_takes_virtual_time(tmp_path: Path) -> None:
    """It is created at the loop's time, ends minutes later, and is cleared after thirty days, all at once."""

    async def story() -> tuple[Task, list[TaskState | None]]:
        wire = Wire()
        async with account(tmp_path, wire, cleared="unknown"):
            client, states = client_of(wire), []
            reply = await client.create(order("one"))
            for wait in (10.0, 200.0, 29 * DAY, DAY):
                await asyncio.sleep(wait)
                states.append(await state_of(client, "one"))
        assert reply.task is not None
        return reply.task, states

    task, states = run(story(), start=START)
    assert task.created_at == pytest.approx(START * 1000, abs=1000)
    assert states == [TaskState.PROCESSING, TaskState.SUCCEEDED, TaskState.SUCCEEDED, None]


def test_tokens_and_limits_go_by_virtual_time(tmp_path: Path) -> None:
    """Keys are signed and checked, lags and intervals pass, and both clocks agree, years from now."""

    async def story() -> None:
        wire = Wire(latency=(0.01, 0.02))
        async with account(tmp_path, wire, query_lag_s=5.0):
            client = client_of(wire)
            await client.create(order("one"))
            assert await state_of(client, "one") is None
            await asyncio.sleep(5)
            assert await state_of(client, "one") is TaskState.PROCESSING
            await client.costs(start_ms=0, end_ms=2**50)
            with pytest.raises(SlowDown):
                await client.costs(start_ms=0, end_ms=2**50)
            await asyncio.sleep(1)
            await client.costs(start_ms=0, end_ms=2**50)
            for _ in range(20):
                await asyncio.sleep(500)
                await state_of(client, "one")
            assert abs(client.clock_skew) <= 1

    run(story(), start=START + 10 * 365 * DAY)


def test_an_account_is_kept_in_its_folder(tmp_path: Path) -> None:
    """A provider that goes away for an hour and comes back has the task, and its time went on."""

    async def story() -> tuple[TaskState | None, dict[str, object]]:
        wire = Wire()
        async with account(tmp_path, wire):
            await client_of(wire).create(order("one"))
        await asyncio.sleep(3600)
        async with account(tmp_path, wire) as provider:
            state = await state_of(client_of(wire), "one")
            return state, provider.ledger.report()

    state, ledger = run(story(), start=START)
    assert state is TaskState.SUCCEEDED
    assert ledger["billed"] == {"one": 1}


def films(provider: Provider) -> list[Path]:
    """Return where the films of an account are."""
    return sorted((provider.config.folder / "films").glob("*.mp4"))


def test_stamped_films_are_real_and_differ(tmp_path: Path) -> None:
    """Five hundred films in a moment, each whole and as long as it says, no two of the same bytes, and no thread."""

    async def story() -> list[Path]:
        wire, threads = Wire(), threading.active_count()
        async with account(tmp_path, wire, concurrency=500) as provider:
            for number in range(250):
                marked = {"watermark_info": {"enabled": True}} if number % 2 else {}
                mode = "pro" if number % 3 else "std"
                provider.create(order(str(number), mode=mode, **marked))
            assert threading.active_count() == threads
            assert running().time() == 0
            return films(provider)

    began = time.monotonic()
    made = run(story(), start=START)
    assert time.monotonic() - began < 10
    assert len(made) == len({path.read_bytes() for path in made}) == 375
    assert max(path.stat().st_size for path in made) < 20_000
    assert {examine_result(path).seconds for path in made[::25]} == {5.0}


def test_request_ids_are_the_seed_s(tmp_path: Path) -> None:
    """The same account asked the same at the same time answers with the same ids, and never twice with one."""

    async def story(folder: Path, seed: str) -> list[str]:
        wire = Wire()
        async with account(folder, wire, seed=seed):
            client = client_of(wire)
            return [(await client.query("nothing")).request_id for _ in range(5)]

    one = run(story(tmp_path / "one", "a"), start=START)
    again = run(story(tmp_path / "again", "a"), start=START)
    other = run(story(tmp_path / "other", "b"), start=START)
    assert one == again
    assert len({*one, *other}) == 10
