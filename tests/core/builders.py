"""Documents as a reader would give them, without a file."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.core.documents import Entry, Node, Place
from reconciler.core.generations import Generation
from reconciler.core.media_rules import Source
from reconciler.core.motion_control import UNITS_PER_SECOND
from reconciler.core.specs import declare, read_wishes

IMAGE_URL = "https://example.com/girl.png"
VIDEO_URL = "https://example.com/dance.mp4"

SMALLEST: dict[str, object] = {
    "image_url": IMAGE_URL,
    "video_url": VIDEO_URL,
    "character_orientation": "image",
    "mode": "pro",
}


def node(value: object, file: str = "specs/dance.yaml") -> Node:
    """A value as a node; every key of the outermost mapping stands in a line of its own, from 1."""
    if isinstance(value, Mapping):
        entries = {}
        for line, (key, item) in enumerate(value.items(), start=1):
            inner = node(item, file)
            entries[key] = Entry(Place(file, line), Node(inner.value, Place(file, line, 9)))
        return Node(entries, Place(file))
    if isinstance(value, list):
        return Node(tuple(node(item, file) for item in value), Place(file))
    assert value is None or isinstance(value, str | int | float | bool)
    return Node(value, Place(file))


def generations(value: Mapping[str, object], file: str = "specs/dance.yaml") -> list[Generation]:
    """What a spec of URLs declares; it must be valid."""
    wishes, problems = read_wishes(node(value, file))
    assert not problems, problems
    return [
        generation
        for wish in wishes
        for generation in declare(
            wish,
            {key: Source(url=str(value[key])) for key in ("image_url", "video_url")},
            UNITS_PER_SECOND,
        )
    ]
