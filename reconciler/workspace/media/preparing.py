"""Making of a file what the API takes: of an image a JPEG, of a film H.264 and AAC in an MP4, ready to stream.

The same bytes come out for the same bytes in, as long as the encoder is the same. It takes minutes and much memory: each
file has a process of its own (`decoding`), which ends with the process that asked.
"""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
import json
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from reconciler.core import media_rules
from reconciler.workspace.media import images
from reconciler.workspace.media.decoding import MEBIBYTE, Answer, Bounds, Decoder
from reconciler.workspace.media.films import film_of, frame_shown_as, is_whole, probe_video
from reconciler.workspace.media.flaws import Flaw, MediaError

if TYPE_CHECKING:
    import av
    from av.container import InputContainer, OutputContainer
    from av.filter import Graph
    from PIL.Image import Image

LONGEST: Final = 1800  # s of the processor, and by the clock
_MEMORY: Final = {"image": 2048 * MEBIBYTE, "video": 2560 * MEBIBYTE}  # 8K, 10 bits: 2000 MiB
_VERSION: Final = 5  # raise it to have prepared files made anew; it is in no identity
_LARGEST: Final = 4096  # px: a longer side of an image is of no use to a video of 1080 lines
_IMAGE_QUALITY: Final = 92
_SMALLER: Final = 0.8  # of the sides, until it is light enough
_TRIES: Final = 12
_REDUCIBLE: Final = frozenset({"L", "LA", "RGB", "RGBA", "CMYK"})  # whose pixels can be averaged
_CLOCK: Final = 90_000  # ticks of a second
_RATE: Final = 48_000  # Hz
_SAMPLES: Final = 1024  # of a frame of AAC
_QUALITY: Final = 18  # x264's CRF: the eye sees no loss
_EXACT: Final = 0.0005  # s
_FULLEST: Final = 0.85  # of the bytes allowed, for the picture
_THREADS: Final = 4  # always: the bytes depend on it
_HINDRANCES: Final = {errno.ENOSPC, errno.EDQUOT, errno.ENOMEM}
_TURNS: Final = {90: ("cclock",), 180: ("clock", "clock"), 270: ("clock",)}  # by the rotation


def recipe(medium: media_rules.Medium, source: media_rules.Source) -> str:
    """Return the name of a prepared file: a digest of its source, its medium and how it is made."""
    kept = source.preparation or media_rules.Preparation()
    parts = [_VERSION, medium.name, source.sha256, str(kept.start), str(kept.end)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def encoder(medium: media_rules.Medium) -> Decoder:
    """Return a process for one file, not started yet; the caller closes it."""
    written = medium.readable
    return Decoder(Bounds(LONGEST, LONGEST, _MEMORY[medium.name], written=written, niceness=10))


def make(
    process: Decoder,
    medium: media_rules.Medium,
    kept: media_rules.Preparation,
    file: int,
    target: tuple[Path, int],
) -> None:
    """Make of an open file what the API takes, at `target` (path, lock's descriptor). Raises what `Decoder.ask` does."""
    path, lock = target
    end = "" if kept.end is None else str(kept.end)
    process.ask("prepare", [medium.name, str(path), str(kept.start), end], file, lock)


# From here on: what the process does.


def prepare(
    source: BufferedReader, _lock: BinaryIO, name: str, target: str, start: str, end: str
) -> Answer:
    """Make one file; the process holds its lock as well. Raises `Flaw`."""
    made, medium = Path(target), media_rules.MEDIUMS[name]
    source.seek(0)
    try:
        if medium.codec:
            transcode(source, made, float(start), float(end))
        else:
            made.write_bytes(reencode(source))
        faults = _faults(medium, made, Decimal(end or 0) - Decimal(start))
    except MediaError as error:
        raise Flaw(f"cannot be prepared: {error.message}") from error
    if faults:
        raise Flaw(f"cannot be prepared: {faults[0]}")
    return Answer([])


def _faults(medium: media_rules.Medium, made: Path, counted: Decimal) -> list[str]:
    """Return what is wrong with the file made; one longer than `counted` (s) would break the caps, so it is never sent."""
    film = probe_video(made) if medium.codec else None
    facts = film or images.probe_image(made)
    size = made.stat().st_size
    faults = media_rules.limit_faults(
        medium, media_rules.Source(size=size, width=facts.width, height=facts.height)
    )
    if film is None:
        return faults
    seconds = film.seconds or Decimal(0)
    if media_rules.whole_seconds(seconds) < media_rules.SHORTEST_SECONDS:
        lasts = f"what is left of it lasts {media_rules.spoken(seconds)} s"
        faults.append(f"{lasts}: at least {media_rules.SHORTEST_SECONDS} s are needed")
    if media_rules.whole_seconds(seconds) > media_rules.whole_seconds(counted):
        lasts = f"what is made of it lasts {media_rules.spoken(seconds)} s"
        faults.append(
            f"{lasts}, and only {media_rules.spoken(counted)} s of it were priced; export it again"
        )
    return faults


def reencode(source: BinaryIO) -> bytes:
    """Return an image as a JPEG that the API takes: upright, on white, scaled only where needed. Raises `Flaw`."""
    from PIL.Image import Resampling

    images.check_pixels(source)
    with (
        images.open_image(source) as opened,
        images.flawed("cannot be converted to a JPEG; export it again"),
    ):
        sides = media_rules.fit(*opened.size, (media_rules.IMAGE_SIDES[0], _LARGEST))
        opened.draft(None, sides)  # so that no JPEG is decoded larger than needed
        opened.load()  # in a PNG, the EXIF may follow the pixels
        rotation, mirrored = images.image_shown_as(opened)
        image: Image = opened  # of a moving one the first frame
        factor = min(image.width // sides[0], image.height // sides[1])
        if factor > 1 and image.mode in _REDUCIBLE and "transparency" not in image.info:
            image = image.reduce(factor)  # saves memory
        image = _on_white(images.upright(image, rotation, mirrored=mirrored))
    if rotation % 180:
        sides = sides[::-1]
    for _ in range(_TRIES):
        scaled = image if image.size == sides else image.resize(sides, Resampling.LANCZOS)
        made = io.BytesIO()
        scaled.save(made, "JPEG", quality=_IMAGE_QUALITY, optimize=True)
        if len(data := made.getvalue()) <= media_rules.IMAGE_BYTES:
            return data
        sides = media_rules.fit(
            int(sides[0] * _SMALLER), int(sides[1] * _SMALLER), media_rules.IMAGE_SIDES
        )
    raise Flaw("cannot be compressed to what the API takes")


def _on_white(image: Image) -> Image:
    from PIL import Image

    if image.mode.startswith("I"):  # 16 bits of grey; `convert` alone would make white of them
        image = image.convert("I").point(lambda grey: grey * (1 / 256)).convert("L")
    if "A" not in image.getbands() and "transparency" not in image.info:
        return image.convert("RGB")
    picture = image.convert("RGBA")
    white = Image.new("RGB", picture.size, "white")
    white.paste(picture, mask=picture.getchannel("A"))
    return white


def transcode(source: BinaryIO, target: Path, start: float, end: float) -> None:
    """Write the part of a film from `start` to `end` (s). Raises `Flaw`; OSError where the machine is at fault."""
    import av

    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with film_of(source) as (container, film):
        try:
            with av.open(str(target), "w", format="mp4", options=options) as made:
                written = 0
                for packets in _encoded(container, film, made, (start, end - start)):
                    written += len(packets)
                    made.mux(packets)
        except av.FFmpegError as error:
            if error.errno in _HINDRANCES:
                raise OSError(error.errno, error.strerror) from error
            raise Flaw(
                f"is damaged, or cannot be transcoded: {error.strerror}; export it again"
            ) from error
    whole = 0
    with suppress(av.FFmpegError), av.open(str(target)) as read:
        whole = sum(1 for packet in read.demux() if packet.size and not packet.is_corrupt)
    if whole != written:  # the last writes report no error
        raise OSError(errno.ENOSPC, "the disk did not take all that was written")


def _encoded(
    container: InputContainer,
    film: av.VideoStream,
    made: OutputContainer,
    part: tuple[float, float],
) -> Iterator[list[av.Packet[Any]]]:
    """Yield the packets of a part of a film: its start (s after the first frame) and its length (s)."""
    start, length = part
    # The time of the film's first frame (s, of the container's clock).
    zero = float((film.start_time or 0) * (film.time_base or 0))
    frames = _pictures(container, film, zero + start, length)
    first = next(frames, None)
    if first is None:
        raise Flaw("cannot be transcoded: no frame of it lies in the part that is kept")
    rate = film.average_rate or Fraction(25)
    graph, sides = _graph(first, film)
    picture = made.add_stream("libx264", rate=rate)
    picture.width, picture.height = sides
    picture.pix_fmt = "yuv420p"
    picture.codec_context.time_base = Fraction(1, _CLOCK)
    most = str(int(media_rules.VIDEO_BYTES * 8 * _FULLEST / max(length, 1.0)))  # bits per second
    picture.options = {
        "crf": str(_QUALITY),
        "preset": "veryfast",
        "bf": "0",  # frames in the order they are shown in: every reader counts the same length
        "threads": str(_THREADS),
        "maxrate": most,
        "bufsize": most,
    }
    sounds = container.streams.audio
    sound = made.add_stream("aac", rate=_RATE, layout="stereo") if sounds else None
    shown = 0.0
    for frame in itertools.chain([first], frames):
        if frame.width != first.width or frame.height != first.height:
            raise Flaw("cannot be transcoded: its picture changes its size on the way")
        graph.vpush(frame)
        drawn = graph.vpull()
        assert not isinstance(drawn, list)
        shown = frame.time - first.time
        drawn.pts, drawn.time_base = round(shown * _CLOCK), Fraction(1, _CLOCK)
        drawn.duration = round(_CLOCK / rate)
        yield picture.encode(drawn)
    yield picture.encode(None)
    if sound is not None:
        for heard in _sounds(container, zero + start, shown + float(1 / rate)):
            yield sound.encode(heard)
        yield sound.encode(None)


def _pictures(
    container: InputContainer, film: av.VideoStream, start: float, length: float
) -> Iterator[av.VideoFrame]:
    """Yield the frames from a time on, for a length (s, of the container's clock), or for the shortest that is taken."""
    film.thread_type = "AUTO"
    lasts = float(1 / film.average_rate) if film.average_rate else 0.0
    begin: float | None = None
    container.seek(int(start * 1_000_000))
    for frame in container.decode(film):
        if frame.pts is None or frame.time + lasts <= start + _EXACT:
            continue
        if not is_whole(frame):
            raise Flaw(
                f"is damaged: its picture at {frame.time:.1f} s does not decode; export it again"
            )
        begin = frame.time if begin is None else begin
        shown = frame.time - begin
        if shown + lasts > length + _EXACT and shown + _EXACT > media_rules.SHORTEST_SECONDS:
            return
        yield frame


def _sounds(container: InputContainer, start: float, length: float) -> Iterator[av.AudioFrame]:
    """Yield the first track's sound from a time (s, of the container's clock) on, with silence before a later beginning."""
    import av

    resampler = av.AudioResampler("fltp", "stereo", _RATE, frame_size=_SAMPLES)
    left, heard = int(length * _RATE) // _SAMPLES - 2, 0  # the encoder adds silence before
    container.seek(int(start * 1_000_000))
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


def _silence() -> av.AudioFrame:
    import av

    frame = av.AudioFrame("fltp", "stereo", _SAMPLES)
    frame.sample_rate = _RATE
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    return frame


def _graph(frame: av.VideoFrame, film: av.VideoStream) -> tuple[Graph, tuple[int, int]]:
    """Return the filters that turn every frame like this first one and make its pixels square, and the sides (px)."""
    from av.filter import Graph

    if frame.width * frame.height > media_rules.PREPARABLE_PIXELS:
        raise Flaw(f"is too large to be prepared: {frame.width} × {frame.height} px")
    rotation, mirrored = frame_shown_as(frame)
    if rotation % 90:
        raise Flaw(f"is stored turned by {rotation}°, which cannot be undone here")
    ratio = film.sample_aspect_ratio or 1  # of a pixel; an absurd one counts as square
    wide = float(frame.width * (ratio if Fraction(1, 4) <= ratio <= 4 else 1))
    width, height = (frame.height, wide) if rotation % 180 else (wide, frame.height)
    sides = media_rules.fit(width, height, media_rules.VIDEO_SIDES)
    graph = Graph()
    picture = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=film.time_base
    )
    nodes = [picture, *(graph.add(name) for name in ["hflip"] if mirrored)]
    nodes += [graph.add("transpose", way) for way in _TURNS.get(rotation, ())]
    nodes.append(graph.add("scale", f"{sides[0]}:{sides[1]}:flags=lanczos"))
    nodes += [graph.add("setsar", "1"), graph.add("format", "yuv420p"), graph.add("buffersink")]
    graph.link_nodes(*nodes)
    graph.configure()
    return graph, sides
