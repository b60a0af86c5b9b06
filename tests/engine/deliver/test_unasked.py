"""Results that nobody asked for: only the spec decides what is fetched, where it goes and when a generation is complete."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from reconciler.core.states import Result, Role, Status
from reconciler.store.values import Change
from tests.engine.test_odd_providers import WATERMARKED
from tests.engine.world import World
from tests.support.simulator import Simulator

Videos = list[dict[str, Any]]


class Retold(httpx.AsyncBaseTransport):
    """The real wire, with the videos of every task told in another way."""

    def __init__(self, retell: Callable[[Videos], Videos]) -> None:
        self._retell = retell
        self._wire = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self._wire.handle_async_request(request)
        document = json.loads(await answer.aread())
        data = document.get("data")
        for task in data if isinstance(data, list) else [data]:
            if isinstance(task, dict) and (task.get("task_result") or {}).get("videos"):
                task["task_result"]["videos"] = self._retell(task["task_result"]["videos"])
        return httpx.Response(answer.status_code, json=document)

    async def aclose(self) -> None:
        await self._wire.aclose()


def marked(videos: Videos) -> Videos:
    """Give every video a watermarked copy, asked for or not."""
    return [{**video, "watermark_url": video["url"] + "&copy"} for video in videos]


def unmarked(videos: Videos) -> Videos:
    """Give no video a watermarked copy."""
    return [{name: video[name] for name in video if name != "watermark_url"} for video in videos]


def saved(project: World) -> list[Path]:
    return [path for path in (project.root / "state/objects").rglob("*") if path.is_file()]


def test_a_copy_that_nobody_asked_for_is_not_fetched_and_is_in_nobodys_way(
    project: World, sim: Simulator
) -> None:
    """Somebody's own file stands where it would go: the video is complete, the file is theirs, the receipt has one output."""
    project.transport = Retold(marked)
    project.write("dance.yaml")
    theirs = project.root / "specs/dance.watermark.mp4"
    theirs.write_bytes(b"mine")
    project.apply()
    assert project.only().status is Status.COMPLETE
    assert theirs.read_bytes() == b"mine"
    assert len(saved(project)) == 1
    receipt = json.loads((project.root / "specs/dance.receipt.json").read_text())
    assert [one["role"] for one in receipt["generations"][0]["outputs"]] == ["video"]
    project.apply()
    assert list(sim.billed().values()) == [1]


def test_a_spec_may_have_the_name_of_a_copy_that_nobody_asked_for(
    project: World, sim: Simulator
) -> None:
    """`dance.yaml` and `dance.watermark.yaml` are two wishes with a file each."""
    project.transport = Retold(marked)
    project.write("dance.yaml")
    project.write("dance.watermark.yaml", prompt="jumps")
    project.apply()
    assert {item.status for item in project.plan().assessments} == {Status.COMPLETE}
    files = {path.name: path.read_bytes() for path in (project.root / "specs").glob("*.mp4")}
    assert files.keys() == {"dance.mp4", "dance.watermark.mp4"}
    assert len(set(files.values())) == 2
    assert sorted(sim.billed().values()) == [1, 1]


def test_a_spec_with_the_name_of_a_copy_that_is_asked_for_is_an_error_before_anything_is_bought(
    project: World, sim: Simulator
) -> None:
    """Both would write `dance.watermark.mp4`."""
    project.write("dance.yaml", WATERMARKED)
    project.write("dance.watermark.yaml", prompt="jumps")
    project.apply()
    assert project.plan().invalid.keys() == {"specs/dance.yaml", "specs/dance.watermark.yaml"}
    assert sim.billed() == {}


@pytest.fixture
def of_old(project: World) -> World:
    """A project that an older program completed: it kept, published and listed a copy that nobody asked for."""
    project.write("dance.yaml")
    project.apply()
    record = project.only().record
    assert record is not None
    copy = project.root / "specs/dance.watermark.mp4"
    copy.write_bytes((project.root / "specs/dance.mp4").read_bytes() + b"\0\0\0\x08free")
    sha256, size = project.objects.ingest(copy)
    results = (*record.results, Result(Role.WATERMARK, sha256, size, 5.0))
    project.repository.save([Change(record.evolve(results=results), Status.COMPLETE)])
    project.apply()
    assert "dance.watermark.mp4" in (project.root / "specs/dance.receipt.json").read_text()
    return project


@pytest.mark.parametrize("lost", ["nothing", "the copy", "the state", "the video"])
def test_what_an_older_program_kept_unasked_stays_valid(
    of_old: World, sim: Simulator, lost: str
) -> None:
    """Complete, with a receipt that is not rewritten, whether or not the copy is still there."""
    receipt, copy = (
        of_old.root / "specs/dance.receipt.json",
        of_old.root / "specs/dance.watermark.mp4",
    )
    before = receipt.read_bytes(), receipt.stat().st_mtime_ns
    if lost == "the copy":
        copy.write_bytes(b"somebody's own")
    if lost == "the state":
        of_old.lose_state()
    if lost == "the video":
        (of_old.root / "specs/dance.mp4").unlink()
    of_old.apply()
    assert of_old.only().status is Status.COMPLETE
    assert (receipt.read_bytes(), receipt.stat().st_mtime_ns) == before
    assert list(sim.billed().values()) == [1]


def test_a_copy_that_is_asked_for_and_never_given_is_said_and_ends(
    project: World, sim: Simulator
) -> None:
    """The video is there from the first run on; every run says what is missing, and after 30 days it has ended."""
    project.transport = Retold(unmarked)
    project.write("dance.yaml", WATERMARKED)
    project.apply(timeout=120)
    video = (project.root / "specs/dance.mp4").read_bytes()
    assert project.only().status is Status.BLOCKED
    assert "lists no watermark" in project.only().reason
    sim.advance(31 * 24 * 3600)
    project.apply(timeout=120)
    assert project.only().status is Status.EXPIRED
    assert (project.root / "specs/dance.mp4").read_bytes() == video
    assert list(sim.billed().values()) == [1]


def test_complete_means_that_all_that_was_asked_for_is_there(
    project: World, sim: Simulator
) -> None:
    """A state that lost what it knew of the copy fetches it again; nothing is bought."""
    project.write("dance.yaml", WATERMARKED)
    project.apply()
    record = project.only().record
    assert record is not None
    project.repository.save([Change(record.evolve(results=record.results[:1]), Status.COMPLETE)])
    (project.root / "specs/dance.watermark.mp4").unlink()
    assert project.only().status is not Status.COMPLETE
    project.apply()
    assert project.only().status is Status.COMPLETE
    assert (project.root / "specs/dance.watermark.mp4").exists()
    assert list(sim.billed().values()) == [1]


def test_a_second_video_of_a_task_is_kept_and_said(project: World, sim: Simulator) -> None:
    """The first one is the result; the other was paid for as well: its bytes are kept, and named in the history."""

    def another(videos: Videos) -> Videos:
        return [unmarked(videos)[0], {**videos[0], "url": videos[0]["watermark_url"]}]

    project.transport = Retold(another)
    project.write("dance.yaml", WATERMARKED)
    project.apply(until=lambda world: any("2 videos" in said for said in world.told.said))
    (name,) = project.repository.records()
    (entry,) = [one for one in project.repository.history(name) if one.kind == "kept beside"]
    (digest,) = [word for word in entry.detail.split() if len(word) == 64]
    assert any(digest in said for said in project.told.said)
    assert project.objects.verify(digest)
    assert list(sim.billed().values()) == [1]


def test_a_second_video_that_cannot_be_had_keeps_nothing_back(
    project: World, sim: Simulator
) -> None:
    """It is said with the ids that the provider needs; the first one is complete."""
    project.transport = Retold(
        lambda videos: [
            *videos,
            {**videos[0], "url": videos[0]["url"].replace("signature=", "signature=x")},
        ]
    )
    project.write("dance.yaml")
    project.apply()
    item = project.only()
    assert item.status is Status.COMPLETE
    assert item.record is not None
    assert any(
        "2 videos" in said and str(item.record.task_id) in said for said in project.told.said
    )
