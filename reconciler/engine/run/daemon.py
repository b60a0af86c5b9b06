"""Keeping a folder true: follows what changes, and has the loop bring generations forward.

Level-triggered: events only say which names to look at again; a periodic look at everything finds what was missed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol

from reconciler.core import errors
from reconciler.core.generations import Generation
from reconciler.core.progress import Cause
from reconciler.core.schedule import DAY, SECOND
from reconciler.core.states import Status
from reconciler.engine.loop.desired import FolderLooks, FolderWork
from reconciler.engine.loop.loop import Loop, woken
from reconciler.engine.loop.turn import Turns
from reconciler.engine.observe.commits import Commits
from reconciler.engine.observe.locations import Locations
from reconciler.engine.observe.recall import ReceiptMemory
from reconciler.engine.observe.survey import Facts
from reconciler.engine.ports import Options, Ports
from reconciler.engine.records import Records
from reconciler.workspace.files.outputs import signature
from reconciler.workspace.git import Checkout
from reconciler.workspace.index.spec_index import SpecIndex
from reconciler.workspace.tree.ignoring import IGNORE_FILE
from reconciler.workspace.watch.watcher import Settling

_NS = 1_000_000  # in a millisecond
_SPECS = 50  # looked at for whether they are dormant, in one look: some 20 ms
_WAKING = 200  # ms of waking folders in one look
_ROWS = 1000  # of history, removed in one look: some 10 ms, in which nothing else is done
_MOST_HINTS = 1000  # remembered until they are followed
_LONGEST_OVERDUE = 600 * SECOND  # whatever interval the folder's settings ask for


class Events(Protocol):
    """Notices of changed files; `workspace.watch.watcher` has them."""

    @property
    def is_notified(self) -> bool:
        """Whether changes are told; otherwise they have to be looked for."""

    def take(self) -> frozenset[str]:
        """Return the names that are dirty, relative to the root, and forget them."""

    def watch_also(self, folders: Iterable[str]) -> None:
        """Watch these folders too."""

    def revive(self) -> None:
        """Watch again what could not be watched."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often things are looked at; ms."""

    settle: int = 2 * SECOND  # how long a name must be quiet
    resync: int = 300 * SECOND
    polled: int = 10 * SECOND  # the same where no events come
    noting: int = 300 * SECOND  # between two looks for dormant folders
    tick: int = 1 * SECOND  # orders and commits
    history: int = 400 * DAY  # how long history is kept
    longest_look: int = 10 * SECOND  # at unread specs and media in one go
    patience: int = 120 * SECOND  # before a look without progress is overdue


@dataclass(frozen=True, slots=True)
class Duties:
    """What a daemon is given beside the engine's ports."""

    index: SpecIndex
    events: Events
    pace: Pace = Pace()
    checkout: Checkout | None = None  # where only what is committed may be bought
    can_host: bool = False  # a local video can be made readable for the provider
    is_ordered: Callable[[], bool] = lambda: False  # orders wait
    correct_clock: Callable[[], None] = lambda: None
    acknowledge: Callable[[], None] = lambda: None  # says that they will be, after a while
    # carries out the orders; returns the base ids concerned
    carry_out: Callable[[Records, Locations], Awaitable[frozenset[str]]] | None = None
    check_room: Callable[[], None] = lambda: None  # raises WorkspaceError: no room for results


class Daemon:
    """Keeps one folder true, with one account."""

    def __init__(self, ports: Ports, options: Options, duties: Duties) -> None:
        self._forget = ports.distrust
        self._ports = ports = replace(ports, distrust=self._distrust)
        self._duties = duties
        self._pace = duties.pace
        self._index = duties.index
        self._settling = Settling(duties.pace.settle)
        self._woken = asyncio.Event()
        overdue = min(max(self._pace.patience, self._pace.resync), _LONGEST_OVERDUE)
        self.looks = FolderLooks(overdue / SECOND)
        self.records = Records(ports, options, ports.repository.unfinished())
        self._locations = Locations(ports.root, ports.repository, ports.objects)
        self._commits = Commits(ports, options, duties.checkout, self._index.inputs)
        memory = ReceiptMemory(ports.root, self.records, self._locations)
        facts = Facts(
            self._locations,
            self._hold,
            memory.doubt,
            duties.can_host,
            self._commits.obstacle,
            options.previews,
            self._index.held_back,
        )
        self.work = FolderWork(
            ports,
            self.records,
            self._index,
            facts,
            memory,
            self._commits,
            self.looks,
            duties.pace.longest_look,
        )
        self.turns = Turns(ports, options, self.records, self._locations, self)
        self.loop = Loop(ports, options, self.turns)
        self._next_resync = self._next_trim = self._next_note = 0
        self._noting: Iterator[None] | None = None  # which folders are dormant
        self._is_waking = False  # until none is
        self._no_room = ""  # the last time it was looked at
        self._hints: set[str] = set()
        self.trouble = ""  # of the folder or the state, the last time they were looked at
        self.looked_at = 0  # ms

    def wake(self) -> None:
        """Have the daemon look at new events; to be called in the loop's thread."""
        self._woken.set()

    def hint(self, name: str) -> None:
        """Look sooner at a task that may have changed; `name` is one of its ids, and unproven."""
        if len(self._hints) < _MOST_HINTS:
            self._hints.add(name)

    def obstacle(self, base_id: str) -> str:
        """Return why a generation is not brought forward at the moment, or an empty string."""
        work = self.records.of(base_id).work
        return self._hold(base_id) or (work.obstacle if work else "")

    def _hold(self, base_id: str) -> str:
        hold = self.records.of(base_id).hold
        return hold.reason if hold else ""

    def unready(self) -> tuple[str, ...]:
        """Return, in sentences, what keeps the daemon from buying; empty when nothing does."""
        account = self.turns.account
        limits = {
            one.hold.cause: one.hold.reason
            for one in self.records.all()
            if one.hold and one.hold.cause in {Cause.CAP, Cause.DISK}
        }
        found = (
            _why_not(self._ports.repository.require_in_place),
            self.trouble,
            self.looks.trouble,
            account.pause.reason
            and f"Submitting is paused for the whole account: {account.pause.reason}",
            account.silence,
            self._no_room,
            self._commits.trouble,
            *sorted(limits.values()),
        )
        return tuple(dict.fromkeys(filter(None, found)))

    async def run(self, stop: asyncio.Event, *, begun: Callable[[], None]) -> None:
        """Work until `stop` is set; `begun` is called once everything was looked at for the first time.

        Raises:
            StateError, WorkspaceError: the state or the folder cannot be used at the start.
            StateReplaced: at any time; the next process finds again what is in flight.
        """
        try:
            async with asyncio.TaskGroup() as group:
                following = group.create_task(self._follow(begun), name="follow")
                await self.loop.run(stop, forever=True)
                following.cancel()
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None
        finally:
            self._commits.leave()
            with contextlib.suppress(errors.StateError):  # another program has it: they can wait
                self._write_holds()

    async def _follow(self, begun: Callable[[], None]) -> None:
        # Those that the cache knows, from the first; and those of specs that had to be read.
        self._duties.events.watch_also(self._index.media_folders())
        await self.work.begin(self.turns, self.loop.add)
        self._duties.events.watch_also(self._index.media_folders())
        self._next_resync = self._ports.now() + self._pace.resync
        begun()
        while True:
            await self._look()
            await self._sleep()

    async def _sleep(self) -> None:
        due = [self._ports.now() + self._pace.tick, self._next_resync]
        if (settled := self._settling.next_at()) is not None:
            due.append(settled)
        if self.work.is_behind or self._is_waking or self._noting:
            due.append(self._ports.now())
        await woken(self._woken, max(0, min(due) - self._ports.now()) / SECOND)

    async def _look_once(self) -> None:
        now = self._ports.now()
        self._ports.repository.require_in_place()
        self._settling.touch(self._duties.events.take(), now)
        if self._index.ignoring_moved():
            self._settling.touch({IGNORE_FILE}, now)
        if due := self._settling.due(now):
            await self._take_in(due)
        elif self.work.is_behind:
            await self.work.go_on()
        if self._commits.is_due(now):
            await self.work.commits_changed()
        if now >= self._next_resync:
            await self._resync(now)
        self._note_dormant(now)
        if now >= self._next_trim:
            self._trim(now)
        self._ports.repository.tidy(now=now)
        self._follow_hints()
        self._write_holds()
        self._no_room = _why_not(self._duties.check_room, self._ports.objects.check_room)
        self.looked_at = now
        await self._wake_or_obey()  # last: a folder that cannot be listed may stop it

    async def _take_in(self, names: frozenset[str]) -> None:
        try:
            await self.work.take_in(names)
        except (errors.WorkspaceError, errors.StateError):  # the names are looked at again
            self._settling.touch(names, self._ports.now())
            raise
        self._duties.events.watch_also(self._index.media_folders())

    async def _resync(self, now: int) -> None:
        """Look at the whole folder, for what events missed."""
        events, interval = self._duties.events, self._pace.resync
        events.revive()  # first: it notices what changes from here on
        self._next_resync = now + min(interval, self._pace.polled)
        strays = await asyncio.to_thread(self._index.snapshot().strays)
        strays |= self._index.looks.passing()
        self._settling.touch((name for name in strays if name not in self._settling), now)
        events.watch_also(self._index.media_folders())
        await self.work.look_over()
        worked_on = {one.record.status for one in self.records.all() if one.work and one.record}
        if Status.SUBMITTING not in worked_on:
            self._duties.correct_clock()  # a grace period is measured by the clock as it is
        if events.is_notified:
            self._next_resync = now + interval

    async def _wake_or_obey(self) -> None:
        """Carry out orders; each is checked against all that is wanted, so first no folder may be dormant."""
        is_ordered = self._duties.is_ordered()
        self._is_waking = (self._is_waking or is_ordered) and bool(self._index.dormant)
        if self._is_waking:
            await self._wake(is_ordered=is_ordered)
        if is_ordered and not self._is_waking:
            await self._obey()

    async def _wake(self, *, is_ordered: bool) -> None:
        """Wake dormant folders for a while."""
        if is_ordered:
            self._duties.acknowledge()
        until = self._ports.now() + _WAKING
        while self._index.dormant and self._ports.now() < until:
            await self.work.wake_one()
        self._is_waking = bool(self._index.dormant)

    async def _obey(self) -> None:
        if self._duties.carry_out is None:
            return
        # An order may ask the provider many questions, each with a time limit.
        with self.looks.bounded():
            async with self.loop.standstill():
                bases = await self._duties.carry_out(self.records, self._locations)
                try:
                    await self.work.read_receipts()
                finally:  # orders were carried out, though receipts cannot be read
                    await self.work.consider(bases)

    def _note_dormant(self, now: int) -> None:
        """Note which folders are dormant, a few specs in one look."""
        if self._noting is None and now >= self._next_note and not self._index.has_more:
            self._noting = self.work.note_dormant()
            self._next_note = now + self._pace.noting
        if self._noting and sum(1 for _ in islice(self._noting, _SPECS)) < _SPECS:
            self._noting = None

    async def awake(self) -> None:
        """Return once no folder is dormant, for who asks about all that is wanted.

        Not while the first look goes on, nor where there is trouble: then who asks is told what is known.
        """
        while self._index.dormant and self.looked_at and not self.trouble:
            self._is_waking = True
            self.wake()
            await asyncio.sleep(self._pace.tick / SECOND / 10)

    def _trim(self, now: int) -> None:
        """Remove old history once a day, a piece per second: a save waits for all that its look does."""
        before = now - self._pace.history
        is_over = self._ports.repository.trim_history(before, most=_ROWS) < _ROWS
        self._next_trim = now + (DAY if is_over else SECOND)

    def _follow_hints(self) -> None:
        hints, self._hints = self._hints, set()
        records = (self.records.get(base) for base in self.loop.in_flight if hints)
        if any(hints & {record.task_id, record.external_task_id} for record in records if record):
            self.loop.poll_soon()

    async def _look(self) -> None:
        """Look once; trouble with the folder or the state, or a mistake of our own, is said once, and tried again."""
        trouble = ""
        try:
            await self._look_once()
        except errors.StateReplaced:
            raise  # from here on nothing that is done would last
        except (errors.WorkspaceError, errors.StateError) as error:
            trouble = errors.told(error)
        except Exception as error:  # noqa: BLE001 - one change must not end the work for all the others
            trouble = errors.mistake(error)
        self.looks.over(well=not trouble)
        before, self.trouble = self.trouble, trouble
        if trouble and trouble != before:
            self._ports.report.say(trouble)
        if trouble:
            await asyncio.sleep(self._pace.tick / SECOND)

    def _distrust(self, name: str) -> None:
        """Have a file read again that has changed without an event."""
        self._forget(name)
        self._settling.touch({name}, self._ports.now())
        self.wake()

    def is_at_rest(self, spec: str) -> bool:
        """Whether a spec and its inputs still are what was read, and none was written a moment ago."""
        if spec not in self._index.specs:
            return self._index.ignores(spec) or not (self._ports.root / spec).exists()
        inputs = self._index.inputs(spec)
        if any(name in self._settling for name in inputs):
            return False
        now = self._ports.now()
        untold = self._young(inputs, now)  # at the start, or where no events come
        if not untold and not self._index.is_as_read(spec):
            untold = inputs  # a new link to a file changes it, and not every watch tells
        if untold:
            self._settling.touch(untold, now)
            self.wake()
        return not untold

    def is_wanted(self, wish: Generation) -> bool:
        """Whether a spec still asks for just this, and stands as it was read."""
        return wish in self._index.generations(wish.spec) and self.is_at_rest(wish.spec)

    def _young(self, names: Iterable[str], now: int) -> frozenset[str]:
        """Return the files that were written less than the settling time ago, and not in the future."""
        found = ((name, signature(self._ports.root / name)) for name in names)
        ages = {name: now - one.mtime_ns // _NS for name, one in found if one is not None}
        return frozenset(name for name, age in ages.items() if 0 <= age < self._pace.settle)

    def declared(self, spec: str) -> Sequence[Generation]:
        """Return the generations of a spec as it was last read; none where it is invalid."""
        return self.work.declared(spec)

    def _write_holds(self) -> None:
        if self.records.holds_changed:
            self._ports.repository.replace_holds(self.records.holds(), now=self._ports.now())
            self.records.holds_changed = False


def _why_not(*checks: Callable[[], None]) -> str:
    """Return the first error that a check raises, in one line, or an empty string."""
    try:
        for check in checks:
            check()
    except errors.ReconcilerError as error:
        return errors.told(error)
    return ""
