"""What is really made of real files: upright, cut, scaled, light enough, the same every time, and never in this process."""

from __future__ import annotations

import io
import os
from array import array
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import av
import pytest
from PIL import Image

from reconciler.core.media_rules import IMAGE, IMAGE_BYTES, MEDIUMS, VIDEO, Preparation, Source
from reconciler.core.states import Role
from reconciler.workspace.files.plain import open_plain
from reconciler.workspace.media.films import probe_video
from reconciler.workspace.media.flaws import Flaw
from reconciler.workspace.media.images import image_facts, probe_image
from reconciler.workspace.media.preparing import encoder, make, recipe, reencode
from reconciler.workspace.media.result_media import make_preview
from tests.workspace.builders import (
    MEDIA,
    SEEN,
    first_picture,
    make_clip,
    make_quartered,
    make_timed,
    quartered,
    quarters,
    shifted,
)
from tests.workspace.spoiled import BUNNY, announcing, with_noise

ALL = Preparation(end=Decimal("30.499"))


def prepared(key: str, source: Path, preparation: Preparation = ALL) -> tuple[Path, str]:
    """Prepare a file as the engine does; returns what was made, and what is said against it."""
    target = source.with_name(f"{source.stem}.part")
    process = encoder(MEDIUMS[key])
    try:
        with open_plain(source) as file, target.open("wb") as lock:
            make(process, MEDIUMS[key], preparation, file.fileno(), (target, lock.fileno()))
    except Flaw as flaw:
        return target, str(flaw)
    finally:
        process.close()
    return target, ""


@pytest.fixture(scope="module")
def heard_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film with the sound of a real one and a picture that costs little to transcode, for tests that only read it."""
    folder = tmp_path_factory.mktemp("heard")
    seen, made = make_clip(folder / "seen.mp4", seconds=5.3, rate=10), folder / "heard.mp4"
    with (
        av.open(seen) as picture,
        av.open(MEDIA / "bigbuckbunny.mp4") as sound,
        av.open(made, "w") as written,
    ):
        tracks: dict[str, av.VideoStream | av.AudioStream] = {
            stream.type: written.add_stream_from_template(stream)
            for stream in (picture.streams.video[0], sound.streams.audio[0])
        }
        for container, kind in ((picture, "video"), (sound, "audio")):
            for packet in container.demux():
                if packet.dts is not None and packet.stream.type == kind:
                    packet.stream = tracks[kind]
                    written.mux(packet)
    return made


@pytest.mark.parametrize(("matrix", "seen"), SEEN.items())
def test_a_film_that_is_stored_turned_or_mirrored_is_made_as_a_player_shows_it(
    tmp_path: Path, matrix: tuple[int, int, int, int], seen: str
) -> None:
    """All eight ways that a camera may store a picture: the picture itself is moved, and nothing is left to undo."""
    source = make_quartered(tmp_path / "a.mov", matrix)
    before = probe_video(source)
    assert (before.rotation, before.mirrored) == (0, False) or seen != "RGBW"
    made, fault = prepared("video", source)
    assert fault == ""
    facts = probe_video(made)
    assert (facts.codec, facts.rotation, facts.mirrored) == ("h264", 0, False)
    assert (facts.width, facts.height) == (before.width, before.height)
    with av.open(made) as container:
        picture = next(container.decode(video=0)).to_image()  # type: ignore[no-untyped-call]
    assert quarters(picture) == seen
    poster = make_preview(source, Role.POSTER)
    assert quarters(Image.open(io.BytesIO(poster.data))) == seen


@pytest.mark.parametrize(("note", "seen"), [*enumerate(("RGBW", "GRWB", "WBGR", "BWRG", "RBGW", "BRWG", "WGBR", "GWRB"), 1)])  # fmt: skip
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_photo_is_made_as_a_viewer_shows_it(
    tmp_path: Path, kind: str, note: int, seen: str
) -> None:
    """All eight notes that a camera may leave of how it was held."""
    picture, exif = quartered(), Image.Exif()
    exif[0x0112] = note
    picture.save(tmp_path / "a", kind, exif=exif)
    with (tmp_path / "a").open("rb") as file:
        facts = image_facts(file)
        made = Image.open(io.BytesIO(reencode(file)))
    assert quarters(made) == seen
    assert made.size == (facts.width, facts.height)
    assert (facts.rotation, facts.mirrored) == (0, False) or seen != "RGBW"


@pytest.mark.parametrize(
    ("make", "seen"),
    [
        (lambda path: path.write_bytes((MEDIA / "phone.heic").read_bytes()), "BRWG"),
        (lambda path: quartered().save(path, "WEBP", lossless=True), "RGBW"),
        (lambda path: quartered().save(path, "AVIF"), "RGBW"),
        (
            lambda path: quartered().save(
                path, "GIF", save_all=True, append_images=[Image.new("RGB", (640, 360))]
            ),
            "RGBW",
        ),
    ],
    ids=["HEIC of a phone held upright", "WebP", "AVIF", "GIF that moves"],
)
def test_a_picture_that_the_api_does_not_take_becomes_a_jpeg(
    tmp_path: Path, make: Callable[[Path], object], seen: str
) -> None:
    """What phones and the web have; of one that moves, the first frame."""
    make(tmp_path / "a")
    assert probe_image(tmp_path / "a").format.removeprefix("animated ") in {
        "HEIC",
        "WebP",
        "AVIF",
        "GIF",
    }
    made, fault = prepared("image", tmp_path / "a")
    assert fault == ""
    assert quarters(Image.open(made)) == seen
    assert probe_image(made).format == "JPEG"


def test_a_picture_that_is_broken_off_is_never_made_into_half_of_one(tmp_path: Path) -> None:
    """Of other formats only the header is read in the program itself: the rest is found wrong where it is decoded."""
    noise = Image.frombytes("RGB", (640, 480), os.urandom(640 * 480 * 3))
    for kind in ("WEBP", "AVIF", "GIF"):
        noise.save(tmp_path / "whole", kind)
        (tmp_path / "a").write_bytes((tmp_path / "whole").read_bytes()[:-5_000])
        _, fault = prepared("image", tmp_path / "a")
        assert fault.startswith(("is damaged", "cannot be converted")), kind
    (tmp_path / "a").write_bytes((MEDIA / "phone.heic").read_bytes()[:-500])
    _, fault = prepared("image", tmp_path / "a")
    assert fault.startswith(("is damaged", "cannot be converted"))


@pytest.mark.parametrize(("container", "codec"), [("webm", "libvpx-vp9"), ("matroska", "libx264")])
def test_a_film_of_the_web_becomes_an_mp4(tmp_path: Path, container: str, codec: str) -> None:
    """Its picture and its sound, and its picture's length, though its header may have none."""
    source = make_clip(
        tmp_path / "a", codec=codec, container=container, seconds=3, heard=5, rate=10
    )
    assert (probe_video(source).format, probe_video(source).seconds) == ("Matroska", Decimal(3))
    made, fault = prepared("video", source)
    facts = probe_video(made)
    assert (fault, facts.format, facts.codec, facts.seconds) == ("", "MP4", "h264", Decimal(3))
    with av.open(made) as film:
        assert [stream.codec_context.name for stream in film.streams] == ["h264", "aac"]


@pytest.mark.parametrize(
    ("rate", "start", "end", "lasts", "first", "reason"),
    [
        (25, "0", "5", "5.000", 20, "on frames"),
        (25, "2", "6", "4.000", 40, "in the middle"),
        (25, "1.99", "4.99", "3.000", 30, "between two frames: from the one that is shown then"),
        (30, "3", "6", "3.000", 50, "the shortest"),
        (24, "0.5", "3.51", "3.000", 20, "no frame more than fits"),
        (7, "1", "4.1", "3.000", 30, "a slow film"),
        (30, "4", "8.2", "4.000", 60, "to its end"),
    ],
)
def test_the_part_that_is_kept_is_the_part_that_was_asked_for(
    tmp_path: Path, rate: int, start: str, end: str, lasts: str, first: int, reason: str
) -> None:
    """To the frame, never longer than the limit for lack of care, never shorter than the API takes."""
    source = make_clip(tmp_path / "a.mp4", rate=rate, seconds=8, sound=True)
    part = Preparation(Decimal(start), Decimal(end))
    made, fault = prepared("video", source, part)
    assert fault == ""
    assert probe_video(made).seconds == Decimal(lasts), reason
    picture = first_picture(made)
    middle = picture.getpixel((picture.width // 2, picture.height // 2))
    assert isinstance(middle, int)
    assert abs(middle - first) <= 4, reason


def test_a_prepared_film_can_be_streamed_and_keeps_its_sound(heard_film: Path) -> None:
    """The index comes first, the sound is AAC and no longer than the picture, and no date is in it."""
    made, fault = prepared("video", heard_film)
    assert fault == ""
    data = made.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(made) as container:
        kinds = [(stream.type, stream.codec_context.name) for stream in container.streams]
        lengths = [
            float((stream.duration or 0) * (stream.time_base or 0)) for stream in container.streams
        ]
        assert "creation_time" not in container.metadata
    assert kinds == [("video", "h264"), ("audio", "aac")]
    assert lengths[0] - 0.2 < lengths[1] <= lengths[0]


def test_the_same_bytes_give_the_same_bytes(tmp_path: Path) -> None:
    """Twice the same film and twice the same image, wherever they lie: what was made is found by its digest."""
    made = set()
    for name in ("one", "two"):
        source = make_clip(tmp_path / name / "a.mp4", codec="libx265", sound=True)
        made.add(prepared("video", source)[0].read_bytes())
    assert len(made) == 1


def test_a_film_out_of_range_is_scaled_into_it(tmp_path: Path) -> None:
    """Too small and too large ones, with odd sides too; the shape stays."""
    small, fault = prepared("video", make_clip(tmp_path / "a.mp4", size=(320, 180), seconds=3))
    facts = probe_video(small)
    assert (fault, facts.width, facts.height) == ("", 604, 340)
    wide = make_clip(tmp_path / "b.mp4", size=(3_900, 400), seconds=3, rate=5)
    large, fault = prepared("video", wide)
    facts = probe_video(large)
    assert (fault, facts.width, facts.height) == ("", 3_850, 394)


def test_a_heavy_image_becomes_light_enough(tmp_path: Path) -> None:
    """Noise is the worst that can be compressed; transparency becomes white, and the shape stays."""
    noise = Image.frombytes("RGBA", (2_400, 1_600), os.urandom(2_400 * 1_600 * 4))
    noise.save(tmp_path / "a.png", compress_level=0)
    assert (tmp_path / "a.png").stat().st_size > IMAGE_BYTES
    made, fault = prepared("image", tmp_path / "a.png")
    assert fault == ""
    assert made.stat().st_size <= IMAGE_BYTES
    facts = probe_image(made)
    assert facts.width / facts.height == pytest.approx(1.5, rel=0.01)


def test_an_image_is_turned_as_it_is_shown_and_scaled_up(tmp_path: Path) -> None:
    """A camera's note on how it was held is obeyed; nothing else of the camera stays, least of all the place."""
    picture = Image.new("RGB", (280, 200), "black")
    picture.paste("white", (0, 0, 40, 40))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"  # turned clockwise; the maker
    picture.save(tmp_path / "a.jpg", exif=exif)
    made, fault = prepared("image", tmp_path / "a.jpg")
    assert fault == ""
    with Image.open(made) as turned:
        assert turned.size == (300, 420)
        white = turned.convert("L").getpixel((280, 20))
        assert isinstance(white, int)
        assert white > 200
        assert not turned.getexif()


@pytest.mark.parametrize(
    ("make", "words", "reason"),
    [
        (
            lambda path: path.write_bytes(with_noise(BUNNY)),
            "is damaged, or cannot be transcoded",
            "damaged",
        ),
        (lambda path: path.write_bytes(b"text"), "holds no MP4", "something else"),
        (
            lambda path: make_clip(path, seconds=2),
            "cannot be prepared: what is left of it lasts 2 s: at least 3 s are needed",
            "short",
        ),
        (
            lambda path: path.symlink_to(make_clip(path.with_name("film.mp4"))),
            "",
            "a link is followed",
        ),
    ],
)
def test_what_cannot_be_prepared_is_said_in_a_sentence(
    tmp_path: Path, make: object, words: str, reason: str
) -> None:
    """The file is named before it, and no traceback is printed."""
    assert callable(make)
    make(tmp_path / "a.mp4")
    _, fault = prepared("video", tmp_path / "a.mp4")
    assert (words in fault) if words else fault == "", reason
    assert "Traceback" not in fault
    assert "\n" not in fault


@pytest.mark.parametrize("key", ["image", "video"])
def test_a_full_disk_is_not_the_files_fault(tmp_path: Path, key: str) -> None:
    """Nobody is told to export a sound file again, and another try may well succeed."""
    source = tmp_path / "a"
    if key == "image":
        source.write_bytes((MEDIA / "astronaut.png").read_bytes())
    else:
        make_clip(source.with_suffix(".mp4")).rename(source)
    process = encoder(MEDIUMS[key])
    with open_plain(source) as file, pytest.raises(OSError, match="No space left on device"):
        make(process, MEDIUMS[key], ALL, file.fileno(), (Path("/dev/full"), file.fileno()))
    process.close()


def test_what_is_made_is_never_longer_than_what_was_priced(tmp_path: Path) -> None:
    """Whatever the film says of itself: it ends where it was counted to end, or it is refused with a sentence."""
    lie = tmp_path / "lie.mp4"
    lie.write_bytes(announcing(make_clip(lie, seconds=8, rate=10, codec="mpeg4").read_bytes(), 3))
    made, fault = prepared("video", lie, Preparation(end=Decimal("3.499")))
    assert (fault, probe_video(made).seconds) == ("", Decimal("3.4"))
    held = make_timed(tmp_path / "held.mp4", [0, 20])
    _, fault = prepared("video", held, Preparation(end=Decimal(3)))
    assert fault == (
        "cannot be prepared: what is made of it lasts 10.017 s, and only 3 s of it were priced; export it again"
    )


def test_a_recipe_is_of_the_bytes_the_part_and_the_use() -> None:
    """Names and places are not in it: a film that is moved is not made again."""
    one = Source(path="a.mp4", sha256="1" * 64, preparation=ALL)
    moved, other = replace(one, path="b.mp4"), replace(one, sha256="2" * 64)
    part = Preparation(Decimal(1), Decimal(5))
    assert recipe(VIDEO, one) == recipe(VIDEO, moved)
    names = [recipe(VIDEO, one), recipe(VIDEO, other)]
    names += [recipe(VIDEO, replace(one, preparation=part)), recipe(IMAGE, one)]
    assert len(set(names)) == 4


def begin_of_sound(path: Path) -> float:
    """Return when something is first heard with a picture, on any channel (s after the first one)."""
    mixer = av.AudioResampler("flt", "mono", 48_000)
    with av.open(path) as container:
        film = container.streams.video[0]
        zero = float((film.start_time or 0) * (film.time_base or 0))
        for frame in container.decode(audio=0):
            begin = frame.time
            assert begin is not None
            for mixed in mixer.resample(frame):
                samples = array("f", bytes(mixed.planes[0]))[: mixed.samples]
                for number, sample in enumerate(samples):
                    at = begin + number / 48_000 - zero
                    if at >= 0 and abs(sample) > 0.02:
                        return at
    raise AssertionError("nothing is heard")


def centre(path: Path) -> int:
    picture = first_picture(path)
    grey = picture.getpixel((picture.width // 2, picture.height // 2))
    assert isinstance(grey, int)
    return grey


def test_a_part_counts_from_the_first_picture_whatever_the_clock_of_the_film(
    tmp_path: Path,
) -> None:
    """A film that begins at 5 s of its own clock, and one whose picture alone does, as cameras and editors write them."""
    clip = make_clip(tmp_path / "clip.mp4", seconds=8, rate=10, sound=True)
    for name, sound in (("both", 5.0), ("picture", 0.0)):
        late = shifted(clip, tmp_path / f"{name}.mp4", picture=5, sound=sound)
        made, fault = prepared("video", late, Preparation(Decimal(3), Decimal(7)))
        assert (fault, probe_video(made).seconds) == ("", Decimal(4)), name
        assert abs(centre(made) - 50) <= 4, name


@pytest.mark.parametrize(("picture", "sound"), [(0.0, 0.0), (0.0, 2.0), (2.0, 2.0), (2.0, 0.0)])
def test_sound_stays_with_its_picture(
    tmp_path: Path, heard_film: Path, picture: float, sound: float
) -> None:
    """However late either begins: what is heard is heard at the same picture as before."""
    late = shifted(heard_film, tmp_path / "late.mp4", picture=picture, sound=sound)
    made, fault = prepared("video", late)
    assert fault == ""
    assert begin_of_sound(made) == pytest.approx(begin_of_sound(late), abs=0.06)


def test_pixels_that_are_no_squares_become_squares(tmp_path: Path) -> None:
    """An anamorphic film keeps the shape that it is shown in."""
    path = tmp_path / "a.mp4"
    flat = make_clip(tmp_path / "flat.mp4", size=(360, 360))
    with av.open(flat) as read, av.open(path, "w", format="mp4") as written:
        stream = written.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 360, 360, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)
        for frame in read.decode(video=0):
            written.mux(stream.encode(frame))
        written.mux(stream.encode(None))
    made, fault = prepared("video", path)
    facts = probe_video(made)
    assert (fault, facts.width, facts.height) == ("", 720, 360)


def test_sixteen_bits_of_grey_are_still_grey(tmp_path: Path) -> None:
    """What scanners and 3D programs write does not become a white sheet."""
    Image.new("I;16", (200, 280), 0x8000).save(tmp_path / "a.png")
    made, fault = prepared("image", tmp_path / "a.png")
    assert fault == ""
    with Image.open(made) as picture:
        grey = picture.convert("L").getpixel((100, 100))
        assert isinstance(grey, int)
        assert abs(grey - 0x80) <= 2


def test_no_module_of_the_folder_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Preparing media runs no `json.py` and no folder `reconciler` that lies in the project."""
    clip = make_clip(tmp_path / "a.mp4", codec="libx265")
    for name in ("json.py", "reconciler/__init__.py"):
        foreign = tmp_path / "project" / name
        foreign.parent.mkdir(parents=True, exist_ok=True)
        foreign.write_text("raise SystemExit('foreign code ran')\n")
    monkeypatch.chdir(tmp_path / "project")
    _, fault = prepared("video", clip)
    assert fault == ""
