"""What `prepare: true` does to a local file before it is sent: whether anything, which part, to which size. Pure.

Decided from the file's facts and the limits of the API, so a plan knows the length, and the price, of what will be sent.
How it is coded is nobody's wish and in no identity: a new encoder buys nothing again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Final

from reconciler.core.motion_control import (
    ANIMATED,
    IMAGE_BYTES,
    IMAGE_PIXELS,
    IMAGE_SIDES,
    LONGEST_SECONDS,
    PREPARABLE_PIXELS,
    SHORTEST_SECONDS,
    VIDEO_BYTES,
    VIDEO_SIDES,
    MotionControl,
    Preparation,
    Source,
    Trim,
    format_faults,
    image_faults,
    size_faults,
    spoken,
    video_faults,
    whole_seconds,
)

PREPARABLE_BYTES: Final = {"image_url": 256 * 1024 * 1024, "video_url": 4 * 1024 * 1024 * 1024}
"""A file beyond these is not even read; a phone's minute of 4K has half a gigabyte."""
SENT_CODEC: Final = "h264"
_SENT_FILM: Final = "MP4"
_SENT_IMAGE: Final = "JPEG"
_NEARLY: Final = Decimal(
    "0.5"
)  # s that a cut may end after its film: sound often goes on a little longer
_ROUNDED_AWAY: Final = Decimal("0.499")  # s after a whole second that are not billed


def as_sent(spec: MotionControl, image: Source, video: Source) -> tuple[Source, Source]:
    """Return both inputs as the API will get them: local files mended, where the spec allows it and they need it."""
    if not spec.prepare:
        return image, video
    return _image(image), _video(video, spec.character_orientation, spec.trim)


def limits_broken(spec: MotionControl, image: Source, video: Source) -> Iterator[tuple[str, str]]:
    """Yield (key, sentence) for what stands against sending local files; of URLs nothing is known.

    Where `prepare: true` would help, the sentence says so, and what it would do.
    """
    orientation = spec.character_orientation
    better_image, better_video = _image(image), _video(video, orientation, spec.trim)
    if image.path:
        sent = better_image if spec.prepare else image
        faults = [f"`{image.path}` {fault}" for fault in format_faults("image_url", sent)]
        faults += image_faults(sent)
        help_ = _help(image, better_image, hopeless=bool(image_faults(better_image)))
        yield from (("image_url", fault + help_ * (not spec.prepare)) for fault in faults)
    if video.path:
        cut = _cut_fault(spec.trim, video)
        if cut:
            yield "trim", cut
        sent = better_video if spec.prepare else video
        faults = [f"`{video.path}` {fault}" for fault in format_faults("video_url", sent)]
        faults += video_faults(replace(sent, seconds=None) if cut else sent, orientation)
        help_ = _help(video, better_video, hopeless=bool(video_faults(better_video, orientation)))
        yield from (("video_url", fault + help_ * (not spec.prepare)) for fault in faults)


def too_large(key: str, size: int, *, prepare: bool) -> str:
    """Return a sentence when a file of this many bytes is not worth reading, or an empty string."""
    most = PREPARABLE_BYTES[key]
    if size > most:
        return f"{size_faults(key, size)[0]}, and with `prepare: true` at most {most:,}"
    faults = [] if prepare else size_faults(key, size)
    return f"{faults[0]}; `prepare: true` compresses it" if faults else ""


def fit(width: float, height: float, sides: tuple[int, int]) -> tuple[int, int]:
    """Return the even sides (px) nearest to a picture's own that lie within `sides`, as far as its shape allows."""
    least, most = sides
    small, large = min(width, height), max(width, height)
    scale = most / large if large > most else max(least / small, 1.0)
    return _even(width * scale, sides), _even(height * scale, sides)


def _even(side: float, sides: tuple[int, int]) -> int:
    even = int(side / 2 + 0.5) * 2
    return even - 2 if even > sides[1] >= side else even


def _cut_fault(trim: Trim | None, video: Source) -> str:
    """Return a sentence when a film does not hold the part that a cut names, or an empty string."""
    if trim is None or video.seconds is None:
        return ""
    lasts = f"`{video.path}` lasts {spoken(video.seconds)} s"
    if trim.start >= video.seconds:
        return f"`trim` starts at {spoken(trim.start)} s, and {lasts}"
    if trim.end is not None and trim.end > video.seconds + _NEARLY:
        return f"`trim` ends at {spoken(trim.end)} s, and {lasts}"
    if trim.start > 0 and whole_seconds(video.seconds - trim.start) < SHORTEST_SECONDS:
        return f"`trim` starts at {spoken(trim.start)} s, and {lasts}: at least {SHORTEST_SECONDS} s have to be left"
    return ""


def _image(image: Source) -> Source:
    if not image.path or not 0 < image.width * image.height <= IMAGE_PIXELS:
        return image
    is_in_range = _lie_within(image, IMAGE_SIDES)
    is_fine = not format_faults("image_url", image) and _is_upright(image)
    if is_fine and is_in_range and image.size <= IMAGE_BYTES:
        return image
    made = Preparation(is_first_frame=image.format.startswith(ANIMATED))
    sides = (image.width, image.height)
    width, height = sides if is_in_range else fit(*sides, IMAGE_SIDES)
    upright = replace(image, rotation=0, mirrored=False, format=_SENT_IMAGE)
    return replace(upright, width=width, height=height, size=0, preparation=made)


def _video(video: Source, orientation: str, trim: Trim | None) -> Source:
    area = video.width * video.height
    if not video.path or not 0 < area <= PREPARABLE_PIXELS:
        return video
    longest = LONGEST_SECONDS[orientation]
    start = trim.start if trim else Decimal(0)
    end = video.seconds
    if trim and trim.end is not None:
        end = trim.end if end is None else min(trim.end, end)
    if end is None or whole_seconds(end - start) > longest:
        end = start + longest
    kept = Preparation(start, end)
    is_cut = _is_cut(video, kept)
    is_fine = video.codec == SENT_CODEC and not format_faults("video_url", video)
    is_fine = is_fine and video.size <= VIDEO_BYTES
    if is_fine and _lie_within(video, VIDEO_SIDES) and not is_cut:
        return video
    width, height = fit(video.width, video.height, VIDEO_SIDES)
    return replace(
        video,
        width=width,
        height=height,
        seconds=end - start,
        size=0,
        format=_SENT_FILM,
        codec=SENT_CODEC,
        rotation=0,
        mirrored=False,
        # A whole film keeps its last frame, however its times are rounded, and costs what was counted all the same.
        preparation=kept if is_cut else replace(kept, end=whole_seconds(end) + _ROUNDED_AWAY),
    )


def _is_cut(film: Source, kept: Preparation) -> bool:
    """Whether less than all of a film is kept; of one of unknown length, nobody can say that it is all."""
    if kept.end is None:
        return False
    return kept.start > 0 or film.seconds is None or kept.end < film.seconds


def _is_upright(source: Source) -> bool:
    return not source.rotation and not source.mirrored


def _lie_within(source: Source, sides: tuple[int, int]) -> bool:
    small, large = sorted((source.width, source.height))
    return sides[0] <= small and large <= sides[1]


def _help(before: Source, after: Source, *, hopeless: bool) -> str:
    """Return what `prepare: true` would do about a file, as the end of a sentence; empty where it would not help."""
    if after.preparation is None or hopeless:
        return ""
    does = []
    if before.codec != after.codec:
        does.append("transcodes it to H.264")
    elif after.preparation.is_first_frame:
        does.append("makes a JPEG of its first frame")
    elif format_faults(
        "video_url" if before.codec else "image_url",
        replace(before, codec="", rotation=0, mirrored=False),
    ):
        does.append(f"makes {'an MP4' if before.codec else 'a JPEG'} of it")
    ways = [
        way for way, is_due in (("mirrors", before.mirrored), ("turns", before.rotation)) if is_due
    ]
    if ways:
        does.append(f"{' and '.join(ways)} the picture itself")
    if (before.width, before.height) != (after.width, after.height):
        does.append(f"scales it to {after.width} × {after.height} px")
    if _is_cut(before, after.preparation):
        does.append(f"keeps {_part(after.preparation)}")
    if before.size and size_faults("video_url" if before.codec else "image_url", before.size):
        does.append("compresses it")
    return f"; `prepare: true` {' and '.join(does)}" if does else ""


def _part(preparation: Preparation) -> str:
    start, end = preparation.start, preparation.end or Decimal(0)
    if start:
        return f"the part from {spoken(start)} to {spoken(end)} s"
    return f"its first {spoken(end)} s (`trim: {{start: …, end: …}}` chooses another part)"
