"""Videos as facts: container by content, codec, sides, length, how it is shown, and whether frames decode.

Files are untrusted. The container is opened as the one format it may be, so that a playlist in disguise opens nothing
else; two frames are decoded, of bounded size, out of a bounded number of packets.
"""

from __future__ import annotations

import contextlib
import math
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from io import BufferedReader
from typing import TYPE_CHECKING, BinaryIO

from reconciler.core.sources import PREPARABLE_PIXELS
from reconciler.workspace.flaws import Evident, Flaw, beginning

if TYPE_CHECKING:
    from av.buffer import Buffer
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# A .mp4 or .mov begins with one of these, and holds them at its top level.
_MOVIE_BOXES = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}
_MOST_BOXES = 100_000
_MOST_PACKETS = 120  # tried for one frame; the first follows at most 16 others
_EBML = b"\x1a\x45\xdf\xa3"  # a WebM or Matroska film begins with this
_DEMUXERS = {"MP4": "mov", "Matroska": "matroska"}  # the one format that a file may be opened as
_MOST_COUNTED = (
    1_000_000  # packets of a film whose length is counted: four hours at 60 frames a second
)
_MILLISECOND = Decimal("0.001")
_ENCRYPTED = b"encv"
_THREADS = 2  # each holds frames of its own, and memory is bounded
# What the binding raises for bad bytes beside the library's own errors. Another kind is a mistake, and no flaw.
_UNREADABLE = (ValueError, LookupError, ArithmeticError)


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """A video as its container holds it."""

    width: int  # px, as shown (rotation applied)
    height: int  # px
    seconds: Decimal | None  # of the picture, to the millisecond; None when it cannot be told
    codec: str  # as the decoder library calls it, such as "h264"
    rotation: int = 0  # degrees that a player turns it by, counter-clockwise
    mirrored: bool = False  # whether a player mirrors it left to right before
    format: str = "MP4"  # of the container: that, also for QuickTime, or "Matroska"


@dataclass(frozen=True, slots=True)
class Box:
    """A part of an MP4 or QuickTime file."""

    kind: bytes
    begin: int  # bytes from the start of the file
    end: int


def check_container(file: BufferedReader) -> None:
    """Check that a file is a film by its first bytes, and that no part of an MP4 or MOV goes on beyond its end.

    What follows the known parts is let be: cameras append things, and players skip them. Raises `Flaw`.
    """
    if film_format(file) != "MP4":
        return
    size = os.fstat(file.fileno()).st_size
    for box in boxes(file):
        if box.kind in _MOVIE_BOXES and box.end > size:
            raise Evident(
                f"is broken off: it has {size:,} bytes and its `{box.kind.decode()}` part goes on "
                f"to byte {box.end:,}; copy it again"
            )


def film_format(file: BinaryIO) -> str:
    """Return the format of a film by its first bytes: "MP4", also for QuickTime, or "Matroska". Raises `Evident`."""
    start = beginning(file)
    if start.startswith(_EBML):
        return "Matroska"
    if start[4:8] not in _MOVIE_BOXES:
        raise Evident("holds no MP4, QuickTime, WebM or Matroska video, whatever its name says")
    return "MP4"


def read_facts(file: BinaryIO) -> VideoFacts:
    """Return what a container holds as its first video, with the sides that are shown. Raises `Flaw`.

    The length is that of the picture, from its first frame on: neither sound that goes on, nor what comes before the
    picture, is motion.
    """
    with film_of(file) as (container, stream):
        rotation, mirrored = _shown_first(container, stream)
        sides = stream.width, stream.height
        codec, seconds = stream.codec_context.name, _announced(container, stream)
    if seconds is None:
        with film_of(file) as (container, stream):
            seconds = _counted(container, [stream])
    width, height = reversed(sides) if rotation % 180 else sides
    return VideoFacts(width, height, seconds, codec, rotation, mirrored, film_format(file))


def longest_seconds(file: BinaryIO, said: Decimal | None) -> Decimal | None:
    """Return the most that a film can be said to last (s): what is billed may go by any of it. Raises `Flaw`.

    That is the longest of what is `said`, of what its index announces, with its edit list and without, and of what the
    packets of any of its pictures last. None where its packets cannot all be counted.
    """
    is_edited = film_format(file) == "MP4"
    found = [] if said is None else [said]
    for options in ({}, {"ignore_editlist": "1"}) if is_edited else ({},):
        with film_of(file, options) as (container, _):
            films = [film for film in container.streams.video if not _is_cover(film)]
            counted = _counted(container, films)
            if counted is None:
                return None
            announced = (
                film.duration * film.time_base for film in films if film.duration and film.time_base
            )
            found += [counted, *map(_in_milliseconds, announced)]
    return max(found)


def shown_as(frame: VideoFrame) -> tuple[int, bool]:
    """Return how a player turns a frame: degrees counter-clockwise (0 to 359), and whether it mirrors it before.

    Every display matrix that moves no corner elsewhere is one of eight: a mirror, left to right, or none, then a turn.
    """
    from av.sidedata.sidedata import Type

    found: Mapping[Type, Buffer] = frame.side_data  # type: ignore[assignment]  # its annotation names one type of many
    matrix = found.get(Type.DISPLAYMATRIX)
    if matrix is None:
        return 0, False
    a, b, _, c, d = struct.unpack_from("=5i", bytes(matrix))
    mirrored = a * d < b * c
    if mirrored:
        a, b = -a, -b
    return round(-math.degrees(math.atan2(b, a))) % 360, mirrored


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
    raise Flaw("is not a whole MP4: it has too many parts")


@contextlib.contextmanager
def film_of(
    file: BinaryIO, options: Mapping[str, str] | None = None
) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open the container and find its first video that is no cover picture. Raises `Flaw`, also in the block."""
    import av

    demuxer = _DEMUXERS[film_format(file)]
    try:
        with av.open(
            file, "r", format=demuxer, options=dict(options or {}), metadata_errors="replace"
        ) as container:
            films = _films(container)
            if not films:
                raise Evident("holds no video, only sound or data")
            if films[0].codec_context is None:
                raise Evident(_unknown(file))
            films[0].codec_context.options = {"max_pixels": str(PREPARABLE_PIXELS)}
            films[0].codec_context.thread_count = _THREADS
            yield container, films[0]
    except (av.FFmpegError, *_UNREADABLE) as error:
        raise Flaw("is damaged: it cannot be opened as a video") from error


def _films(container: InputContainer) -> list[VideoStream]:
    from av.stream import Disposition

    pictures = container.streams.video
    return [film for film in pictures if not film.disposition & Disposition.attached_pic]


def _is_cover(film: VideoStream) -> bool:
    """Whether it is one still picture; another track's chapters are a film, whoever calls them pictures."""
    from av.stream import Disposition

    told = film.disposition
    return bool(told & Disposition.attached_pic) and not told & Disposition.timed_thumbnails


def _unknown(file: BinaryIO) -> str:
    file.seek(0)
    rest = b""
    while block := file.read(1024 * 1024):
        if _ENCRYPTED in rest + block:
            return "is encrypted: the API cannot read it; use a copy without protection"
        rest = block[-4:]
    return "holds a video in a format that is not known here: transcode it to H.264"


def _announced(container: InputContainer, stream: VideoStream) -> Decimal | None:
    """Return the picture's length (s) as the index has it; in an MP4 without one, the container's own."""
    if stream.duration and stream.time_base:
        return _in_milliseconds(stream.duration * stream.time_base)
    if container.duration and "matroska" not in container.format.name:
        return _in_milliseconds(Fraction(container.duration, 1_000_000))
    return None


def _counted(container: InputContainer, films: Sequence[VideoStream]) -> Decimal | None:
    """Return how long the frames of the longest are shown (s), from the first to the end of the last.

    None where nothing tells.
    """
    import av

    ticks = {film.index: _frame_ticks(film) for film in films}
    spans: dict[int, tuple[int, int]] = {}  # by the index of a stream, in its ticks
    try:
        for count, packet in enumerate(container.demux(*films)):
            if count >= _MOST_COUNTED:
                return None
            at, index = packet.pts, packet.stream_index
            if at is None or packet.is_discard:
                continue
            begin, end = spans.get(index, (at, at))
            spans[index] = min(begin, at), max(end, at + (packet.duration or ticks[index]))
    except MemoryError:  # FFmpeg's own is both
        raise
    except av.FFmpegError:
        return None  # damaged on the way: whoever decodes it says so
    lengths = [
        (spans[film.index][1] - spans[film.index][0]) * film.time_base
        for film in films
        if film.index in spans and film.time_base
    ]
    return _in_milliseconds(max(lengths)) if lengths else None


def _frame_ticks(film: VideoStream) -> int:
    """Return how long a frame is shown whose packet does not say it."""
    return (
        round(1 / film.average_rate / film.time_base) if film.average_rate and film.time_base else 0
    )


def _in_milliseconds(seconds: Fraction) -> Decimal:
    return (Decimal(seconds.numerator) / seconds.denominator).quantize(_MILLISECOND)


def _shown_first(container: InputContainer, stream: VideoStream) -> tuple[int, bool]:
    """Return how the video is shown; the first frame tells, where one decodes."""
    import av

    if stream.width * stream.height > PREPARABLE_PIXELS:
        return 0, False  # refused anyway
    try:
        frame = _next_frame(container, stream)
    except av.FFmpegError:
        return 0, False
    return (0, False) if frame is None else shown_as(frame)


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
