"""Gathering the facts that a plan is made of: records, receipts, and what stands at the output paths. Reads only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from reconciler.core.diff import Known, Output, Plan, Standing, content_problem, diff
from reconciler.core.documents import Place, Problem
from reconciler.core.specs import Generation, receipt_path
from reconciler.core.states import Record, Result, Status
from reconciler.engine.recall import Recalled, recall
from reconciler.store.objects import ObjectStore
from reconciler.store.repository import Publication, Repository
from reconciler.workspace.loader import Desired
from reconciler.workspace.media import file_sha256
from reconciler.workspace.outputs import Signature, signature


@dataclass(frozen=True, slots=True)
class Survey:
    """What is wanted and what is known, at one moment."""

    desired: Desired
    records: Mapping[str, Record]  # base id -> latest attempt, by the store or else by a receipt
    stored: Mapping[str, Record]  # those that the store has
    known: Mapping[tuple[str, str], Known]  # by (spec, label)
    invalid: Mapping[str, tuple[Problem, ...]]  # spec -> why
    orphans: tuple[str, ...] = ()

    def plan(self, selected: Sequence[Generation], invalid: Iterable[str], *, whole: bool) -> Plan:
        """Return the plan for a selection; orphans belong to the whole folder's plan only."""
        chosen = {
            spec for spec in (*invalid, *(wish.spec for wish in selected)) if spec in self.invalid
        }
        good = [wish for wish in selected if wish.spec not in self.invalid]
        return diff(
            good,
            self.known,
            {spec: self.invalid[spec] for spec in sorted(chosen)},
            self.orphans if whole else (),
        )


@dataclass(slots=True)
class Surveyor:
    """Looks at one folder; remembers digests, so that asking twice reads once."""

    root: Path
    repository: Repository
    objects: ObjectStore
    can_host: bool = False  # a local video can be made readable for the provider
    _digests: dict[tuple[str, Signature], str] = field(default_factory=dict)
    _places: dict[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # sha256 -> where such bytes were published
    _publications: Mapping[str, Publication] = field(default_factory=dict)

    def survey(self, desired: Desired, records: Mapping[str, Record] | None = None) -> Survey:
        """Look at everything; `records` replaces the store's where somebody knows more."""
        stored = self.repository.records() if records is None else records
        wanted = {wish.external_task_id for wish in desired.generations}
        recalled = recall(self.root, desired.receipts) if wanted - stored.keys() else Recalled()
        merged = {
            **{base: found for base, found in recalled.records.items() if base in wanted},
            **stored,
        }
        self._learn_places(recalled)
        holds = self.repository.holds()
        invalid, known = dict(desired.invalid), {}
        for wish in desired.generations:
            record = merged.get(wish.external_task_id)
            if record is not None and (sentence := content_problem(wish, record.request)):
                problem = Problem(Place(wish.spec, wish.line), "external_task_id", sentence)
                invalid[wish.spec] = (*invalid.get(wish.spec, ()), problem)
            outputs = self.outputs(wish, record)
            known[wish.spec, wish.label] = Known(
                record=record,
                outputs=outputs,
                obtainable=self._obtainable(record, outputs),
                hold=holds.get(wish.external_task_id, ""),
                obstacle=self._obstacle(wish, recalled.unreadable),
            )
        return Survey(desired, merged, stored, known, invalid, self._orphans(desired, invalid))

    def outputs(self, wish: Generation, record: Record | None) -> tuple[Output, ...]:
        """Return what stands where this generation's results belong."""
        results = {result.role: result for result in record.results} if record else {}
        places = [(role, wish.output(role)) for role in results] or list(wish.outputs)
        return tuple(
            Output(role, path, self.standing(path, results.get(role))) for role, path in places
        )

    def standing(self, path: str, result: Result | None) -> Standing:
        """Return what stands at an output path where this result belongs."""
        if signature(self.root / path) is None:
            return Standing.MISSING
        sha256 = self.digest(path)
        if result is not None and sha256 == result.sha256:
            return Standing.OURS
        return Standing.OTHER if sha256 in self._places else Standing.TAKEN

    def digest(self, path: str) -> str:
        """Return the SHA-256 of a regular file; an empty string for anything else.

        A file that still has the size, time and inode with which it was published is not read again.
        """
        file = self.root / path
        found = signature(file)
        if found is None or not found.is_file:
            return ""
        published = self._publications.get(path)
        if published and (published.size, published.mtime_ns, published.inode) == (
            found.size,
            found.mtime_ns,
            found.inode,
        ):
            return published.sha256
        if (path, found) not in self._digests:
            self._digests[path, found] = file_sha256(file)
        return self._digests[path, found]

    def find(self, result: Result) -> Path | None:
        """Return a file on this disk that holds exactly these bytes: the object, or a published copy."""
        if self.objects.has(result.sha256, result.size):
            return self.objects.path(result.sha256)
        places = (
            path
            for path in self._places.get(result.sha256, ())
            if self.digest(path) == result.sha256
        )
        return next((self.root / path for path in places), None)

    def _learn_places(self, recalled: Recalled) -> None:
        self._publications = self.repository.publications()
        self._places = dict.fromkeys(self.repository.known_results(), ()) | recalled.paths
        for publication in self._publications.values():
            others = self._places.get(publication.sha256, ())
            self._places[publication.sha256] = (*others, publication.path)

    def _obtainable(self, record: Record | None, outputs: Sequence[Output]) -> bool:
        if record is None or record.status is not Status.COMPLETE:
            return False
        results = {result.role: result for result in record.results}
        lacking = [
            results[output.role] for output in outputs if output.standing is not Standing.OURS
        ]
        return all(self.find(result) is not None for result in lacking)

    def _obstacle(self, wish: Generation, unreadable: Mapping[str, str]) -> str:
        if problem := unreadable.get(receipt_path(wish.spec)):
            return f"its receipt cannot be read, so it may be bought already: {problem}"
        if wish.video.path and not self.can_host:
            return (
                f"`{wish.video.path}` is a local file, and the provider reads videos from a URL only; "
                "set RECONCILER_MEDIA_STORE, or give `video_url` as an http(s) URL"
            )
        return ""

    def _orphans(self, desired: Desired, invalid: Mapping[str, object]) -> tuple[str, ...]:
        """Published files that no spec asks for any more; an invalid spec may still want its own."""
        wanted = {path for wish in desired.generations for _, path in wish.outputs}
        stems = {str(PurePosixPath(spec).with_suffix("")) for spec in invalid}

        def of_invalid(path: str) -> bool:
            folder, name = path.rpartition("/")[::2]
            parts = name.split(".")
            return any(
                "/".join(filter(None, (folder, ".".join(parts[:n])))) in stems
                for n in range(1, len(parts))
            )

        return tuple(
            path
            for path, publication in self._publications.items()
            if path not in wanted
            and not of_invalid(path)
            and self.digest(path) == publication.sha256
        )
