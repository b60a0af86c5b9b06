"""The kind `motion-control`: its fields, limits, defaults, canonical request and prices.

The one place that knows a kind. Field names and limits are the API's (documented); prices are observed ones and
only the default of a setting.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

KIND: Final = "motion-control"
MEDIA_FIELDS = ("image_url", "video_url")

LONGEST_SECONDS = {
    "image": Decimal(10),
    "video": Decimal(30),
}  # by character_orientation (documented)
SHORTEST_SECONDS = Decimal(3)  # documented
MEGABYTE = (
    1024 * 1024
)  # the larger reading of "MB": a refusal by the API costs nothing, one of ours might be wrong
IMAGE_BYTES = 10 * MEGABYTE
VIDEO_BYTES = 100 * MEGABYTE
IMAGE_SIDES = (300, 65_536)  # px
VIDEO_SIDES = (340, 3_850)  # px
IMAGE_ASPECT = Decimal("2.5")
IMAGE_PIXELS = 100_000_000  # one more is taken for a decompression bomb
PREPARABLE_PIXELS = 40_000_000  # of a film's frame, that are decoded at all: 8K has 33 million
NOTABLE_SECONDS = 0.5  # that a result may be shorter than its reference before it is said
TRANSCODE = "ffmpeg -i in.mov -c:v libx264 -pix_fmt yuv420p -c:a aac out.mp4"
_MILLISECOND = Decimal("0.001")
_LONGEST_URL = 8192  # characters; ours: it is kept with each of a thousand results
_NOT_IN_URLS = re.compile(r"[\s\x00-\x1f\x7f]")
SUFFIXES = {
    "image_url": (".jpg", ".jpeg", ".png"),
    "video_url": (".mp4", ".mov"),
}  # of what the API takes (documented)
PREPARABLE_SUFFIXES = {
    "image_url": (".heic", ".heif", ".webp", ".gif", ".avif"),
    "video_url": (".webm", ".mkv", ".m4v"),
}  # of what `prepare` makes into that
ANIMATED = "animated "  # before a format: of such an image the first frame is taken
_STRANGE = {
    "HEIC": "an HEIC image, as phones make it",
    "WebP": "a WebP image",
    "GIF": "a GIF image",
    "AVIF": "an AVIF image",
    "Matroska": "a WebM or Matroska film",
}

UNITS_PER_SECOND: Mapping[
    str, Mapping[str, Decimal]
] = {  # model, mode: observed, a price list of 2026
    "kling-v2-6": {"std": Decimal("0.5"), "pro": Decimal("0.8")},
    "kling-v3": {"std": Decimal("0.9"), "pro": Decimal("1.2")},
}


def _yes_or_no(value: object) -> object:
    """YAML 1.1 reads a bare yes or no as a boolean; both spellings mean the same."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value


def _digits(value: object) -> object:
    """An element id is 64 bits wide; a string of digits is how JSON editors keep it whole."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return value


def _seconds(value: object) -> object:
    """A number of YAML or JSON as an exact number of milliseconds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    try:
        return Decimal(str(value)).quantize(_MILLISECOND)
    except InvalidOperation:
        return value


def _stripped(value: object) -> object:
    """White space around a prompt is the editor's, not the user's."""
    return value.strip() if isinstance(value, str) else value


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Element(_Closed):
    """An element of the account's library."""

    element_id: Annotated[int, BeforeValidator(_digits), Field(ge=1, le=2**63 - 1)]


Seconds = Annotated[
    Decimal,
    BeforeValidator(_seconds),
    Field(ge=0, le=86_400),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": 86_400}),
]


class Trim(_Closed):
    """Which part of the motion video is sent, in seconds from its beginning."""

    start: Seconds = Decimal(0)
    end: Annotated[
        Seconds | None, WithJsonSchema({"type": "number", "minimum": 0, "maximum": 86_400})
    ] = None

    def canonical(self, orientation: str) -> dict[str, str]:
        """Return how the cut stands in the identity; an end is not in it where the longest cut ends there anyway."""
        longest = self.end is None or self.end - self.start == LONGEST_SECONDS[orientation]
        ends = {} if self.end is None or longest else {"end": spoken(self.end)}
        return ends | ({"start": spoken(self.start)} if self.start else {})


class WatermarkInfo(_Closed):
    """Whether a watermarked copy comes too."""

    enabled: bool


class MotionControl(_Closed):
    """What a spec may ask of the motion-control API; the names are the API's own."""

    kind: Literal["motion-control"] = KIND
    image_url: Annotated[
        str,
        Field(
            min_length=1,
            description="The character: a .jpg or .png file beside the spec, or a URL.",
        ),
    ]
    video_url: Annotated[
        str,
        Field(
            min_length=1, description="The motion: a .mp4 or .mov file beside the spec, or a URL."
        ),
    ]
    prompt: Annotated[
        str,
        Field(max_length=2500, description="At most 2,500 characters."),
        BeforeValidator(_stripped),
    ] = ""
    character_orientation: Annotated[
        Literal["image", "video"],
        Field(
            description="Whose orientation the character takes; image: up to 10 s, video: up to 30 s."
        ),
    ]
    mode: Annotated[Literal["std", "pro"], Field(description="std is 720p, pro is 1080p.")]
    model_name: Annotated[
        str,
        WithJsonSchema({"anyOf": [{"enum": list(UNITS_PER_SECOND)}, {"type": "string"}]}),
    ] = "kling-v2-6"
    keep_original_sound: Annotated[Literal["yes", "no"], BeforeValidator(_yes_or_no)] = "yes"
    element_list: Annotated[list[Element], Field(max_length=1)] = []
    watermark_info: WatermarkInfo = WatermarkInfo(enabled=False)
    callback_url: str = ""
    prepare: Annotated[
        bool,
        Field(
            description="Mend local files that the API would refuse: transcode, turn, scale, cut."
        ),
    ] = False
    trim: Annotated[
        Trim | None, Field(description="Which part of a local video is sent; needs `prepare`.")
    ] = None


@dataclass(frozen=True, slots=True)
class Preparation:
    """What is done to a local file before it is sent: it is mended, and of a film a part is kept (s)."""

    start: Decimal = Decimal(0)
    end: Decimal | None = None  # what is made ends there at the latest; None: of an image
    is_first_frame: bool = False  # of an image that moves


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
    format: str = (
        ""  # of a local file, by its content and as people call it, such as "JPEG" or "MP4"
    )
    codec: str = ""  # of a local video, as the decoder library calls it
    rotation: int = 0  # degrees that a viewer turns a local file by, counter-clockwise
    mirrored: bool = False  # whether a viewer mirrors it, left to right, before
    preparation: Preparation | None = None  # None: the file is sent as it is

    def canonical(self) -> dict[str, object] | str:
        """Return how the input stands in the identity."""
        return self.url or {"sha256": self.sha256}


def canonical_request(wish: MotionControl, image: Source, video: Source) -> dict[str, Any]:
    """Return the request as it stands in the identity: complete, with defaults, without what changes no result.

    A cut is a wish of its own. That a file may be mended is not: whoever allows it wants the same result.
    """
    clip = video.canonical()
    cut = wish.trim.canonical(wish.character_orientation) if wish.trim else {}
    if cut and isinstance(clip, dict):
        clip = clip | {"trim": cut}
    request: dict[str, Any] = {
        "character_orientation": wish.character_orientation,
        "image_url": image.canonical(),
        "keep_original_sound": wish.keep_original_sound,
        "mode": wish.mode,
        "model_name": wish.model_name,
        "video_url": clip,
        "watermark_info": {"enabled": wish.watermark_info.enabled},
    }
    prompt = wish.prompt.strip()
    if prompt:
        request["prompt"] = prompt
    if wish.element_list:
        request["element_list"] = [
            {"element_id": element.element_id} for element in wish.element_list
        ]
    return request


def model_fault(wish: MotionControl, prices: Mapping[str, Mapping[str, Decimal]]) -> str:
    """Return a sentence when nobody said what the model costs, or an empty string.

    One that is newer than this program is sent where it has a price: without one no cap could count it.
    """
    name, known = wish.model_name, " or ".join(UNITS_PER_SECOND)
    if wish.mode in prices.get(name, {}):
        return ""
    if name in prices:
        return (
            f'`model_name` is "{name}": RECONCILER_PRICES has no price for its mode `{wish.mode}`'
        )
    return (
        f'`model_name` is "{name}": it can be {known}; a newer one is sent once RECONCILER_PRICES, '
        "or `[prices.NAME]` in the operator's settings file, says what it costs"
    )


def conflicts(wish: MotionControl) -> list[tuple[str, str]]:
    """Return (key, sentence) for every rule that no single field's type can say (documented)."""
    found = []
    if wish.element_list and wish.character_orientation != "video":
        sentence = (
            "`character_orientation` can only be `video` when `element_list` names an element"
        )
        found.append(("character_orientation", sentence))
    if wish.callback_url and (fault := url_fault(wish.callback_url)):
        found.append(("callback_url", fault))
    if wish.trim:
        found += [("trim", fault) for fault in _trim_faults(wish, wish.trim)]
    return found


def _trim_faults(wish: MotionControl, trim: Trim) -> list[str]:
    """Return what is wrong with a cut whatever the film is."""
    if not wish.prepare:
        return ["`trim` needs `prepare: true` beside it: the video is sent as it is otherwise"]
    if wish.video_url.lower().startswith(("http:", "https:")):
        return ["`trim` needs a local `video_url`: what lies at a URL is sent as it is"]
    if trim.end is None:
        return []
    left = max(trim.end - trim.start, Decimal(0))
    fault = length_fault(left, wish.character_orientation)
    return [f"`trim` leaves {spoken(left)} s: {fault}"] if fault else []


def url_fault(url: str) -> str:
    """Return a sentence when a text cannot be a URL that the provider could read, or an empty string."""
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


def size_faults(key: str, size: int) -> list[str]:
    """Return a sentence when a local file of this many bytes is too large for `image_url` or `video_url`."""
    what, most = ("image", IMAGE_BYTES) if key == "image_url" else ("video", VIDEO_BYTES)
    if size <= most:
        return []
    return [
        f"the {what} has {size:,} bytes: at most {most // MEGABYTE} MB ({most:,} bytes) are allowed"
    ]


def image_faults(image: Source) -> list[str]:
    """Return a sentence for every limit that an image breaks (documented)."""
    faults = size_faults("image_url", image.size)
    small, large = sorted((image.width, image.height))
    shown = f"the image is {image.width} × {image.height} px"
    if small < IMAGE_SIDES[0] or large > IMAGE_SIDES[1]:
        faults.append(f"{shown}: each side must be {IMAGE_SIDES[0]} to {IMAGE_SIDES[1]} px")
    if small and large > small * IMAGE_ASPECT:
        faults.append(
            f"{shown}: its aspect ratio must lie between 1:2.5 and 2.5:1; crop it, or add a border"
        )
    return faults


def video_faults(video: Source, orientation: str) -> list[str]:
    """Return a sentence for every limit that a video breaks (documented)."""
    faults = size_faults("video_url", video.size)
    small, large = sorted((video.width, video.height))
    if small < VIDEO_SIDES[0] or large > VIDEO_SIDES[1]:
        faults.append(
            f"the video is {video.width} × {video.height} px: each side must be {VIDEO_SIDES[0]} to {VIDEO_SIDES[1]} px"
        )
    if video.seconds is not None and (fault := length_fault(video.seconds, orientation)):
        faults.append(f"the video lasts {spoken(video.seconds)} s: {fault}")
    return faults


def whole_seconds(seconds: Decimal) -> Decimal:
    """Return a length as it is billed, and so measured here: rounded to the nearest whole second (documented)."""
    return seconds.to_integral_value(ROUND_HALF_UP)


def length_fault(seconds: Decimal, orientation: str) -> str:
    """Return what lengths are allowed, to go on after one that is not, or an empty string; whole seconds decide."""
    longest = LONGEST_SECONDS[orientation]
    if SHORTEST_SECONDS <= whole_seconds(seconds) <= longest:
        return ""
    return f"{SHORTEST_SECONDS} to {longest} s are allowed when `character_orientation` is `{orientation}`"


def format_faults(key: str, source: Source) -> list[str]:
    """Return what is wrong with how a file is stored, to go on after its name (observed; other codecs: unknown).

    Nothing is said of how a camera notes that an image is turned: whether the API reads that note is not known.
    """
    if source.preparation is not None:
        return []
    kind = source.format.removeprefix(ANIMATED)
    if kind in _STRANGE:
        what = f"an animated {kind}" if kind != source.format else _STRANGE[kind]
        return [f"is {what}, which the API does not take"]
    if source.path and kind and not source.path.lower().endswith(SUFFIXES[key]):
        article = "an" if kind == "MP4" else "a"
        return [f"is {article} {kind} under another name: the API takes {', '.join(SUFFIXES[key])}"]
    return [] if key == "image_url" else _coding_faults(source)


def _coding_faults(video: Source) -> list[str]:
    if video.codec == "hevc":
        return ["is H.265 (HEVC), which the API refuses"]
    ways = ["mirrored"] * video.mirrored
    ways += [f"turned by {video.rotation}°"] if video.rotation else []
    if ways:
        stored = " and ".join(ways)
        return [f"is stored {stored}, which the API refuses or reads the wrong way round"]
    return []


def length_remark(result: float | None, reference: Decimal | None) -> str:
    """Return a sentence when a result is notably shorter than its reference (both in s), or an empty string.

    The provider shortens where the motion is fast or complex, and refunds nothing (documented).
    """
    if result is None or reference is None or float(reference) - result <= NOTABLE_SECONDS:
        return ""
    return (
        f"the result lasts {result:.1f} s, the reference {reference:.1f} s; "
        "the provider shortens fast or complex motion and does not refund it"
    )


def spoken(seconds: Decimal) -> str:
    """Return a length to the millisecond, without idle zeros: what is just over a limit must not look like it."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".")


def estimate_units(
    request: Mapping[str, Any],
    seconds: Decimal | None,
    prices: Mapping[str, Mapping[str, Decimal]] = UNITS_PER_SECOND,
) -> Decimal:
    """Return the units that a generation is expected to cost; the most it can, where the length is not known.

    Seconds are rounded to the nearest whole one before they are priced (documented, and observed).
    """
    longest = LONGEST_SECONDS[request["character_orientation"]]
    length = longest if seconds is None else whole_seconds(seconds)
    by_mode = prices.get(request["model_name"], {})
    dearest = max(
        (price for table in prices.values() for price in table.values()), default=Decimal(0)
    )
    return (by_mode.get(request["mode"], dearest) * length).quantize(Decimal("0.001"))
