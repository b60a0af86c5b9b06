"""Images as facts: the format by content, the sides by the header, and whether the pixels are all there.

Files are untrusted. The header decides before a pixel is decoded, and the decoder is chosen here, not by the content; it
runs in a process of its own, whose time and memory are bounded (see `decoding`).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BufferedReader
from typing import TYPE_CHECKING, BinaryIO, Final

from reconciler.core.sources import ANIMATED, IMAGE_PIXELS
from reconciler.workspace.flaws import Evident, Flaw, beginning

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8\xff"
_GIF: Final = (b"GIF87a", b"GIF89a")
_HEIC_BRANDS: Final = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
)
_AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})
_MOVING: Final = frozenset({"GIF", "WebP", "AVIF"})
_END_OF_JPEG: Final = b"\xff\xd9"
_ANYTHING: Final = bytes(range(1, 255)) * 32  # as good as any other pixels; no marker is in it
_HARMLESS: Final = {b"tRNS", b"eXIf"}  # parts of a PNG that are optional, and of use here
_SHADES: Final = (0x5A, 0)
_ORIENTATION: Final = 0x0112  # EXIF
_SHOWN: Final = {2: (0, True), 3: (180, False), 4: (180, True), 5: (90, True), 6: (270, False), 7: (270, True), 8: (90, False)}  # fmt: skip
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

    width: int  # px, as shown (the camera's orientation applied)
    height: int  # px
    format: str = "JPEG"  # as people call it
    rotation: int = 0  # degrees that a viewer turns it by, counter-clockwise
    mirrored: bool = False  # whether a viewer mirrors it left to right before


def image_facts(file: BufferedReader) -> ImageFacts:
    """Return what an image is by its header; no pixel is decoded, so no bomb can go off. Raises `Flaw`."""
    kind = image_format(file)
    image = open_image(file)
    if kind == "HEIC":  # its reader turns it
        return ImageFacts(*image.size, kind)
    rotation, mirrored = shown_as(image)
    width, height = reversed(image.size) if rotation % 180 else image.size
    if kind in _MOVING and _moves(image):
        kind = f"{ANIMATED}{kind}"
    return ImageFacts(width, height, kind, rotation, mirrored)


def check_pixels(file: BinaryIO) -> None:
    """Decode a JPEG or PNG to its last pixel and keep none of them. Raises `Flaw` when that cannot be done.

    What every viewer shows is whole: neither the mark of a JPEG's end, nor what follows it, nor a part of a PNG that
    holds no pixels is missed.
    """
    width, height = open_image(file).size
    if width * height > IMAGE_PIXELS:
        raise Flaw(
            f"would decode to {width * height // 1_000_000:,} megapixels: more than "
            f"{IMAGE_PIXELS // 1_000_000} are taken for a decompression bomb; scale it down"
        )
    check = {"JPEG": _check_jpeg, "PNG": _check_png}.get(image_format(file))
    if check is None:
        return  # it is decoded where it is made into a JPEG, in a process of its own
    broken = "is damaged or broken off: its pixels cannot be decoded to the last; export it again"
    with flawed(broken), _quiet():
        check(file)


def image_format(file: BinaryIO) -> str:
    """Return the format of an image by its first bytes, as people call it. Raises `Evident` for anything else."""
    start = beginning(file)
    if start.startswith(_PNG):
        return "PNG"
    if start.startswith(_JPEG):
        return "JPEG"
    if start.startswith(_GIF):
        return "GIF"
    if start.startswith(b"RIFF") and start.endswith(b"WEBP"):
        return "WebP"
    if start[4:8] == b"ftyp" and start[8:] in _HEIC_BRANDS:
        return "HEIC"
    if start[4:8] == b"ftyp" and start[8:] in _AVIF_BRANDS:
        return "AVIF"
    raise Evident(
        "holds no image that is known here (JPEG, PNG, HEIC, WebP, GIF or AVIF), whatever its name says"
    )


def open_image(file: BinaryIO) -> ImageFile:
    """Open an image by its content, without decoding a pixel. Raises `Flaw`."""
    kind = image_format(file)
    with flawed("is damaged: its image header cannot be read"), _quiet():
        if kind != "PNG":
            return _reader(kind)(file)
        try:
            return _reader(kind)(file)
        except _UNREADABLE as error:
            if isinstance(error, OSError) and error.errno:
                raise
            return _reader(kind)(_pixels_only(file))


@contextlib.contextmanager
def flawed(sentence: str) -> Iterator[None]:
    """Tell what Pillow raises for bad bytes as a flaw; a disk that fails, or a mistake of ours, stays what it is."""
    from PIL.Image import DecompressionBombError

    try:
        yield
    except (
        DecompressionBombError
    ) as error:  # Pillow's own limit is met before ours by some formats' headers
        raise Flaw(
            f"would decode to more than {IMAGE_PIXELS // 1_000_000} megapixels, "
            "which is taken for a decompression bomb; scale it down"
        ) from error
    except _UNREADABLE as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise Flaw(sentence) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what Pillow remarks about odd bytes off people's terminals."""
    with warnings.catch_warnings(action="ignore"):
        yield


def _reader(kind: str) -> Callable[[BinaryIO], ImageFile]:
    """Return Pillow's reader of one format, so that no other is tried."""
    if kind == "JPEG":
        return _jpeg_reader()
    if kind == "HEIC":
        from pi_heif import HeifImageFile  # type: ignore[import-untyped]

        return lambda file: HeifImageFile(io.BytesIO(file.read()))  # it blames a file for its disk
    from PIL import AvifImagePlugin, GifImagePlugin, PngImagePlugin, WebPImagePlugin

    readers: dict[str, Callable[[BinaryIO], ImageFile]] = {
        "PNG": PngImagePlugin.PngImageFile,
        "GIF": GifImagePlugin.GifImageFile,
        "WebP": WebPImagePlugin.WebPImageFile,
        "AVIF": AvifImagePlugin.AvifImageFile,
    }
    return readers[kind]


def _jpeg_reader(end: bytes = _END_OF_JPEG) -> Callable[[BinaryIO], ImageFile]:
    """Return Pillow's reader of a JPEG, for bytes that `end` follows."""
    from PIL.JpegImagePlugin import JpegImageFile

    class Reader(JpegImageFile):
        rest = end

        def load_read(self, read_bytes: int) -> bytes:
            data = super().load_read(read_bytes)
            if not data:
                data, self.rest = self.rest, b""
            return data

    return Reader


def _moves(image: ImageFile) -> bool:
    with contextlib.suppress(*_UNREADABLE), _quiet():
        return bool(getattr(image, "is_animated", False))
    return False  # what follows the first frame is not of use here


def shown_as(image: ImageFile) -> tuple[int, bool]:
    """Return how a camera's note says that an image is shown, as `ImageFacts` has it."""
    if "exif" not in image.info:  # to look further would decode a PNG
        return 0, False
    with contextlib.suppress(*_UNREADABLE), _quiet():
        return _SHOWN.get(image.getexif().get(_ORIENTATION, 1), (0, False))
    return 0, False


def _check_jpeg(file: BinaryIO) -> None:
    """Decode a JPEG; where its end is missing, its pixels are all there if they do not depend on what follows."""
    try:
        # An eighth of the sides in grey: every byte is still read, and 1/64 of the memory is enough.
        _decode_jpeg(file, b"", 8)
    except OSError as error:
        if error.errno:
            raise
        if _decode_jpeg(file, _END_OF_JPEG) != _decode_jpeg(file, _ANYTHING + _END_OF_JPEG):
            raise


def _decode_jpeg(file: BinaryIO, end: bytes, smaller: int = 1) -> str:
    """Return the digest of a JPEG's pixels in grey, its bytes followed by `end`."""
    file.seek(0)
    image = _jpeg_reader(end)(file)
    image.draft("L", (max(image.width // smaller, 1), max(image.height // smaller, 1)))
    image.load()
    return hashlib.sha256(image.tobytes()).hexdigest()


def _check_png(file: BinaryIO) -> None:
    """Decode a PNG whose parts are whole, those without pixels apart."""
    from PIL.PngImagePlugin import PngImageFile

    try:
        file.seek(0)
        PngImageFile(file).verify()  # the checksum of every part
    except _UNREADABLE as error:
        if isinstance(error, OSError) and error.errno:
            raise
        file = _pixels_only(file)
        PngImageFile(file).verify()
    # Pillow leaves rows that are missing as they were before.
    if untouched := _untouched(file, _SHADES[0]):
        untouched &= _untouched(file, _SHADES[1])
    if untouched:
        raise ValueError("rows are missing")


def _untouched(file: BinaryIO, shade: int) -> set[int]:
    """Return which of a PNG's last two rows look as if nothing was decoded into a picture of this shade."""
    from PIL import Image
    from PIL.PngImagePlugin import PngImageFile

    file.seek(0)
    image = PngImageFile(file)
    (width, height), bands = image.size, len(image.getbands())
    colour = shade if bands == 1 else (shade,) * bands
    image.im = Image.new(image.mode, image.size, colour).im
    image.load()
    blank = Image.new(image.mode, (width, 1), colour).tobytes()
    last = range(max(height - 2, 0), height)  # an interlaced one ends with its last odd row
    return {row for row in last if image.crop((0, row, width, row + 1)).tobytes() == blank}


def _pixels_only(file: BinaryIO) -> io.BytesIO:
    """Return a PNG as viewers read one: without damaged parts that hold no pixels, and with the end that it may lack."""
    file.seek(len(_PNG))
    kept, is_ended = [_PNG], False
    while not is_ended and len(header := file.read(8)) == 8:
        size, kind = struct.unpack(">I4s", header)
        content, checksum = file.read(size), file.read(4)
        right = struct.pack(">I", zlib.crc32(kind + content))
        if (
            len(checksum) < 4
        ):  # the file breaks off here; whether pixels are missing, the decoder says
            header, checksum = struct.pack(">I4s", len(content), kind), right
        if kind[:1].isupper() or (kind in _HARMLESS and checksum == right):
            kept += [header, content, checksum]
        is_ended = kind == b"IEND"
    if not is_ended:
        kept.append(struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND")))
    return io.BytesIO(b"".join(kept))
