"""What a load remembers of a spec: its generations and the media they use, as bytes for a cache. Pure.

Losing it, or finding it of another version or damaged, costs time and nothing else. Prices are not in it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Protocol

from reconciler.core.generations import Generation
from reconciler.core.identity import PREFIX, compute_external_task_id
from reconciler.core.kinds import kind_behind
from reconciler.core.sources import Preparation, Prices, Rate, Source, estimate_units, length_of
from reconciler.workspace.files.outputs import Signature

# Raise it whenever a spec may say, or means, something else: then all are read again.
_VERSION = "8"
_KNOWN = ("sha256", "size", "width", "height", "seconds", "format", "codec", "rotation", "mirrored")


class SpecCache(Protocol):
    """A table of path to (key, payload); the store implements it."""

    def load(self) -> dict[str, tuple[str, bytes]]:
        """Return everything remembered."""

    def save(self, changed: Mapping[str, tuple[str, bytes]], gone: Iterable[str]) -> None:
        """Remember the changed entries and forget the gone ones."""


Media = dict[tuple[str, str], tuple[Signature, Source]]  # (path, its medium) -> what it was
Price = Callable[[Rate, Decimal | None], Decimal]  # of so many seconds
Local = Callable[[str, str], Source]  # path, its medium


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


def encode(generations: Sequence[Generation], media: Media) -> bytes:
    """Return the payload of a valid spec."""
    document = {
        "media": [_medium(*file, *known) for file, known in media.items()],
        "rows": [_row(generation) for generation in generations],
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _medium(path: str, medium: str, signature: Signature, source: Source) -> list[Any]:
    known = (getattr(source, name) for name in _KNOWN)
    texts = (str(one) if isinstance(one, Decimal) else one for one in known)
    return [path, medium, *_numbers(signature), *texts]


def _numbers(signature: Signature) -> list[int]:
    return [signature.size, signature.mtime_ns, signature.ctime_ns, signature.inode]


def _row(generation: Generation) -> list[Any]:
    kind = generation.kind
    model, mode, longest = kind.price(generation.request)
    return [
        generation.external_task_id,
        generation.canonical,
        generation.label,
        [_input(generation.inputs[one.name]) for one in kind.INPUTS],
        generation.callback_url,
        generation.retries,
        generation.line,
        generation.suspended,
        model,
        mode,
        str(longest),
    ]


def _input(source: Source) -> list[Any]:
    """Return an input as a spec has it: where it is, and where it is mended, what is sent then."""
    mended = source.preparation
    if mended is None:
        return [source.url, source.path, None]
    cut = (mended.start, mended.end, source.seconds)
    texts = [None if one is None else str(one) for one in cut]
    made = [source.width, source.height, source.format, source.codec, mended.is_first_frame]
    return [source.url, source.path, [*texts, *made]]


class Remembered:
    """A decoded payload. Its bytes come from a file that anybody can damage.

    So every method, and making one, may raise LookupError, TypeError, ValueError or ArithmeticError.
    """

    def __init__(self, payload: bytes) -> None:
        document = json.loads(payload.decode())
        self.media: Sequence[Sequence[Any]] = document["media"]
        self._rows: Sequence[Sequence[Any]] = document["rows"]

    def was(self, row: Sequence[Any], found: Signature | None) -> bool:
        """Whether a row of `media` was read under the signature found now."""
        return found is not None and row[2:6] == _numbers(found)

    def source(self, row: Sequence[Any]) -> tuple[Signature, Source]:
        """Return what a row of `media` holds."""
        known = dict(zip(_KNOWN, row[6:], strict=True))
        seconds = None if known["seconds"] is None else Decimal(known["seconds"])
        return Signature(*row[2:6]), Source(path=row[0], **{**known, "seconds": seconds})

    def generations(self, spec: str, price: Price, local: Local) -> list[Generation]:
        """Return the generations of a spec; `price` estimates one, `local` gives a file by path and medium."""
        return [_generation(spec, row, price, local) for row in self._rows]


def _generation(spec: str, row: Sequence[Any], price: Price, local: Local) -> Generation:
    task_id, canonical, label, inputs, callback_url, retries, line, suspended, *rate = row
    if task_id.startswith(PREFIX) and task_id != compute_external_task_id(canonical):
        raise ValueError("a row whose content is not its id's")
    sources = {
        one.name: _source(known, one.medium.name, local)
        for one, known in zip(kind_behind(canonical).INPUTS, inputs, strict=True)
    }
    model, mode, longest = rate
    return Generation(
        external_task_id=task_id,
        canonical=canonical,
        spec=spec,
        label=label,
        inputs=sources,
        callback_url=callback_url,
        retries=retries,
        estimated_units=price((model, mode, Decimal(longest)), length_of(sources)),
        line=line,
        suspended=suspended,
    )


def _source(row: Sequence[Any], medium: str, local: Local) -> Source:
    url, path, mended = row
    if not path:
        return Source(url=url)
    found = local(path, medium)
    if mended is None:
        return found
    start, end, seconds = (None if text is None else Decimal(text) for text in mended[:3])
    width, height, format_, codec, is_first_frame = mended[3:]
    return replace(
        found,
        size=0,
        width=width,
        height=height,
        seconds=seconds,
        format=format_,
        codec=codec,
        rotation=0,
        mirrored=False,
        preparation=Preparation(start or Decimal(0), end, is_first_frame),
    )


def pricer(prices: Prices) -> Price:
    """Return the estimate of a generation in units, by what it depends on; each is worked out once.

    It raises LookupError for what has no price (any more): such a spec has to be read again.
    """

    @functools.cache
    def price(rate: Rate, seconds: Decimal | None) -> Decimal:
        model, mode, _ = rate
        _ = prices[model][mode]
        return estimate_units(rate, seconds, prices)

    return price
