"""Gathering the facts that a plan is made of: records, receipts, and what stands at the output paths. Reads only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from reconciler.core.diff import Known, Plan, Standing, content_problem, diff
from reconciler.core.documents import Place, Problem
from reconciler.core.generations import Generation
from reconciler.core.naming import receipt_path
from reconciler.core.schedule import Rules
from reconciler.core.states import Record, Status
from reconciler.core.transitions import Saved, step
from reconciler.engine.recall import Recalled, recall
from reconciler.engine.whereabouts import Whereabouts
from reconciler.store.objects import ObjectStore
from reconciler.store.repository import Repository
from reconciler.workspace.loader import Desired

_OVERRULED = frozenset({Status.PENDING, Status.FAILED, Status.REJECTED, Status.EXPIRED})


@dataclass(frozen=True, slots=True)
class Survey:
    """What is wanted and what is known, at one moment."""

    desired: Desired
    records: Mapping[str, Record]  # base id -> latest attempt, by the store or else by a receipt
    stored: Mapping[str, Record]  # those that the store has
    known: Mapping[tuple[str, str], Known]  # by (spec, label)
    invalid: Mapping[str, tuple[Problem, ...]]  # spec -> why
    whereabouts: Whereabouts
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
    """Looks at one folder."""

    root: Path
    repository: Repository
    objects: ObjectStore
    can_host: bool = False  # a local video can be made readable for the provider

    def survey(self, desired: Desired, records: Mapping[str, Record] | None = None) -> Survey:
        """Look at everything; `records` replaces the store's where somebody knows more.

        Receipts are read only where the store does not know all: what is bought, and whose bytes stand where
        a result belongs.
        """
        stored = self.repository.records() if records is None else records
        complete = {base for base, record in stored.items() if record.status is Status.COMPLETE}
        if all(wish.external_task_id in complete for wish in desired.generations):
            survey = self._survey(desired, stored, Recalled())
            if not any(_is_taken(known) for known in survey.known.values()):
                return survey
        return self._survey(desired, stored, recall(self.root, desired.receipts))

    def _survey(self, desired: Desired, stored: Mapping[str, Record], recalled: Recalled) -> Survey:
        merged = {**stored, **_better_known(_wanted(recalled, desired.generations), stored)}
        whereabouts = Whereabouts.learn(self.root, self.repository, self.objects, recalled)
        holds = self.repository.holds()
        invalid, known = dict(desired.invalid), {}
        for wish in desired.generations:
            record = merged.get(wish.external_task_id)
            if record is not None and (sentence := content_problem(wish, record)):
                problem = Problem(Place(wish.spec, wish.line), "external_task_id", sentence)
                invalid[wish.spec] = (*invalid.get(wish.spec, ()), problem)
            outputs = whereabouts.outputs(wish, record)
            obtainable = whereabouts.obtainable(record, outputs)
            if record is not None and _is_found_again(record) and obtainable:
                # The provider cleared the result, and somebody put the file back.
                record = step(record, Saved(record.results), rules=Rules(), now=0).record
                merged[record.base_id] = record
            known[wish.spec, wish.label] = Known(
                record=record,
                outputs=outputs,
                obtainable=obtainable,
                hold=holds.get(wish.external_task_id, ""),
                obstacle=self._obstacle(wish, recalled.unreadable),
            )
        return Survey(
            desired,
            merged,
            stored,
            known,
            invalid,
            whereabouts,
            _orphans(desired, invalid, whereabouts, self._abandoned(desired)),
        )

    def _abandoned(self, desired: Desired) -> Mapping[str, tuple[str, ...]]:
        """Return what the receipts of specs that are gone list: sha256 -> paths."""
        owned = {receipt_path(spec) for spec in desired.specs}
        return recall(self.root, [name for name in desired.receipts if name not in owned]).paths

    def _obstacle(self, wish: Generation, unreadable: Mapping[str, str]) -> str:
        if unreadable:  # of whatever spec: it may have been copied, renamed or moved
            problem = unreadable.get(receipt_path(wish.spec)) or next(iter(unreadable.values()))
            return f"a receipt cannot be read, so this may be bought already: {problem}"
        if wish.video.path and not self.can_host:
            return (
                f"`{wish.video.path}` is a local file, and the provider reads videos from a URL only; "
                "host it somewhere and give `video_url` as an http(s) URL (a media store, "
                "RECONCILER_MEDIA_STORE, will do that in a later version)"
            )
        return ""


def _orphans(
    desired: Desired,
    invalid: Mapping[str, object],
    whereabouts: Whereabouts,
    abandoned: Mapping[str, tuple[str, ...]],
) -> tuple[str, ...]:
    """Published files that no spec asks for any more; an invalid spec may still want its own."""
    wanted = {path for wish in desired.generations for _, path in wish.outputs}
    stems = {str(PurePosixPath(spec).with_suffix("")) for spec in invalid}
    ours = {path: sha256 for sha256, paths in abandoned.items() for path in paths}
    ours |= {path: row.sha256 for path, row in whereabouts.publications.items()}

    def of_invalid(path: str) -> bool:
        folder, name = path.rpartition("/")[::2]
        parts = name.split(".")
        return any(
            "/".join(filter(None, (folder, ".".join(parts[:n])))) in stems
            for n in range(1, len(parts))
        )

    return tuple(
        path
        for path, sha256 in ours.items()
        if path not in wanted and not of_invalid(path) and whereabouts.digest(path) == sha256
    )


def _is_taken(known: Known) -> bool:
    return any(output.standing is Standing.TAKEN for output in known.outputs)


def _is_found_again(record: Record) -> bool:
    return record.status is Status.EXPIRED and not record.lacking


def _better_known(
    recalled: Mapping[str, Record], stored: Mapping[str, Record]
) -> dict[str, Record]:
    """Return what receipts know better than the store: a later attempt, or a purchase the store has not seen.

    Somebody else's purchase arrives by git while this store still waits to make its own.
    """
    return {
        base: record
        for base, record in recalled.items()
        if (known := stored.get(base)) is None
        or (known.status in _OVERRULED and record.attempt > known.attempt)
        or (
            record.attempt == known.attempt
            and record.status is Status.COMPLETE
            and known.status in _OVERRULED
            and known.results != record.results
        )
    }


def _wanted(recalled: Recalled, wishes: Iterable[Generation]) -> dict[str, Record]:
    """Return what receipts remember of the generations that are wanted, under the names they have now."""
    found: dict[str, Record] = {}
    for wish in wishes:
        record = recalled.records.get(wish.external_task_id)
        if record is not None:
            found.setdefault(record.base_id, record.evolve(spec=wish.spec, label=wish.label))
    return found
