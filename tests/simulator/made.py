"""Pictures and films made for a test, small and exactly as wrong as it needs them."""

from __future__ import annotations

import base64
import io
from fractions import Fraction
from pathlib import Path

import av
from PIL import Image


def picture(width: int = 300, height: int = 300, kind: str = "PNG") -> bytes:
    """Return a picture's bytes."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "#a04020").save(buffer, kind, compress_level=1)
    return buffer.getvalue()


def base64_picture(width: int = 300, height: int = 300, kind: str = "PNG") -> str:
    """Return a picture as the API takes it."""
    return base64.b64encode(picture(width, height, kind)).decode()


def clip(
    path: Path,
    seconds: float = 3,
    size: tuple[int, int] = (352, 352),
    codec: str = "libx264",
    *,
    sound: bool = False,
    sound_seconds: float | None = None,
    matrix: tuple[int, int, int, int] | None = None,
) -> Path:
    """Write a film of grey frames, ten a second, and return its path; a player shows it through the matrix."""
    with av.open(str(path), "w") as out:
        video = out.add_stream(codec, rate=10)
        assert isinstance(video, av.VideoStream)
        video.width, video.height = size
        video.pix_fmt = "yuv420p"
        if matrix is not None:
            a, b, c, d = (number << 16 for number in matrix)
            video.set_display_matrix((a, b, 0, c, d, 0, 0, 0, 1 << 30))
        track = out.add_stream("aac", rate=44100) if sound else None
        for _ in range(round(seconds * 10)):
            out.mux(video.encode(av.VideoFrame(*size, "yuv420p")))
        out.mux(video.encode(None))
        if track is not None:
            assert isinstance(track, av.AudioStream)
            _add_silence(out, track, seconds if sound_seconds is None else sound_seconds)
    return path


def _add_silence(out: av.container.OutputContainer, track: av.AudioStream, seconds: float) -> None:
    for number in range(int(seconds * 44100) // 1024):
        frame = av.AudioFrame("fltp", "stereo", 1024)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.sample_rate, frame.pts, frame.time_base = 44100, number * 1024, Fraction(1, 44100)
        out.mux(track.encode(frame))
    out.mux(track.encode(None))
