"""A file system that does not tell that a file was overwritten: what is remembered of the file is thrown away in the end."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from PIL import Image

from reconciler.store.file_cache import FileCache
from reconciler.workspace.files.outputs import Signature
from tests.support.project import Project, wait_until
from tests.support.simulator import Simulator, simulator

GIRL = "specs/girl.png"


@pytest.fixture
def sim(tmp_path: Path) -> Iterator[Simulator]:
    with simulator(tmp_path / "simulator") as running:
        yield running


def paint(path: Path, colour: str, side: int = 320) -> None:
    """Make an image whose size in bytes does not depend on what it shows."""
    Image.new("RGB", (side, side), colour).save(path, compress_level=0)


def overwrite_unseen(project: Project) -> None:
    """Overwrite the image in place, and make the cache believe that the file system showed nothing."""
    cache, path = FileCache(project.state / "cache.db"), project.root / GIRL

    def is_remembered() -> bool:
        project.run("plan")
        return "specs/dance.yaml" in cache.load()

    wait_until(is_remembered, "the cache")
    before = path.stat()
    with Image.open(path) as image:
        side = image.width
    paint(path.with_name("new.png"), "red", side)
    path.write_bytes(path.with_name("new.png").read_bytes())
    path.with_name("new.png").unlink()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    told, now = noted(before), noted(path.stat())
    key, payload = cache.load()["specs/dance.yaml"]
    assert told in payload
    cache.save({"specs/dance.yaml": (key, payload.replace(told, now))}, [])
    cache.close()


def noted(status: os.stat_result) -> bytes:
    """Return how the cache notes a file."""
    return json.dumps(asdict(Signature.of(status)), separators=(",", ":")).encode()


@pytest.mark.parametrize("prepare", [False, True])
def test_the_next_run_reads_anew_and_buys_what_is_there(
    tmp_path: Path, sim: Simulator, prepare: bool
) -> None:
    """One run sends nothing and says why; the next one buys the new image, and nobody bought the old one."""
    project = Project(tmp_path / "project", sim.env())
    paint(project.root / GIRL, "blue", 2000 if prepare else 320)  # 12 MB are too much to be sent
    project.spec(image_url="girl.png", prepare=prepare or None)
    if prepare:  # what was made of the old image is at hand
        project.spec("other.yaml", image_url="girl.png", prepare=True, prompt="another")
        assert "preparing" in project.apply("specs/other.yaml").err
    earlier = len(sim.billed())
    overwrite_unseen(project)
    first = project.apply("specs/dance.yaml")
    assert first.code == 3
    assert "changed while it was being" in str(first)
    assert len(sim.billed()) == earlier
    again = project.apply("specs/dance.yaml")
    assert again.code == 0, str(again)
    project.lose("state")
    fresh = project.run("plan", "specs/dance.yaml", "--json").document["actions"]
    assert [action["action"] for action in fresh] == ["keep"], "the image of today was bought"
    assert len(sim.billed()) == earlier + 1


def test_a_watch_reads_anew_by_itself(tmp_path: Path, sim: Simulator) -> None:
    """Nobody touches anything: it is bought as it is now, once."""
    project = Project(tmp_path / "project", {**sim.env(), "RECONCILER_SETTLE_SECONDS": "0.1"})
    paint(project.root / GIRL, "blue")
    project.spec(image_url="girl.png")
    overwrite_unseen(project)
    with project.watching() as running:
        running.wait_for("changed while it was being")
        wait_until((project.specs / "dance.mp4").exists, "the video", 60)
    assert sorted(sim.billed().values()) == [1]
    assert project.apply().code == 0
    assert sorted(sim.billed().values()) == [1]
