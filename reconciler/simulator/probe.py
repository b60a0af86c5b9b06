"""What a picture or a film really is, told from its content. Judges nothing: the limits are in `checks`."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
from av.buffer import Buffer
from av.container import InputContainer
from av.sidedata.sidedata import Type
from av.video.stream import VideoStream
from PIL import JpegImagePlugin, PngImagePlugin

UPRIGHT = (65536, 0, 0, 0, 65536)
"""The first five of the nine numbers of a matrix that changes nothing."""


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
    """What its header says, or its frames last, with its edit list or without: the longest, the dearest reading."""
    rate: Fraction
    """Frames per second."""
    turned: bool = False
    """Whether a player turns or mirrors it."""


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
            rate = stream.average_rate or Fraction(25)
            length_s = (stream.duration or 0) * (stream.time_base or 0)
            announced_ms = round(length_s * 1000) or round((container.duration or 0) / 1000)
            codec, sides = stream.codec_context.name, (stream.width, stream.height)
            turned = _is_turned(container, stream)
        duration_ms = max(announced_ms, _frames_ms(path), _frames_ms(path, ignore_editlist="1"))
        return Clip(codec, *sides, duration_ms, rate, turned)
    except (av.FFmpegError, OSError, ValueError):
        return None


def _frames_ms(path: Path, **options: str) -> int:
    """Return how long the frames of the first video track are shown, from the first one's begin to the last one's end."""
    begins, ends = [], []
    with av.open(str(path), options=options) as container:
        for packet in container.demux(container.streams.video[0]):
            if packet.pts is not None and not packet.is_discard:
                begins.append(packet.pts * packet.time_base)
                ends.append((packet.pts + (packet.duration or 0)) * packet.time_base)
    return round((max(ends) - min(begins)) * 1000) if begins else 0


def _is_turned(container: InputContainer, stream: VideoStream) -> bool:
    """Tell whether the first frame comes with a matrix that is not the plain one."""
    try:
        frame = next(container.decode(stream), None)
    except av.FFmpegError:
        return False
    if frame is None:
        return False
    known: Mapping[Type, Buffer] = frame.side_data  # type: ignore[assignment]  # its annotation names one type of many
    matrix = known.get(Type.DISPLAYMATRIX)
    return matrix is not None and struct.unpack_from("=5i", bytes(matrix)) != UPRIGHT
