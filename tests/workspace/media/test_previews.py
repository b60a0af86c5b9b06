"""Posters and contact sheets: pictures of real films, the same each time, and a sentence where none can be had."""

from __future__ import annotations

import io
import random
import sys
from pathlib import Path

import av
import pytest
from av.video.stream import VideoStream
from PIL import Image

from reconciler.core.states import Role
from reconciler.workspace.media import result_media
from reconciler.workspace.media.films import probe_video
from reconciler.workspace.media.flaws import Flaw, MediaError
from reconciler.workspace.media.result_media import Preview, make_preview
from tests.workspace.builders import MEDIA, make_video
from tests.workspace.spoiled import encrypted_film, make_sound, with_noise

BUNNY = MEDIA / "bigbuckbunny.mp4"


def opened(preview: Preview) -> Image.Image:
    image = Image.open(io.BytesIO(preview.data), formats=["WEBP"])
    image.load()
    assert image.size == (preview.width, preview.height)
    return image


def make_striped(path: Path, rotation: int) -> Path:
    """A film that is stored with its upper half red and the lower one blue, to be shown turned counter-clockwise."""
    picture = Image.new("RGB", (128, 64), "blue")
    picture.paste((255, 0, 0), (0, 0, 128, 32))
    with av.open(path, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=10)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p"
        if rotation:
            stream.set_display_rotation(rotation)
        for _ in range(10):
            frame = av.VideoFrame.from_image(picture)  # type: ignore[no-untyped-call]
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_a_poster_is_one_frame_at_a_third_of_the_length_and_no_larger_than_it_may_be() -> None:
    """A poster is a real picture of at most 640 pixels and well below 100 kB."""
    poster = make_preview(BUNNY, Role.POSTER)
    assert (poster.width, poster.height) == (640, 360)
    assert len(poster.data) < 100_000
    assert len(opened(poster).getcolors(maxcolors=1_000_000) or ()) > 1000  # a picture, not a blank


def test_a_contact_sheet_holds_nine_frames() -> None:
    """A contact sheet shows nine moments of the film that differ."""
    sheet = opened(make_preview(BUNNY, Role.SHEET))
    assert sheet.size == (960, 540)
    tiles = {
        sheet.crop((x, y, x + 320, y + 180)).tobytes()
        for x in range(0, 960, 320)
        for y in range(0, 540, 180)
    }
    assert len(tiles) == 9


@pytest.mark.parametrize("role", [Role.POSTER, Role.SHEET])
def test_the_same_film_gives_the_same_bytes(role: Role) -> None:
    """A preview that is made again is the file that the receipt names."""
    assert make_preview(BUNNY, role) == make_preview(BUNNY, role)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells how many threads there are")
def test_many_pictures_leave_nothing_in_the_process_that_makes_them() -> None:
    """Threads that stayed would fill its memory, and then sound films would be said to be damaged."""
    before = len(list(Path("/proc/self/task").iterdir()))
    for _ in range(5):
        with BUNNY.open("rb") as film:
            result_media.draw(film, Role.POSTER)
    assert len(list(Path("/proc/self/task").iterdir())) <= before + 2


def test_a_picture_holds_nothing_but_the_picture() -> None:
    """No time, no name of a program: what lies in git differs only where the picture does."""
    data = make_preview(BUNNY, Role.POSTER).data
    assert (data[:4], data[8:16]) == (
        b"RIFF",
        b"WEBPVP8 ",
    )  # the format that has room for pixels alone


@pytest.mark.parametrize(
    ("rotation", "red", "blue"),
    [
        pytest.param(0, (64, 8), (64, 56), id="not turned: red is at the top"),
        pytest.param(90, (8, 64), (56, 64), id="a quarter counter-clockwise: at the left"),
        pytest.param(180, (64, 56), (64, 8), id="half: at the bottom"),
        pytest.param(-90, (56, 64), (8, 64), id="a quarter clockwise: at the right"),
    ],
)
def test_a_poster_is_upright_as_players_show_the_film(
    tmp_path: Path, rotation: int, red: tuple[int, int], blue: tuple[int, int]
) -> None:
    """A film that is stored turned has previews the right way up, with the sides that players show."""
    film = make_striped(tmp_path / "a.mp4", rotation)
    poster = make_preview(film, Role.POSTER)
    facts = probe_video(film)
    assert (poster.width, poster.height) == (facts.width, facts.height)
    image = opened(poster).convert("RGB")
    assert [_colour(image, at) for at in (red, blue)] == ["red", "blue"]
    sheet = make_preview(film, Role.SHEET)
    assert (sheet.width, sheet.height) == (3 * facts.width, 3 * facts.height)


def _colour(image: Image.Image, at: tuple[int, int]) -> str:
    pixel = image.getpixel(at)
    assert isinstance(pixel, tuple)
    return "red" if pixel[0] > pixel[2] else "blue"


def test_a_small_film_is_not_enlarged(tmp_path: Path) -> None:
    """A poster has never more pixels than its film."""
    poster = make_preview(make_video(tmp_path / "a.mp4", size=(320, 180)), Role.POSTER)
    assert (poster.width, poster.height) == (320, 180)


def test_a_film_that_is_damaged_near_its_end_gives_what_came_before(tmp_path: Path) -> None:
    """Frames before the damage are enough for a contact sheet."""
    film = make_video(tmp_path / "a.mp4", gop=1)
    film.write_bytes(with_noise(film.read_bytes(), at_the_end=True))
    assert min(opened(make_preview(film, Role.SHEET)).size) > 0


def test_a_film_of_which_no_frame_decodes_gives_a_sentence(tmp_path: Path) -> None:
    """A film without one good frame is told to people in words, not by a decoder's error."""
    (tmp_path / "a.mp4").write_bytes(with_noise(BUNNY.read_bytes()))
    with pytest.raises(MediaError, match="no frame of it decodes here"):
        make_preview(tmp_path / "a.mp4", Role.POSTER)


def test_no_more_is_decoded_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """A film that would take for ever gives the last frame that was reached."""
    whole = make_preview(BUNNY, Role.POSTER)
    monkeypatch.setattr(result_media, "_MOST_PIXELS", 3 * 1280 * 720)
    with BUNNY.open("rb") as file:
        early = result_media.draw(file, Role.POSTER)
    assert early.data != whole.data
    opened(Preview(early.data, *early.facts))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no film",
        BUNNY.read_bytes()[:50_000],
        encrypted_film(),
        random.Random(1).randbytes(10_000),
        BUNNY.read_bytes()[:40] + bytes(len(BUNNY.read_bytes()) - 40),
    ],
    ids=["nothing", "text", "broken off", "encrypted", "noise", "zeros"],
)
@pytest.mark.parametrize("role", [Role.POSTER, Role.SHEET])
def test_what_is_no_film_gives_a_sentence(tmp_path: Path, content: bytes, role: Role) -> None:
    """Whatever the bytes are, a preview is made or one sentence says why not."""
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(MediaError, match=r"`the video` \w+"):
        make_preview(tmp_path / "a.mp4", role)


def test_sound_and_missing_files_give_a_sentence(tmp_path: Path) -> None:
    """A film without pictures and a file that is gone are told apart in words."""
    with pytest.raises(MediaError, match="only sound"):
        make_preview(make_sound(tmp_path / "a.mp4"), Role.POSTER)
    with pytest.raises(MediaError, match="does not exist"):
        make_preview(tmp_path / "b.mp4", Role.POSTER)


def test_an_encoder_that_fails_gives_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the image library counts as a flaw of the film, not as a crash."""

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("encoder error 6")

    monkeypatch.setattr(Image.Image, "save", refuse)
    with BUNNY.open("rb") as file, pytest.raises(Flaw, match="gives no picture"):
        result_media.draw(file, Role.POSTER)
