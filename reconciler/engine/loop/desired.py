"""Which generations need work, as the folder changes: names that changed go in, pieces of work come out.

The cost of one change does not depend on the number of specs.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeGuard

from reconciler.core.diff import IDLE, IN_PLACE, Assessment, assess, content_problem
from reconciler.core.documents import Place, Problem, waiting_words
from reconciler.core.errors import StateError, WorkspaceError, counted
from reconciler.core.generations import Generation
from reconciler.core.naming import receipt_path
from reconciler.core.progress import Work, is_unsaved, work_for
from reconciler.core.receipt_entries import ReceiptEntry
from reconciler.core.states import BOUGHT, Record, Status
from reconciler.engine.loop.turn import Turns
from reconciler.engine.observe.commits import Commits
from reconciler.engine.observe.recall import ReceiptMemory
from reconciler.engine.observe.survey import Facts
from reconciler.engine.ports import Ports
from reconciler.engine.records import Records
from reconciler.workspace.files.root import Root
from reconciler.workspace.index.spec_index import Changed, SpecIndex

_MOST_TOLD = 20  # problems said at a time
_AT_ONCE = 200  # names or generations in one go, before the loop does anything else
_A_WHILE = 1.0  # s of looking at media before specs are read again


class FolderLooks:
    """The progress of looks, by the loop's own clock, which no calendar corrects and no sleeping laptop moves.

    Made where a loop runs; `overdue` is how long (s) a look may go without a `step`.
    """

    def __init__(self, overdue: float) -> None:
        self._overdue = overdue
        self._now = asyncio.get_running_loop().time
        self._moved = self._now()
        self._ended: float | None = None
        self._bounded = False

    async def step(self) -> None:
        """Note that a piece of a look is done, and let the loop see to everything else."""
        self._moved = self._now()
        await asyncio.sleep(0)

    def over(self, *, well: bool) -> None:
        """Note that a look is over; one that met trouble (not `well`) has not seen the folder."""
        self._moved = self._now()
        if well:
            self._ended = self._moved

    @contextmanager
    def bounded(self) -> Iterator[None]:
        """Do not count this block as hanging: everything in it has a time limit of its own."""
        self._bounded = True
        try:
            yield
        finally:
            self._bounded = False
            self._moved = self._now()

    @property
    def hangs(self) -> bool:
        """Whether the look under way has not got on for too long."""
        return not self._bounded and self._now() - self._moved > self._overdue

    @property
    def trouble(self) -> str:
        """Why the folder is not known as it is now, or an empty string."""
        if self._ended is None:
            return "The first look at the folder has not ended yet."
        age = self._now() - self._ended
        if age <= self._overdue:
            return ""
        ended = f"The last look at the folder ended {age:,.0f} s ago"
        return f"{ended}: the folder is very large, or a disk, a mount or git does not answer."


class FolderWork:
    """Keeps `Progress.work` of the records what the folder asks for."""

    def __init__(
        self,
        ports: Ports,
        records: Records,
        index: SpecIndex,
        facts: Facts,
        memory: ReceiptMemory,
        commits: Commits,
        looks: FolderLooks,
        longest_look: int,
    ) -> None:
        self._longest_look = longest_look  # ms
        self._ports = ports
        self._records = records
        self._index = index
        self._facts = facts
        self._memory = memory
        self._commits = commits
        self._looks = looks
        self._wanted_by: dict[str, frozenset[str]] = {}  # spec -> base ids, as last considered
        self._told: dict[str, tuple[Problem, ...]] = {}  # problems that were said, by spec
        self._told_shared: frozenset[Problem] = frozenset()  # of files that are no specs
        self._noted: frozenset[str] = frozenset()  # names that look misspelt, as they were said
        self._unseen = Changed()  # what was read, and not considered yet
        self._owed: set[str] = set()  # base ids that could not be looked at
        self._kept: dict[str, list[Assessment]] = {}  # outputs to be confirmed, by spec
        self._right: frozenset[str] = frozenset()  # specs whose receipts are in step
        index.defer()  # `_read_on` reads, a piece at a time

    async def begin(self, turns: Turns, wake: Callable[[str], None]) -> None:
        """Consider everything for the first time; `wake` asks for a generation's turn."""
        self._turns, self._wake = turns, wake
        self._right = await self.read_receipts()
        specs = sorted(self._index.specs)
        await self._commits.look(specs)
        await self._bring_forward(specs)
        self._right = frozenset()
        # Generations come forward before files that take long are read.
        self._unseen |= await self._read_on()
        await self._consider_unseen()
        self._tell(specs)
        await self.consider([one.base_id for one in self._records.all() if is_unsaved(one.record)])

    async def read_receipts(self) -> frozenset[str]:
        """Read every receipt, but for those that tell nothing new; return the specs of these."""
        owners = {receipt_path(spec): spec for spec in self._index.specs}
        for spec in owners.values():
            self._records.learn(wish.external_task_id for wish in self._index.generations(spec))
        root, known = Root(self._ports.root), set[str]()
        for name in sorted(self._index.receipts):
            if name in owners and self._tells_nothing_new(owners[name], root):
                known.add(owners[name])
                await self._memory.read((), gone=[name])
            else:
                await self._memory.read([name])
            await self._looks.step()
        return frozenset(known)

    def _tells_nothing_new(self, spec: str, root: Root) -> bool:
        """Whether a spec's receipt is in step with the records, and lists what is complete and wanted alone."""
        entries = self._in_step(spec, root)
        told = {(one.status, one.current) for one in entries}
        return told == {(Status.COMPLETE, True)}

    def _in_step(self, spec: str, root: Root | None = None) -> Sequence[ReceiptEntry]:
        """Return what a spec's receipt lists, where it is in step with the records; nothing where it cannot be read."""
        try:
            return self._turns.receipts.in_step(spec, root) or ()
        except (WorkspaceError, StateError):  # reading it tells
            return ()

    async def take_in(self, names: Iterable[str]) -> None:
        """Read these files and folders (relative to the root) again, and consider what they concern.

        Raises:
            WorkspaceError: the folder cannot be listed; nothing was concluded.
        """
        # Names that are gone come first: a renamed spec must not seem to collide with itself.
        ordered = sorted(names, key=lambda name: (os.path.lexists(self._ports.root / name), name))
        for start in range(0, len(ordered), _AT_ONCE):
            chunk = ordered[start : start + _AT_ONCE]
            found = await asyncio.to_thread(self._index.looking_at(chunk))
            self._unseen |= self._index.refresh(chunk, found)
            self._unseen |= Changed(self._index.concerned(chunk))  # also what turned out the same
            await self.go_on()
            await self._looks.step()

    async def wake_one(self) -> None:
        """Take in one of the dormant folders."""
        folders = [next(iter(self._index.dormant))]
        found = await asyncio.to_thread(self._index.waking(folders))
        self._unseen |= self._index.refresh(folders, found)
        await self.go_on()

    def note_dormant(self) -> Iterator[None]:
        """Keep for the next process which folders are dormant, a spec at a time."""
        for folder in self._index.folders():
            yield
            seen = self._index.fingerprint(folder)
            if seen is None or self._index.dormant.is_noted(seen):
                continue
            if attempts := (yield from self._settled_in(self._index.specs_in(folder))):
                self._index.note_dormant(seen, attempts)
        self._index.dormant.save()

    def _settled_in(self, specs: Sequence[str]) -> Generator[None, None, dict[str, str]]:
        """Return the attempts (by base id) of these specs, a spec at a time; none unless nothing is left to do for all."""
        attempts: dict[str, str] = {}
        for spec in specs:
            found = self._settled(spec)
            yield
            if not found:
                return {}
            attempts |= found
        return attempts

    def _settled(self, spec: str) -> dict[str, str]:
        """Return all attempts (by base id) that a spec's receipt lists; none unless nothing is left to do for the spec.

        Also those that it does not ask for any more: where the state lost one, the receipt has to be read.
        """
        entries = self._in_step(spec)
        is_complete = {one.status for one in entries} == {Status.COMPLETE}
        if not (is_complete and all(map(self._is_settled, self._index.generations(spec)))):
            return {}
        return {one.base_id: one.external_task_id for one in entries}

    def _is_settled(self, wish: Generation) -> bool:
        """Whether a generation is complete by the state's own word, and its files stand as they were written down."""
        progress, facts = self._records.of(wish.external_task_id), self._facts
        record = progress.record
        if progress.hold or progress.unwritten or self._misfit(wish) or not _is_saved(record):
            return False
        files = *record.results, *(one for one in record.previews if one.role in facts.previews)
        return all(facts.locations.stands(wish.output(one.role), one) for one in files)

    @property
    def is_behind(self) -> bool:
        """Whether something was not read yet, or was read and could not be considered."""
        return self._index.has_more or self._unseen != Changed()

    async def go_on(self) -> None:
        """Read on where the last look stopped, and consider what was read."""
        self._unseen |= await self._read_on()
        if self._unseen != Changed():
            self._tell(sorted(self._unseen.specs))
            await self._consider_unseen()

    async def _consider_unseen(self) -> None:
        """Consider what was read; where that fails it is still to be considered. Raises StateError."""
        specs = self._unseen.specs
        bases = await self._read_receipts(self._unseen.receipts)
        await self._commits.look(specs)
        await self._bring_forward(sorted(specs))
        await self.consider(bases)
        self._unseen = Changed()

    async def _bring_forward(self, specs: Sequence[str]) -> None:
        """Consider what these specs ask for, and asked for before, in their order."""
        for start in range(0, len(specs), _AT_ONCE):
            bases = self._bases_of(specs[start : start + _AT_ONCE])
            self._records.learn(bases)
            wishes = [wish for base in bases for wish in self._index.wishes(base)]
            paths = [path for wish in wishes for _, path in wish.outputs]
            self._facts.locations.learn(path for wish in wishes for path in _places(wish))
            # In a thread: the files at these paths may be of any size.
            await asyncio.to_thread(self._facts.locations.foresee, paths)
            await self.consider(bases)
            await self._looks.step()

    async def _read_on(self) -> Changed:
        """Read new specs (a few at a time) and media (in a thread) for a bounded time; return what differs."""
        index, now = self._index, self._ports.now
        changed = Changed()
        until = now() + self._longest_look
        while index.has_more and now() < until:
            if index.unread:
                changed |= index.read_on()
            else:
                pending = dict(index.looks.pending)
                found = await asyncio.to_thread(index.looks.look_on, pending, _A_WHILE)
                changed |= index.take(found)
            await self._looks.step()
        return changed

    async def commits_changed(self) -> None:
        """Look again at every spec that is not bought whole: a commit decides whether it may be."""
        due = {base for base in set().union(*self._wanted_by.values()) if not self._is_bought(base)}
        specs = {spec for spec, bases in self._wanted_by.items() if bases & due}
        specs |= self._commits.owed
        await self._commits.look(specs)
        await self.consider(self._bases_of(specs))

    async def look_over(self) -> None:
        """Check every generation; turns of generations whose work has not changed are left alone."""
        unwanted = {one.base_id for one in self._records.all() if one.work and not one.work.wishes}
        bases = sorted(unwanted.union(*self._wanted_by.values()))
        for start in range(0, len(bases), _AT_ONCE):
            await self.consider(bases[start : start + _AT_ONCE], again=False)
            await self._looks.step()
        # Held without work, for a receipt or an output: no turn tries that again.
        held = {one.base_id for one in self._records.all() if one.hold and one.work is None}
        await self.consider(self._owed | held)

    async def consider(self, bases: Iterable[str], *, again: bool = True) -> None:
        """Find out the work of these generations; `again`: ask for their turns also where it has not changed."""
        for base in sorted(bases):
            try:
                work = await self._work(base, settled=again)
            except (WorkspaceError, StateError) as error:
                # What it needs is unknown: it is not worked on, least of all as it was wanted before.
                self._owed.add(base)
                if self._records.has(base):
                    self._records.want(base, None)
                    await self._turns.withhold(base, error)
                continue
            self._owed.discard(base)
            known = self._records.of(base)
            freed = known if work is not None else replace(known, hold=None, tries=0)
            self._records.put(replace(freed, work=work))
            if work != known.work or (again and work is not None):
                self._wake(base)
        await self._confirm()

    async def _confirm(self) -> None:
        kept, self._kept = self._kept, {}
        for spec, items in kept.items():
            troubles = self._turns.confirm(spec, items, is_right=spec in self._right)
            for base, reason in troubles.items():
                await self._turns.withhold(base, reason)
            await self._looks.step()  # a long receipt may have been read

    def declared(self, spec: str) -> Sequence[Generation]:
        """Return the generations of a spec; none where it is invalid."""
        return [wish for wish in self._index.generations(spec) if not self._misfit(wish)]

    async def _work(self, base: str, *, settled: bool) -> Work | None:
        wishes = [wish for wish in self._index.wishes(base) if not self._misfit(wish)]
        if better := await self._memory.better(base, wishes):
            self._records.take_over([better])
        known = self._records.of(base)
        if not wishes:
            return Work(base) if known.unwritten or is_unsaved(known.record) else None
        items = list(self._assess(wishes, known.record))
        if settled:
            self._keep(items)
        return work_for(items, wishes)

    def _assess(self, wishes: Sequence[Generation], record: Record | None) -> Iterator[Assessment]:
        for wish in wishes:
            self._facts.locations.learn(_places(wish))
            known = self._facts.known(wish, record)
            if record is not None and any(one.standing not in IN_PLACE for one in known.outputs):
                self._facts.locations.seek((*record.results, *record.previews))
                known = self._facts.known(wish, record)
            if known.record is not None and known.record is not record:
                self._records.take_over([known.record])
            yield assess(wish, known)

    def _keep(self, items: Iterable[Assessment]) -> None:
        for item in items:
            if item.action in IDLE:
                self._kept.setdefault(item.generation.spec, []).append(item)

    def _is_bought(self, base: str) -> bool:
        record = self._records.get(base)
        return record is not None and record.status in BOUGHT

    def _misfit(self, wish: Generation) -> str:
        return content_problem(wish, self._records.get(wish.external_task_id))

    def _bases_of(self, specs: Iterable[str]) -> set[str]:
        """Return the base ids that these specs want, or wanted when they were last considered."""
        bases: set[str] = set()
        for spec in specs:
            wanted = frozenset(wish.external_task_id for wish in self._index.generations(spec))
            bases |= self._wanted_by.pop(spec, frozenset()) | wanted
            if wanted:
                self._wanted_by[spec] = wanted
        return bases

    async def _read_receipts(self, names: frozenset[str]) -> set[str]:
        """Read receipts again; return the base ids concerned: all that have work, where other receipts are unreadable now."""
        if not names:
            return set()
        before = self._memory.unreadable()
        present = [name for name in names if name in self._index.receipts]
        bases = set(await self._memory.read(present, names.difference(present)))
        if self._memory.unreadable() != before:
            bases |= {one.base_id for one in self._records.all() if one.work and one.work.wishes}
        return bases

    def _problems(self, spec: str) -> tuple[Problem, ...]:
        misfits = [
            Problem(Place(spec, wish.line), "external_task_id", sentence)
            for wish in self._index.generations(spec)
            if (sentence := self._misfit(wish))
        ]
        return (*self._index.problems(spec), *misfits)

    def _tell(self, specs: Iterable[str]) -> None:
        """Say what is wrong, once, and when it is over."""
        self._tell_shared()
        found = {spec: self._own_problems(spec) for spec in specs}
        news = {spec: own for spec, own in found.items() if own != self._told.get(spec, ())}
        lists = "became valid or invalid; `reconciler validate` lists what is wrong"
        self._say([self._news(spec, own) for spec, own in news.items()], "more spec", lists)
        self._told = {spec: own for spec, own in (self._told | news).items() if own}

    def _news(self, spec: str, own: Sequence[Problem]) -> str:
        """Return what to say of a spec with these problems now; nothing where another file is wrong, or it is gone."""
        if own:
            return f"{own[0]} (and {len(own) - 1} more)" if len(own) > 1 else str(own[0])
        is_well = spec in self._index.specs and not self._problems(spec)
        return f"`{spec}` is valid again" if is_well else ""

    def _own_problems(self, spec: str) -> tuple[Problem, ...]:
        if spec in self._index.unread:
            return self._told.get(spec, ())
        return tuple(problem for problem in self._problems(spec) if problem.place.file == spec)

    def _tell_shared(self) -> None:
        """Say what is wrong with files that are no specs, once for all the specs that use them."""
        shared, notes = self._index.shared_problems(), frozenset(self._index.notes())
        new = sorted(shared.keys() - self._told_shared)
        told = {problem.place.file for problem in self._told_shared}
        mended = sorted(told - {problem.place.file for problem in shared})
        root = self._ports.root
        said = [f"{one}{waiting_words(shared[one])}" for one in new]
        said += [f"`{file}` is valid again" for file in mended if os.path.lexists(root / file)]
        said += sorted(notes - self._noted)
        self._say(said, "more file", "cannot be used; `reconciler validate` lists them")
        self._told_shared, self._noted = frozenset(shared), notes

    def _say(self, sentences: Sequence[str], others: str, do: str) -> None:
        """Say the first sentences (empty ones only count), and how many `others` there are."""
        for sentence in filter(None, sentences[:_MOST_TOLD]):
            self._ports.report.say(sentence)
        if (left := len(sentences) - _MOST_TOLD) > 0:
            self._ports.report.say(f"{counted(left, others)} {do}")


def _places(wish: Generation) -> list[str]:
    """Return the paths at which files of ours may stand for a generation."""
    return [path for _, path in (*wish.outputs, *wish.previews)]


def _is_saved(record: Record | None) -> TypeGuard[Record]:
    """Whether all of it is saved, and the state knows so by itself."""
    if record is None or record.status is not Status.COMPLETE:
        return False
    return not (record.claimed or record.lacking)
