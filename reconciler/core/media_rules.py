"""The inputs of a request: the API's limits on them (documented), and what `prepare: true` mends before sending. Pure.

Mending is decided from a file's facts alone, so a plan knows length and price. The encoder is in no identity: a new
one buys nothing again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Decimal
from typing import Final, NamedTuple
from urllib.parse import urlsplit

Prices = Mapping[str, Mapping[str, Decimal]]  # units per second of result, by model and mode
Rate = tuple[str, str, Decimal]  # what a request is priced by: model, mode, and longest length (s)
Sent = Mapping[str, str | bytes]  # of each input, by its name: a URL, or the bytes of a file

SHORTEST_SECONDS = Decimal(3)
# The larger reading of "MB": a refusal by the API costs nothing, one of ours might be wrong.
MEGABYTE = 1024 * 1024
IMAGE_BYTES = 10 * MEGABYTE
VIDEO_BYTES = 100 * MEGABYTE
IMAGE_SIDES = (300, 65_536)  # px
VIDEO_SIDES = (340, 3_850)  # px
IMAGE_PIXELS = 100_000_000  # above: a decompression bomb
PREPARABLE_PIXELS = 40_000_000  # of a film's frame, that are decoded at all: 8K has 33 million
NOTABLE_SECONDS = 0.5  # that a result may be shorter than its reference before it is said
TRANSCODE = "ffmpeg -i in.mov -c:v libx264 -pix_fmt yuv420p -c:a aac out.mp4"
ANIMATED = "animated "  # before a format: of such an image the first frame is taken
_LONGEST_URL = 8192  # characters; ours: it is kept with each of a thousand results
_NOT_IN_URLS = re.compile(r"[\s\x00-\x1f\x7f]")
_NEARLY = Decimal("0.5")  # s that a cut may end after its film: sound often goes on a little longer
_ROUNDED_AWAY = Decimal("0.499")  # s after a whole second that are not billed
_STRANGE = {
    "HEIC": "an HEIC image, as phones make it",
    "WebP": "a WebP image",
    "GIF": "a GIF image",
    "AVIF": "an AVIF image",
    "Matroska": "a WebM or Matroska film",
}


@dataclass(frozen=True, slots=True)
class Medium:
    """A kind of input, with the API's limits on it."""

    name: str  # for people, and in caches
    suffixes: tuple[str, ...]  # of what the API takes; the first is that of what is made
    preparable: tuple[str, ...]  # suffixes of what `prepare` makes into that
    most: int  # bytes
    readable: int  # bytes: a file beyond these is not even read
    sides: tuple[int, int]  # px
    pixels: int  # of a picture that is mended
    sent: str  # the format that is made of a file
    codec: str = ""  # that a film is sent in, as the decoder library calls it
    aspect: Decimal | None = None  # the longer side by the shorter one, at most
    by_url_only: bool = False  # bytes of it cannot stand in a request


IMAGE = Medium(
    name="image",
    suffixes=(".jpg", ".jpeg", ".png"),
    preparable=(".heic", ".heif", ".webp", ".gif", ".avif"),
    most=IMAGE_BYTES,
    readable=256 * MEGABYTE,
    sides=IMAGE_SIDES,
    pixels=IMAGE_PIXELS,
    sent="JPEG",
    aspect=Decimal("2.5"),
)
VIDEO = Medium(
    name="video",
    suffixes=(".mp4", ".mov"),
    preparable=(".webm", ".mkv", ".m4v"),
    most=VIDEO_BYTES,
    readable=4096 * MEGABYTE,  # a phone's minute of 4K has half a gigabyte
    sides=VIDEO_SIDES,
    pixels=PREPARABLE_PIXELS,
    sent="MP4",
    codec="h264",
    by_url_only=True,
)
MEDIUMS: Final = {medium.name: medium for medium in (IMAGE, VIDEO)}


class Span(NamedTuple):
    """The longest allowed length of a film."""

    longest: Decimal  # s
    when: str  # that holds, as the end of a sentence

    def fault(self, seconds: Decimal) -> str:
        """Return which lengths are allowed, to end a sentence about a wrong one; else an empty string."""
        if SHORTEST_SECONDS <= whole_seconds(seconds) <= self.longest:
            return ""
        return f"{SHORTEST_SECONDS} to {self.longest} s are allowed when {self.when}"


@dataclass(frozen=True, slots=True)
class Preparation:
    """How a local file is mended before it is sent, and which part (s) of a film is kept."""

    start: Decimal = Decimal(0)
    end: Decimal | None = None  # what is made ends there at the latest; None: of an image
    is_first_frame: bool = False  # of an image that moves


@dataclass(frozen=True, slots=True)
class Input:
    """A field of a request that names a file or a URL."""

    name: str  # of the key in a spec, and of the field in the request
    medium: Medium
    span: Span | None = None  # of a film
    prepare: bool | None = None  # whether a local file may be mended; None: its kind mends none
    trim: Preparation | None = None  # the part of a film that its spec asks for


@dataclass(frozen=True, slots=True)
class Source:
    """Where an input comes from: a URL as written, or a local file known by its digest."""

    url: str = ""
    path: str = ""  # relative to the root, with forward slashes
    target: str = ""  # the same of what links lead to; empty where there are none
    sha256: str = ""
    size: int = 0  # bytes
    width: int = 0  # px, as shown (rotation applied)
    height: int = 0  # px
    seconds: Decimal | None = None  # a video's length, when known
    format: str = ""  # of a local file, by its content and as people call it: "JPEG", "MP4"
    codec: str = ""  # of a local video, as the decoder library calls it
    rotation: int = 0  # degrees that a viewer turns a local file by, counter-clockwise
    mirrored: bool = False  # whether a viewer mirrors it, left to right, before
    preparation: Preparation | None = None  # None: the file is sent as it is

    def canonical(self) -> dict[str, object] | str:
        """Return the input as it stands in the identity."""
        return self.url or {"sha256": self.sha256}


def length_of(sources: Mapping[str, Source]) -> Decimal | None:
    """Return the length (s) of the film among the inputs; None where there is none, or it is not known."""
    return next((one.seconds for one in sources.values() if one.seconds is not None), None)


def is_url(text: str) -> bool:
    """Whether a spec gives an input as a URL, right or wrong, and not as a path."""
    return text.lower().startswith(("http:", "https:"))


def url_fault(url: str) -> str:
    """Return a sentence for a text that is no URL the provider could read, or an empty string."""
    if len(url) > _LONGEST_URL:
        return f"`{url[:80]}…` has {len(url):,} characters: a URL may have {_LONGEST_URL:,}"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return f"`{url[:80]}` is not a URL"
    if parts.scheme not in ("http", "https"):
        return f"`{url[:80]}` is not an http or https URL"
    if not host or not url[len(parts.scheme) :].startswith("://"):
        return f"`{url[:80]}` names no host"
    if _NOT_IN_URLS.search(url):
        return f"`{url[:80]}` holds white space or control characters: write them percent-encoded"
    return ""


def size_faults(medium: Medium, size: int) -> list[str]:
    """Return a sentence when a local file has too many bytes."""
    if size <= medium.most:
        return []
    most = f"{medium.most // MEGABYTE} MB ({medium.most:,} bytes)"
    return [f"the {medium.name} has {size:,} bytes: at most {most} are allowed"]


def limit_faults(medium: Medium, source: Source, span: Span | None = None) -> list[str]:
    """Return a sentence for every limit that a file breaks."""
    faults = size_faults(medium, source.size)
    small, large = sorted((source.width, source.height))
    shown = f"the {medium.name} is {source.width} × {source.height} px"
    if not _lies_within(source, medium.sides):
        least, most = medium.sides
        faults.append(f"{shown}: each side must be {least} to {most} px")
    if medium.aspect and small and large > small * medium.aspect:
        shape = f"between 1:{medium.aspect} and {medium.aspect}:1"
        faults.append(f"{shown}: its aspect ratio must lie {shape}; crop it, or add a border")
    if span and source.seconds is not None and (fault := span.fault(source.seconds)):
        faults.append(f"the {medium.name} lasts {spoken(source.seconds)} s: {fault}")
    return faults


def format_faults(medium: Medium, source: Source) -> list[str]:
    """Return what is wrong with a file's format, to follow its name (observed; other codecs: unknown).

    A turned image passes: whether the API reads a camera's note about that is not known.
    """
    if source.preparation is not None:
        return []
    kind = source.format.removeprefix(ANIMATED)
    if kind in _STRANGE:
        what = f"an animated {kind}" if kind != source.format else _STRANGE[kind]
        return [f"is {what}, which the API does not take"]
    if source.path and kind and not source.path.lower().endswith(medium.suffixes):
        taken = ", ".join(medium.suffixes)
        return [f"is {_article(kind)} under another name: the API takes {taken}"]
    if not medium.codec:
        return []
    if source.codec == "hevc":
        return ["is H.265 (HEVC), which the API refuses"]
    turned = f"turned by {source.rotation}°" if source.rotation else ""
    ways = " and ".join(filter(None, ("mirrored" * source.mirrored, turned)))
    odd = f"is stored {ways}, which the API refuses or reads the wrong way round"
    return [odd] if ways else []


def suffix_fault(wanted: Input, name: str) -> str:
    """Return a sentence for a file name that can be neither sent nor mended, or an empty string."""
    taken = wanted.medium.suffixes
    mended = () if wanted.prepare is None else wanted.medium.preparable
    if name.lower().endswith(taken + mended):
        return ""
    also = f"; `prepare: true` also takes {', '.join(mended)}" if mended else ""
    return f"`{name}` is not one of {', '.join(taken)}, which `{wanted.name}` needs{also}"


def too_large(medium: Medium, size: int, *, prepare: bool | None) -> str:
    """Return a sentence for a file of too many bytes to be read, or an empty string."""
    faults = size_faults(medium, size)
    if not faults or (prepare and size <= medium.readable):
        return ""
    if prepare is None:
        return faults[0]
    if size > medium.readable:
        return f"{faults[0]}, and with `prepare: true` at most {medium.readable:,}"
    return f"{faults[0]}; `prepare: true` compresses it"


def limits_broken(wanted: Input, source: Source) -> Iterator[tuple[str, str]]:
    """Yield (key, sentence) for each fault of a local file, with what `prepare: true` would do about it."""
    if not source.path:
        return
    medium, better = wanted.medium, _mended(wanted, source)
    if cut := _cut_fault(wanted.trim, source):
        yield "trim", cut
    sent = better if wanted.prepare else source
    faults = [f"`{source.path}` {fault}" for fault in format_faults(medium, sent)]
    faults += limit_faults(medium, sent, None if cut else wanted.span)
    is_hopeless = limit_faults(medium, better, wanted.span)
    may_help = wanted.prepare is False and not is_hopeless
    advice = _advice(medium, source, better) if may_help else ""
    yield from ((wanted.name, fault + advice) for fault in faults)


def as_sent(wanted: Input, source: Source) -> Source:
    """Return an input as the API will get it: a local file mended, where its spec allows it."""
    return _mended(wanted, source) if wanted.prepare else source


def _mended(wanted: Input, source: Source) -> Source:
    medium = wanted.medium
    if not source.path or not 0 < source.width * source.height <= medium.pixels:
        return source
    is_film, is_in_range = bool(medium.codec), _lies_within(source, medium.sides)
    kept = _kept(wanted, source)
    is_cut = _is_cut(source, kept)
    is_fine = not format_faults(medium, source) and source.size <= medium.most
    is_fine = is_fine and not source.rotation and not source.mirrored and not is_cut
    if is_fine and is_in_range and (source.codec == medium.codec or not is_film):
        return source
    width, height = source.width, source.height
    if is_film or not is_in_range:
        width, height = fit(width, height, medium.sides)
    upright = replace(source, rotation=0, mirrored=False, format=medium.sent, size=0)
    made = replace(upright, width=width, height=height, preparation=kept)
    if kept.end is None:
        return made
    seconds = kept.end - kept.start
    if not is_cut:
        # A whole film keeps its last frame, however its times are rounded, and is billed the same.
        kept = replace(kept, end=whole_seconds(kept.end) + _ROUNDED_AWAY)
    return replace(made, seconds=seconds, codec=medium.codec, preparation=kept)


def _kept(wanted: Input, film: Source) -> Preparation:
    """Return the part of a film that is sent: the cut, as far as the length is allowed; of an image, its frame."""
    if not wanted.medium.codec:
        return Preparation(is_first_frame=film.format.startswith(ANIMATED))
    assert wanted.span is not None
    trim, longest = wanted.trim or Preparation(), wanted.span.longest
    ends = [end for end in (trim.end, film.seconds) if end is not None]
    end = min(ends, default=None)
    if end is None or whole_seconds(end - trim.start) > longest:
        end = trim.start + longest
    return Preparation(trim.start, end)


def fit(width: float, height: float, sides: tuple[int, int]) -> tuple[int, int]:
    """Return the even sides (px) nearest to a picture's that lie within `sides`, as far as its shape allows."""
    least, most = sides
    small, large = sorted((width, height))
    scale = most / large if large > most else max(least / small, 1.0)
    even = [(int(side * scale / 2 + 0.5) * 2, side * scale) for side in (width, height)]
    across, down = (near - 2 if near > most >= side else near for near, side in even)
    return across, down


def _cut_fault(trim: Preparation | None, video: Source) -> str:
    """Return a sentence for a cut that its film does not hold, or an empty string."""
    if trim is None or video.seconds is None:
        return ""
    starts = f"`trim` starts at {spoken(trim.start)} s"
    lasts = f"`{video.path}` lasts {spoken(video.seconds)} s"
    if trim.start >= video.seconds:
        return f"{starts}, and {lasts}"
    if trim.end is not None and trim.end > video.seconds + _NEARLY:
        return f"`trim` ends at {spoken(trim.end)} s, and {lasts}"
    if trim.start > 0 and whole_seconds(video.seconds - trim.start) < SHORTEST_SECONDS:
        return f"{starts}, and {lasts}: at least {SHORTEST_SECONDS} s have to be left"
    return ""


def _is_cut(film: Source, kept: Preparation) -> bool:
    """Whether a part of a film is left out, as may be where its length is not known."""
    if kept.end is None:
        return False
    return kept.start > 0 or film.seconds is None or kept.end < film.seconds


def _lies_within(source: Source, sides: tuple[int, int]) -> bool:
    small, large = sorted((source.width, source.height))
    return sides[0] <= small and large <= sides[1]


def _advice(medium: Medium, before: Source, after: Source) -> str:
    """Return what `prepare: true` would do about a file, to end a sentence; or an empty string."""
    if after.preparation is None:
        return ""
    does = []
    as_coded = replace(before, codec="", rotation=0, mirrored=False)
    if before.codec != after.codec:
        does.append("transcodes it to H.264")
    elif after.preparation.is_first_frame:
        does.append(f"makes {_article(medium.sent)} of its first frame")
    elif format_faults(medium, as_coded):
        does.append(f"makes {_article(medium.sent)} of it")
    ways = ["mirrors"] * before.mirrored + ["turns"] * bool(before.rotation)
    if ways:
        does.append(f"{' and '.join(ways)} the picture itself")
    if (before.width, before.height) != (after.width, after.height):
        does.append(f"scales it to {after.width} × {after.height} px")
    if _is_cut(before, after.preparation):
        start, end = spoken(after.preparation.start), spoken(after.preparation.end or Decimal(0))
        first = f"its first {end} s (`trim: {{start: …, end: …}}` chooses another part)"
        does.append(f"keeps {f'the part from {start} to {end} s' if start != '0' else first}")
    if size_faults(medium, before.size):
        does.append("compresses it")
    return f"; `prepare: true` {' and '.join(does)}" if does else ""


def _article(format_: str) -> str:
    return f"{'an' if format_ == 'MP4' else 'a'} {format_}"


def estimate_units(rate: Rate, seconds: Decimal | None, prices: Prices) -> Decimal:
    """Return a generation's expected units; the most it can cost, where the length is not known."""
    model, mode, longest = rate
    length = longest if seconds is None else whole_seconds(seconds)
    known = [price for modes in prices.values() for price in modes.values()]
    price = prices.get(model, {}).get(mode, max(known, default=Decimal(0)))
    return (price * length).quantize(Decimal("0.001"))


def length_remark(result: float | None, reference: Decimal | None) -> str:
    """Return a sentence for a result notably shorter than its reference (s; documented), or an empty string."""
    if result is None or reference is None or float(reference) - result <= NOTABLE_SECONDS:
        return ""
    return (
        f"the result lasts {result:.1f} s, the reference {reference:.1f} s; "
        "the provider shortens fast or complex motion and does not refund it"
    )


def whole_seconds(seconds: Decimal) -> Decimal:
    """Return a length as it is billed: rounded to the nearest whole second (documented, and observed)."""
    return seconds.to_integral_value(ROUND_HALF_UP)


def spoken(seconds: Decimal) -> str:
    """Return a length to the millisecond, without trailing zeros."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".")
