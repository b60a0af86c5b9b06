"""Gathering the facts that a plan is made of: records, receipts, and what stands at the output paths. Reads only."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from reconciler.core.diff import IN_PLACE, Known, Output, Plan, Standing, content_problem, diff
from reconciler.core.documents import Place, Problem
from reconciler.core.errors import WorkspaceError, told
from reconciler.core.generations import Generation
from reconciler.core.naming import receipt_path
from reconciler.core.receipt_entries import Recalled, knows_better, wanted_of
from reconciler.core.states import BOUGHT, Record, Role, Status
from reconciler.engine.observe.locations import Locations
from reconciler.engine.observe.recall import recall
from reconciler.store.objects import ObjectStore
from reconciler.store.state import State
from reconciler.workspace.files.outputs import check_room
from reconciler.workspace.read.loader import Desired

_ONLY_TOLD = (
    "only a receipt says that it was published there; remove it yourself if nobody needs it"
)

Uncommitted = Callable[[Generation], str]
"""Returns why a wish does not count as committed; an empty string where it does."""


def waiting_for_commit(name: str) -> str:
    """Return the sentence about a wish's first uncommitted file; an empty string for an empty name."""
    return f"waiting for a commit: `{name}` is not committed as it stands" if name else ""


class Facts(NamedTuple):
    """The sources from which the facts about each generation are gathered."""

    locations: Locations
    hold: Callable[[str], str]  # base id -> why the last run held it back
    doubt: Callable[[Generation], str]  # what is wrong with a receipt that may hide its purchase
    can_host: bool  # a local video can be made readable for the provider
    uncommitted: Uncommitted
    previews: frozenset[Role]  # those that are put back where they are missing
    held_back: Callable[[str], str]  # spec -> why nothing is bought for it, by its name

    def known(self, wish: Generation, record: Record | None) -> Known:
        """Return what is known of a generation, given the latest attempt at it."""
        outputs = self.locations.outputs(wish, record)
        obtainable = self.locations.obtainable(record, outputs)
        if record and record.status is Status.EXPIRED and not record.lacking and obtainable:
            # The provider cleared the result, and the user put the file back. Rare, and slow to import.
            from reconciler.core.transitions import put_back

            record = put_back(record)
        previews = self.locations.previews(wish, record)
        is_bought = record is not None and record.status in BOUGHT
        return Known(
            record=record,
            outputs=outputs,
            obtainable=obtainable,
            previews=previews,
            unshown=any(self._is_unshown(record, preview) for preview in previews),
            hold=self.hold(wish.external_task_id),
            obstacle="" if is_bought else next(filter(None, self._obstacles(wish)), ""),
        )

    def _is_unshown(self, record: Record | None, preview: Output) -> bool:
        """Whether a wanted preview is not in its place and can be put there."""
        made = {one.role: one for one in record.previews} if record else {}
        is_settled = preview.standing in IN_PLACE | {Standing.TAKEN}
        is_due = preview.role in self.previews and not is_settled
        return is_due and self.locations.find_preview(made[preview.role]) is not None

    def _obstacles(self, wish: Generation) -> Iterator[str]:
        """Yield why it may not be submitted, each reason asked for when its turn comes; an empty one does not hold."""
        yield self.held_back(wish.spec)
        if problem := self.doubt(wish):
            yield f"a receipt cannot be read, so this may already have been bought: {problem}"
        for one in () if self.can_host else wish.kind.INPUTS:
            if one.medium.by_url_only and (path := wish.inputs[one.name].path):
                yield (
                    f"`{path}` is a local file, and the provider reads {one.medium.name}s from a URL only; "
                    f"set RECONCILER_MEDIA_STORE to a media store that hosts it, or give `{one.name}` as an "
                    "http(s) URL"
                )
        yield self.uncommitted(wish)
        try:
            check_room(self.locations.root, str(PurePosixPath(wish.spec).parent))
        except WorkspaceError as error:
            yield told(error)


@dataclass(frozen=True, slots=True)
class Survey:
    """What is wanted and what is known, at one moment."""

    desired: Desired
    records: Mapping[str, Record]  # base id -> latest attempt, by the store or else by a receipt
    stored: Mapping[str, Record]  # those that the store has
    known: Mapping[tuple[str, str], Known]  # by (spec, label)
    invalid: Mapping[str, tuple[Problem, ...]]  # spec -> why
    locations: Locations
    orphans: tuple[str, ...] = ()
    needed: Mapping[str, str] = field(default_factory=dict)
    """Files that would be orphans, and why they stay, as the end of a sentence."""

    def told(self) -> Iterator[Record]:
        """Yield the records that receipts and files know better than the state."""
        stored = self.stored
        return (one for base, one in self.records.items() if stored.get(base) != one)

    def valid_wishes(self) -> list[Generation]:
        """Return what the specs want that are right in every respect."""
        return [wish for wish in self.desired.generations if wish.spec not in self.invalid]

    def plan(self, selected: Sequence[Generation], invalid: Iterable[str], *, whole: bool) -> Plan:
        """Return the plan for a selection; orphans belong to the whole folder's plan only."""
        chosen = self.invalid.keys() & {*invalid, *(wish.spec for wish in selected)}
        good = [wish for wish in selected if wish.spec not in self.invalid]
        wrong = {spec: self.invalid[spec] for spec in sorted(chosen)}
        return diff(good, self.known, wrong, self.orphans if whole else ())


@dataclass(slots=True)
class Surveyor:
    """Looks at one folder."""

    root: Path
    repository: State
    objects: ObjectStore
    can_host: bool = False  # a local video can be made readable for the provider
    uncommitted: Callable[[Desired], Uncommitted] | None = None  # where commits are required
    previews: frozenset[Role] = frozenset()  # those that are put back where they are missing

    def survey(self, desired: Desired, records: Mapping[str, Record] | None = None) -> Survey:
        """Look at everything; `records` replaces the store's where the caller knows more.

        Receipts are read only where a wish is not complete in the store, or an output path is taken.
        """
        stored = self.repository.records() if records is None else records
        if all(_is_saved(stored.get(wish.external_task_id)) for wish in desired.generations):
            survey = self._survey(desired, stored, Recalled())
            standing = {one.standing for known in survey.known.values() for one in known.outputs}
            if Standing.TAKEN not in standing:
                return survey
        return self._survey(desired, stored, recall(self.root, desired.receipts))

    def _survey(self, desired: Desired, stored: Mapping[str, Record], recalled: Recalled) -> Survey:
        claimed = wanted_of(recalled, desired.generations)
        better = {base: one for base, one in claimed.items() if knows_better(one, stored.get(base))}
        merged = {**stored, **better}
        holds = self.repository.holds()
        locations = Locations(self.root, self.repository, self.objects)
        locations.learn()
        locations.note_places(recalled.paths)
        facts = Facts(
            locations,
            lambda base: holds.get(base, ""),
            recalled.doubt,
            self.can_host,
            self.uncommitted(desired) if self.uncommitted else lambda _: "",
            self.previews,
            lambda spec: desired.held_back.get(spec, ""),
        )
        invalid, known = dict(desired.invalid), {}
        for wish in desired.generations:
            record = merged.get(wish.external_task_id)
            if sentence := content_problem(wish, record):
                problem = Problem(Place(wish.spec, wish.line), "external_task_id", sentence)
                invalid[wish.spec] = (*invalid.get(wish.spec, ()), problem)
            found = facts.known(wish, record)
            if found.record is not None and found.record is not record:
                merged[found.record.base_id] = found.record
            known[wish.spec, wish.label] = found
        return self._with_orphans(Survey(desired, merged, stored, known, invalid, locations))

    def _with_orphans(self, survey: Survey) -> Survey:
        written = set(_written(survey.desired, survey.records))
        standing = self._unasked(survey, written)
        alone = [path for path, is_known in standing.items() if is_known]
        stay: dict[str, str] = {}
        if alone:  # rare, and slow to import
            from reconciler.workspace.read.mentions import needed

            stay = needed(self.root, survey.desired, written, alone)
        stay |= {path: _ONLY_TOLD for path, is_known in standing.items() if not is_known}
        orphans = tuple(path for path in alone if path not in stay)
        return replace(survey, orphans=orphans, needed=stay)

    def _unasked(self, survey: Survey, written: Collection[str]) -> dict[str, bool]:
        """Return the published files that no spec wants, invalid ones included; false: only a receipt says published."""
        locations, ours = survey.locations, self._abandoned(survey.desired)
        ours |= {path: row.sha256 for path, row in locations.publications.items()}
        stems = {str(PurePosixPath(spec).with_suffix("")).casefold() for spec in survey.invalid}
        return {
            path: locations.was_published(path, sha256)
            for path, sha256 in ours.items()
            if path not in written and not _is_of(stems, path) and locations.holds(path, sha256)
        }

    def _abandoned(self, desired: Desired) -> dict[str, str]:
        """Return the files (path -> SHA-256) that receipts without a spec list."""
        owned = {receipt_path(spec) for spec in desired.specs}
        recalled = recall(self.root, [name for name in desired.receipts if name not in owned])
        return {path: sha256 for sha256, paths in recalled.paths.items() for path in paths}


def _is_of(stems: Collection[str], path: str) -> bool:
    """Whether a path is named after a spec with one of these names, in lower case and without a suffix."""
    folder, slash, name = path.casefold().rpartition("/")
    begun = itertools.accumulate(name.split(".")[:-1], "{}.{}".format)
    return any(f"{folder}{slash}{stem}" in stems for stem in begun)


def _is_saved(record: Record | None) -> bool:
    return record is not None and record.status is Status.COMPLETE


def _written(desired: Desired, records: Mapping[str, Record]) -> Iterator[str]:
    """Yield the paths of the results that specs want, and of previews: all of them until the result is saved."""
    for wish in desired.generations:
        record = records.get(wish.external_task_id)
        made = {preview.role for preview in record.previews} if record else set()
        yield from (path for _, path in wish.outputs)
        yield from (path for role, path in wish.previews if role in made or not _is_saved(record))
