"""What a create must be like: every documented rule for its parameters. Whether the account may is not asked here."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from urllib.parse import urlsplit

from reconciler.simulator.config import SimulatorConfig
from reconciler.simulator.errors import ApiError
from reconciler.simulator.media import MediaStore
from reconciler.simulator.probe import Clip, probe_clip, probe_picture

DEFAULT_MODEL = "kling-v2-6"
MODES = ("std", "pro")
ORIENTATIONS = ("image", "video")
SWITCH = ("yes", "no")

PROMPT_CHARACTERS = 2500
IMAGE_BYTES = 10 * 1024 * 1024
IMAGE_SIDE = (300, 65536)
IMAGE_ASPECT = Fraction(5, 2)
VIDEO_BYTES = 100 * 1024 * 1024
VIDEO_SIDE = (340, 3850)
VIDEO_SHORTEST_MS = 3_000
VIDEO_LONGEST_MS = {"image": 10_000, "video": 30_000}
LONG = 2**63


@dataclass(frozen=True)
class Order:
    """A create that passed every check of its parameters."""

    model_name: str
    mode: str
    prompt: str
    character_orientation: str
    keep_sound: bool
    watermark: bool
    callback_url: str
    external_task_id: str
    """Empty when the caller gave none."""
    image: str
    """The name of the reference image in the media store, empty when it is on another host."""
    video: str
    """The name of the reference video there, empty when it is on another host."""
    duration_ms: int
    rate: Fraction
    """Of the reference video."""


def check_order(body: Mapping[str, object], config: SimulatorConfig, media: MediaStore) -> Order:
    """Return the order in a request's body, or raise `ApiError` 1201 that names the wrong field (documented)."""
    orientation = _choice(body, "character_orientation", ORIENTATIONS)
    image = _image(body, media)
    video, clip = _video(body, config, media, orientation)
    _element_list(body, orientation, config.element_ids)
    models = sorted({model for model, _ in config.prices})
    return Order(
        model_name=_choice(body, "model_name", models, DEFAULT_MODEL),
        mode=_choice(body, "mode", MODES),
        prompt=_prompt(body),
        character_orientation=orientation,
        keep_sound=_choice(body, "keep_original_sound", SWITCH, "yes") == "yes",
        watermark=_watermark(body),
        callback_url=_callback_url(body),
        external_task_id=_external_task_id(body, config.external_id_pattern),
        image=image,
        video=video,
        duration_ms=clip.duration_ms,
        rate=clip.rate,
    )


def wrong(field: str, rule: str) -> ApiError:
    """Return the refusal of one field."""
    return ApiError(1201, f"{field}: {rule}")


def _text(body: Mapping[str, object], field: str, default: str | None = None) -> str:
    value = body.get(field)
    if value is None:
        value = default
    if value is None:
        raise wrong(field, "is required")
    if not isinstance(value, str):
        raise wrong(field, "must be a string")
    return value


def _choice(
    body: Mapping[str, object], field: str, allowed: Sequence[str], default: str | None = None
) -> str:
    value = _text(body, field, default)
    if value not in allowed:
        raise wrong(field, f"must be one of {', '.join(allowed)}")
    return value


def _prompt(body: Mapping[str, object]) -> str:
    prompt = _text(body, "prompt", "")
    if len(prompt) > PROMPT_CHARACTERS:
        raise wrong("prompt", f"must not exceed {PROMPT_CHARACTERS} characters")
    return prompt


def _image(body: Mapping[str, object], media: MediaStore) -> str:
    value = _text(body, "image_url")
    if _is_url(value):
        ours, path = media.hosted(value)
        if not ours:
            return ""
        if path is None:
            raise wrong("image_url", "cannot be downloaded")
        _check_image(path.read_bytes())
        return path.name
    if value.startswith("data:"):
        raise wrong("image_url", "raw Base64 must not carry a data: prefix")
    try:
        data = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise wrong("image_url", "must be a URL or raw Base64") from None
    return media.keep(data, _check_image(data))


def _check_image(data: bytes) -> str:
    if len(data) > IMAGE_BYTES:
        raise wrong("image_url", "the image must not exceed 10 MB")
    picture = probe_picture(data)
    if picture is None:
        raise wrong("image_url", "the image must be a JPEG or a PNG")
    low, high = sorted((picture.width, picture.height))
    if low < IMAGE_SIDE[0] or high > IMAGE_SIDE[1]:
        raise wrong("image_url", "each side must have 300 to 65536 px")
    if Fraction(high, low) > IMAGE_ASPECT:
        raise wrong("image_url", "the aspect ratio must be within 1:2.5 and 2.5:1")
    return picture.suffix


def _video(
    body: Mapping[str, object], config: SimulatorConfig, media: MediaStore, orientation: str
) -> tuple[str, Clip]:
    value = _text(body, "video_url")
    if not _is_url(value):
        raise wrong("video_url", "must be a URL")
    ours, path = media.hosted(value)
    if not ours:
        return "", Clip("h264", 1280, 720, round(config.foreign_video_s * 1000), Fraction(25))
    if path is None:
        raise wrong("video_url", "cannot be downloaded")
    return path.name, _check_clip(path, orientation)


def _check_clip(path: Path, orientation: str) -> Clip:
    if path.stat().st_size > VIDEO_BYTES:
        raise wrong("video_url", "the video must not exceed 100 MB")
    clip = probe_clip(path)
    if clip is None or clip.codec == "hevc" or clip.turned:  # both observed
        raise wrong("video_url", "Video format is invalid")
    low, high = sorted((clip.width, clip.height))
    if low < VIDEO_SIDE[0] or high > VIDEO_SIDE[1]:
        raise wrong("video_url", "each side must have 340 to 3850 px")
    longest = VIDEO_LONGEST_MS[orientation]
    if not VIDEO_SHORTEST_MS <= clip.duration_ms <= longest:
        limits = f"must last 3 to {longest // 1000} s with character_orientation {orientation}"
        raise wrong("video_url", limits)
    return clip


def _element_list(body: Mapping[str, object], orientation: str, allowed: str) -> None:
    value = body.get("element_list")
    if value is None or value == []:
        return
    if not isinstance(value, list) or len(value) > 1:
        raise wrong("element_list", "must be a list of one element at most")
    element_id = value[0].get("element_id") if isinstance(value[0], dict) else None
    if allowed == "any" and isinstance(element_id, str) and re.fullmatch("[0-9]{1,19}", element_id):
        element_id = int(element_id)
    if isinstance(element_id, bool) or not isinstance(element_id, int):
        raise wrong("element_list", "element_id must be an integer")
    if not -LONG <= element_id < LONG:
        raise wrong("element_list", "element_id must fit into 64 bits")
    if orientation != "video":
        raise wrong("character_orientation", "can only be video with an element")


def _watermark(body: Mapping[str, object]) -> bool:
    value = body.get("watermark_info")
    if value is None:
        return False
    enabled = value.get("enabled", False) if isinstance(value, dict) else None
    if not isinstance(enabled, bool):
        raise wrong("watermark_info", 'must be {"enabled": true} or {"enabled": false}')
    return enabled


def _callback_url(body: Mapping[str, object]) -> str:
    value = _text(body, "callback_url", "")
    if value and not _is_url(value):
        raise wrong("callback_url", "must be a URL")
    return value


def _external_task_id(body: Mapping[str, object], pattern: str) -> str:
    value = _text(body, "external_task_id", "")
    if value and pattern and not re.fullmatch(pattern, value):
        raise wrong("external_task_id", "has a form that is not allowed")
    return value


def _is_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.netloc)
