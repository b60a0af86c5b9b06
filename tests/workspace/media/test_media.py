"""Media as facts, and results that are whole."""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Callable
from decimal import Decimal
from io import BufferedReader
from pathlib import Path

import av
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.core.errors import WorkspaceError
from reconciler.core.media_rules import Source
from reconciler.workspace.files.plain import digest, file_sha256
from reconciler.workspace.media.films import longest_seconds, probe_video
from reconciler.workspace.media.flaws import MediaError
from reconciler.workspace.media.images import probe_image
from reconciler.workspace.media.result_media import examine_result
from reconciler.workspace.read.local import read_source
from tests.workspace.builders import MEDIA, make_clip, make_image, make_timed, make_video
from tests.workspace.spoiled import announcing, calling_chapters, edited

BUNNY = (MEDIA / "bigbuckbunny.mp4").read_bytes()


def test_a_real_image_and_a_real_video() -> None:
    """Sides, length, size and SHA-256 of real files are read as they are."""
    assert read_source(MEDIA, "astronaut.png", "image") == Source(
        path="astronaut.png",
        sha256="88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        size=791_555,
        width=512,
        height=512,
        format="PNG",
    )
    video = read_source(MEDIA, "bigbuckbunny.mp4", "video")
    assert (video.width, video.height, video.seconds) == (1280, 720, Decimal("5.28"))
    assert video.sha256 == hashlib.sha256(BUNNY).hexdigest()
    assert examine_result(MEDIA / "bigbuckbunny.mp4").seconds == 5.28


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_an_image_is_what_its_content_says(tmp_path: Path, kind: str) -> None:
    """The format of an image comes from its bytes, not from its name."""
    assert probe_image(make_image(tmp_path / "a", (30, 40), kind)) == Source(
        width=30, height=40, format=kind
    )


@pytest.mark.parametrize(
    ("rotation", "sides"), [(0, (640, 360)), (90, (360, 640)), (180, (640, 360)), (-90, (360, 640))]
)
def test_a_video_has_the_sides_that_are_shown(
    tmp_path: Path, rotation: int, sides: tuple[int, int]
) -> None:
    """Width and height of a film that is stored turned are those on the screen, as the API counts them."""
    facts = probe_video(make_video(tmp_path / "a.mp4", rotation=rotation))
    assert facts == Source(
        width=sides[0],
        height=sides[1],
        seconds=Decimal(4),
        format="MP4",
        codec="h264",
        rotation=rotation % 360,
    )


def test_a_phones_h265_video_is_read_as_what_it_is(tmp_path: Path) -> None:
    """Codec, rotation, sides as shown and length: what is to be said of it, and what would mend it, follows."""
    make_video(tmp_path / "a.mp4", codec="libx265", rotation=-90)
    source = read_source(tmp_path, "a.mp4", "video")
    assert (source.codec, source.rotation) == ("hevc", 270)
    assert (source.width, source.height, source.seconds) == (360, 640, Decimal(4))


def long_within(path: Path, *lengths: int) -> bytes:
    """A film of 3 s that holds a second picture of 8 s, or of other lengths."""
    films = [
        make_clip(path.with_suffix(f".{seconds}.mp4"), seconds=seconds, rate=10)
        for seconds in lengths or (3, 8)
    ]
    with av.open(films[0]) as short, av.open(films[1]) as long, av.open(path, "w") as made:
        pairs = [
            (film, made.add_stream_from_template(film.streams.video[0])) for film in (short, long)
        ]
        for film, stream in pairs:
            for packet in film.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    made.mux(packet)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("make", "lasts", "reason"),
    [
        (lambda path: announcing(film_of_8_s(path), 3), 8, "its header says less than its frames"),
        (lambda path: edited(film_of_8_s(path), (3000, 0)), 8, "its edit list hides its end"),
        (lambda path: edited(film_of_8_s(path), (3000, 51_200)), 8, "its edit list hides more"),
        (lambda path: edited(film_of_8_s(path), *[(3000, 0)] * 9), 27, "it is shown nine times"),
        (long_within, 8, "another picture of it is longer"),
        (lambda path: calling_chapters(long_within(path, 8, 3)), 8, "its chapters are longer"),
        (lambda path: edited(film_of_8_s(path), (5000, -1), (8000, 0)), 8, "it begins late"),
        (
            lambda path: make_clip(path, seconds=3, rate=10, heard=5).read_bytes(),
            3,
            "sound goes on",
        ),
        (
            lambda path: make_timed(path, [*at_30(60), 4.0]).read_bytes(),
            "4.033",
            "a picture stands",
        ),
        (
            lambda path: make_timed(path, [0, *at_30(90, 1.5)]).read_bytes(),
            "4.5",
            "the first stands",
        ),
        (lambda path: make_clip(path, codec="libx265", rate=30).read_bytes(), 4, "a phone's"),
    ],
)
def test_a_film_lasts_as_long_as_anything_in_it_says(
    tmp_path: Path, make: Callable[[Path], bytes], lasts: int | str, reason: str
) -> None:
    """What is billed may go by the header, the edit list or the frames: the longest is what is priced and limited."""
    (tmp_path / "a.mp4").write_bytes(make(tmp_path / "a.mp4"))
    assert read_source(tmp_path, "a.mp4", "video").seconds == Decimal(lasts), reason


def test_a_film_whose_frames_cannot_be_counted_has_no_length(tmp_path: Path) -> None:
    """Then the dearest is priced: its header alone is no reason to count less."""
    film = bytearray(announcing(film_of_8_s(tmp_path / "a.mp4"), 3))
    at = film.index(b"stco") + 12  # where the first samples lie
    struct.pack_into(">I", film, at, len(film) + 1)
    (tmp_path / "a.mp4").write_bytes(film)
    with (tmp_path / "a.mp4").open("rb") as file:
        assert longest_seconds(file, Decimal(3)) is None


def film_of_8_s(path: Path) -> bytes:
    return make_clip(path, seconds=8, rate=10).read_bytes()


def at_30(frames: int, begin: float = 0.0) -> list[float]:
    """The times (s) of so many frames, thirty a second."""
    return [begin + number / 30 for number in range(frames)]


def png(width: int, height: int) -> bytes:
    """A PNG that announces these sides and holds no pixel."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + b"\0\0\0\0IDAT\x35\xaf\x06\x1e"  # fmt: skip


def test_a_decompression_bomb_is_measured_and_not_decompressed(tmp_path: Path) -> None:
    """The largest image that is allowed is measured from its header, at no cost in memory."""
    (tmp_path / "a.png").write_bytes(png(65_536, 65_536))
    assert probe_image(tmp_path / "a.png") == Source(width=65_536, height=65_536, format="PNG")


@pytest.mark.parametrize(
    ("name", "content", "words", "reason"),
    [
        ("a.png", b"", "no image that is known here", "empty"),
        ("a.png", b"GIF89a", "is damaged", "a GIF in disguise, and broken off"),
        ("a.png", BUNNY[:1000], "no image that is known here", "a video in disguise"),
        ("a.png", png(1, 1)[:20], "is damaged", "broken off"),
        ("a.jpg", b"\xff\xd8\xff\xe0" + b"\0" * 50, "is damaged", "nothing behind the first bytes"),
        ("a.mp4", b"", "no MP4, QuickTime, WebM or Matroska", "empty"),
        ("a.mp4", b"#EXTM3U\nfile:///etc/passwd\n", "no MP4, QuickTime, WebM or Matroska", "a playlist opens other files"),
        ("a.mp4", BUNNY[:5000], "is broken off", "broken off"),
    ],
)  # fmt: skip
def test_what_cannot_be_an_input_is_said_in_a_sentence(
    tmp_path: Path, name: str, content: bytes, words: str, reason: str
) -> None:
    """A wrong, broken or disguised file is refused with its reason before the provider sees it."""
    (tmp_path / name).write_bytes(content)
    key = "image" if name[-3:] in ("png", "jpg", "bmp") else "video"
    with pytest.raises(MediaError, match=words):
        read_source(tmp_path, name, key)


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    """Pipes and folders never hold up a plan, and a missing file is named."""
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "folder.png").mkdir()
    for name, words in [
        ("fifo.png", "not a plain file"),
        ("folder.png", "not a plain file"),
        ("none.png", "does not exist"),
    ]:
        with pytest.raises(MediaError, match=words):
            read_source(tmp_path, name, "image")
    with pytest.raises(WorkspaceError, match="does not exist"):
        file_sha256(tmp_path / "none.png")


def test_a_file_that_changes_while_it_is_read_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An id is never computed from half an old file and half a new one."""
    path = make_image(tmp_path / "a.png", (400, 400))

    def digest_and_change(file: BufferedReader) -> str:
        path.write_bytes(path.read_bytes() + b"more")
        return digest(file)

    monkeypatch.setattr("reconciler.workspace.read.local.digest", digest_and_change)
    with pytest.raises(MediaError, match="changed while it was read"):
        read_source(tmp_path, "a.png", "image")


def test_names_in_a_film_need_not_be_utf_8(tmp_path: Path) -> None:
    """Old cameras write Latin-1; neither an input nor a paid result is refused for that, or ends in a traceback."""
    (tmp_path / "a.mp4").write_bytes(BUNNY.replace(b"VideoHandler", b"Vid\xe9oHandler"))
    assert read_source(tmp_path, "a.mp4", "video").seconds == Decimal("5.28")
    assert examine_result(tmp_path / "a.mp4").seconds == 5.28


def test_a_film_with_sound_only_is_no_video(tmp_path: Path) -> None:
    """A result that has no picture does not count as delivered."""
    import av

    with (
        av.open(MEDIA / "bigbuckbunny.mp4") as film,
        av.open(tmp_path / "a.mp4", "w") as container,
    ):
        stream = container.add_stream_from_template(film.streams.audio[0])
        for packet in film.demux(film.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    with pytest.raises(MediaError, match="holds no video"):
        examine_result(tmp_path / "a.mp4")


def box(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def boxes() -> dict[bytes, bytes]:
    """The top-level boxes of the real video, as bytes."""
    found, at = {}, 0
    while at < len(BUNNY):
        size, kind = struct.unpack(">I4s", BUNNY[at : at + 8])
        found[kind] = BUNNY[at : at + size]
        at += size
    return found


@pytest.mark.parametrize(
    ("content", "words", "reason"),
    [
        (b"", "it has no `ftyp, mdat, moov` part", "empty"),
        (b"<html>404</html>", "broken off or damaged at byte 0", "a page saved as a video"),
        (BUNNY[:-1], "broken off or damaged", "a byte is missing"),
        (BUNNY[: len(BUNNY) // 2], "broken off or damaged", "half of it"),
        (BUNNY + b"\0", "broken off or damaged", "a byte too many"),
        (BUNNY + b"\0" * 100, "broken off or damaged", "preallocated and not filled"),
        (box(b"ftyp") + box(b"moov"), "it has no `mdat` part", "no frames"),
        (box(b"ftyp") + box(b"moov") + box(b"mdat"), "cannot be opened", "empty parts"),
        (box(b"free") * 100_001, "too many parts", "an endless walk"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_result_that_is_not_whole_is_refused(
    tmp_path: Path, content: bytes, words: str, reason: str
) -> None:
    """A download that is cut, padded or no film at all is never published."""
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(MediaError, match=words):
        examine_result(tmp_path / "a.mp4")


def test_large_and_open_ended_boxes_are_walked_too(tmp_path: Path) -> None:
    """Films with 64-bit sizes and with a last part up to the end of the file count as whole."""
    parts = boxes()
    mdat = parts[b"mdat"][8:]
    wide = struct.pack(">I4sQ", 1, b"mdat", 16 + len(mdat)) + mdat
    open_ended = struct.pack(">I4s", 0, b"mdat") + mdat
    head = parts[b"ftyp"] + parts[b"moov"]
    for name, content in [("wide.mp4", head + wide), ("open.mp4", head + open_ended)]:
        (tmp_path / name).write_bytes(content)
        assert examine_result(tmp_path / name).seconds == 5.28
    (tmp_path / "short.mp4").write_bytes(head + wide[:-1])
    with pytest.raises(MediaError, match="broken off"):
        examine_result(tmp_path / "short.mp4")


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=300), st.integers(0, 4000))
def test_damaged_media_raise_nothing_but_media_errors(
    tmp_path: Path, noise: bytes, at: int
) -> None:
    """No damage to a media file ends in anything but a sentence about it."""
    (tmp_path / "a.mp4").write_bytes(BUNNY[:at] + noise + BUNNY[at + len(noise) : 60_000])
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + noise)
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff" + noise)
    said = []
    for name in ("a.mp4", "a.png", "a.jpg"):
        try:
            read_source(tmp_path, name, "video" if name == "a.mp4" else "image")
            if name == "a.mp4":
                examine_result(tmp_path / name)
        except MediaError as error:
            said.append(error.message.encode())
    assert all(said)
