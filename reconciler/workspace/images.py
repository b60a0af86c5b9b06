"""Images as facts: the format by content, the sides by the header, and whether the pixels are all there.

Files are untrusted. The header decides before a pixel is decoded, and the decoder is chosen here, not by the content.
"""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from typing import TYPE_CHECKING

from reconciler.core.motion_control import IMAGE_PIXELS
from reconciler.workspace.flaws import Evident, Flaw

if TYPE_CHECKING:
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile

MOST_SCANS = 100  # of a JPEG, each over all pixels; progressive ones have about 10
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)  # first column and row, steps
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by PNG's colour type
_LAST_FILTER = 4
_BLOCK = 1024 * 1024  # bytes inflated at a time
_START_OF_SCAN = b"\xff\xda"
# What Pillow raises for bytes that it cannot read or write. An error of another kind is a mistake, and no flaw.
_UNREADABLE = (
    SyntaxError,
    OSError,
    EOFError,
    ValueError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """An image as its header announces it."""

    width: int  # px
    height: int  # px


def image_facts(file: BufferedReader) -> ImageFacts:
    """Return the sides of a JPEG or PNG; no pixel is decoded, so no bomb can go off. Raises `Flaw`."""
    return ImageFacts(*open_image(file).size)


def check_pixels(file: BufferedReader) -> None:
    """Decode an image to its last pixel and keep none of them. Raises `Flaw` when that cannot be done."""
    image = open_image(file)
    width, height = image.size
    if width * height > IMAGE_PIXELS:
        raise Flaw(
            f"would decode to {width * height // 1_000_000:,} megapixels: more than "
            f"{IMAGE_PIXELS // 1_000_000} are taken for a decompression bomb; scale it down"
        )
    is_jpeg = image.format == "JPEG"
    if is_jpeg:
        _check_scans(file)
    with flawed(
        "is damaged or broken off: its pixels cannot be decoded to the last; export it again"
    ):
        if is_jpeg:
            # An eighth of the sides in grey: every byte is still read, and 1/64 of the memory is enough.
            image.draft("L", (max(width // 8, 1), max(height // 8, 1)))
            image.load()
        else:
            image.verify()  # the checksum of every part
            _check_rows(file)


def open_image(file: BufferedReader) -> JpegImageFile | PngImageFile:
    """Open an image by its content, without decoding a pixel. Raises `Flaw`."""
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile

    file.seek(0)
    start = file.read(len(_PNG))
    file.seek(0)
    reader: type[JpegImageFile | PngImageFile]
    if start.startswith(_PNG):
        reader = PngImageFile
    elif start.startswith(_JPEG):
        reader = JpegImageFile
    else:
        raise Evident("holds neither a JPEG nor a PNG image, whatever its name says")
    with flawed("is damaged: its image header cannot be read"):
        return reader(file)


@contextlib.contextmanager
def flawed(sentence: str) -> Iterator[None]:
    """Tell what Pillow raises for bad bytes as a flaw; a disk that fails, or a mistake of ours, stays what it is."""
    try:
        yield
    except _UNREADABLE as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise Flaw(sentence) from error


def _check_scans(file: BufferedReader) -> None:
    """A small JPEG may ask to go over its pixels a hundred thousand times: that would take hours."""
    at = file.tell()
    file.seek(0)
    scans = file.read().count(_START_OF_SCAN)
    file.seek(at)
    if scans > MOST_SCANS:
        raise Flaw(
            f"is a JPEG of {scans:,} scans: more than {MOST_SCANS} are not decoded; export it again"
        )


def _check_rows(file: BufferedReader) -> None:
    """Inflate a PNG whose parts are whole, row by row, in little memory. Raises ValueError, or zlib's error.

    Pillow's decoder takes missing rows for black ones, and holds all of them.
    """
    stream, rest = _inflated(file), b""
    for size, count in _rows(file):
        left = count
        while left:
            while len(rest) < size:
                more = next(stream, b"")
                if not more:
                    raise ValueError("rows are missing")
                rest += more
            whole = min(len(rest) // size, left)
            if max(rest[: whole * size : size]) > _LAST_FILTER:
                raise ValueError("a row begins with no filter")
            rest, left = rest[whole * size :], left - whole


def _rows(file: BufferedReader) -> list[tuple[int, int]]:
    """Return the bytes of a row and how many there are, for each pass over the picture."""
    file.seek(len(_PNG) + 8)
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", file.read(13))
    found = []
    for x, y, step_x, step_y in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - x) // step_x), -(-(height - y) // step_y)
        if columns > 0 and rows > 0:
            found.append((1 + (columns * depth * _CHANNELS[colour] + 7) // 8, rows))
    return found


def _inflated(file: BufferedReader) -> Iterator[bytes]:
    """Yield the rows' bytes in blocks; whoever stops asking leaves a bomb behind them packed."""
    inflate = zlib.decompressobj()
    for data in _pixel_data(file):
        packed, block = data, b"more"
        while packed or block:
            block = inflate.decompress(packed, _BLOCK)
            packed = inflate.unconsumed_tail
            if block:
                yield block


def _pixel_data(file: BufferedReader) -> Iterator[bytes]:
    at = len(_PNG)
    while True:
        file.seek(at)
        size, kind = struct.unpack(">I4s", file.read(8))
        if kind == b"IEND":
            return
        if kind == b"IDAT":
            yield file.read(size)
        at += 12 + size
