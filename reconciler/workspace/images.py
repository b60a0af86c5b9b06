"""Images as facts: the format by content, the sides by the header, and whether the pixels are all there.

Files are untrusted. The header decides before a pixel is decoded, and the decoder is chosen here, not by the content.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from typing import TYPE_CHECKING

from reconciler.workspace.flaws import Evident, Flaw

if TYPE_CHECKING:
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile

MOST_PIXELS = (
    100_000_000  # one more is taken for a bomb; a PNG of so many takes 400 MB for a moment
)
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
_BLOCK = 1024 * 1024  # bytes inflated at a time
_START_OF_SCAN = b"\xff\xda"


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """An image as its header announces it."""

    width: int  # px
    height: int  # px


def image_facts(file: BufferedReader) -> ImageFacts:
    """Return the sides of a JPEG or PNG; no pixel is decoded, so no bomb can go off. Raises `Flaw`."""
    return ImageFacts(*_opened(file).size)


def check_pixels(file: BufferedReader) -> None:
    """Decode an image to its last pixel and drop the result. Raises `Flaw` when that cannot be done."""
    image = _opened(file)
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise Flaw(
            f"would decode to {width * height // 1_000_000:,} megapixels: more than "
            f"{MOST_PIXELS // 1_000_000} are taken for a decompression bomb; scale it down"
        )
    is_jpeg = image.format == "JPEG"
    if is_jpeg:
        _check_scans(file)
    try:
        if is_jpeg:
            # An eighth of the sides in grey: every byte is still read, and 1/64 of the memory is enough.
            image.draft("L", (max(width // 8, 1), max(height // 8, 1)))
        else:
            image.verify()  # the checksum of every part; the image must be opened anew after it
            _check_rows(file)
            image = _opened(file)
        image.load()
    except Exception as error:  # a decoder of untrusted bytes: any failure means the same
        raise Flaw(
            "is damaged or broken off: its pixels cannot be decoded to the last; export it again"
        ) from error


def _opened(file: BufferedReader) -> JpegImageFile | PngImageFile:
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
    try:
        return reader(file)
    except Exception as error:  # a parser of untrusted bytes: any failure means the same
        raise Flaw("is damaged: its image header cannot be read") from error


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
    """Inflate a PNG whose parts are whole, and count: the decoder takes missing rows for black ones.

    Raises ValueError, or zlib's error.
    """
    file.seek(len(_PNG) + 8)
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", file.read(13))
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    left = 0
    for x, y, step_x, step_y in passes:
        columns, rows = -(-(width - x) // step_x), -(-(height - y) // step_y)
        if columns > 0 and rows > 0:
            left += rows * (1 + (columns * depth * _CHANNELS[colour] + 7) // 8)
    inflate = zlib.decompressobj()
    for data in _pixel_data(file):
        left -= len(inflate.decompress(data, _BLOCK))
        while inflate.unconsumed_tail and left > 0:
            left -= len(inflate.decompress(inflate.unconsumed_tail, _BLOCK))
        if left <= 0:
            return  # what comes after the last row may be a bomb of its own
    if left > len(inflate.flush()):
        raise ValueError("rows are missing")


def _pixel_data(file: BufferedReader) -> Iterator[bytes]:
    file.seek(len(_PNG))
    while len(head := file.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        data = file.read(size)
        file.seek(4, os.SEEK_CUR)
        if kind == b"IDAT":
            yield data
