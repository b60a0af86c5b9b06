"""What a load remembers of a spec: its generations and the media they use, as bytes for a cache. Pure.

Losing it, or finding it of another version or damaged, costs time and nothing else. Prices are not in it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from pydantic import TypeAdapter

from reconciler.core.generations import Generation
from reconciler.core.identity import PREFIX, compute_external_task_id
from reconciler.core.sources import Prices, Rate, Source, estimate_units
from reconciler.workspace.files.outputs import Signature

# Raise it whenever a spec may say, or means, something else: then all are read again.
_VERSION = "9"


class SpecCache(Protocol):
    """A table of path to (key, payload); the store implements it."""

    def load(self) -> dict[str, tuple[str, bytes]]:
        """Return everything remembered."""

    def save(self, changed: Mapping[str, tuple[str, bytes]], gone: Iterable[str]) -> None:
        """Remember the changed entries and forget the gone ones."""


Media = dict[tuple[str, str], tuple[Signature, Source]]  # (path, its medium) -> what it was


def forget_file(cache: SpecCache, name: str) -> None:
    """Forget what is remembered of a local file, so that whoever loads the specs next reads it."""
    needle = json.dumps(name, ensure_ascii=False).encode("utf-8", "replace")
    cache.save({}, [row for row, (_, payload) in cache.load().items() if needle in payload])


def cache_key(spec: Signature, defaults: str) -> str:
    """Return what must be the same for a payload to hold: the spec's signature and its defaults files'."""
    return f"{_VERSION};{_text(spec)}{defaults}"


def defaults_key(files: Iterable[tuple[str, Signature]]) -> str:
    """Return the part of a key that stands for the defaults files of a folder."""
    return "".join(f";{name}={_text(signature)}" for name, signature in files)


def _text(signature: Signature) -> str:
    return f"{signature.size}.{signature.mtime_ns}.{signature.ctime_ns}.{signature.inode}"


@dataclass(frozen=True, slots=True)
class Remembered:
    """The payload of a valid spec."""

    media: list[tuple[str, str, Signature, Source]]  # path, its medium, and what it was
    rows: list[tuple[Generation, Rate]]  # what is wanted, and by what it is priced


_PAYLOAD = TypeAdapter(Remembered)


def encode(generations: Sequence[Generation], media: Media) -> bytes:
    """Return the payload of a valid spec."""
    known = [(*file, *found) for file, found in media.items()]
    rows = [(wish, wish.kind.price(wish.request)) for wish in generations]
    return _PAYLOAD.dump_json(Remembered(known, rows), exclude_defaults=True)


def decode(spec: str, payload: bytes) -> Remembered:
    """Return what a payload holds. Raises ValueError for one that is damaged: anybody can write to its file."""
    known = _PAYLOAD.validate_json(payload)
    media = {path for path, *_ in known.media}
    for wish, _ in known.rows:
        is_computed = wish.external_task_id.startswith(PREFIX)
        if is_computed and wish.external_task_id != compute_external_task_id(wish.canonical):
            raise ValueError("a row whose content is not its id's")
        if wish.spec != spec or not media.issuperset(wish.files):
            raise ValueError("a row that is another spec's, or names what it does not know")
    return known


def pricer(prices: Prices) -> Callable[[Rate, Decimal | None], Decimal]:
    """Return the estimate of a generation in units, by what it depends on; each is worked out once.

    It raises LookupError for what has no price (any more): such a spec has to be read again.
    """

    @functools.cache
    def price(rate: Rate, seconds: Decimal | None) -> Decimal:
        model, mode, _ = rate
        _ = prices[model][mode]
        return estimate_units(rate, seconds, prices)

    return price
