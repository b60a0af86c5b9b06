"""Local media that specs name: what each is, what is remembered of it, and what is still to be looked at.

A verdict is kept at once: by the file's signature, so that it is not read again, and in the cache by its content, so that
a touched, moved or copied file is not decoded again; an interrupted look goes on from there. Until a file was looked at,
its spec is invalid, and nothing of it is bought.
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
from reconciler.core.media_rules import MEDIUMS, Source, too_large
from reconciler.workspace.files.outputs import Signature
from reconciler.workspace.files.plain import digest
from reconciler.workspace.media import flaws
from reconciler.workspace.media.verdicts import Verdict, row_of, verdict_of
from reconciler.workspace.read.spec_cache import Media, SpecCache

PATIENCE: Final = (
    600.0  # s of one command for new files; 1,000 photographs of 12 megapixels take 150
)
_KEEP_AFTER: Final = 1.0  # s between two writes of verdicts
_VERSION = "6"  # raise it whenever a file may be judged in another way: then all are decoded again
VERDICTS = "//"  # begins their keys; no path relative to the root begins with a slash
_SPARE = 1000  # verdicts on files that no spec names now; a checkout may bring them back

File = tuple[str, str]  # path relative to the root, its medium


class Verdicts:
    """Verdicts by a file's digest and its medium; they lie in the cache of specs, under keys that no spec can have."""

    def __init__(self) -> None:
        self._packed: dict[str, bytes] = {}
        self._new: dict[str, tuple[str, bytes]] = {}

    def recall(self, remembered: Mapping[str, tuple[str, bytes]]) -> None:
        """Take the verdicts of a cache's rows."""
        for key, (version, packed) in remembered.items():
            if key.startswith(VERDICTS) and version == _VERSION:
                self._packed.setdefault(key, packed)

    def of(self, sha256: str, key: str) -> Verdict | None:
        """Return a verdict; None when there is none, or a damaged one."""
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
        """Return the rows that the cache does not hold yet, once."""
        new, self._new = self._new, {}
        return new

    def surplus(self, used: Collection[tuple[str, str]]) -> list[str]:
        """Return the cache's keys of unused verdicts, where these are many; `used`: (digest, medium)."""
        kept = {_name(sha256, key) for sha256, key in used} | self._new.keys()
        idle = self._packed.keys() - kept
        return sorted(idle) if len(idle) > _SPARE + len(kept) else []


def of_specs(rows: Iterable[str]) -> list[str]:
    """Return the keys among a cache's rows that belong to specs."""
    return [row for row in rows if not row.startswith("/")]


def _name(sha256: str, key: str) -> str:
    return f"{VERDICTS}{key}/{sha256}"


def read_source(root: Path, name: str, medium: str, verdicts: Verdicts | None = None) -> Source:
    """Return a local file as an input of a medium, of any size that can be prepared. Raises `MediaError`."""
    verdicts = verdicts or Verdicts()
    with flaws.opened_media(root / name, name) as file:
        before = Signature.of(os.fstat(file.fileno()))
        if fault := too_large(MEDIUMS[medium], before.size, prepare=True):
            raise flaws.MediaError(f"`{name}`: {fault}")
        sha256 = digest(file)
        known = verdicts.of(sha256, medium)
        verdict = _judged(file, medium) if known is None else known
        after = Signature.of(os.fstat(file.fileno()))
    if before != after:
        raise flaws.PassingError(
            f"`{name}` changed while it was read: it is looked at again once it is quiet"
        )
    if known is None:
        verdicts.put(sha256, medium, verdict)
    if isinstance(verdict, str):
        raise flaws.MediaError(f"`{name}` {verdict}")
    return replace(verdict, path=name, sha256=sha256, size=before.size)


def _judged(file: BufferedReader, medium: str) -> Verdict:
    """Return the verdict on a file. Raises `Unfinished`, after which the next verdict may differ."""
    from reconciler.workspace.media.decoding import MEDIA  # which most looks at a folder do without

    try:
        return verdict_of(MEDIA.ask("judge", [medium], file.fileno()).facts)
    except flaws.Unfinished:
        raise
    except flaws.Flaw as flaw:
        return str(flaw)


class MediaLook(NamedTuple):
    """A file that was looked at."""

    file: File
    found: Signature  # before the look
    outcome: Source | flaws.MediaError


class KnownMedia:
    """What is known of local media, and which of them are still to be looked at."""

    def __init__(
        self, root: Path, sources: Media, *, patience: float, cache: SpecCache | None = None
    ) -> None:
        self.verdicts = Verdicts()
        self.sources = sources
        self.patience = patience  # s; where it is 0, all new files become `pending`
        self.pending: dict[File, Signature] = {}
        self.root = root
        self._cache = cache
        self._faults: dict[File, tuple[Signature, flaws.MediaError]] = {}
        self._spent = self._kept_at = 0.0  # s

    def source(self, file: File, found: Signature) -> Source:
        """Return a file as an input, and look at it where it is unknown. Raises `MediaError`."""
        both = self.sources.get(file), self._faults.get(file)
        outcome = next((known[1] for known in both if known and known[0] == found), None)
        if outcome is None:
            if self._spent >= self.patience:
                self.pending[file] = found
                raise flaws.MediaError(
                    f"`{file[0]}` was not looked at yet: looking at the files of this folder takes long, "
                    "and goes on with the next look"
                )
            begun = time.monotonic()
            self.take([look := self.look_at(file, found)])
            self._spent += time.monotonic() - begun
            outcome = look.outcome
        if isinstance(outcome, flaws.MediaError):
            raise flaws.MediaError(outcome.message)
        return outcome

    def look_at(self, file: File, found: Signature) -> MediaLook:
        """Read and decode a file: from any thread, one at a time."""
        outcome: Source | flaws.MediaError
        try:
            outcome = read_source(self.root, *file, self.verdicts)
        except flaws.MediaError as error:  # kept without its cause and traceback
            outcome = type(error)(error.message)
        except MISTAKES as error:  # ours, and no reason to stop the other specs
            outcome = flaws.MediaError(f"`{file[0]}` cannot be looked at: {mistake(error)}")
        return MediaLook(file, found, outcome)

    def look_on(self, waiting: Mapping[File, Signature], seconds: float) -> list[MediaLook]:
        """Look at files for some seconds, at one at least: from any thread, one at a time."""
        until, looks = time.monotonic() + seconds, []
        for file, found in waiting.items():
            looks.append(self.look_at(file, found))
            if time.monotonic() >= until:
                break
        return looks

    def take(self, looks: Sequence[MediaLook]) -> None:
        """Take what was found of files, and save new verdicts in the cache."""
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
        """Have a file looked at again, even where its signature is the same."""
        for file in ((name, medium) for medium in MEDIUMS):
            self.sources.pop(file, None)
            self._faults.pop(file, None)
            self.pending.pop(file, None)

    def passing(self) -> set[str]:
        """Return the files whose faults may have passed."""
        faults = self._faults.items()
        return {name for (name, _), (_, fault) in faults if isinstance(fault, flaws.PassingError)}
