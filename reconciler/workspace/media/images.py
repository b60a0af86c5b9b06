"""Images as facts: the format by content, the sides by the header, and whether the pixels are all there.

Files are untrusted: the header is judged before a pixel is decoded, in a process with bounds (see `decoding`). A file is
read whole first: an error of the disk comes then, and later ones are the file's.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from reconciler.core.media_rules import ANIMATED, IMAGE_PIXELS, Source
from reconciler.workspace.media.flaws import UNREADABLE, Evident, Flaw, beginning, opened_media

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_FORMATS: Final = {
    "PNG": (re.escape(_PNG), "PIL.PngImagePlugin", "PngImageFile"),
    "JPEG": (rb"\xff\xd8\xff", "PIL.JpegImagePlugin", "JpegImageFile"),
    "GIF": (rb"GIF8[79]a", "PIL.GifImagePlugin", "GifImageFile"),
    "WebP": (rb"RIFF....WEBP", "PIL.WebPImagePlugin", "WebPImageFile"),
    "HEIC": (rb"....ftyp(hei[cmsx]|hev[cx]|mif1|msf1)", "pi_heif", "HeifImageFile"),
    "AVIF": (rb"....ftypavi[fs]", "PIL.AvifImagePlugin", "AvifImageFile"),
}  # what a file begins with, and who reads it: a module, imported when it is needed, and a class of it
_MOVING: Final = frozenset({"GIF", "WebP", "AVIF"})
_END_OF_JPEG: Final = b"\xff\xd9"
_ANYTHING: Final = bytes(range(1, 255)) * 32  # as good as any other pixels; no marker is in it
_USEFUL: Final = {b"tRNS", b"eXIf"}  # parts of a PNG that are optional, and of use here
_ORIENTATION: Final = 0x0112  # EXIF
_SHOWN: Final = {2: (0, True), 3: (180, False), 4: (180, True), 5: (90, True), 6: (270, False), 7: (270, True), 8: (90, False)}  # fmt: skip
# What Pillow raises for bytes that it cannot read or write; any other error is a mistake of ours.
_UNREADABLE = (*UNREADABLE, SyntaxError, OSError, EOFError, RuntimeError, struct.error, zlib.error)


def probe_image(path: Path) -> Source:
    """Return the facts of an image file, whatever its suffix. Raises `MediaError`."""
    with opened_media(path, path.name) as file:
        return image_facts(file)


def image_facts(file: BinaryIO) -> Source:
    """Return the facts of an image by its header, without decoding a pixel. Raises `Flaw`."""
    kind = image_format(file)
    image = open_image(file)
    width, height = image.size
    # The reader of HEIC turns it.
    rotation, mirrored = (0, False) if kind == "HEIC" else image_shown_as(image)
    if rotation % 180:
        width, height = height, width
    with contextlib.suppress(Flaw), flawed("what follows the first frame is not of use here"):
        if kind in _MOVING and getattr(image, "is_animated", False):
            kind = f"{ANIMATED}{kind}"
    return Source(width=width, height=height, format=kind, rotation=rotation, mirrored=mirrored)


def check_pixels(file: BinaryIO) -> None:
    """Decode a JPEG or PNG to its last pixel and keep none of them. Raises `Flaw` when that cannot be done.

    A missing end mark, or a damaged part without pixels, is no flaw: every viewer shows such an image. Other formats are
    decoded where they are made into a JPEG.
    """
    kind, data = image_format(file), file.read()
    width, height = _opened(kind, data).size
    if width * height > IMAGE_PIXELS:
        raise Flaw(
            f"would decode to {width * height // 1_000_000:,} megapixels: more than "
            f"{IMAGE_PIXELS // 1_000_000} are taken for a decompression bomb; scale it down"
        )
    with flawed(
        "is damaged or broken off: its pixels cannot be decoded to the last; export it again"
    ):
        if kind == "JPEG":
            _check_jpeg(data)
        elif kind == "PNG":
            _check_png(_plain_png(data))


def image_format(file: BinaryIO) -> str:
    """Return an image's format (a key of `_FORMATS`) by its first bytes. Raises `Evident` for anything else."""
    start = beginning(file)
    for name, (mark, _, _) in _FORMATS.items():
        if re.match(mark, start, re.DOTALL):
            return name
    raise Evident(
        "holds no image that is known here (JPEG, PNG, HEIC, WebP, GIF or AVIF), whatever its name says"
    )


def open_image(file: BinaryIO) -> ImageFile:
    """Open an image without decoding a pixel. Raises `Flaw`."""
    return _opened(image_format(file), file.read())


@contextlib.contextmanager
def flawed(sentence: str) -> Iterator[None]:
    """Raise Pillow's errors about bad bytes as a `Flaw` with this sentence, and silence its warnings."""
    from PIL.Image import DecompressionBombError

    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except DecompressionBombError as error:  # some formats' headers meet Pillow's own limit first
        raise Flaw(
            f"would decode to more than {IMAGE_PIXELS // 1_000_000} megapixels, "
            "which is taken for a decompression bomb; scale it down"
        ) from error
    except _UNREADABLE as error:
        raise Flaw(sentence) from error


@flawed("is damaged: its image header cannot be read")
def _opened(kind: str, data: bytes) -> ImageFile:
    """Open an image with the reader of its format only."""
    _, module, name = _FORMATS[kind]
    reader: Callable[[BinaryIO], ImageFile] = getattr(importlib.import_module(module), name)
    if kind == "JPEG":
        data += _END_OF_JPEG
    return reader(io.BytesIO(_plain_png(data) if kind == "PNG" else data))


def image_shown_as(image: ImageFile) -> tuple[int, bool]:
    """Return how its EXIF says an image is shown: turned by degrees counter-clockwise, and mirrored before."""
    if "exif" not in image.info:  # to look further would decode a PNG
        return 0, False
    with contextlib.suppress(Flaw), flawed("EXIF that cannot be read is none"):
        return _SHOWN.get(image.getexif().get(_ORIENTATION, 1), (0, False))
    return 0, False


def upright(image: Image, rotation: int, *, mirrored: bool) -> Image:
    """Return an image as it is shown: mirrored left to right, then turned by degrees counter-clockwise."""
    from PIL.ImageOps import mirror

    image = mirror(image) if mirrored else image
    return image.rotate(rotation, expand=True) if rotation else image


def _check_jpeg(data: bytes) -> None:
    """Decode a JPEG; one without its end is whole if its pixels do not depend on what is put there instead."""
    try:
        # An eighth of the sides in grey: every byte is still read, and 1/64 of the memory is enough.
        _decode_jpeg(data, 8)
    except OSError:
        # By their digests, for two pictures take twice the memory.
        if _decode_jpeg(data + _END_OF_JPEG) != _decode_jpeg(data + _ANYTHING + _END_OF_JPEG):
            raise


def _decode_jpeg(data: bytes, smaller: int = 1) -> bytes:
    """Return the digest of a JPEG's pixels in grey."""
    from PIL.JpegImagePlugin import JpegImageFile

    image = JpegImageFile(io.BytesIO(data))
    image.draft("L", (max(image.width // smaller, 1), max(image.height // smaller, 1)))
    image.load()
    return hashlib.sha256(image.tobytes()).digest()


def _check_png(data: bytes) -> None:
    """Decode a PNG, as `_plain_png` returns it; raises an error where a part or one of its last rows is missing."""
    from PIL.PngImagePlugin import PngImageFile

    PngImageFile(io.BytesIO(data)).verify()  # the checksum of every part
    # Pillow leaves missing rows in the shade that they had before.
    if (rows := _untouched(data, shade=0x5A)) and rows & _untouched(data, shade=0):
        raise ValueError("rows are missing")


def _untouched(data: bytes, *, shade: int) -> set[int]:
    """Return which of a PNG's last two rows keep a shade that the picture had before it was decoded."""
    from PIL import Image
    from PIL.PngImagePlugin import PngImageFile

    image = PngImageFile(io.BytesIO(data))
    (width, height), bands = image.size, len(image.getbands())
    colour = shade if bands == 1 else (shade,) * bands
    image.im = Image.new(image.mode, image.size, colour).im
    image.load()
    blank = Image.new(image.mode, (width, 1), colour).tobytes()
    last = range(max(height - 2, 0), height)  # an interlaced one ends with its last odd row
    return {row for row in last if image.crop((0, row, width, row + 1)).tobytes() == blank}


def _plain_png(data: bytes) -> bytes:
    """Return a PNG as viewers read it: without useless or damaged optional parts, and with an end."""
    kept, at, kind = [_PNG], len(_PNG), b""
    while kind != b"IEND" and len(data) >= at + 8:
        size, kind = struct.unpack_from(">I4s", data, at)
        if not kind.isalpha():
            break
        content, checksum = data[at + 8 : at + 8 + size], data[at + 8 + size : at + 12 + size]
        right = struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))
        # the file breaks off here; whether pixels are missing, the decoder says
        if len(checksum) < 4:
            checksum = right
        if kind[:1].isupper() or (kind in _USEFUL and checksum == right):
            kept += [struct.pack(">I4s", len(content), kind), content, checksum]
        at += 12 + size
    if kind != b"IEND":
        kept.append(struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND")))
    return b"".join(kept)
