"""Videos as facts: container by content, codec, sides, length, rotation, and whether frames decode.

Files are untrusted. The container is opened as the one format it may be, so that a playlist in disguise opens nothing
else; two frames are decoded, of bounded size, out of a bounded number of packets.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from io import BufferedReader
from typing import TYPE_CHECKING, BinaryIO

from reconciler.core.motion_control import PREPARABLE_PIXELS
from reconciler.workspace.flaws import Evident, Flaw

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# A .mp4 or .mov begins with one of these, and holds them at its top level.
_MOVIE_BOXES = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}
_MOST_BOXES = 100_000
_MOST_PACKETS = 120  # tried for one frame; the first follows at most 16 others
_MILLISECOND = Decimal("0.001")
_ENCRYPTED = b"encv"
# What the binding raises for bad bytes beside the library's own errors. Another kind is a mistake, and no flaw.
_UNREADABLE = (ValueError, LookupError, ArithmeticError)


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """A video as its container announces it."""

    width: int  # px, as shown (rotation applied)
    height: int  # px
    seconds: Decimal | None  # to the millisecond; None when the container does not say
    codec: str  # as the decoder library calls it, such as "h264"
    rotation: int = 0  # degrees that a player turns it by


@dataclass(frozen=True, slots=True)
class Box:
    """A part of an MP4 or QuickTime file."""

    kind: bytes
    begin: int  # bytes from the start of the file
    end: int


def check_container(file: BufferedReader) -> None:
    """Check that a file is an MP4 or MOV by its first bytes, and that none of its parts goes on beyond its end.

    What follows the known parts is let be: cameras append things, and players skip them. Raises `Flaw`.
    """
    check_start(file)
    size = os.fstat(file.fileno()).st_size
    for box in boxes(file):
        if box.kind in _MOVIE_BOXES and box.end > size:
            raise Evident(
                f"is broken off: it has {size:,} bytes and its `{box.kind.decode()}` part goes on "
                f"to byte {box.end:,}; copy it again"
            )


def check_start(file: BufferedReader) -> None:
    """Check that a file begins as an MP4 or MOV does. Raises `Evident`."""
    file.seek(0)
    if file.read(12)[4:8] not in _MOVIE_BOXES:
        raise Evident("holds neither an MP4 nor a QuickTime video, whatever its name says")


def read_facts(file: BinaryIO) -> VideoFacts:
    """Return what the container says of its first video, the first frame's rotation applied. Raises `Flaw`."""
    with film_of(file) as (container, stream):
        return _facts(container, stream, _rotation(container, stream))


def check_frames(file: BufferedReader) -> None:
    """Decode the first frame and the last one that stands by itself. Raises `Flaw` when one does not decode."""
    import av

    with film_of(file) as (container, stream):
        try:
            is_good = is_whole(_next_frame(container, stream))
        except av.FFmpegError:
            is_good = False
        if not is_good:
            raise Flaw("is damaged: its first frame does not decode; export it again")
        if container.duration is None:
            return
        try:
            container.seek(container.duration + (container.start_time or 0))
            last = _next_frame(container, stream)
            is_good = last is None or is_whole(last)
        except av.FFmpegError:
            is_good = False
        if not is_good:
            raise Flaw("is damaged: a frame near its end does not decode; export it again")


def boxes(file: BufferedReader) -> Iterator[Box]:
    """Yield the top-level parts as they announce themselves, to the end of the file or the first nonsense."""
    end = os.fstat(file.fileno()).st_size
    at = 0
    for _ in range(_MOST_BOXES):
        file.seek(at)
        header = file.read(16)
        if len(header) < 8:
            return
        size, kind = struct.unpack(">I4s", header[:8])
        smallest = 8
        if size == 1 and len(header) == 16:  # a 64-bit size follows
            size, smallest = struct.unpack(">Q", header[8:])[0], 16
        elif size == 0:  # the last one: it goes on to the end
            size = end - at
        if size < smallest or not kind.isalnum():
            return
        yield Box(kind, at, at + size)
        at += size
    raise Flaw("is no whole MP4: it has too many parts")


@contextlib.contextmanager
def film_of(file: BinaryIO) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open the container and find its first video that is no cover picture. Raises `Flaw`, also in the block."""
    import av
    from av.stream import Disposition

    file.seek(0)
    try:
        with av.open(file, "r", format="mov", metadata_errors="replace") as container:
            films = [
                stream
                for stream in container.streams.video
                if not stream.disposition & Disposition.attached_pic
            ]
            if not films:
                raise Evident("holds no video, only sound or data")
            if films[0].codec_context is None:
                raise Evident(_unknown(file))
            films[0].codec_context.options = {"max_pixels": str(PREPARABLE_PIXELS)}
            yield container, films[0]
    except (av.FFmpegError, *_UNREADABLE) as error:
        raise Flaw("is damaged: it cannot be opened as a video") from error


def _unknown(file: BinaryIO) -> str:
    file.seek(0)
    rest = b""
    while block := file.read(1024 * 1024):
        if _ENCRYPTED in rest + block:
            return "is encrypted: the API cannot read it; use a copy without protection"
        rest = block[-4:]
    return "holds a video in a format that is not known here: transcode it to H.264"


def _facts(container: InputContainer, stream: VideoStream, rotation: int) -> VideoFacts:
    width, height = stream.width, stream.height
    length = container.duration  # µs
    seconds = None if length is None else (Decimal(length) / 1_000_000).quantize(_MILLISECOND)
    sides = (height, width) if rotation % 180 else (width, height)
    return VideoFacts(*sides, seconds, stream.codec_context.name, rotation)


def _rotation(container: InputContainer, stream: VideoStream) -> int:
    """Return by how many degrees the video is shown turned; the first frame tells, where one decodes."""
    import av

    if stream.width * stream.height > PREPARABLE_PIXELS:
        return 0  # refused anyway
    try:
        frame = _next_frame(container, stream)
    except av.FFmpegError:
        return 0
    return 0 if frame is None else round(frame.rotation) % 360


def _next_frame(container: InputContainer, stream: VideoStream) -> VideoFrame | None:
    """Return the next frame, None when so many packets hold none."""
    for count, packet in enumerate(container.demux(stream)):
        for frame in packet.decode():
            return frame
        if count >= _MOST_PACKETS:
            break
    return None


def is_whole(frame: VideoFrame | None) -> bool:
    """Whether a frame is whole. One that leans on frames that are cut away is nobody's fault."""
    return frame is not None and not (frame.is_corrupt and frame.key_frame)
