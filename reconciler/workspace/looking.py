"""Looking at local media: now, as long as time lasts, or later, by whoever has a thread for it.

What a file turned out to be is kept as soon as it is known, by its signature and by its content: a look that is
interrupted, or that a hostile folder makes long, goes on from there. What was not looked at yet is a fault of its spec
until then, so nothing of it is bought.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from reconciler.core.errors import MISTAKES, mistake
from reconciler.core.sources import Source
from reconciler.workspace.media import MediaError, PassingError, read_source
from reconciler.workspace.outputs import Signature
from reconciler.workspace.spec_cache import Media, SpecCache
from reconciler.workspace.verdicts import Verdicts

PATIENCE: Final = 600.0
"""Seconds that one command gives to the files that nobody knows yet; 1,000 photographs of 12 megapixels take 150."""
_KEEP_AFTER: Final = 1.0  # s between two writes of verdicts

File = tuple[str, str]  # path relative to the root, its medium


class Fault(NamedTuple):
    """Why a file cannot be used."""

    sentence: str
    may_pass: bool = False  # by itself, with the file as it is


class Look(NamedTuple):
    """A file that was looked at."""

    file: File
    found: Signature  # as it was when that was decided
    outcome: Source | Fault


class Looks:
    """What is known of files, and what is to be looked at."""

    def __init__(
        self, root: Path, sources: Media, *, patience: float, cache: SpecCache | None = None
    ) -> None:
        self.verdicts = Verdicts()
        self.sources = sources
        self.patience = patience  # s; where it is 0, everything waits for `look_at`
        self.pending: dict[File, Signature] = {}
        self._root = root
        self._cache = cache
        self._faults: dict[File, tuple[Signature, Fault]] = {}
        self._spent = self._kept_at = 0.0  # s

    def source(self, file: File, found: Signature) -> Source:
        """Return a file as an input. Raises `MediaError` with a sentence that names it."""
        known = self.sources.get(file)
        if known is not None and known[0] == found:
            return known[1]
        faulty = self._faults.get(file)
        if faulty is None or faulty[0] != found:
            if self._spent >= self.patience:
                self.pending[file] = found
                raise MediaError(
                    f"`{file[0]}` was not looked at yet: looking at the files of this folder takes long, "
                    "and goes on with the next look"
                )
            begun = time.monotonic()
            self.take([self.look_at(file, found)])
            self._spent += time.monotonic() - begun
            return self.source(file, found)
        raise MediaError(faulty[1].sentence)

    def look_at(self, file: File, found: Signature) -> Look:
        """Read and decode a file: from any thread, one at a time."""
        name, medium = file
        try:
            return Look(file, found, read_source(self._root, name, medium, self.verdicts))
        except MediaError as error:
            return Look(file, found, Fault(error.message, isinstance(error, PassingError)))
        except MISTAKES as error:  # not the file's fault, and no other spec's either
            return Look(file, found, Fault(f"`{name}` cannot be looked at: {mistake(error)}"))

    def look_on(self, waiting: Mapping[File, Signature], seconds: float) -> list[Look]:
        """Look at files for about so many seconds, at one at least: from any thread, one at a time."""
        until, looks = time.monotonic() + seconds, []
        for file, found in waiting.items():
            looks.append(self.look_at(file, found))
            if time.monotonic() >= until:
                break
        return looks

    def take(self, looks: Sequence[Look]) -> None:
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
            self.keep()

    def keep(self) -> None:
        """Write down what was decoded, for the next program."""
        if self._cache is not None:
            self._cache.save(self.verdicts.take_new(), ())
            self._kept_at = time.monotonic()

    def forget(self, name: str, media: Iterable[str]) -> None:
        """Have a file looked at again, whatever its signature says."""
        for file in ((name, medium) for medium in media):
            self.sources.pop(file, None)
            self._faults.pop(file, None)
            self.pending.pop(file, None)

    def passing(self) -> set[str]:
        """Return the files whose faults may be over by now."""
        return {name for (name, _), (_, fault) in self._faults.items() if fault.may_pass}
