"""A folder made to stop the daemon: what was paid for comes home and the loop goes round, whatever there is to look at."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from reconciler.engine.run.daemon import Pace
from reconciler.workspace.media import decoding
from tests.engine.run.test_daemon import is_idle
from tests.engine.watching import Watching, watching
from tests.engine.world import World
from tests.support.project import wait_until
from tests.support.simulator import Simulator
from tests.workspace.spoiled import chunk, deep_png

FEWEST = 3  # answers of the loop while one file is read: none, where the loop itself reads it

T = TypeVar("T")


class Reading:
    """A function that reads a file, how many are read at the moment, and how often the loop answered meanwhile."""

    def __init__(self, function: Callable[..., T]) -> None:
        self._function = function
        self._under_way: set[object] = set()
        self.answers = 0

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Read."""
        this = object()
        self._under_way.add(this)
        try:
            return self._function(*arguments, **named)
        finally:
            self._under_way.remove(this)

    def ask(self, watch: Watching) -> None:
        """Ask the loop for an answer; it counts where the same file was read before and after it."""
        before = self._under_way.copy()
        watch.call(lambda: None)
        self.answers += bool(before & self._under_way)

    def ask_until(self, watch: Watching, is_over: Callable[[], object], what: str) -> None:
        """Ask the loop again and again until something is over."""

        def over() -> bool:
            self.ask(watch)
            return bool(is_over())

        wait_until(over, what, within=60)


def test_pictures_that_take_long_stop_nothing(
    project: World, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dozen pictures of 3 MB that decode to 100 megapixels of 16 bits: found at the start, and again while it runs."""
    picture = deep_png(10_000, 9_999)
    assert len(picture) < 3_000_000
    end = chunk(b"IEND", b"")
    project.write("dance.yaml")
    for folder in ("before", "meanwhile"):
        (project.root / "assets").mkdir(exist_ok=True)
        for number in range(6):
            note = chunk(b"tEXt", f"note\0{folder} {number}".encode())
            path = project.root / "assets" / f"{folder}{number}.png"
            path.write_bytes(picture.removesuffix(end) + note + end)

    def ask(folder: str) -> None:
        for number in range(6):
            media = (
                f"image_url: ../../assets/{folder}{number}.png\nvideo_url: https://e.com/v.mp4\n"
            )
            text = f"{media}character_orientation: image\nmode: std\nsuspend: true\n"
            project.write(f"{folder}/{number}.yaml", text)

    reading = Reading(decoding.MEDIA.ask)
    monkeypatch.setattr(decoding.MEDIA, "ask", reading)
    ask("before")
    begun = time.monotonic()
    with watching(project, pace=Pace(settle=150, tick=50, longest_look=200)) as watch:
        assert time.monotonic() - begun < 20
        ask("meanwhile")
        reading.ask_until(watch, is_idle(project, "dance"), "the video")
        waiting = watch.call(lambda: len(watch.index.looks.pending))
    assert reading.answers >= FEWEST
    assert waiting > 0  # not everything was looked at, and the video is there
    assert list(sim.billed().values()) == [1]


def test_a_huge_file_where_a_result_belongs_stops_nothing(
    project: World, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has to be read to know that it is nobody's; the loop does not wait for it."""
    reading = Reading(hashlib.file_digest)
    monkeypatch.setattr(hashlib, "file_digest", reading)
    project.write("dance.yaml")
    with watching(project, pace=Pace(settle=150, tick=50)) as watch:
        with (project.root / "specs" / "large.mp4").open("wb") as file:
            file.truncate(1024**3)  # half a second to read, at least
        project.write("large.yaml", prompt="large")
        held = "the sentence about the file in the way"
        reading.ask_until(watch, lambda: project.told.holds, held)
        wait_until(is_idle(project, "dance"), "the video")
    assert reading.answers >= FEWEST
    assert list(sim.billed().values()) == [1]
