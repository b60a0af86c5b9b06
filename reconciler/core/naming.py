"""How results, receipts and labels are named after a spec."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable

from reconciler.core.states import Role

LONGEST_LABEL = 100  # characters
LONGEST_FILE_NAME = 255  # bytes, on every common file system

_ENDINGS = {
    Role.VIDEO: ".mp4",
    Role.WATERMARK: ".watermark.mp4",  # the longest one: what has room for it has room for all
    Role.POSTER: ".poster.webp",
    Role.SHEET: ".sheet.webp",
}
_SAFE_LABEL = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}\Z")


def output_path(spec: str, label: str, role: Role = Role.VIDEO) -> str:
    """Return where a result is published: beside its spec, named after it and its label."""
    return f"{_stem(spec)}{'.' if label else ''}{label}{_ENDINGS[role]}"


def receipt_path(spec: str) -> str:
    """Return the path of a spec's receipt."""
    return f"{_stem(spec)}.receipt.json"


def _stem(spec: str) -> str:
    """Return a spec's path without its suffix."""
    stem, dot, suffix = spec.rpartition(".")
    return stem if dot and "/" not in suffix else spec


def label_part(value: object) -> str:
    """Return a matrix value as a part of a file name: itself where that is safe, else shortened and made unique."""
    text = (
        value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    )
    if _SAFE_LABEL.match(text):
        return text
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:16].strip("-")
    return "-".join(filter(None, (slug, hashlib.sha256(text.encode()).hexdigest()[:8])))


def combination_label(values: Iterable[object]) -> str:
    """Return the label of a combination of matrix values, shortened and made unique where it is too long."""
    label = ".".join(label_part(value) for value in values)
    if len(label) <= LONGEST_LABEL:
        return label
    digest = hashlib.sha256(label.encode()).hexdigest()[:8]
    return f"{label[: LONGEST_LABEL - 9].rstrip('.-')}-{digest}"
