"""A life that dies runs nothing any more, leaves the disk as it was, and holds nothing that another one needs."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.errors import StateError
from reconciler.store.lock import StateLock
from reconciler.store.repository import Repository
from tests.simulation.crash import Death, Life, MortalLoop
from tests.simulation.disk import Disk
from tests.simulation.loop import run
from tests.simulation.world import START


def live(
    folder: Path, story: Callable[[], Coroutine[Any, Any, None]], death: Death | None = None
) -> Life:
    """Let one life live to its end, a virtual hour at most, and bury it."""

    async def world() -> Life:
        life = Life("life", folder, death)
        with Disk().attached():
            life.begin(story())
            async with asyncio.timeout(3600):
                await life.over.wait()
            life.bury()
            await asyncio.sleep(3600)
        return life

    return run(world(), start=START, loop=MortalLoop)


@pytest.mark.parametrize("step", range(1, 12))
def test_the_dead_do_nothing_at_whatever_step_they_died(tmp_path: Path, step: int) -> None:
    """Neither what was to come, nor what stands in a `finally`, nor a task of its own changes a file."""
    seen: list[str] = []

    async def other() -> None:
        try:
            await asyncio.sleep(60)
            (tmp_path / "other").touch()
        finally:
            (tmp_path / "finally of the other").touch()

    async def story() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(other())
                await asyncio.sleep(10)
                seen.append("ten seconds")
                await asyncio.sleep(10)
        finally:
            (tmp_path / "finally").touch()
            await asyncio.sleep(10)
            (tmp_path / "late").touch()

    life = live(tmp_path, story, Death("step", step))
    left = {path.name for path in tmp_path.iterdir()}
    if life.died_of:
        assert life.steps == step
        assert "late" not in left
        assert ("other" in left) == ("finally of the other" in left)
        assert "finally" not in left or "other" in left
    else:
        assert left == {"other", "finally of the other", "finally", "late"}


def test_every_change_of_the_disk_is_a_place_to_die(tmp_path: Path) -> None:
    """Before each of them the process can end, and then it and all after it have not happened."""

    async def story() -> None:
        part = tmp_path / "film.part"
        with part.open("wb") as file:
            file.write(b"film")
            file.flush()
            os.fsync(file.fileno())
        part.replace(tmp_path / "film")
        part.with_suffix(".note").unlink(missing_ok=True)

    kept = []
    for number in range(1, 6):
        for path in tmp_path.iterdir():
            path.unlink()
        live(tmp_path, story, Death("effect", number))
        kept.append(sorted(path.name for path in tmp_path.iterdir()))
    assert kept == [[], ["film.part"], ["film.part"], ["film"], ["film"]]


def test_a_transaction_dies_with_its_process_and_a_commit_does_not(tmp_path: Path) -> None:
    """The next process finds what was committed, no more and no less, in a database that was never closed."""
    place = tmp_path / "reconciler.db"

    def story(count: int) -> Callable[[], Coroutine[Any, Any, None]]:
        async def remember() -> None:
            repository = Repository.open(place)
            for number in range(count):
                repository.remember(f"key {number}", "value")

        return remember

    opened = live(tmp_path, story(0)).effects
    for death in range(1, 4):
        for path in tmp_path.iterdir():
            path.unlink()
        life = live(tmp_path, story(3), Death("effect", opened + death))
        assert life.died_of
        assert (tmp_path / "reconciler.db-wal").stat().st_size > 0
        repository = Repository.open(place)
        try:
            found = [repository.recall(f"key {number}") for number in range(3)]
            assert found == ["value"] * (death - 1) + [None] * (4 - death)
            assert repository.integrity_check() == ()
        finally:
            repository.close()


def test_the_lock_of_the_dead_is_free(tmp_path: Path) -> None:
    """Wherever the process died between opening the lock and giving it back, the next one gets it."""

    async def story() -> None:
        with StateLock(tmp_path):
            await asyncio.sleep(1)

    for kind in ("effect", "step"):
        for number in range(1, 4):
            live(tmp_path, story, Death(kind, number))
            with StateLock(tmp_path):
                pass


def test_what_is_under_way_outlives_its_sender(tmp_path: Path) -> None:
    """Tasks of the world go on, and nothing of the dead holds up the end of the loop."""
    heard: list[str] = []

    async def world() -> None:
        async def server(queue: asyncio.Queue[str]) -> None:
            heard.append(await queue.get())
            await asyncio.sleep(5)
            heard.append("done")

        async def client(queue: asyncio.Queue[str]) -> None:
            queue.put_nowait("request")
            await asyncio.sleep(1000)

        queue: asyncio.Queue[str] = asyncio.Queue()
        serving = asyncio.create_task(server(queue))
        life = Life("life", tmp_path, Death("step", 2))
        life.begin(client(queue))
        await life.over.wait()
        life.bury()
        await serving

    run(world(), start=START, loop=MortalLoop)
    assert heard == ["request", "done"]


def test_a_full_disk_refuses_what_grows_and_nothing_is_half_committed(tmp_path: Path) -> None:
    """Files and the database say so as a real disk makes them, and go on once there is room."""

    async def world() -> None:
        disk, life = Disk(), Life("life", tmp_path)

        async def story() -> None:
            repository = Repository.open(tmp_path / "reconciler.db")
            disk.full = "all"
            with pytest.raises(StateError, match="cannot grow"):
                repository.remember("key", "value")
            descriptor = os.open(tmp_path / "film", os.O_WRONLY | os.O_CREAT)
            with pytest.raises(OSError, match="No space") as refused:
                os.write(descriptor, b"film")
            assert refused.value.errno == errno.ENOSPC
            os.close(descriptor)
            disk.full = ""
            assert repository.recall("key") is None
            repository.remember("key", "value")
            repository.close()

        with disk.attached():
            life.begin(story())
            await life.over.wait()
        assert life.main is not None
        life.main.result()
        life.bury()

    run(world(), start=START, loop=MortalLoop)


def test_nothing_is_left_behind_below_the_process(tmp_path: Path) -> None:
    """The real functions are back once a disk is taken away."""
    real = (os.open, os.write, os.close, open, sqlite3.connect)
    with Disk().attached():
        assert os.open is not real[0]
    assert (os.open, os.write, os.close, open, sqlite3.connect) == real
