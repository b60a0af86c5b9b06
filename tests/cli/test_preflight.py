"""Local media against every limit of the API, through `validate`: a real file that breaks it, and what is said."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.workspace.builders import (
    MEDIA,
    make_clip,
    make_image,
    make_moving,
    make_quartered,
    make_video,
    shifted,
)
from tests.workspace.spoiled import (
    ASTRONAUT,
    BUNNY,
    encrypted_film,
    flat_png,
    interlaced_png,
    jpeg,
    jpeg_of_many_scans,
    make_sound,
    png_of_missing_rows,
    png_of_wrong_checksum,
    pointer,
    vast_webp,
    with_noise,
)

from .shell import Shell

PHONE = (MEDIA / "phone.heic").read_bytes()
NO_PIXELS = "is damaged or broken off: its pixels cannot be decoded to the last; export it again"
Make = Callable[[Path], object]


def holding(content: bytes | Callable[[], bytes], size: int = 0) -> Make:
    """Write these bytes, made when they are needed, and zeros up to a size."""

    def make(path: Path) -> None:
        path.write_bytes(content if isinstance(content, bytes) else content())
        if size:
            os.truncate(path, size)

    return make


def image(width: int, height: int) -> Make:
    return lambda path: make_image(path, (width, height))


def film(**options: Any) -> Make:
    return lambda path: make_video(path, **options)


def late(path: Path) -> None:
    """A film of 8 s whose picture begins after 7 s of sound."""
    clip = make_clip(path.with_name("clip.mp4"), seconds=8, rate=5, sound=True)
    shifted(clip, path, picture=7)
    clip.unlink()


def spec(shell: Shell, name: str, image: str, video: str, orientation: str = "image") -> None:
    shell.write(
        f"{name}.yaml",
        f"image_url: {image}\nvideo_url: {video}\ncharacter_orientation: {orientation}\nmode: std\n",
    )


IMAGES: list[tuple[str, str, Make, str]] = [
    ("heavy", "png", holding(ASTRONAUT, 10 * 1024**2 + 1), "`specs/heavy.png`: the image has 10,485,761 bytes: at most 10 MB (10,485,760 bytes) are allowed; `prepare: true` compresses it"),
    ("small", "png", image(299, 300), "the image is 299 × 300 px: each side must be 300 to 65536 px; `prepare: true` scales it to 300 × 302 px"),
    ("large", "png", holding(partial(flat_png, 65_537, 27_000)), "the image is 65537 × 27000 px: each side must be 300 to 65536 px"),
    ("wide", "png", image(751, 300), "the image is 751 × 300 px: its aspect ratio must lie between 1:2.5 and 2.5:1; crop it, or add a border"),
    ("tall", "jpg", lambda path: make_image(path, (300, 751), "JPEG"), "the image is 300 × 751 px: its aspect ratio must lie between 1:2.5 and 2.5:1; crop it, or add a border"),
    ("suffix", "bmp", image(400, 400), "`specs/suffix.bmp` is not one of .jpg, .jpeg, .png, which `image_url` needs; `prepare: true` also takes .heic, .heif, .webp, .gif, .avif"),
    ("web", "webp", lambda path: make_image(path, (400, 400), "WEBP"), "`specs/web.webp` is a WebP image, which the API does not take; `prepare: true` makes a JPEG of it"),
    ("phone", "heic", holding(PHONE), "`specs/phone.heic` is an HEIC image, as phones make it, which the API does not take; `prepare: true` makes a JPEG of it"),
    ("crash", "heic", holding(PHONE[:179] + b"\xff" + PHONE[180:]), "`specs/crash.heic` makes its decoder crash (SIGSEGV); export it again"),
    ("huge", "webp", holding(vast_webp), "`specs/huge.webp` would decode to more than 100 megapixels, which is taken for a decompression bomb; scale it down"),
    ("disguise", "png", lambda path: make_image(path, (400, 400), "GIF"), "`specs/disguise.png` is a GIF image, which the API does not take; `prepare: true` makes a JPEG of it"),
    ("moving", "gif", make_moving, "`specs/moving.gif` is an animated GIF, which the API does not take; `prepare: true` makes a JPEG of its first frame"),
    ("named", "heic", holding(jpeg()), "`specs/named.heic` is a JPEG under another name: the API takes .jpg, .jpeg, .png; `prepare: true` makes a JPEG of it"),
    ("text", "png", holding(b"a picture of a girl\n"), "`specs/text.png` holds no image that is known here (JPEG, PNG, HEIC, WebP, GIF or AVIF), whatever its name says"),
    ("pointer", "png", holding(pointer(ASTRONAUT)), "`specs/pointer.png` is a Git LFS pointer: run `git lfs pull`"),
    ("nothing", "png", holding(b""), "`specs/nothing.png` holds no image that is known here (JPEG, PNG, HEIC, WebP, GIF or AVIF), whatever its name says"),
    ("header", "png", holding(ASTRONAUT[:20]), "`specs/header.png` is damaged: its image header cannot be read"),
    ("cut", "png", holding(ASTRONAUT[:-100]), f"`specs/cut.png` {NO_PIXELS}"),
    ("half", "png", holding(png_of_missing_rows()), f"`specs/half.png` {NO_PIXELS}"),
    ("interlaced", "png", holding(interlaced_png(333, 517)[:-60_000]), f"`specs/interlaced.png` {NO_PIXELS}"),
    ("bit", "png", holding(png_of_wrong_checksum()), f"`specs/bit.png` {NO_PIXELS}"),
    ("halved", "jpg", holding(jpeg()[:20_000]), f"`specs/halved.jpg` {NO_PIXELS}"),
    ("bomb", "png", holding(partial(flat_png, 20_000, 20_000)), "`specs/bomb.png` would decode to 400 megapixels: more than 100 are taken for a decompression bomb; scale it down"),
]  # fmt: skip

VIDEOS: list[tuple[str, str, Make, str]] = [
    ("heavy", "mp4", holding(BUNNY, 100 * 1024**2 + 1), "`specs/heavy.mp4`: the video has 104,857,601 bytes: at most 100 MB (104,857,600 bytes) are allowed; `prepare: true` compresses it"),
    ("small", "mp4", film(size=(340, 338)), "the video is 340 × 338 px: each side must be 340 to 3850 px; `prepare: true` scales it to 342 × 340 px"),
    ("large", "mov", film(size=(3_852, 400)), "the video is 3852 × 400 px: each side must be 340 to 3850 px; `prepare: true` scales it to 3850 × 400 px"),
    ("short", "mp4", film(seconds=2), "the video lasts 2 s: 3 to 10 s are allowed when `character_orientation` is `image`"),
    ("long", "mp4", film(seconds=11), "the video lasts 11 s: 3 to 10 s are allowed when `character_orientation` is `image`; `prepare: true` keeps its first 10 s (`trim: {start: …, end: …}` chooses another part)"),
    ("longer", "mp4", film(seconds=31), "the video lasts 31 s: 3 to 30 s are allowed when `character_orientation` is `video`; `prepare: true` keeps its first 30 s (`trim: {start: …, end: …}` chooses another part)"),
    ("suffix", "webm", holding(BUNNY), "`specs/suffix.webm` is an MP4 under another name: the API takes .mp4, .mov; `prepare: true` makes an MP4 of it"),
    ("other", "avi", holding(BUNNY), "`specs/other.avi` is not one of .mp4, .mov, which `video_url` needs; `prepare: true` also takes .webm, .mkv, .m4v"),
    ("web", "webm", film(codec="libvpx-vp9", container="webm"), "`specs/web.webm` is a WebM or Matroska film, which the API does not take; `prepare: true` transcodes it to H.264"),
    ("recorded", "mkv", film(container="matroska"), "`specs/recorded.mkv` is a WebM or Matroska film, which the API does not take; `prepare: true` makes an MP4 of it"),
    ("playlist", "mp4", holding(b"#EXTM3U\nfile:///etc/passwd\n"), "`specs/playlist.mp4` holds no MP4, QuickTime, WebM or Matroska video, whatever its name says"),
    ("pointer", "mp4", holding(pointer(BUNNY)), "`specs/pointer.mp4` is a Git LFS pointer: run `git lfs pull`"),
    ("phone", "mov", film(codec="libx265"), "`specs/phone.mov` is H.265 (HEVC), which the API refuses; `prepare: true` transcodes it to H.264"),
    ("turned", "mp4", film(rotation=90), "`specs/turned.mp4` is stored turned by 90°, which the API refuses or reads the wrong way round; `prepare: true` turns the picture itself"),
    ("over", "mp4", film(rotation=180), "`specs/over.mp4` is stored turned by 180°, which the API refuses or reads the wrong way round; `prepare: true` turns the picture itself"),
    ("mirrored", "mp4", lambda path: make_quartered(path, (-1, 0, 0, 1)), "`specs/mirrored.mp4` is stored mirrored, which the API refuses or reads the wrong way round; `prepare: true` mirrors the picture itself"),
    ("sound-goes-on", "mp4", lambda path: make_clip(path, seconds=2, heard=5), "the video lasts 2 s: 3 to 10 s are allowed when `character_orientation` is `image`"),
    ("cut", "mp4", holding(BUNNY[:500_000]), "`specs/cut.mp4` is broken off: it has 500,000 bytes and its `mdat` part goes on to byte 1,051,507; copy it again"),
    ("index", "mp4", holding(BUNNY[:1_051_515]), "`specs/index.mp4` is damaged: it cannot be opened as a video"),
    ("first", "mp4", holding(with_noise(BUNNY)), "`specs/first.mp4` is damaged: its first frame does not decode; export it again"),
    ("sound", "mp4", make_sound, "`specs/sound.mp4` holds no video, only sound or data"),
    ("locked", "mp4", holding(encrypted_film()), "`specs/locked.mp4` is encrypted: the API cannot read it; use a copy without protection"),
]  # fmt: skip


def test_every_limit_has_a_file_that_breaks_it_and_a_sentence_with_its_place(shell: Shell) -> None:
    """One bad file of each sort, one sentence for each, at the line and column of the key that names it."""
    said: dict[str, tuple[str, str]] = {}
    for name, suffix, make, sentence in IMAGES:
        make(shell.root / "specs" / f"{name}.{suffix}")
        spec(shell, f"image-{name}", f"{name}.{suffix}", "https://e.com/v.mp4")
        said[f"specs/image-{name}.yaml:1:12"] = "image_url", sentence
    for name, suffix, make, sentence in VIDEOS:
        make(shell.root / "specs" / f"{name}.{suffix}")
        orientation = "video" if name == "longer" else "image"
        spec(shell, f"video-{name}", "https://e.com/i.png", f"{name}.{suffix}", orientation)
        said[f"specs/video-{name}.yaml:2:12"] = "video_url", sentence
    code, document = shell.json("validate")
    assert code == 1
    found = {
        f"{error['file']}:{error['line']}:{error['column']}": (error["key"], error["message"])
        for error in document["errors"]
    }
    assert found == said
    assert len(document["errors"]) == len(said)
    again, warm = shell.json("validate")
    assert (again, warm) == (code, document)


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("a.png", image(300, 750), "the smallest side and the widest ratio"),
        ("a.jpeg", holding(jpeg()), "a JPEG"),
        ("a.png", holding(jpeg(progressive=True)), "a progressive JPEG under another name"),
        ("a.png", holding(interlaced_png(333, 517)), "stored in seven passes"),
        ("a.png", holding(partial(flat_png, 10_000, 10_000)), "a hundred megapixels"),
        ("a.jpg", holding(jpeg()[:-2]), "without the mark of its end"),
        ("a.jpg", holding(jpeg(progressive=True)[:-2]), "the same in many scans"),
        ("a.jpg", holding(jpeg() + BUNNY * 8), "a phone's photo with a film behind it"),
        ("a.jpg", holding(jpeg_of_many_scans()), "210 scans are decoded in no time"),
        ("a.png", holding(png_of_wrong_checksum(b"tEXt")), "a comment is damaged"),
        ("a.png", holding(png_of_wrong_checksum(b"gAMA", behind=True)), "behind the pixels too"),
        ("a.png", holding(ASTRONAUT[:-12]), "without the mark of its end"),
        ("a.png", holding(partial(flat_png, 400, 400, white=True)), "its rows are all alike"),
    ],
)
def test_an_image_at_its_limits_is_well(shell: Shell, name: str, make: Make, reason: str) -> None:
    """What the API takes is not refused here."""
    make(shell.root / "specs" / name)
    spec(shell, "dance", name, "https://e.com/v.mp4")
    assert shell.json("validate")[1]["errors"] == [], reason


@pytest.mark.parametrize(
    ("name", "make", "orientation", "reason"),
    [
        ("a.mp4", film(size=(340, 3_850), seconds=3), "image", "the smallest and the largest side"),
        ("a.mp4", film(seconds=10), "image", "the longest"),
        ("a.mov", film(seconds=30), "video", "the longest of the other orientation"),
        (
            "a.mp4",
            lambda path: make_clip(path, seconds=5, heard=12),
            "image",
            "only its sound is too long",
        ),
        ("a.mp4", late, "image", "from its first picture on it lasts 8 s, by its clock 15 s"),
        ("a.mp4", film(codec="mpeg4"), "image", "MPEG-4 part 2: nobody knows that it is refused"),
        ("a.mp4", film(codec="libvpx-vp9"), "image", "VP9: the same"),
        ("a.mp4", holding(BUNNY + b"\0junk of a camera"), "image", "players skip what follows"),
        ("a.mov", holding(BUNNY), "image", "an MP4 under the other name"),
    ],
)
def test_a_video_at_its_limits_is_well(
    shell: Shell, name: str, make: Make, orientation: str, reason: str
) -> None:
    """What the API takes, or may take, is not refused here."""
    make(shell.root / "specs" / name)
    spec(shell, "dance", "https://e.com/i.png", name, orientation)
    assert shell.json("validate")[1]["errors"] == [], reason


def test_what_was_decoded_once_is_not_decoded_again(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a second run, nor a touch, a copy or a move decodes anything, be the file good or bad."""
    specs = shell.root / "specs"
    for name in ("good", "bad"):
        spec(shell, f"of-{name}", f"{name}.png", f"{name}.mp4")
    (specs / "good.png").write_bytes(ASTRONAUT)
    (specs / "bad.png").write_bytes(png_of_wrong_checksum())
    (specs / "good.mp4").write_bytes(BUNNY)
    (specs / "bad.mp4").write_bytes(with_noise(BUNNY))
    first = shell.json("validate")
    assert [error["key"] for error in first[1]["errors"]] == ["image_url"]

    def decode(*_: object) -> None:
        raise AssertionError("something was decoded")

    monkeypatch.setattr("reconciler.workspace.media.decoding.MEDIA.ask", decode)
    assert shell.json("validate") == first
    for file in specs.glob("*.*"):
        file.touch()
    assert shell.json("validate") == first
    (specs / "good.png").rename(specs / "moved.png")
    spec(shell, "of-good", "moved.png", "good.mp4")
    assert shell.json("validate") == first


def test_a_frame_near_the_end_that_does_not_decode_is_found(shell: Shell) -> None:
    """Damage at the end of a film is found as well as at its start."""
    film = make_video(shell.root / "specs/a.mp4", seconds=30, gop=10)
    film.write_bytes(with_noise(film.read_bytes(), at_the_end=True))
    spec(shell, "dance", "https://e.com/i.png", "a.mp4", "video")
    (error,) = shell.json("validate")[1]["errors"]
    assert (
        error["message"]
        == "`specs/a.mp4` is damaged: a frame near its end does not decode; export it again"
    )
