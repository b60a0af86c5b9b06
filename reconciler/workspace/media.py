"""Media files as facts: digest, size, sides, length; and whether a result is a whole video.

Files are untrusted: only headers are decoded (and one frame, for the rotation), with the decoder chosen here and
not by the content, so that a playlist or an archive in disguise opens nothing else. The limits of the API are
the core's.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from reconciler.core.errors import SpecError
from reconciler.core.motion_control import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Source, size_faults
from reconciler.workspace.files import describe_os_error, digest, open_plain

if TYPE_CHECKING:
    from av.container import InputContainer

__all__ = [
    "ImageFacts", "MediaError", "VideoFacts", "file_sha256", "probe_image", "probe_video", "read_source", "verify_result",
]  # fmt: skip

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_MOVIE_BOXES = {
    b"ftyp",
    b"moov",
    b"mdat",
    b"wide",
    b"free",
    b"skip",
    b"pnot",
}  # a .mp4 or .mov begins so
_MOST_BOXES = 100_000
_MILLISECOND = Decimal("0.001")


class MediaError(SpecError):
    """A media file cannot be used."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """An image as its header announces it."""

    width: int  # px, as shown
    height: int  # px


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """A video as its container announces it."""

    width: int  # px, as shown (rotation applied)
    height: int  # px
    seconds: Decimal | None  # to the millisecond; None when the container does not say
    codec: str  # as the decoder library calls it, such as "h264"


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256 as 64 lower-case hex digits. Raises `WorkspaceError`."""
    try:
        with open_plain(path) as file:
            return digest(file)
    except OSError as error:
        raise describe_os_error(error, path) from error


def probe_image(path: Path) -> ImageFacts:
    """Return the facts of a JPEG or PNG file, whatever it is called. Raises `MediaError`."""
    with _opened(path, path.name) as file:
        return _image_facts(file, path.name)


def probe_video(path: Path) -> VideoFacts:
    """Return the facts of an MP4 or MOV file, whatever it is called. Raises `MediaError`."""
    with _opened(path, path.name) as file:
        return _video_facts(file, path.name)


def read_source(root: Path, name: str, key: str) -> Source:
    """Return a local file (`name` relative to the root) as the input for `image_url` or `video_url`.

    Raises `MediaError` with a sentence when it is missing, of another kind than its name or key says, far too
    large, or changes while it is read.
    """
    suffixes = IMAGE_SUFFIXES if key == "image_url" else VIDEO_SUFFIXES
    if PurePosixPath(name).suffix.lower() not in suffixes:
        raise MediaError(f"`{name}` is not one of {', '.join(suffixes)}, which `{key}` needs")
    with _opened(root / name, name) as file:
        before = os.fstat(file.fileno())
        if faults := size_faults(key, before.st_size):
            raise MediaError(f"`{name}`: {faults[0]}")
        facts = _image_facts(file, name) if key == "image_url" else _video_facts(file, name)
        sha256 = digest(file)
        after = os.fstat(file.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise MediaError(
            f"`{name}` changed while it was read: it is looked at again once it is quiet"
        )
    seconds = facts.seconds if isinstance(facts, VideoFacts) else None
    return Source(
        path=name,
        sha256=sha256,
        size=before.st_size,
        width=facts.width,
        height=facts.height,
        seconds=seconds,
    )


def verify_result(path: Path) -> float:
    """Return the length in seconds (to the millisecond) of a result that is a whole MP4.

    Whole means: its boxes end exactly where the file does, `ftyp`, `moov` and `mdat` are among them, and a video
    stream of some length can be opened. Raises `MediaError` otherwise.
    """
    with _opened(path, path.name) as file:
        missing = {b"ftyp", b"moov", b"mdat"} - set(_top_level_boxes(file, path.name))
        if missing:
            names = ", ".join(sorted(box.decode() for box in missing))
            raise MediaError(f"`{path.name}` is no whole MP4: it has no `{names}` part")
        facts = _probe(file, path.name)
    if facts.seconds is None or facts.seconds <= 0:
        raise MediaError(f"`{path.name}` holds a video of no length")
    return float(facts.seconds)


@contextlib.contextmanager
def _opened(path: Path, name: str) -> Iterator[BufferedReader]:
    """Open a media file; whatever the system says against it becomes a `MediaError`."""
    try:
        with open_plain(path) as file:
            yield file
    except FileNotFoundError as error:
        raise MediaError(f"`{name}` does not exist") from error
    except OSError as error:
        raise MediaError(describe_os_error(error, name).message) from error


def _image_facts(file: BufferedReader, name: str) -> ImageFacts:
    """Read the sides from the header; the pixels are never decoded, so no bomb can go off."""
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile

    start = file.read(len(_PNG))
    file.seek(0)
    reader: type[JpegImageFile | PngImageFile]
    if start.startswith(_PNG):
        reader = PngImageFile
    elif start.startswith(_JPEG):
        reader = JpegImageFile
    else:
        raise MediaError(f"`{name}` holds neither a JPEG nor a PNG image")
    try:
        width, height = reader(file).size
    except Exception as error:  # a parser of untrusted bytes: any failure means the same
        raise MediaError(f"`{name}` is damaged: its image header cannot be read") from error
    return ImageFacts(width, height)


def _video_facts(file: BufferedReader, name: str) -> VideoFacts:
    start = file.read(12)
    if start[4:8] not in _MOVIE_BOXES:
        raise MediaError(f"`{name}` holds neither an MP4 nor a QuickTime video")
    facts = _probe(file, name)
    if facts.codec == "hevc":
        raise MediaError(
            f"`{name}` is H.265 (HEVC), which the API refuses: transcode it to H.264 in an .mp4",
            hint="ffmpeg -i in.mov -c:v libx264 -pix_fmt yuv420p -c:a aac out.mp4",
        )
    return facts


def _probe(file: BufferedReader, name: str) -> VideoFacts:
    """Open the container as the one format it may be, and read its first video stream."""
    import av

    file.seek(0)
    try:
        with av.open(file, "r", format="mov") as container:
            if not container.streams.video:
                raise MediaError(f"`{name}` holds no video")
            stream = container.streams.video[0]
            codec, width, height = stream.codec_context.name, stream.width, stream.height
            length = container.duration  # µs
            turned = codec != "hevc" and _is_turned(container)
    except av.FFmpegError as error:
        raise MediaError(f"`{name}` is damaged: it cannot be opened as a video") from error
    seconds = None if length is None else (Decimal(length) / 1_000_000).quantize(_MILLISECOND)
    return VideoFacts(*((height, width) if turned else (width, height)), seconds, codec)


def _is_turned(container: InputContainer) -> bool:
    """Whether the video is shown turned by a quarter; the first frame tells."""
    import av

    try:
        frame = next(container.decode(video=0), None)
    except av.FFmpegError:
        return False
    return frame is not None and frame.rotation % 180 != 0


def _top_level_boxes(file: BufferedReader, name: str) -> Iterator[bytes]:
    """Yield the kind of every top-level box; they must end exactly where the file does."""
    end = os.fstat(file.fileno()).st_size
    at = 0
    for _ in range(_MOST_BOXES):
        if at == end:
            return
        file.seek(at)
        header = file.read(16)
        size, kind = struct.unpack(">I4s", header[:8]) if len(header) >= 8 else (0, b"")
        smallest = 8
        if size == 1 and len(header) == 16:  # a 64-bit size follows
            size, smallest = struct.unpack(">Q", header[8:])[0], 16
        elif size == 0 and kind:  # the last one: it goes on to the end
            size = end - at
        if size < smallest or at + size > end or not kind.isalnum():
            raise MediaError(
                f"`{name}` is no whole MP4: it is broken off or damaged at byte {at} of {end}"
            )
        yield kind
        at += size
    raise MediaError(f"`{name}` is no whole MP4: it has too many parts")
