"""A folder made to stop the daemon: what was paid for comes home and the loop goes round, whatever there is to look at."""

from __future__ import annotations

import time

from reconciler.engine.run.daemon import Pace
from tests.engine.run.test_daemon import is_idle
from tests.engine.watching import Watching, watching
from tests.engine.world import World
from tests.support.project import wait_until
from tests.support.simulator import Simulator
from tests.workspace.spoiled import chunk, deep_png

LONGEST_WAIT = 2.0  # s that the loop may take to answer, on a machine that has other things to do


def slowest_answer(watch: Watching, is_over: object) -> float:
    """Ask the loop again and again until something is over; return how long it took at worst (s)."""
    worst = 0.0

    def over() -> bool:
        nonlocal worst
        begun = time.monotonic()
        watch.call(lambda: None)
        worst = max(worst, time.monotonic() - begun)
        assert callable(is_over)
        return bool(is_over())

    wait_until(over, "the end of it")
    return worst


def test_pictures_that_take_long_stop_nothing(project: World, sim: Simulator) -> None:
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

    ask("before")
    begun = time.monotonic()
    with watching(project, pace=Pace(settle=150, tick=50, longest_look=200)) as watch:
        assert time.monotonic() - begun < 20
        ask("meanwhile")
        worst = slowest_answer(watch, is_idle(project, "dance"))
        waiting = watch.call(lambda: len(watch.index.looks.pending))
    assert worst < LONGEST_WAIT
    assert waiting > 0  # not everything was looked at, and the video is there
    assert list(sim.billed().values()) == [1]


def test_a_huge_file_where_a_result_belongs_stops_nothing(project: World, sim: Simulator) -> None:
    """It has to be read to know that it is nobody's; the loop does not wait for it."""
    project.write("dance.yaml")
    with watching(project, pace=Pace(settle=150, tick=50)) as watch:
        with (project.root / "specs" / "large.mp4").open("wb") as file:
            file.truncate(2 * 1024**3)  # longer to read than the loop may take
        project.write("large.yaml", prompt="large")
        worst = slowest_answer(watch, is_idle(project, "dance"))
        wait_until(lambda: project.told.holds, "the sentence about the file in the way", within=60)
    assert worst < LONGEST_WAIT
    assert list(sim.billed().values()) == [1]
