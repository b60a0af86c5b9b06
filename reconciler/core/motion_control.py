"""The kind `motion-control`: its endpoint, fields, rules, prices, inputs, results and labels, as `core.kinds.Kind` asks.

Names and limits are the API's (documented); prices are observed, and only the default of a setting.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from reconciler.core.documents import nearest
from reconciler.core.fields import Fields, Trim
from reconciler.core.media_rules import (
    IMAGE,
    VIDEO,
    Input,
    Preparation,
    Prices,
    Rate,
    Sent,
    Source,
    Span,
    is_url,
    spoken,
    url_fault,
)

NAME = "motion-control"
ENDPOINT = "/v1/videos/motion-control"
INPUTS: tuple[Input, ...] = (Input("image_url", IMAGE), Input("video_url", VIDEO))
SPANS = {
    orientation: Span(longest, f"`character_orientation` is `{orientation}`")
    for orientation, longest in (("image", Decimal(10)), ("video", Decimal(30)))
}
UNITS_PER_SECOND: Prices = {
    "kling-v2-6": {"std": Decimal("0.5"), "pro": Decimal("0.8")},
    "kling-v3": {"std": Decimal("0.9"), "pro": Decimal("1.2")},
}  # observed, a price list of 2026
LONGEST = max(span.longest for span in SPANS.values())  # s, of a result
LABELLED_AS_READ = frozenset({"keep_original_sound"})
"""A bare yes is a boolean in YAML and a text in JSON: both make the same label."""
SCHEMA: Mapping[str, Any] = {
    "keep_original_sound": {"enum": ["yes", "no", True, False], "default": "yes"}
}
"""Parts of the JSON Schema that replace those of the fields' types."""


def _yes_or_no(value: object) -> object:
    """Both spellings are the same: YAML 1.1 reads a bare yes or no as a boolean."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


def _digits(value: object) -> object:
    """An element id is 64 bits wide; a string of digits is how JSON editors keep it whole."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


def _stripped(value: object) -> object:
    """White space around a prompt is the editor's, not the user's."""
    return value.strip() if isinstance(value, str) else value


class Element(Fields):
    """An element of the account's library."""

    element_id: Annotated[int, BeforeValidator(_digits), Field(ge=1, le=2**63 - 1)]


class WatermarkInfo(Fields):
    """Whether a watermarked copy comes too."""

    enabled: bool


class MotionControl(Fields):
    """What a spec may ask of the motion-control API; the names are the API's own."""

    kind: Literal["motion-control"] = "motion-control"
    image_url: str = Field(
        min_length=1, description="The character: a .jpg or .png file beside the spec, or a URL."
    )
    video_url: str = Field(
        min_length=1, description="The motion: a .mp4 or .mov file beside the spec, or a URL."
    )
    prompt: Annotated[str, BeforeValidator(_stripped)] = Field(
        "", max_length=2500, description="At most 2,500 characters."
    )
    character_orientation: Literal["image", "video"] = Field(
        description="Whose orientation the character takes; image: up to 10 s, video: up to 30 s."
    )
    mode: Literal["std", "pro"] = Field(description="std is 720p, pro is 1080p.")
    model_name: Annotated[
        str, WithJsonSchema({"anyOf": [{"enum": list(UNITS_PER_SECOND)}, {"type": "string"}]})
    ] = "kling-v2-6"
    keep_original_sound: Annotated[Literal["yes", "no"], BeforeValidator(_yes_or_no)] = "yes"
    element_list: list[Element] = Field([], max_length=1)
    watermark_info: WatermarkInfo = WatermarkInfo(enabled=False)
    callback_url: str = ""
    prepare: bool = Field(
        False,
        description="Mend local files that the API would refuse: transcode, turn, scale, cut.",
    )
    trim: Trim | None = Field(
        None, description="Which part of a local video is sent; needs `prepare`."
    )


FIELDS: type[Fields] = MotionControl


def inputs(wish: MotionControl) -> tuple[Input, ...]:
    """Return the inputs with the limits that a spec gives them, and whether it allows to mend them."""
    image, video = (replace(one, prepare=wish.prepare) for one in INPUTS)
    trim = Preparation(wish.trim.start, wish.trim.end) if wish.trim else None
    return image, replace(video, span=SPANS[wish.character_orientation], trim=trim)


def canonical(wish: MotionControl, sources: Mapping[str, Source]) -> dict[str, Any]:
    """Return the request of the identity: complete, with defaults, without what changes no result.

    A cut changes the result. That a file may be mended does not: the user wants the same result.
    """
    request: dict[str, Any] = {
        "character_orientation": wish.character_orientation,
        **{name: source.canonical() for name, source in sources.items()},
        "keep_original_sound": wish.keep_original_sound,
        "mode": wish.mode,
        "model_name": wish.model_name,
        "watermark_info": {"enabled": wish.watermark_info.enabled},
    }
    cut = wish.trim.canonical(SPANS[wish.character_orientation]) if wish.trim else {}
    if cut and not sources["video_url"].url:
        request["video_url"]["trim"] = cut
    if wish.prompt:
        request["prompt"] = wish.prompt
    if wish.element_list:
        request["element_list"] = [{"element_id": one.element_id} for one in wish.element_list]
    return request


def body(request: Mapping[str, Any], sent: Sent) -> dict[str, object]:
    """Return the request to send: the canonical one with its inputs replaced by URLs or bytes."""
    return {**request, **sent}


def price(request: Mapping[str, Any]) -> Rate:
    """Return the rate of a request. Raises KeyError for one that makes no sense."""
    longest = SPANS[request["character_orientation"]].longest
    return request["model_name"], request["mode"], longest


def results(canonical_json: str) -> tuple[str, ...]:
    """Return the roles of the results that a canonical JSON asks for."""
    info = None
    if "true" in canonical_json:  # else the same answer, without reading thousands of documents
        info = json.loads(canonical_json).get("request", {}).get("watermark_info")
    is_marked = isinstance(info, dict) and info.get("enabled") is True
    return ("video", "watermark") if is_marked else ("video",)


def conflicts(wish: MotionControl, prices: Prices) -> Iterator[tuple[str, str, str]]:
    """Yield (key, sentence, word meant) for every broken rule between several fields (documented)."""
    if wish.element_list and wish.character_orientation != "video":
        only = "can only be `video` when `element_list` names an element"
        yield "character_orientation", f"`character_orientation` {only}", ""
    if wish.callback_url and (fault := url_fault(wish.callback_url)):
        yield "callback_url", fault, ""
    if wish.trim and (fault := _trim_fault(wish, wish.trim)):
        yield "trim", fault, ""
    if fault := _model_fault(wish, prices):
        yield "model_name", fault, nearest(wish.model_name, prices)


def _model_fault(wish: MotionControl, prices: Prices) -> str:
    """Return a sentence for a model without a price, which no cap could count; else an empty string."""
    said = f'`model_name` is "{wish.model_name}"'
    if wish.mode in prices.get(wish.model_name, {}):
        return ""
    if wish.model_name in prices:
        return f"{said}: RECONCILER_PRICES has no price for its mode `{wish.mode}`"
    return (
        f"{said}: it can be {' or '.join(UNITS_PER_SECOND)}; a newer one is sent once RECONCILER_PRICES, "
        "or `[prices.NAME]` in the operator's settings file, says what it costs"
    )


def _trim_fault(wish: MotionControl, trim: Trim) -> str:
    """Return what is wrong with a cut of any film, or an empty string."""
    if not wish.prepare:
        return "`trim` needs `prepare: true` beside it: the video is sent as it is otherwise"
    if is_url(wish.video_url):
        return "`trim` needs a local `video_url`: what lies at a URL is sent as it is"
    if trim.end is None:
        return ""
    left = max(trim.end - trim.start, Decimal(0))
    fault = SPANS[wish.character_orientation].fault(left)
    return f"`trim` leaves {spoken(left)} s: {fault}" if fault else ""
