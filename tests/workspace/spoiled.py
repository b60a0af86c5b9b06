"""Media that cannot be used, as real files: cut, damaged, too large, too much."""

from __future__ import annotations

import hashlib
import io
import random
import struct
import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.codec.context import Flags
from PIL import Image

from .builders import MEDIA

BUNNY = (MEDIA / "bigbuckbunny.mp4").read_bytes()
ASTRONAUT = (MEDIA / "astronaut.png").read_bytes()


def chunk(kind: bytes, content: bytes) -> bytes:
    """A part of a PNG."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def flat_png(width: int, height: int, *, white: bool = False) -> bytes:
    """A whole, black or white PNG of any sides: a bit for each pixel, so that a large one is a small file."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    packer, row = zlib.compressobj(1), b"\0" + (b"\xff" if white else b"\0") * ((width + 7) // 8)
    rows = b"".join(packer.compress(row * 1000) for _ in range(height // 1000))
    rows += packer.compress(row * (height % 1000)) + packer.flush()
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def deep_png(width: int, height: int) -> bytes:
    """A whole PNG of any sides with 16 bits of three colours: a small file that takes seconds to decode."""
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    packer, row = zlib.compressobj(3), b"\0" + b"\x55" * (6 * width)
    rows = b"".join(packer.compress(row * 100) for _ in range(height // 100))
    rows += packer.compress(row * (height % 100)) + packer.flush()
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def png_of_missing_rows() -> bytes:
    """A PNG whose parts are whole and whose pixels end in the middle."""
    whole = Image.open(io.BytesIO(ASTRONAUT)).convert("L").tobytes()
    rows = b"".join(b"\0" + whole[at : at + 512] for at in range(0, len(whole) // 2, 512))
    header = struct.pack(">IIBBBBB", 512, 512, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def interlaced_png(width: int, height: int) -> bytes:
    """A whole PNG that is stored in seven passes."""
    encoder = av.VideoCodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "rgb24"
    encoder.time_base = Fraction(1, 1)
    encoder.flags |= Flags.interlaced_dct
    frame = av.VideoFrame(width, height, "rgb24")
    for plane in frame.planes:  # a new frame holds whatever the memory held
        plane.update(random.Random(1).randbytes(plane.buffer_size))
    packets = encoder.encode(frame)
    return b"".join(bytes(packet) for packet in [*packets, *encoder.encode(None)])


def png_of_wrong_checksum(kind: bytes = b"", *, behind: bool = False) -> bytes:
    """A PNG with one bit turned over in its first pixels, or with a damaged part of another kind."""
    if kind:
        at = len(ASTRONAUT) - 12 if behind else 33
        part = chunk(kind, b"\0\0\xb1\x8f")[:-1] + b"?"
        return ASTRONAUT[:at] + part + ASTRONAUT[at:]
    at = ASTRONAUT.index(b"IDAT") + 1000
    return ASTRONAUT[:at] + bytes([ASTRONAUT[at] ^ 1]) + ASTRONAUT[at + 1 :]


def jpeg(*, progressive: bool = False) -> bytes:
    """A whole JPEG."""
    file = io.BytesIO()
    Image.open(io.BytesIO(ASTRONAUT)).save(file, "JPEG", progressive=progressive)
    return file.getvalue()


def vast_webp() -> bytes:
    """A small WebP that announces a canvas of a hundred billion pixels."""
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x010F] = "a camera"  # so that it has a header that can be extended
    Image.new("RGB", (400, 400)).save(file, "WEBP", exif=exif)
    data = bytearray(file.getvalue())
    at = data.index(b"VP8X") + 12
    data[at : at + 6] = b"\xff\xff\x04\xff\xff\x04"
    return bytes(data)


def jpeg_of_many_scans() -> bytes:
    """A progressive JPEG that goes over its pixels again and again."""
    whole = jpeg(progressive=True)
    begin = whole.rindex(b"\xff\xda")
    return whole[:-2] + whole[begin:-2] * 200 + whole[-2:]


def with_noise(film: bytes, *, at_the_end: bool = False) -> bytes:
    """A film with noise for its first frame, or for the last one that stands by itself."""
    keys = list(_key_frames(film))
    begin, size = keys[-1] if at_the_end else keys[0]
    return film[:begin] + random.Random(7).randbytes(size) + film[begin + size :]


def encrypted_film() -> bytes:
    """The real film with its video marked as encrypted."""
    return BUNNY.replace(b"avc1", b"encv")


def make_sound(path: Path) -> Path:
    """A film of sound only."""
    with av.open(MEDIA / "bigbuckbunny.mp4") as film, av.open(path, "w", format="mp4") as container:
        stream = container.add_stream_from_template(film.streams.audio[0])
        for packet in film.demux(film.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    return path


def _key_frames(film: bytes) -> Iterator[tuple[int, int]]:
    with av.open(io.BytesIO(film), "r") as container:
        for packet in container.demux(container.streams.video[0]):
            if packet.is_keyframe and packet.pos is not None:
                yield packet.pos, packet.size


def pointer(content: bytes) -> bytes:
    """What git leaves in a checkout for a file in LFS that was not fetched."""
    digest = hashlib.sha256(content).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(content)}\n".encode()


def announcing(film: bytes, seconds: int) -> bytes:
    """An MP4 whose track says in its header that it lasts so long, whatever its frames last."""
    data = bytearray(film)
    at = (
        data.index(b"mdhd") + 4
    )  # its version and flags, two dates, the ticks of a second, the length
    (ticks,) = struct.unpack_from(">I", data, at + 12)
    struct.pack_into(">I", data, at + 16, seconds * ticks)
    return bytes(data)


def edited(film: bytes, *edits: tuple[int, int]) -> bytes:
    """An MP4 of one track, its index last, whose edit list shows these parts: (ms that it lasts, tick where it begins)."""
    data = bytearray(film)
    at = data.index(b"elst") - 4
    (before,) = struct.unpack_from(">I", data, at)
    rows = b"".join(struct.pack(">IiI", lasts, begin, 1 << 16) for lasts, begin in edits)
    box = struct.pack(">I4sII", 16 + len(rows), b"elst", 0, len(edits)) + rows
    data[at : at + before] = box
    for holder in (b"moov", b"trak", b"edts"):
        start = data.index(holder) - 4
        (size,) = struct.unpack_from(">I", data, start)
        struct.pack_into(">I", data, start, size + len(box) - before)
    return bytes(data)


def calling_chapters(film: bytes) -> bytes:
    """An MP4 of two tracks, its index last, whose second one names the first as its chapters: a cover, for some readers."""
    data = bytearray(film)
    index = data.index(b"moov") - 4
    at = data.index(b"trak", data.index(b"trak") + 4) - 4
    size = int.from_bytes(data[at : at + 4])
    data[at + size : at + size] = struct.pack(">I4sI4sI", 20, b"tref", 12, b"chap", 1)
    for start in (index, at):
        struct.pack_into(">I", data, start, int.from_bytes(data[start : start + 4]) + 20)
    return bytes(data)
