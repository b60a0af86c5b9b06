"""What a picture or a film really is, told from its content. Judges nothing: the limits are in `checks`."""

from __future__ import annotations

import io
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
from PIL import JpegImagePlugin, PngImagePlugin


@dataclass(frozen=True)
class Picture:
    """A still image."""

    suffix: str
    """`png` or `jpg`."""
    width: int
    height: int
    """Pixels as stored."""


@dataclass(frozen=True)
class Clip:
    """A film's video track."""

    codec: str
    width: int
    height: int
    """Pixels as stored."""
    duration_ms: int
    rate: Fraction
    """Frames per second."""


def probe_picture(data: bytes) -> Picture | None:
    """Return what the header says, or None for anything that is neither JPEG nor PNG."""
    for suffix, decoder in (
        ("png", PngImagePlugin.PngImageFile),
        ("jpg", JpegImagePlugin.JpegImageFile),
    ):
        try:
            with decoder(io.BytesIO(data)) as image:
                return Picture(suffix, *image.size)
        except (SyntaxError, OSError, ValueError, IndexError):
            continue
    return None


@lru_cache(maxsize=256)
def probe_clip(path: Path) -> Clip | None:
    """Return what the container says, or None for anything but MP4 or MOV with a video track.

    The answer is remembered: files are named by their digest and never change.
    """
    try:
        with av.open(str(path)) as container:
            if "mov" not in container.format.name.split(",") or not container.streams.video:
                return None
            stream = container.streams.video[0]
            duration_ms = round((container.duration or 0) / 1000)
            rate = stream.average_rate or Fraction(25)
            return Clip(stream.codec_context.name, stream.width, stream.height, duration_ms, rate)
    except (av.FFmpegError, OSError, ValueError):
        return None
