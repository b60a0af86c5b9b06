"""Local media that specs name: what each is, what is remembered of it, and what is still to be looked at.

A file is decoded in another process (`decoding`), where `judge` answers. What it turned out to be is kept as soon as it
is known: by its signature, so that it is not read again, and in the cache by its content, so that one that was touched,
moved or copied is not decoded again. A look that is interrupted, or that a hostile folder makes long, goes on from
there. What was not looked at yet is a fault of its spec until then, so nothing of it is bought.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from io import BufferedReader
from pathlib import Path
from typing import Final, NamedTuple

from reconciler.core.errors import MISTAKES, mistake
from reconciler.core.sources import (
    MEDIUMS,
    Source,
    too_large,
)
from reconciler.workspace.files.outputs import Signature
from reconciler.workspace.files.plain import digest
from reconciler.workspace.media.decoding import MEDIA
from reconciler.workspace.media.flaws import (
    Flaw,
    MediaError,
    PassingError,
    Unfinished,
    opened_media,
)
from reconciler.workspace.media.judging import Verdict, row_of, verdict_of
from reconciler.workspace.read.spec_cache import Media, SpecCache

PATIENCE: Final = 600.0
"""Seconds that one command gives to the files that nobody knows yet; 1,000 photographs of 12 megapixels take 150."""
_KEEP_AFTER: Final = 1.0  # s between two writes of verdicts
_VERSION = "6"  # raise it whenever a file may be judged in another way: then all are decoded again
_PREFIX = "//"  # no path relative to the root begins so
_SPARE = 1000  # verdicts on files that nothing names now; a checkout may bring them back

File = tuple[str, str]  # path relative to the root, its medium


class Verdicts:
    """Verdicts by the digest of a file and the medium that it is judged as.

    They lie in the cache of what was read of specs, under keys that no spec can have. Losing them costs time.
    """

    def __init__(self) -> None:
        self._packed: dict[str, bytes] = {}
        self._new: dict[str, tuple[str, bytes]] = {}

    def recall(self, remembered: Mapping[str, tuple[str, bytes]]) -> None:
        """Take over what a cache holds."""
        for key, (version, packed) in remembered.items():
            if key.startswith(_PREFIX) and version == _VERSION:
                self._packed.setdefault(key, packed)

    def of(self, sha256: str, key: str) -> Verdict | None:
        """Return a verdict, None when there is none (or a damaged one)."""
        try:
            return verdict_of(json.loads(self._packed[_name(sha256, key)]))
        except (LookupError, TypeError, ValueError, ArithmeticError, RecursionError):
            return None

    def put(self, sha256: str, key: str, verdict: Verdict) -> None:
        """Remember a verdict."""
        packed = json.dumps(row_of(verdict), ensure_ascii=False, separators=(",", ":")).encode()
        self._packed[_name(sha256, key)] = packed
        self._new[_name(sha256, key)] = _VERSION, packed

    def take_new(self) -> dict[str, tuple[str, bytes]]:
        """Return what a cache does not hold yet, as its rows."""
        new, self._new = self._new, {}
        return new

    def surplus(self, used: Collection[tuple[str, str]]) -> list[str]:
        """Return the rows of a cache that may go, given the (digest, key) in use: the unused, when they are many."""
        kept = {_name(sha256, key) for sha256, key in used} | self._new.keys()
        idle = self._packed.keys() - kept
        return sorted(idle) if len(idle) > _SPARE + len(kept) else []


def of_specs(rows: Iterable[str]) -> list[str]:
    """Return the keys among a cache's rows that belong to specs."""
    return [row for row in rows if not row.startswith(_PREFIX)]


def _name(sha256: str, key: str) -> str:
    return f"{_PREFIX}{key}/{sha256}"


def read_source(root: Path, name: str, medium: str, verdicts: Verdicts | None = None) -> Source:
    """Return a local file (`name` relative to the root) as an input of a medium (its name).

    A file whose content has a verdict already is not decoded again; one that was not decoded to the end has none.

    Raises `MediaError` with a sentence when it is missing, of another kind than its name says, far too
    large, damaged, or changes while it is read. Whether the API takes it as it is, is not asked here.
    """
    verdicts = verdicts or Verdicts()
    with opened_media(root / name, name) as file:
        before = Signature.of(os.fstat(file.fileno()))
        if fault := too_large(MEDIUMS[medium], before.size, prepare=True):
            raise MediaError(f"`{name}`: {fault}")
        sha256 = digest(file)
        known = verdicts.of(sha256, medium)
        verdict = _judged(file, medium) if known is None else known
        after = Signature.of(os.fstat(file.fileno()))
    if before != after:
        raise PassingError(
            f"`{name}` changed while it was read: it is looked at again once it is quiet"
        )
    if known is None:
        verdicts.put(sha256, medium, verdict)
    if isinstance(verdict, str):
        raise MediaError(f"`{name}` {verdict}")
    return replace(verdict, path=name, sha256=sha256, size=before.size)


def _judged(file: BufferedReader, medium: str) -> Verdict:
    """Return the verdict on a file; what may be another one next time is raised."""
    try:
        return verdict_of(MEDIA.ask("judge", [medium], file.fileno()).facts)
    except Unfinished:
        raise
    except Flaw as flaw:
        return str(flaw)


class MediaLook(NamedTuple):
    """A file that was looked at."""

    file: File
    found: Signature  # as it was when that was decided
    outcome: Source | MediaError


class KnownMedia:
    """What is known of files, and what is to be looked at."""

    def __init__(
        self, root: Path, sources: Media, *, patience: float, cache: SpecCache | None = None
    ) -> None:
        self.verdicts = Verdicts()
        self.sources = sources
        self.patience = patience  # s; where it is 0, everything waits for `look_at`
        self.pending: dict[File, Signature] = {}
        self.root = root
        self._cache = cache
        self._faults: dict[File, tuple[Signature, MediaError]] = {}
        self._spent = self._kept_at = 0.0  # s

    def source(self, file: File, found: Signature) -> Source:
        """Return a file as an input. Raises `MediaError` with a sentence that names it."""
        both = self.sources.get(file), self._faults.get(file)
        outcome = next((known[1] for known in both if known and known[0] == found), None)
        if outcome is None:
            if self._spent >= self.patience:
                self.pending[file] = found
                raise MediaError(
                    f"`{file[0]}` was not looked at yet: looking at the files of this folder takes long, "
                    "and goes on with the next look"
                )
            begun = time.monotonic()
            self.take([look := self.look_at(file, found)])
            self._spent += time.monotonic() - begun
            outcome = look.outcome
        if isinstance(outcome, MediaError):
            raise MediaError(outcome.message)
        return outcome

    def look_at(self, file: File, found: Signature) -> MediaLook:
        """Read and decode a file: from any thread, one at a time."""
        name, medium = file
        try:
            return MediaLook(file, found, read_source(self.root, name, medium, self.verdicts))
        except MediaError as error:  # kept without what led to it
            return MediaLook(file, found, type(error)(error.message))
        except MISTAKES as error:  # not the file's fault, and no other spec's either
            said = f"`{name}` cannot be looked at: {mistake(error)}"
            return MediaLook(file, found, MediaError(said))

    def look_on(self, waiting: Mapping[File, Signature], seconds: float) -> list[MediaLook]:
        """Look at files for about so many seconds, at one at least: from any thread, one at a time."""
        until, looks = time.monotonic() + seconds, []
        for file, found in waiting.items():
            looks.append(self.look_at(file, found))
            if time.monotonic() >= until:
                break
        return looks

    def take(self, looks: Sequence[MediaLook]) -> None:
        """Take over what was seen, and keep what was decoded."""
        for file, found, outcome in looks:
            if self.pending.get(file) == found:
                del self.pending[file]
            if isinstance(outcome, Source):
                self.sources[file] = found, outcome
                self._faults.pop(file, None)
            else:
                self._faults[file] = found, outcome
        if self._cache is not None and time.monotonic() - self._kept_at > _KEEP_AFTER:
            self._cache.save(self.verdicts.take_new(), ())
            self._kept_at = time.monotonic()

    def forget(self, name: str) -> None:
        """Have a file looked at again, whatever its signature says."""
        for file in ((name, medium) for medium in MEDIUMS):
            self.sources.pop(file, None)
            self._faults.pop(file, None)
            self.pending.pop(file, None)

    def passing(self) -> set[str]:
        """Return the files whose faults may be over by now."""
        faults = self._faults.items()
        return {name for (name, _), (_, fault) in faults if isinstance(fault, PassingError)}
