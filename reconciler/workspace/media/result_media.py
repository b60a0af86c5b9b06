"""Results as they came from the provider: whether a video is whole, and its poster and contact sheet as bytes.

A video is untrusted: it is decoded in another process (`decoding`), up to a number of pixels, not for a time, so that the
same bytes give the same picture.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from reconciler.workspace.media import films
from reconciler.workspace.media.decoding import PREVIEWS, RESULTS, Answer
from reconciler.workspace.media.flaws import Beyond, Flaw, opened_media
from reconciler.workspace.media.images import flawed, upright

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from PIL.Image import Image

    from reconciler.core.states import Role

POSTER_SIDE = 640  # px, the longer one at most
TILE_SIDE = 320  # px, likewise, of each frame of a sheet
_POSTER_AT = 1 / 3  # of the length: the beginning mostly looks like the input image
_COLUMNS, _ROWS = 3, 3
_MOST_PIXELS = 2_000_000_000  # decoded for one picture: some 30 s of 1080p
_MOST_PACKETS = 5_000  # read for one picture
_QUALITY = 80


@dataclass(frozen=True, slots=True)
class ResultFacts:
    """A result as it came from the provider."""

    seconds: float | None  # to the millisecond; None where our decoder fails
    width: int | None = None  # px, as shown
    height: int | None = None  # px
    decodes: bool = False  # its first frame, and one near its end

    def __str__(self) -> str:
        remark = "" if self.decodes else ", with frames that do not decode here: look at it"
        if self.seconds is None:
            return "a whole file that cannot be decoded here: look at it"
        return f"{self.seconds:g} s, {self.width} × {self.height} px{remark}"


@dataclass(frozen=True, slots=True)
class Preview:
    """A poster or a contact sheet."""

    data: bytes  # a WebP file
    width: int  # px
    height: int  # px


def examine_result(path: Path) -> ResultFacts:
    """Return the facts of a result. Raises `MediaError` where it is no whole MP4.

    Whole means: its boxes end exactly where the file does, `ftyp`, `moov` and `mdat` are among them, and a video has a
    length. One that our decoder fails on, or crashes over, is still whole: what is paid for is saved.
    """
    with opened_media(path, path.name) as file:
        _check_boxes(file)
        try:
            seconds, width, height, decodes = RESULTS.ask("examine", [], file.fileno()).facts
        except Beyond:
            return ResultFacts(None)
    return ResultFacts(float(seconds), int(width), int(height), bool(decodes))


def make_preview(path: Path, role: Role) -> Preview:
    """Return the poster or contact sheet of a video. Raises `MediaError`."""
    with opened_media(path, "the video") as file:
        answer = PREVIEWS.ask("preview", [role], file.fileno())
    width, height = answer.facts
    return Preview(answer.data, int(width), int(height))


def _check_boxes(file: BufferedReader) -> None:
    size, at, missing = os.fstat(file.fileno()).st_size, 0, {b"ftyp", b"moov", b"mdat"}
    for box in films.boxes(file):
        if box.end > size:
            break
        missing.discard(box.kind)
        at = box.end
    if at != size:
        raise Flaw(f"is not a whole MP4: it is broken off or damaged at byte {at} of {size}")
    if missing:
        names = ", ".join(sorted(box.decode() for box in missing))
        raise Flaw(f"is not a whole MP4: it has no `{names}` part")


# From here on: what the decoding process does.


def examine(file: BinaryIO) -> Answer:
    """Answer with a result's length (s), sides (px), and whether it decodes. Raises `Flaw`."""
    facts = films.read_facts(file)
    if facts.seconds is None or facts.seconds <= 0:
        raise Flaw("holds a video of no length")
    decodes = False
    with suppress(Flaw):
        films.check_frames(file)
        decodes = True
    return Answer([str(facts.seconds), facts.width, facts.height, decodes])


def draw(file: BinaryIO, role: str) -> Answer:
    """Answer with a picture's sides (px) and its bytes. Raises `Flaw`."""
    # Without this import, `save` would import the modules of all formats.
    from PIL import WebPImagePlugin  # noqa: F401
    from PIL.Image import new

    if role == "poster":  # not `Role`, whose module imports much
        (picture,) = _frames(file, [_POSTER_AT], POSTER_SIDE)
    else:  # frames from the middle of each ninth, in reading order
        count = _COLUMNS * _ROWS
        tiles = _frames(file, [(number + 0.5) / count for number in range(count)], TILE_SIDE)
        width, height = tiles[0].size
        picture = new("RGB", (_COLUMNS * width, _ROWS * height), "black")
        for number, tile in enumerate(tiles):
            row, column = divmod(number, _COLUMNS)
            picture.paste(tile, (column * width, row * height))
    data = io.BytesIO()
    with flawed("gives no picture: what it shows cannot be encoded here"):
        picture.save(data, "WEBP", quality=_QUALITY)
    return Answer([picture.width, picture.height], data.getvalue())


def _frames(file: BinaryIO, shares: list[float], longest: int) -> list[Image]:
    """Return the frames at these shares of the length, in order; where there is none, the last one before."""
    with films.film_of(file) as (container, stream):
        if (tick := stream.time_base) and stream.duration:  # of its own clock, in s
            begin, seconds = float((stream.start_time or 0) * tick), float(stream.duration * tick)
        else:
            told = container.start_time, container.duration
            begin, seconds = ((one or 0) / 1_000_000 for one in told)
        times = [begin + share * seconds for share in shares]
        container.seek(max(int(times[0] * 1_000_000), 0))
        found: list[Image] = []
        last = None
        for frame in _decoded(container, stream):
            last = frame
            time = begin if frame.pts is None else frame.time
            while time >= times[len(found)]:
                found.append(_picture(frame, longest))
                if len(found) == len(times):
                    return found
        if last is None:
            raise Flaw("gives no picture: no frame of it decodes here")
        return found + [_picture(last, longest)] * (len(times) - len(found))


def _decoded(container: InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """Yield whole frames up to the first that does not decode, or to a limit."""
    import av

    pixels = 0
    for count, packet in enumerate(container.demux(stream)):
        try:
            frames = packet.decode()
        except MemoryError:  # FFmpeg's own is both
            raise
        except av.FFmpegError:
            return
        for frame in frames:
            pixels += frame.width * frame.height
            if not frame.is_corrupt:
                yield frame
        if pixels >= _MOST_PIXELS or count >= _MOST_PACKETS:
            return


def _picture(frame: av.VideoFrame, longest: int) -> Image:
    """Return a frame upright, its longer side at most `longest` (px)."""
    scale = min(1.0, longest / max(frame.width, frame.height))
    width, height = (max(round(side * scale), 1) for side in (frame.width, frame.height))
    # One thread: the library's outlive the picture, and each uses up address space, which is bounded.
    picture: Image = frame.to_image(  # type: ignore[no-untyped-call]
        width=width, height=height, interpolation="AREA", threads=1
    )
    turn, mirrored = films.frame_shown_as(frame)
    return upright(picture, turn, mirrored=mirrored)
