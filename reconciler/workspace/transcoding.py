"""A film made fit for the API: H.264 and AAC in an MP4, the picture itself turned, mirrored, cut and scaled, ready to stream.

The same bytes come out for the same bytes in, as long as the encoder is the same. Files are untrusted: this runs in a
process of its own (see `preparing`), on frames of bounded size.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from reconciler.core.sources import (
    PREPARABLE_PIXELS,
    SHORTEST_SECONDS,
    VIDEO_BYTES,
    VIDEO_SIDES,
    fit,
)
from reconciler.workspace.films import film_of, is_whole, shown_as
from reconciler.workspace.flaws import Flaw

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.container import InputContainer, OutputContainer
    from av.filter import Graph
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

CLOCK: Final = 90_000  # ticks of a second
_RATE: Final = 48_000  # Hz
_SAMPLES: Final = 1024  # of a frame of AAC
_QUALITY: Final = 18  # x264's CRF: the eye sees no loss
_EXACT: Final = 0.0005  # s
_FULLEST: Final = 0.85  # of the bytes allowed, for the picture
_THREADS: Final = 4  # always: the bytes depend on it
_HINDRANCES: Final = {errno.ENOSPC, errno.EDQUOT, errno.ENOMEM}
_TURNS: Final = {
    90: ("cclock",),
    180: ("clock", "clock"),
    270: ("clock",),
}  # by the frame's rotation


@dataclass(frozen=True, slots=True)
class Cut:
    """The part of a film that is kept, in seconds of its own time."""

    start: float
    end: float


def transcode(source: BinaryIO, target: Path, cut: Cut) -> None:
    """Write the part of a film to `target`, in place.

    Raises:
        Flaw: it cannot be decoded or encoded.
        OSError: the machine is at fault, not the film.
    """
    import av

    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with film_of(source) as (container, film):
        try:
            with av.open(str(target), "w", format="mp4", options=options) as made:
                written = _make(container, film, made, cut)
        except av.FFmpegError as error:
            if error.errno in _HINDRANCES:
                raise OSError(error.errno, error.strerror) from error
            raise Flaw(
                f"is damaged, or cannot be transcoded: {error.strerror}; export it again"
            ) from error
    if _packets(target) != written:  # the last writes report no error
        raise OSError(errno.ENOSPC, "the disk did not take all that was written")


def _packets(target: Path) -> int:
    """Return how many packets a film holds whole."""
    import av

    with suppress(av.FFmpegError), av.open(str(target)) as made:
        return sum(1 for packet in made.demux() if packet.size and not packet.is_corrupt)
    return 0


def _make(container: InputContainer, film: VideoStream, made: OutputContainer, cut: Cut) -> int:
    """Encode the part; return how many packets were written."""
    frames = _pictures(container, film, cut)
    first = next(frames, None)
    if first is None:
        raise Flaw("cannot be transcoded: no frame of it lies in the part that is kept")
    rate = film.average_rate or Fraction(25)
    picture = made.add_stream("libx264", rate=rate)
    width, height = _sides(first, film)
    picture.width, picture.height, picture.pix_fmt = width, height, "yuv420p"
    picture.codec_context.time_base = Fraction(1, CLOCK)
    most = int(VIDEO_BYTES * 8 * _FULLEST / max(cut.end - cut.start, 1.0))  # bits per second
    picture.options = {
        "crf": str(_QUALITY),
        "preset": "veryfast",
        "bf": "0",  # frames in the order they are shown in: every reader counts the same length
        "threads": str(_THREADS),
        "maxrate": str(most),
        "bufsize": str(most),
    }
    sounds = container.streams.audio
    sound = made.add_stream("aac", rate=_RATE, layout="stereo") if sounds else None
    written = 0

    def mux(packets: list[Packet[Any]]) -> None:
        nonlocal written
        written += len(packets)
        made.mux(packets)

    zero, shown = _beginning(film), 0.0
    graph, begin = _graph(first, film, width, height), first.time
    for frame in itertools.chain([first], frames):
        if frame.width != first.width or frame.height != first.height:
            raise Flaw("cannot be transcoded: its picture changes its size on the way")
        graph.vpush(frame)
        drawn = graph.vpull()
        assert not isinstance(drawn, list)
        shown = frame.time - begin
        drawn.pts = round(shown * CLOCK)
        drawn.time_base = Fraction(1, CLOCK)
        drawn.duration = round(CLOCK / rate)
        mux(picture.encode(drawn))
    mux(picture.encode(None))
    if sound is not None:
        for heard in _sounds(container, zero + cut.start, shown + float(1 / rate)):
            mux(sound.encode(heard))
        mux(sound.encode(None))
    return written


def _pictures(container: InputContainer, film: VideoStream, cut: Cut) -> Iterator[VideoFrame]:
    """Yield the frames that lie in the part, from the one that is shown where it begins.

    As many as it holds as a whole; one more where it would be shorter than the API takes.
    """
    film.thread_type = "AUTO"
    lasts = float(1 / film.average_rate) if film.average_rate else 0.0
    begin: float | None = None
    start = _beginning(film) + cut.start
    _go_to(container, start)
    for frame in container.decode(film):
        if frame.pts is None or frame.time + lasts <= start + _EXACT:
            continue
        if not is_whole(frame):
            raise Flaw(
                f"is damaged: its picture at {frame.time:.1f} s does not decode; export it again"
            )
        begin = frame.time if begin is None else begin
        shown = frame.time - begin
        if shown + lasts > cut.end - cut.start + _EXACT and shown + _EXACT > SHORTEST_SECONDS:
            return
        yield frame


def _sounds(container: InputContainer, start: float, length: float) -> Iterator[AudioFrame]:
    """Yield the first track's sound from a time of the container (s) on, after silence where it begins later.

    Two frames less than fit, for the encoder begins with silence of its own.
    """
    import av

    resampler = av.AudioResampler("fltp", "stereo", _RATE, frame_size=_SAMPLES)
    left, heard = int(length * _RATE) // _SAMPLES - 2, 0
    _go_to(container, start)
    for frame in container.decode(audio=0):
        if frame.time is None or frame.time < start - _EXACT:
            continue
        late = int((frame.time - start) * _RATE) // _SAMPLES if heard == 0 else 0
        frame.pts = None
        pieces = [*(_silence() for _ in range(min(late, left))), *resampler.resample(frame)]
        for piece in pieces:
            if heard >= left:
                return
            piece.pts, piece.time_base = heard * _SAMPLES, Fraction(1, _RATE)
            heard += 1
            yield piece


def _go_to(container: InputContainer, seconds: float) -> None:
    container.seek(int(seconds * 1_000_000), backward=True)


def _beginning(film: VideoStream) -> float:
    """Return when a film's first picture is shown (s, of its container's clock): what a cut counts from."""
    return float((film.start_time or 0) * (film.time_base or 0))


def _silence() -> AudioFrame:
    from av.audio.frame import AudioFrame

    frame = AudioFrame("fltp", "stereo", _SAMPLES)
    frame.sample_rate = _RATE
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    return frame


def _sides(frame: VideoFrame, film: VideoStream) -> tuple[int, int]:
    """Return the sides (px) of what is made of a frame: turned, its pixels square."""
    if frame.width * frame.height > PREPARABLE_PIXELS:
        raise Flaw(f"is too large to be prepared: {frame.width} × {frame.height} px")
    rotation, _ = shown_as(frame)
    if rotation % 90:
        raise Flaw(f"is stored turned by {rotation}°, which cannot be undone here")
    wide = float(frame.width * _squareness(film))
    if rotation % 180:
        return fit(frame.height, wide, VIDEO_SIDES)
    return fit(wide, frame.height, VIDEO_SIDES)


def _squareness(film: VideoStream) -> Fraction:
    """Return how much wider than high a film's pixels are shown; what is no shape is a square."""
    ratio = film.sample_aspect_ratio
    return ratio if ratio and Fraction(1, 4) <= ratio <= 4 else Fraction(1)


def _graph(frame: VideoFrame, film: VideoStream, width: int, height: int) -> Graph:
    """Return the filters that turn and scale every frame as this first one needs."""
    from av.filter import Graph

    graph = Graph()
    nodes = [
        graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format,
            time_base=film.time_base,
        )
    ]
    rotation, mirrored = shown_as(frame)
    nodes += [graph.add(name) for name in ["hflip"] if mirrored]
    nodes += [graph.add("transpose", way) for way in _TURNS.get(rotation, ())]
    nodes += [
        graph.add("scale", f"{width}:{height}:flags=lanczos"),
        graph.add("setsar", "1"),
        graph.add("format", "yuv420p"),
        graph.add("buffersink"),
    ]
    graph.link_nodes(*nodes)
    graph.configure()
    return graph
