"""Folders, media and caches for the workspace's tests: real files, old enough to be remembered."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec

import av
from av.audio.stream import AudioStream
from av.video.stream import VideoStream
from PIL import Image

from reconciler.core.generations import Generation
from reconciler.core.motion_control import UNITS_PER_SECOND
from reconciler.workspace.read.loader import Desired, load
from reconciler.workspace.read.local import of_specs

MEDIA = Path(__file__).parents[1] / "media"

SPEC = """\
image_url: ../assets/girl.png
video_url: ../assets/dance.mp4
character_orientation: image
mode: pro
"""


class Cache:
    """A cache in memory that counts what it is asked to save."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[str, bytes]] = {}
        self.saved: list[str] = []

    def load(
        self, names: Iterable[str] | None = None, *, under: str = ""
    ) -> dict[str, tuple[str, bytes]]:
        asked = self.rows if names is None and not under else set(names or ())
        return {
            name: row
            for name, row in self.rows.items()
            if name in asked or (under and name.startswith(under))
        }

    def save(self, changed: Mapping[str, tuple[str, bytes]], gone: Iterable[str]) -> None:
        self.saved += [*changed, *gone]
        self.rows.update(changed)
        for name in gone:
            del self.rows[name]

    def specs(self) -> list[str]:
        """The specs that are remembered; what is known of media by digest is left out."""
        return of_specs(self.rows)


class Project:
    """A project folder with `specs/` and two media files in `assets/`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cache = Cache()
        self._age = 1_000_000_000
        (root / "specs").mkdir(parents=True)
        (root / "assets").mkdir()
        self.copy(MEDIA / "astronaut.png", "assets/girl.png")
        self.copy(MEDIA / "bigbuckbunny.mp4", "assets/dance.mp4")

    def write(self, name: str, content: str | bytes = SPEC) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.settle(name)
        return path

    def copy(self, source: Path, name: str) -> None:
        self.write(name, source.read_bytes())

    def settle(self, name: str) -> None:
        """Give a file an mtime of its own, long past."""
        self._age += 1
        os.utime(self.root / name, (self._age, self._age))

    def remove(self, name: str) -> None:
        path = self.root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    def load(self, *, cached: bool = False) -> Desired:
        return load(
            self.root,
            "specs",
            prices=UNITS_PER_SECOND,
            cache=self.cache if cached else None,
        )

    def generation(self) -> Generation:
        """The only generation; everything must be valid."""
        desired = self.load()
        assert not desired.problems, desired.problems
        (generation,) = desired.generations
        return generation

    def problems(self) -> list[str]:
        return [str(problem) for problem in self.load().problems]


def make_image(path: Path, size: tuple[int, int], kind: str = "PNG") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size).save(path, kind)
    return path


def make_moving(path: Path) -> Path:
    """A GIF of a red and a blue frame."""
    path.parent.mkdir(parents=True, exist_ok=True)
    red, blue = (Image.new("RGB", (400, 400), colour) for colour in ("red", "blue"))
    red.save(path, "GIF", save_all=True, append_images=[blue], duration=100)
    return path


Film = ParamSpec("Film")


def _encoded_once(
    make: Callable[Concatenate[Path, Film], Path],
) -> Callable[Concatenate[Path, Film], Path]:
    """Have a film encoded once for each choice of options, and copied from then on."""
    known: dict[object, bytes] = {}

    @wraps(make)
    def copy(path: Path, /, *args: Film.args, **options: Film.kwargs) -> Path:
        chosen = (args, tuple(sorted(options.items())))
        if chosen not in known:
            known[chosen] = make(path, *args, **options).read_bytes()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(known[chosen])
        return path

    return copy


@_encoded_once
def make_video(
    path: Path,
    *,
    codec: str = "libx264",
    size: tuple[int, int] = (640, 360),
    seconds: int = 4,
    rotation: int = 0,
    gop: int = 250,
    container: str = "mp4",
) -> Path:
    """A black film of one frame a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(path, "w", format=container) as made:
        stream = made.add_stream(codec, rate=1)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, 1)
        stream.gop_size = gop
        if codec == "libx265":
            stream.options = {"x265-params": "log-level=none"}
        if rotation:
            stream.set_display_rotation(rotation)
        for _ in range(seconds):
            made.mux(stream.encode(_black(size)))
        made.mux(stream.encode(None))
    return path


@_encoded_once
def make_clip(
    path: Path,
    *,
    codec: str = "libx264",
    size: tuple[int, int] = (640, 360),
    seconds: float = 4,
    rate: int = 25,
    rotation: int = 0,
    sound: bool = False,
    heard: float | None = None,
    noisy: bool = False,
    container: str = "mp4",
) -> Path:
    """A film with a white square in the corner that is stored top left, seen elsewhere once it is turned.

    Each second is a little lighter than the one before. `noisy` films cost an encoder time. Silence lasts as long as
    the picture where there is `sound`, or as long as it is `heard` (s).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(path, "w", format=container) as made:
        stream = made.add_stream(codec, rate=rate)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        if codec != "libvpx-vp9":
            stream.options = {"preset": "ultrafast", "x265-params": "log-level=none"}
        if rotation:
            stream.set_display_rotation(rotation)
        heard = seconds if sound else heard
        coder = "aac" if container == "mp4" else "libopus"
        track = made.add_stream(coder, rate=48_000, layout="stereo") if heard else None
        assert track is None or isinstance(track, AudioStream)
        for number in range(round(seconds * rate)):
            frame = _marked(size, 20 + 10 * (number // rate), number if noisy else None)
            frame.pts, frame.time_base = number, Fraction(1, rate)
            made.mux(stream.encode(frame))
        made.mux(stream.encode(None))
        if track is not None and heard is not None:
            for number in range(int(heard * 48_000) // 1024):
                silence = av.AudioFrame("fltp", "stereo", 1024)
                for plane in silence.planes:
                    plane.update(bytes(plane.buffer_size))
                silence.pts, silence.sample_rate = number * 1024, 48_000
                silence.time_base = Fraction(1, 48_000)
                made.mux(track.encode(silence))
            made.mux(track.encode(None))
    return path


def make_timed(path: Path, times: Iterable[float]) -> Path:
    """A film whose frames are shown from these times (s) on, the last one for a thirtieth of a second."""
    ticks = 90_000
    with av.open(path, "w", format="mp4") as made:
        stream = made.add_stream("libx264", rate=30)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        stream.options = {"preset": "ultrafast", "bf": "3"}  # stored in another order than shown
        stream.codec_context.time_base = Fraction(1, ticks)
        for number, time in enumerate(times):
            frame = _marked((640, 360), 20 + number % 200, None)
            frame.pts, frame.time_base = round(time * ticks), Fraction(1, ticks)
            frame.duration = ticks // 30
            made.mux(stream.encode(frame))
        made.mux(stream.encode(None))
    return path


def shifted(source: Path, target: Path, *, picture: float = 0.0, sound: float = 0.0) -> Path:
    """Copy a film whose tracks begin so many seconds later."""
    later = {"video": picture, "audio": sound}
    with av.open(source) as read, av.open(target, "w", format="mp4") as written:
        tracks = {stream.index: written.add_stream_from_template(stream) for stream in read.streams}
        for packet in read.demux():
            if packet.dts is None or packet.pts is None or packet.time_base is None:
                continue
            shift = round(later[packet.stream.type] / packet.time_base)
            packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
            packet.stream = tracks[packet.stream.index]
            written.mux(packet)
    return target


CORNERS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255))
SEEN = {
    (1, 0, 0, 1): "RGBW",
    (
        -1,
        0,
        0,
        1,
    ): "GRWB",  # flipped left to right, as some phones store what their front camera sees
    (1, 0, 0, -1): "BWRG",  # flipped upside down
    (-1, 0, 0, -1): "WBGR",
    (0, 1, -1, 0): "BRWG",  # clockwise
    (0, -1, 1, 0): "GWRB",
    (0, 1, 1, 0): "RBGW",
    (0, -1, -1, 0): "WGBR",
}
"""The colours that a viewer sees from top left to bottom right, by the display matrix (a, b, c, d)."""


def quartered() -> Image.Image:
    """A picture with a red, a green, a blue and a white quarter."""
    picture = Image.new("RGB", (640, 360))
    for number, colour in enumerate(CORNERS):
        x, y = number % 2 * 320, number // 2 * 180
        picture.paste(colour, (x, y, x + 320, y + 180))
    return picture


def make_quartered(path: Path, matrix: tuple[int, int, int, int], seconds: int = 3) -> Path:
    """A film of four quarters that a player is to show through a matrix."""
    picture = quartered()
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(path, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=5)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        one, (a, b, c, d) = 1 << 16, matrix
        stream.set_display_matrix((a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30))
        for _ in range(5 * seconds):
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))  # type: ignore[no-untyped-call]
        container.mux(stream.encode(None))
    return path


def quarters(picture: Image.Image) -> str:
    """Return the colours of a picture's quarters from top left to bottom right, as letters."""
    width, height = picture.size
    found = ""
    for y in (height // 4, 3 * height // 4):
        for x in (width // 4, 3 * width // 4):
            pixel = picture.convert("RGB").getpixel((x, y))
            assert isinstance(pixel, tuple)
            bright = "".join("RGB"[at] for at in range(3) if pixel[at] > 128)
            found += "W" if bright == "RGB" else bright
    return found


def _marked(size: tuple[int, int], grey: int, seed: int | None) -> av.VideoFrame:
    width, height = size
    picture = Image.new("L", size, grey)
    if seed is not None:
        noise = random.Random(seed).randbytes(width * height)
        picture = Image.blend(picture, Image.frombytes("L", size, noise), 0.5)
    picture.paste(255, (0, 0, 80, 80))
    frame: av.VideoFrame = av.VideoFrame.from_image(picture.convert("RGB"))  # type: ignore[no-untyped-call]
    return frame


def first_picture(path: Path) -> Image.Image:
    """Return a film's first frame in grey, as it is stored."""
    with av.open(path) as container:
        picture: Image.Image = next(container.decode(video=0)).to_image()  # type: ignore[no-untyped-call]
    return picture.convert("L")


def corners(path: Path) -> set[str]:
    """Return in which corners of a film's first frame, as it is stored, the white square is."""
    picture = first_picture(path)
    width, height = picture.size
    places = {
        "top left": (20, 20),
        "top right": (width - 20, 20),
        "bottom left": (20, height - 20),
        "bottom right": (width - 20, height - 20),
    }
    return {
        name
        for name, at in places.items()
        if picture.crop((*at, at[0] + 1, at[1] + 1)).tobytes() > b"\xc8"
    }


def _black(size: tuple[int, int]) -> av.VideoFrame:
    """A frame holds whatever the memory held before, until it is filled."""
    frame = av.VideoFrame(*size, "yuv420p")
    for plane, value in zip(frame.planes, (16, 128, 128), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    return frame
