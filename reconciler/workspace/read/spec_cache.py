"""What a load remembers of a spec, without prices, as bytes for a cache whose loss or damage costs only time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from pydantic import TypeAdapter

from reconciler.core.generations import Generation
from reconciler.core.identity import PREFIX, compute_external_task_id
from reconciler.core.media_rules import Rate, Source
from reconciler.workspace.files.outputs import Signature

_VERSION = "9"  # raise it whenever specs may be read in another way: then all are read again


class SpecCache(Protocol):
    """A table of path to (key, payload); the store implements it."""

    def load(
        self, names: Iterable[str] | None = None, *, under: str = ""
    ) -> dict[str, tuple[str, bytes]]:
        """Return what is remembered under these names (None: under all), and under all that begin with `under`."""

    def save(self, changed: Mapping[str, tuple[str, bytes]], gone: Iterable[str]) -> None:
        """Remember the changed entries and forget the gone ones."""


Media = dict[tuple[str, str], tuple[Signature, Source]]  # (path, its medium) -> what it was


def forget_file(cache: SpecCache, name: str) -> None:
    """Forget what is remembered of a local file, so that the next load reads it."""
    needle = json.dumps(name, ensure_ascii=False).encode("utf-8", "replace")
    cache.save({}, [row for row, (_, payload) in cache.load().items() if needle in payload])


@dataclass(frozen=True, slots=True)
class Remembered:
    """What was read of a valid spec, with the files that it was read from."""

    spec: Signature
    defaults: tuple[tuple[str, Signature], ...]  # the files that apply to it
    media: list[tuple[str, str, Signature, Source]]  # path, its medium, and what it was
    rows: list[tuple[Generation, Rate]]  # what is wanted, and by what it is priced


@cache
def _payload() -> TypeAdapter[Remembered]:
    return TypeAdapter(Remembered)


def pack(known: Remembered) -> tuple[str, bytes]:
    """Return the key and the payload of a spec."""
    return _VERSION, _payload().dump_json(known, exclude_defaults=True)


def unpack(spec: str, key: str, payload: bytes) -> Remembered:
    """Return what is remembered of a spec. Raises ValueError for another version's row, or one changed by hand."""
    if key != _VERSION:
        raise ValueError("another version's row")
    known = _payload().validate_json(payload)
    media = {path for path, *_ in known.media}
    for wish, _ in known.rows:
        is_computed = wish.external_task_id.startswith(PREFIX)
        if is_computed and wish.external_task_id != compute_external_task_id(wish.canonical):
            raise ValueError("a row whose content is not its id's")
        if wish.spec != spec or not media.issuperset(wish.files):
            raise ValueError("a row that is another spec's, or names what it does not know")
    return known
