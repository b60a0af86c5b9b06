"""Films are real: they play, have the size and length that were ordered, and are the same whenever they are made."""

from __future__ import annotations

import base64
import io
import threading
import time
from contextlib import suppress
from pathlib import Path

import av
import httpx
import pytest

from tests.simulator.caller import calling, order
from tests.simulator.made import base64_picture, clip
from tests.support.project import wait_until
from tests.support.simulator import Simulator, simulator


@pytest.mark.parametrize(
    ("mode", "picture", "size"),
    [("std", (300, 300), (720, 720)), ("pro", (400, 300), (1440, 1080))],
)
def test_a_film_is_what_was_ordered(
    tmp_path: Path, mode: str, picture: tuple[int, int], size: tuple[int, int]
) -> None:
    """720p or 1080p in the form of the picture, H.264, as long as the reference, with its sound, index first."""
    reference = clip(tmp_path / "three.mp4", sound=True)
    with simulator(render="full") as sim, calling(sim) as api:
        url = sim.upload(reference)
        api.create(order("one", mode=mode, image_url=base64_picture(*picture), video_url=url))
        film = httpx.get(api.film_url("one"), trust_env=False).content
        assert api.query("one").json()["data"]["task_result"]["videos"][0]["duration"] == "3"
    assert film.index(b"moov") < film.index(b"mdat")
    with av.open(io.BytesIO(film), "r") as container:
        video = container.streams.video[0]
        assert video.codec_context.name == "h264"
        assert (video.width, video.height) == size
        assert container.duration == pytest.approx(3_000_000, abs=50_000)
        assert len(list(container.decode(video))) == 30
        assert container.streams.audio[0].codec_context.name == "aac"


def frames(film: bytes) -> list[bytes]:
    with av.open(io.BytesIO(film), "r") as container:
        return [bytes(frame.planes[0]) for frame in container.decode(video=0)]


def test_films_move_and_differ() -> None:
    """Frames change, two tasks for the same order give other bytes, and a watermark is visible."""
    with simulator(render="draft") as sim, calling(sim) as api:
        body = {"video_url": "https://example.com/x.mp4", "watermark_info": {"enabled": True}}
        for name in ("one", "two"):
            api.create(order(name, **body))
        video = api.until_over("one")["task_result"]["videos"][0]
        one, marked = (
            httpx.get(video[key], trust_env=False).content for key in ("url", "watermark_url")
        )
        two = httpx.get(api.film_url("two"), trust_env=False).content
    assert one != two
    assert frames(one)[0] != frames(one)[-1]
    assert frames(one)[0] != frames(marked)[0]


def test_sound_can_be_left_out(tmp_path: Path) -> None:
    """`keep_original_sound: no` gives a silent film."""
    with simulator(render="draft") as sim, calling(sim) as api:
        url = sim.upload(clip(tmp_path / "three.mp4", sound=True))
        api.create(order("one", video_url=url, keep_original_sound="no"))
        film = httpx.get(api.film_url("one"), trust_env=False).content
    with av.open(io.BytesIO(film), "r") as container:
        assert len(container.streams) == 1


def test_a_lost_film_is_made_again_the_same(tmp_path: Path) -> None:
    """After a restart without its films the provider makes the very same bytes."""
    with simulator(tmp_path, seed="s", render="draft") as sim, calling(sim) as api:
        api.create(order("one", image_url=base64_picture(kind="JPEG")))
        before = httpx.get(api.film_url("one"), trust_env=False).content
    for film in (tmp_path / "films").iterdir():
        film.unlink()
    with simulator(tmp_path, render="draft") as sim, calling(sim) as api:
        assert httpx.get(api.film_url("one"), trust_env=False).content == before


def test_a_picture_with_a_broken_body_still_gives_a_film() -> None:
    """A header that promises more than the file holds is not the simulator's end."""
    with simulator(render="draft") as sim, calling(sim) as api:
        broken = base64.b64encode(base64.b64decode(base64_picture())[:200]).decode()
        api.create(order("one", image_url=broken))
        assert api.until_over("one")["task_status"] == "succeed"
        assert sim.billed() == {"one": 1}


def test_a_simulator_that_is_ended_gives_up_the_films_that_it_has_not_begun(tmp_path: Path) -> None:
    """Whoever waits for all of them meanwhile does not keep it: it ends with the films under way."""

    def wait_for_all(sim: Simulator) -> None:
        with suppress(httpx.HTTPError):
            sim.advance(200)

    with simulator(tmp_path, speed=0, concurrency=20, render="full") as sim, calling(sim) as api:
        for number in range(20):
            api.create(order(f"n{number}"))
        waiting = threading.Thread(target=wait_for_all, args=(sim,))
        waiting.start()
        wait_until(lambda: any(tmp_path.rglob("*.mp4")), "a first film")
        ending = time.monotonic()
    assert time.monotonic() - ending < 60
    waiting.join()
    assert len(list(tmp_path.rglob("*.mp4"))) < 20
