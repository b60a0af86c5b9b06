"""Videos as facts: container by content, codec, sides, length, how it is shown, and whether frames decode.

Files are untrusted: a container is opened as one format only, since a playlist could open other files; two frames of
bounded size are decoded, out of a bounded number of packets.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from reconciler.core.media_rules import PREPARABLE_PIXELS, Source
from reconciler.workspace.media.flaws import UNREADABLE, Evident, Flaw, beginning, opened_media

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

# A .mp4 or .mov begins with one of these, and holds them at its top level.
_MOVIE_BOXES = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}
_MOST_BOXES = 100_000
_MOST_PACKETS = 121  # tried for one frame; the first follows at most 16 others
_EBML = b"\x1a\x45\xdf\xa3"  # a WebM or Matroska film begins with this
_DEMUXERS = {"MP4": "mov", "Matroska": "matroska"}  # the one format that a file may be opened as
_MOST_COUNTED = 1_000_000  # packets that tell a length: four hours at 60 frames a second
_MILLISECOND = Decimal("0.001")
_THREADS = 2  # each holds frames of its own, and memory is bounded


@dataclass(frozen=True, slots=True)
class Box:
    """A part of an MP4 or QuickTime file."""

    kind: bytes
    begin: int  # bytes from the start of the file
    end: int


def probe_video(path: Path) -> Source:
    """Return the facts of a video file, whatever its suffix. Raises `MediaError`."""
    with opened_media(path, path.name) as file:
        return film_facts(file)


def film_facts(file: BufferedReader) -> Source:
    """Return the facts of a whole film, with its `longest_seconds`. Raises `Flaw`."""
    check_container(file)
    facts = _read_index(file)
    return replace(facts, seconds=longest_seconds(file, facts.seconds))


def read_facts(file: BinaryIO) -> Source:
    """Return the facts of a film, also of an incomplete one. Raises `Flaw`."""
    facts = _read_index(file)
    if facts.seconds is not None:
        return facts
    with film_of(file) as (container, stream):
        return replace(facts, seconds=_counted(container, [stream]))


def check_container(file: BufferedReader) -> None:
    """Raise `Flaw` where a file begins like no film, or a part of an MP4 or MOV ends beyond the file."""
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
    """Return a film's format by its first bytes: "MP4", also for QuickTime, or "Matroska". Raises `Evident`."""
    start = beginning(file)
    if start.startswith(_EBML):
        return "Matroska"
    if start[4:8] not in _MOVIE_BOXES:
        raise Evident("holds no MP4, QuickTime, WebM or Matroska video, whatever its name says")
    return "MP4"


def _read_index(file: BinaryIO) -> Source:
    """Return the facts of the first video, by the container's index.

    The length is the picture's, from its first frame on, without sound before or after. Where an MP4's index has none, it
    is the container's; None where only the packets tell it.
    """
    import av

    kind, shown = film_format(file), (0, False)
    with film_of(file) as (container, stream):
        width, height = stream.width, stream.height
        if width * height <= PREPARABLE_PIXELS:  # a larger one is refused, and not decoded
            with contextlib.suppress(av.FFmpegError):
                if frame := _next_frame(container, stream):
                    shown = frame_shown_as(frame)
        seconds = _length(stream)
        if seconds is None and container.duration and kind == "MP4":
            seconds = _in_milliseconds(Fraction(container.duration, 1_000_000))
        return Source(
            width=height if shown[0] % 180 else width,
            height=width if shown[0] % 180 else height,
            seconds=seconds,
            format=kind,
            codec=stream.codec_context.name,
            rotation=shown[0],
            mirrored=shown[1],
        )


def longest_seconds(file: BinaryIO, said: Decimal | None) -> Decimal | None:
    """Return the longest length (s) by which the provider may bill a film. Raises `Flaw`.

    It is the longest of `said`, the index with its edit list and without, and the packets of each of its pictures; None
    where its packets cannot all be counted.
    """
    found = [] if said is None else [said]
    ways = [{}, {"ignore_editlist": "1"}] if film_format(file) == "MP4" else [{}]
    for options in ways:
        with film_of(file, options) as (container, _):
            films = [film for film in container.streams.video if not _is_cover(film)]
            counted = _counted(container, films)
            if counted is None:
                return None
            found += [counted, *filter(None, map(_length, films))]
    return max(found)


def frame_shown_as(frame: av.VideoFrame) -> tuple[int, bool]:
    """Return how a player turns a frame: degrees counter-clockwise (0 to 359), and whether it mirrors it before."""
    from av.sidedata.sidedata import Type

    found: Mapping[Type, av.buffer.Buffer] = frame.side_data  # type: ignore[assignment]  # its annotation names one type of many
    matrix = found.get(Type.DISPLAYMATRIX)
    if matrix is None:
        return 0, False
    a, b, _, c, d = struct.unpack_from("=5i", bytes(matrix))
    mirrored = a * d < b * c
    if mirrored:
        a, b = -a, -b
    return round(-math.degrees(math.atan2(b, a))) % 360, mirrored


def check_frames(file: BinaryIO) -> None:
    """Decode the first frame and the last key frame. Raises `Flaw` when one does not decode."""
    with film_of(file) as (container, stream):
        if not _decodes(container, stream):
            raise Flaw("is damaged: its first frame does not decode; export it again")
        if container.duration is None:
            return
        if not _decodes(container, stream, container.duration + (container.start_time or 0)):
            raise Flaw("is damaged: a frame near its end does not decode; export it again")


def _decodes(container: InputContainer, stream: av.VideoStream, end: int | None = None) -> bool:
    """Whether the next frame is whole; with an `end` (µs), the last key frame before it, where there is one."""
    import av

    try:
        if end is not None:
            container.seek(end)
        frame = _next_frame(container, stream)
    except av.FFmpegError:
        return False
    return end is not None if frame is None else is_whole(frame)


def boxes(file: BufferedReader) -> Iterator[Box]:
    """Yield the top-level parts by their headers, up to the end of the file or the first invalid header."""
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
) -> Iterator[tuple[InputContainer, av.VideoStream]]:
    """Open a film and its first video that is no cover picture. Raises `Flaw`, also in the block."""
    import av
    from av.stream import Disposition

    demuxer = _DEMUXERS[film_format(file)]
    try:
        with av.open(
            file, "r", format=demuxer, options=dict(options or {}), metadata_errors="replace"
        ) as container:
            pictures = container.streams.video
            films = (one for one in pictures if not one.disposition & Disposition.attached_pic)
            film = next(films, None)
            if film is None:
                raise Evident("holds no video, only sound or data")
            if film.codec_context is None:
                raise Evident(_unknown(file))
            film.codec_context.options = {"max_pixels": str(PREPARABLE_PIXELS)}
            film.codec_context.thread_count = _THREADS
            yield container, film
    except (av.FFmpegError, *UNREADABLE) as error:
        raise Flaw("is damaged: it cannot be opened as a video") from error


def _is_cover(film: av.VideoStream) -> bool:
    """Whether it is one still picture; pictures of chapters count as a film."""
    from av.stream import Disposition

    told = film.disposition
    return bool(told & Disposition.attached_pic) and not told & Disposition.timed_thumbnails


def _unknown(file: BinaryIO) -> str:
    file.seek(0)
    rest = b""
    while block := file.read(1024 * 1024):
        if b"encv" in rest + block:
            return "is encrypted: the API cannot read it; use a copy without protection"
        rest = block[-4:]
    return "holds a video in a format that is not known here: transcode it to H.264"


def _length(film: av.VideoStream) -> Decimal | None:
    if not film.duration or not film.time_base:
        return None
    return _in_milliseconds(film.duration * film.time_base)


def _counted(container: InputContainer, films: Sequence[av.VideoStream]) -> Decimal | None:
    """Return the longest film's length (s) by its packets' times; None where they do not tell."""
    import av

    # For packets without a duration.
    ticks = {
        film.index: round(1 / film.average_rate / film.time_base)
        for film in films
        if film.average_rate and film.time_base
    }
    spans: dict[int, tuple[int, int]] = {}  # by the index of a stream, in its ticks
    try:
        for count, packet in enumerate(container.demux(*films)):
            if count >= _MOST_COUNTED:
                return None
            at, index = packet.pts, packet.stream_index
            if at is None or packet.is_discard:
                continue
            begin, end = spans.get(index, (at, at))
            spans[index] = min(begin, at), max(end, at + (packet.duration or ticks.get(index, 0)))
    except MemoryError:  # FFmpeg's own is both
        raise
    except av.FFmpegError:
        return None  # damaged on the way: decoding it tells
    lengths = [
        (span[1] - span[0]) * film.time_base
        for film in films
        if (span := spans.get(film.index)) and film.time_base
    ]
    return _in_milliseconds(max(lengths)) if lengths else None


def _in_milliseconds(seconds: Fraction) -> Decimal:
    return (Decimal(seconds.numerator) / seconds.denominator).quantize(_MILLISECOND)


def _next_frame(container: InputContainer, stream: av.VideoStream) -> av.VideoFrame | None:
    """Return the next frame; None where `_MOST_PACKETS` hold none."""
    packets = itertools.islice(container.demux(stream), _MOST_PACKETS)
    return next((frame for packet in packets for frame in packet.decode()), None)


def is_whole(frame: av.VideoFrame) -> bool:
    """Whether a frame is whole; one that refers to frames that were cut off is no damage."""
    return not (frame.is_corrupt and frame.key_frame)
