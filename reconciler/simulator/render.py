"""Films: real, playable H.264 in MP4, made of a reference picture and a gentle motion. Knows no tasks and no time."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Literal

import av
import av.container
from PIL import Image, ImageDraw, ImageFont, ImageOps

SHORT_SIDE = {
    ("std", "full"): 720,
    ("pro", "full"): 1080,
    ("std", "draft"): 128,
    ("pro", "draft"): 192,
    ("std", "stamp"): 32,
    ("pro", "stamp"): 48,
}
"""Pixels of the short side: 720p and 1080p, a draft of them, or the least that plays."""
FASTEST_RATE = {"full": Fraction(30), "draft": Fraction(8), "stamp": Fraction(1)}
LARGEST_PICTURE = 80_000_000
"""Pixels; a legal picture beyond this is replaced by a drawn one, for memory's sake."""
MARGIN = 0.08
"""How much larger than the frame the picture is, so that there is something to move over."""
WATERMARK = "KLING SIMULATOR"


@dataclass(frozen=True)
class Film:
    """What a film must be like; the same value gives the same bytes."""

    name: str
    """Seeds the motion and is written into the file, so that no two names give the same bytes."""
    image: str
    """Path of the picture; empty for a drawn one."""
    video: str
    """Path of the film whose sound is kept; empty for silence."""
    mode: str
    detail: Literal["full", "draft", "stamp"]
    duration_ms: int
    rate: Fraction
    """Frames per second of the reference."""
    watermark: bool


def frames_of(film: Film) -> tuple[int, Fraction]:
    """Return how many frames a film has, and how many per second."""
    rate = min(film.rate, FASTEST_RATE[film.detail])
    return max(1, round(film.duration_ms * rate / 1000)), rate


def seconds_of(film: Film) -> Fraction:
    """Return how long the film plays."""
    count, rate = frames_of(film)
    return count / rate


def render(film: Film, path: Path) -> None:
    """Write the film to `path`; the index comes first, so that it plays while it loads."""
    still = _picture(film.image, SHORT_SIDE[film.mode, film.detail])
    count, rate = frames_of(film)
    with av.open(
        str(path), "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"}
    ) as out:
        out.metadata["comment"] = film.name
        stream = out.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "crf": "28"})
        stream.codec_context.thread_count = 1
        stream.width, stream.height = _frame_size(still)
        stream.pix_fmt = "yuv420p"
        sound = _Sound.of(film.video, out)
        for image in _frames(still, film, count):
            out.mux(stream.encode(_frame(image)))
        out.mux(stream.encode(None))
        if sound is not None:
            sound.copy(out, seconds_of(film))


def _frames(still: Image.Image, film: Film, count: int) -> Iterator[Image.Image]:
    """Move a window over the picture along an ellipse whose start and sense the name decides."""
    width, height = _frame_size(still)
    room = ((still.width - width) / 2, (still.height - height) / 2)
    digest = hashlib.sha256(film.name.encode()).digest()
    phase, sense = digest[0] / 256 * math.tau, 1 if digest[1] % 2 else -1
    mark = _watermark(width, height) if film.watermark else None
    for number in range(count):
        turn = phase + sense * number / count * math.pi
        left = round(room[0] * (1 + math.cos(turn)))
        top = round(room[1] * (1 + math.sin(turn)))
        image = still.crop((left, top, left + width, top + height))
        if mark is not None:
            image.paste(mark, (0, 0), mark)
        yield image


def _frame(image: Image.Image) -> av.VideoFrame:
    frame: av.VideoFrame = av.VideoFrame.from_image(image)  # type: ignore[no-untyped-call]
    return frame


def _frame_size(still: Image.Image) -> tuple[int, int]:
    return _even(still.width / (1 + MARGIN)), _even(still.height / (1 + MARGIN))


def _even(side: float) -> int:
    return max(2, round(side / 2) * 2)


@lru_cache(maxsize=4)
def _picture(path: str, short_side: int) -> Image.Image:
    """Return the picture, upright, at the size of the frame and its margin."""
    image = _opened(path) or _drawn()
    scale = short_side / min(image.size)
    frame = (_even(image.width * scale), _even(image.height * scale))
    return image.resize((round(frame[0] * (1 + MARGIN)), round(frame[1] * (1 + MARGIN))))


def _opened(path: str) -> Image.Image | None:
    if not path:
        return None
    try:
        with Image.open(path) as image:
            if image.width * image.height > LARGEST_PICTURE:
                return None
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None


def _drawn() -> Image.Image:
    """Return a figure before a horizon, for pictures that live on other hosts."""
    image = Image.linear_gradient("L").resize((1280, 720))
    picture = ImageOps.colorize(image, "#27415e", "#e8c9a0")
    draw = ImageDraw.Draw(picture)
    draw.ellipse((580, 120, 700, 240), fill="#3b2a20")
    draw.rounded_rectangle((550, 250, 730, 560), radius=60, fill="#6b7b8c")
    draw.rectangle((0, 600, 1280, 720), fill="#4a5a3a")
    return picture


def _watermark(width: int, height: int) -> Image.Image:
    layer = Image.new("RGBA", (width, height))
    size = max(8, width // 16)
    draw = ImageDraw.Draw(layer)
    draw.text(
        (width - size // 2, height - size // 2),
        WATERMARK,
        font=ImageFont.load_default(size),
        fill=(255, 255, 255, 200),
        anchor="rs",
        stroke_width=max(1, size // 16),
        stroke_fill=(0, 0, 0, 200),
    )
    return layer


class _Sound:
    """The sound of the reference, copied packet by packet."""

    def __init__(self, path: str, track: av.AudioStream) -> None:
        self._path = path
        self._track = track

    @classmethod
    def of(cls, path: str, out: av.container.OutputContainer) -> _Sound | None:
        """Announce the reference's sound in `out`; None when there is none that MP4 can hold."""
        if not path:
            return None
        with av.open(path) as reference:
            tracks = reference.streams.audio
            if not tracks or tracks[0].codec_context.name not in {"aac", "mp3"}:
                return None
            return cls(path, out.add_stream_from_template(tracks[0]))

    def copy(self, out: av.container.OutputContainer, seconds: Fraction) -> None:
        """Write the packets that begin before the film's end."""
        with av.open(self._path) as reference:
            for packet in reference.demux(reference.streams.audio[0]):
                if (
                    packet.dts is None
                    or packet.pts is None
                    or packet.pts * packet.time_base >= seconds
                ):
                    continue
                packet.stream = self._track
                out.mux(packet)
