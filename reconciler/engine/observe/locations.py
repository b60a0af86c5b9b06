"""Which bytes are where on this disk: what stands at the output paths, and where a result's bytes are. Reads only."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from reconciler.core.diff import IN_PLACE, Output, Standing
from reconciler.core.errors import WorkspaceError, told
from reconciler.core.generations import Generation
from reconciler.core.states import Record, Result, Role, Status
from reconciler.store.objects import ObjectStore
from reconciler.store.state import State
from reconciler.store.values import Publication
from reconciler.workspace.files.outputs import Signature, signature
from reconciler.workspace.files.plain import ADVICE, LARGEST_POINTER, file_sha256, pointed_to

_WAS_SAVED = frozenset({Status.COMPLETE, Status.EXPIRED})


class Locations:
    """What the store and later notes say of the files of one folder."""

    def __init__(self, root: Path, repository: State, objects: ObjectStore) -> None:
        self.root = root
        self.objects = objects
        self._repository = repository
        self._digests: dict[str, tuple[Signature, str]] = {}  # as read last
        self.relearn()

    def relearn(self) -> None:
        """Drop all notes, to learn them again: a forgotten result is not ours any more. Raises StateError, and leaves them as they were."""
        # sha256 of every result that this state saw; results known from a receipt only are not in it
        self.ours = set(self._repository.known_results(claimed=False))
        self.publications: dict[str, Publication] = {}
        self._learnt: set[str] = set()  # paths of which the store said what was published there
        self._sought: set[str] = set()  # SHA-256 of which it said where they were published
        # sha256 -> where such bytes may be found; decides nothing
        self.places: dict[str, tuple[str, ...]] = {}

    def learn(self, paths: Iterable[str] | None = None) -> None:
        """Note what the store knows of these paths (None: of all), before any thread asks. Raises StateError.

        A file of a path that was not learnt is read, however it looks.
        """
        if paths is None:
            self.note(self._repository.publications().values())
        elif unknown := set(paths) - self._learnt:
            self.note(self._repository.publications(unknown).values())
            self._learnt |= unknown

    def seek(self, results: Iterable[Result]) -> None:
        """Note where the store knows the bytes of these results to be, before any thread asks. Raises StateError."""
        if unknown := {one.sha256 for one in results} - self._sought:
            self.note_places(self._repository.places(unknown))
            self._sought |= unknown

    def note(self, publications: Iterable[Publication]) -> None:
        """Remember what stands where results belong."""
        for publication in publications:
            self.publications[publication.path] = publication
            self.note_places({publication.sha256: (publication.path,)})

    def note_places(self, paths: Mapping[str, Iterable[str]]) -> None:
        """Remember where bytes may be found, by their SHA-256."""
        for sha256, found in paths.items():
            known = self.places.get(sha256, ())
            self.places[sha256] = (*known, *(path for path in found if path not in known))

    def outputs(self, wish: Generation, record: Record | None) -> tuple[Output, ...]:
        """Return what stands where this generation's results belong; once one is saved, only of those saved so far."""
        results = {result.role: result for result in record.results} if record else {}
        due = set(results)
        if record is not None and record.status is Status.COMPLETE:
            due.update(record.lacking)  # the state was damaged: it is fetched again
        return tuple(
            self._output(role, path, results.get(role))
            for role, path in wish.outputs
            if not results or role in due
        )

    def previews(self, wish: Generation, record: Record | None) -> tuple[Output, ...]:
        """Return what stands where this generation's previews belong; what cannot be looked at is not ours."""
        made = record.previews if record else ()
        return tuple(self._output(one.role, wish.output(one.role), one) for one in made)

    def _output(self, role: Role, path: str, result: Result | None) -> Output:
        """Return what stands at a path; a file that cannot be read counts as taken."""
        try:
            return Output(role, path, *self._standing(path, result.sha256 if result else None))
        except WorkspaceError as error:
            return Output(role, path, Standing.TAKEN, told(error))

    def _standing(self, path: str, wanted: str | None) -> tuple[Standing, str]:
        """Return what stands where a result of this SHA-256, or one unknown yet, belongs, and what to say of it."""
        found = signature(self.root / path)
        if found is None:
            self._digests.pop(path, None)
            return Standing.MISSING, ""
        if found.size == 0:
            return Standing.OTHER, ""  # reserved when the program was killed
        sha256 = self._digest(path, found)
        if sha256 == wanted:
            return Standing.OURS, ""
        is_ours = self.is_ours(sha256)
        if is_ours and wanted is None:
            return Standing.OTHER, ""
        pointed = self._pointed(path, found)
        if pointed == wanted:
            return Standing.POINTER, ""
        if is_ours:
            return Standing.OTHER, ""
        return Standing.TAKEN, self._remark(path, sha256, pointed)

    def _pointed(self, path: str, found: Signature) -> str:
        """Return the SHA-256 of the file that this one stands for in git; empty for none."""
        return pointed_to(self.root / path) if 0 < found.size <= LARGEST_POINTER else ""

    def _remark(self, path: str, sha256: str, pointed: str) -> str:
        """Return why a file is not taken for ours, where more is known than that; else nothing."""
        if pointed:
            return f"`{path}` {ADVICE}, or move it away"
        if path in self.places.get(sha256, ()):
            return f"`{path}` holds a file that only a receipt calls ours, so it is not replaced; move it away and run again"
        return ""

    def is_ours(self, sha256: str) -> bool:
        """Whether these bytes are a result that this state saw, or one that a receipt names and the store holds."""
        return sha256 in self.ours or (sha256 in self.places and self.objects.has(sha256))

    def was_published(self, path: str, sha256: str) -> bool:
        """Whether this state knows by itself that it put these bytes there."""
        row = self.publications.get(path)
        return row is not None and row.sha256 == sha256 and self.is_ours(sha256)

    def digest(self, path: str, *, anew: bool = False) -> str:
        """Return the SHA-256 of a regular file; an empty string for anything else.

        A file that still has the signature with which it was published is not read again, but `anew`.
        """
        found = signature(self.root / path)
        return self._digest(path, found, anew=anew) if found else ""

    def holds(self, path: str, sha256: str, *, anew: bool = False) -> bool:
        """Whether a file with these bytes stands there; what cannot be read holds none of ours."""
        try:
            return self.digest(path, anew=anew) == sha256
        except WorkspaceError:
            return False

    def _digest(self, path: str, found: Signature, *, anew: bool = False) -> str:
        if not found.is_file:
            return ""
        stood, sha256 = self._digests.get(path, (None, ""))
        if (row := self._as_written(path, found)) is not None:
            stood, sha256 = found, row.sha256
        if stood == found and not anew:
            return sha256
        sha256 = file_sha256(self.root / path)
        if found.is_racy(time.time_ns()):
            self._digests.pop(path, None)
        else:
            self._digests[path] = found, sha256
        return sha256

    def _as_written(self, path: str, found: Signature) -> Publication | None:
        """Return what was written down of a file of this signature there."""
        row = self.publications.get(path)
        if row is None or row.ctime_ns is None:  # an older program wrote down less
            return None
        written = Signature(row.size, row.mtime_ns, row.ctime_ns, row.inode)
        return row if written == found else None

    def is_noted(self, path: str, result: Result) -> bool:
        """Whether nothing stands there, or this result as it was written down."""
        return signature(self.root / path) is None or self.stands(path, result)

    def stands(self, path: str, result: Result) -> bool:
        """Whether this result stands there, as it was written down."""
        found = signature(self.root / path)
        row = self._as_written(path, found) if found else None
        return row is not None and row.sha256 == result.sha256

    def foresee(self, paths: Iterable[str]) -> None:
        """Read the files at these paths ahead of time, from any thread, so that later questions are quick."""
        for path in paths:
            with suppress(WorkspaceError):
                found = signature(self.root / path)
                if found is not None and found.size > 0:
                    self._digest(path, found)

    def find(self, result: Result, *, verify: bool = False) -> Path | None:
        """Return a file with these bytes, an object or a published copy; `verify` reads it again first."""
        sound = self.objects.has(result.sha256, result.size)
        if sound and (not verify or self.objects.verify(result.sha256)):
            return self.objects.path(result.sha256)
        for path in self.places.get(result.sha256, ()):
            if self.holds(path, result.sha256, anew=verify):
                return self.root / path
        return None

    def find_preview(self, preview: Result) -> Path | None:
        """Return a file that holds a preview, read again first; None also where it cannot be read."""
        try:
            return self.find(preview, verify=True)
        except WorkspaceError:
            return None

    def obtainable(self, record: Record | None, outputs: Sequence[Output]) -> bool:
        """Whether the bytes of every result saved once are on this disk; objects of an expired one are read again."""
        if record is None or record.status not in _WAS_SAVED or not record.results:
            return False
        results = {result.role: result for result in record.results}
        careful = record.status is Status.EXPIRED
        return all(
            one.standing in IN_PLACE
            or ((result := results.get(one.role)) and self.find(result, verify=careful))
            for one in outputs
        )
