"""One generation's turn: carries out the effects that `core.advance.advance` asks for, and tells it what came of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from reconciler.core import advance as decide
from reconciler.core import errors
from reconciler.core import progress as core
from reconciler.core.account import Account, Contact
from reconciler.core.diff import Assessment
from reconciler.core.generations import Generation
from reconciler.core.kinds import DEFAULT
from reconciler.core.progress import Asked, At, Cause, Effect, Event, InFlight, Stopped, Verdict
from reconciler.core.schedule import Slots
from reconciler.core.states import Record
from reconciler.core.transitions import Lost, Taken
from reconciler.engine.ask.answers import trouble_of
from reconciler.engine.ask.poll import Poller
from reconciler.engine.buy.create import Purchases
from reconciler.engine.deliver.download import CannotKeep, Saver
from reconciler.engine.deliver.publish import Publisher, Receipts
from reconciler.engine.observe.locations import Locations
from reconciler.engine.ports import Options, Ports
from reconciler.engine.records import Records
from reconciler.kling.errors import AccountTrouble, ProviderError
from reconciler.workspace.files.outputs import OutputTaken
from reconciler.workspace.media.flaws import MediaError

_NO_TASK = "mc1-is-anybody-there"  # an id that no task has
_SLOTS = "slots"


class Unreachable(errors.ReconcilerError):
    """The provider gave no readable answer."""


class Specs(Protocol):
    """What the specs ask for now: read right before money is spent, or a file is written."""

    def is_wanted(self, wish: Generation) -> bool:
        """Whether a spec still says just this, and is at rest."""

    def is_at_rest(self, spec: str) -> bool:
        """Whether a spec and its inputs still are what was read: git may switch branches meanwhile."""

    def declared(self, spec: str) -> Sequence[Generation]:
        """Return the generations of a spec as it was last read; none where it is invalid."""


class Turns:
    """Takes turns: brings one generation forward as far as it goes at the moment."""

    def __init__(
        self, ports: Ports, options: Options, records: Records, files: Locations, specs: Specs
    ) -> None:
        self._ports = ports
        self._terms: core.Terms = options
        self._records = records
        self._specs = specs
        self._purchases = Purchases(ports, options, records, self._take_slot)
        self._saver = Saver(ports, options, records, files)
        self._poller = Poller(ports, options, records)
        self._publisher = Publisher(ports, files, options.previews)
        self.receipts = Receipts(ports.root, records, specs.declared)
        contact, ceiling = Contact(heard_at=ports.now()), options.max_concurrency
        self.account = Account(contact, ceiling, first_pause=options.first_retry)
        self._readmitted: list[str] = []
        self._poll_failed = ""  # why a poll came to nothing or could not be written, as it was said

    def stop_buying(self) -> None:
        """Begin no further create; those under way come to their end."""
        self._purchases.close()

    def come_forward(self, key: str, model: str) -> None:
        """Let a generation that waited for a slot look, and prepare itself to be sent."""
        self._know(model)
        self.account = self.account.come_forward(key, model, self._ports.now())

    def room_at(self, models: Iterable[str]) -> list[tuple[int, str]]:
        """Return from when (ms) one more of each model may come forward; models without a free slot are left out."""
        found = []
        for model in models:
            self._know(model)
            at = 0 if self.account.pause.reason else self.account.room_at(model)
            if at is not None:
                found.append((at, model))
        return found

    def readmitted(self) -> list[str]:
        """Return, once, the generations that the account's trouble held back and does not any more."""
        readmitted, self._readmitted = self._readmitted, []
        return readmitted

    async def take(self, key: str) -> Verdict:
        """Take a generation's turn; return when the next one is due.

        Raises:
            Unreachable: the provider gave no readable answer for too long.
            StateError: the state cannot be written; what is on disk is what happened.
        """
        try:
            return await self._follow(key, core.Due())
        finally:  # also where the turn is cut off
            self.account = self.account.turn_over(key, self._ports.now())

    async def poll(self, keys: Iterable[str]) -> tuple[dict[str, Verdict], int]:
        """Observe these tasks in flight; return when each is due, and when to poll again (ms)."""
        flying = {key: record for key in sorted(keys) if (record := self._records.get(key))}
        verdicts: dict[str, Verdict] = {}
        again_at = 0
        try:
            await self._observe(flying, verdicts)
            self._poll_failed = ""
        except AccountTrouble as error:
            again_at = await self._poll_refused(flying, verdicts, error)
        except Exception as error:
            if not self._terms.enduring or isinstance(error, errors.StateReplaced | Unreachable):
                raise
            self._say_poll_failed(error)
        verdicts = {key: self._unpolled(key) for key in keys} | verdicts
        return verdicts, max(again_at, self._ports.now() + self._terms.rules.poll_interval)

    def _say_poll_failed(self, error: Exception) -> None:
        said = errors.told(error) if isinstance(error, errors.StateError) else errors.mistake(error)
        if self._poll_failed != said:
            self._poll_failed = said
            self._ports.report.say(said)

    def _unpolled(self, key: str) -> Verdict:
        """Return what is next for a task of which the poll told nothing."""
        record = self._records.get(key)
        flies = record is not None and record.status in core.FLYING
        return InFlight() if flies else At(self._ports.now())

    async def withhold(self, key: str, error: errors.ReconcilerError | str) -> None:
        """Hold a generation, outside of its turn."""
        stopped = _stopped(error) if isinstance(error, errors.ReconcilerError) else Stopped(error)
        await self._follow(key, replace(stopped, in_turn=False))

    def confirm(
        self, spec: str, standing: Collection[Assessment], *, is_right: bool = False
    ) -> dict[str, str]:
        """Write down the outputs of a spec that are in place, and its receipt; return failures by base id.

        Nothing happens where both are as they should be (`is_right`: its receipt is known to be), or it is not at rest.
        """
        try:
            is_right = is_right or self.receipts.in_step(spec) is not None
            is_due = not (is_right and all(map(self._publisher.is_noted, standing)))
            if is_due and self._specs.is_at_rest(spec):
                for item in standing:
                    self._publisher.confirm(item)
                self.receipts.write(spec)
        except (errors.SpecError, errors.WorkspaceError) as error:
            return {item.generation.external_task_id: error.message for item in standing}
        return {}

    def wanted(self, key: str) -> Generation | None:
        """Return the wish to buy now, as things stand at this moment."""
        change = self._change(key)
        change.probe()
        self.account = change.account
        if change.obstacle():
            return None
        wishes = (wish for wish in self._wishes(key) if not wish.suspended)
        return next((wish for wish in wishes if self._specs.is_wanted(wish)), None)

    async def _follow(self, key: str, event: Event) -> Verdict:
        """Carry out what an event leads to, until there is a verdict."""
        while True:
            progress = self._records.of(key)
            if (record := progress.current()) is not None:
                self._know(record.model)
            done = decide.advance(progress, event, self.account, self._terms, self._ports.now())
            self._records.put(done.progress)
            self.account = done.account
            for effect in done.effects:
                found = await self._carry_out(key, effect)
                event = found or event
                if isinstance(found, Stopped):
                    break
            if done.verdict is not None:
                return done.verdict

    async def _observe(self, flying: Mapping[str, Record], verdicts: dict[str, Verdict]) -> None:
        found = await self._poller.observe(flying)
        if found.answered:
            self._share(decide.Advance.heard)
            self._share(decide.Advance.answered)
        for key, record in flying.items():
            if reply := found.replies.get(key):
                verdicts[key] = await self._follow(key, core.Polled(reply.task is not None))
            elif trouble := found.troubles.get(key):
                failed = core.Failed(Asked.POLL, record, trouble_of(trouble))
                verdicts[key] = await self._follow(key, failed)

    async def _poll_refused(
        self, flying: Mapping[str, Record], verdicts: dict[str, Verdict], error: AccountTrouble
    ) -> int:
        """Pause; `apply` leaves what is in flight to the next run where nothing was heard for long."""
        now, trouble = self._ports.now(), trouble_of(error)
        self._share(lambda change: change.close(trouble, by_create=False))
        if self._terms.enduring:
            return self.account.again_at(now)
        if now - self.account.contact.heard_at >= self._terms.first_patience:
            for key in flying:
                verdicts[key] = await self._follow(key, Stopped(trouble.told, Cause.ACCOUNT))
        return 0

    async def _carry_out(self, key: str, effect: Effect) -> Event | None:
        """Carry out one effect; trouble of this generation alone stops only this generation."""
        try:
            return await self._do(key, effect)
        except (errors.CapReached, errors.HostingError, errors.WorkspaceError, CannotKeep) as error:
            return _stopped(error)
        except (errors.StateReplaced, Unreachable):  # trouble of all generations: the run is over
            raise
        except errors.StateError as error:
            if not self._terms.enduring:
                raise
            if isinstance(error, errors.StaleRecord):  # go on from what is on disk
                self._records.read_again(key)
            return _stopped(error)
        except Exception as error:  # noqa: BLE001 - a mistake of ours: it must not end the work for all the others
            self._records.read_again(key)
            return Stopped(errors.mistake(error))

    async def _do(self, key: str, effect: Effect) -> Event | None:
        match effect:
            case core.Look():
                return await self._look(key)
            case core.Fetch():
                return await self._fetch(key)
            case core.Deliver():
                return await self._deliver(key, effect)
            case core.AskAnything(failed):
                await self._ask_anything()
                return failed
            case core.TakeUp(record):
                self._records.apply(record, Taken())
            case core.GiveUp(message, hint):
                raise Unreachable(message, hint=hint)
            case _:
                self._tell(effect)
        return None

    def _tell(self, effect: Effect) -> None:
        match effect:
            case core.Say(sentence, topic):
                self._ports.report.say(sentence, topic)
            case core.Tell(record, reason):
                self._ports.report.held(record, reason)
            case core.Learn(model, limit):
                self._ports.repository.remember(f"{_SLOTS} {model}", str(limit))
            case core.Readmit():
                for one in self._records.all():
                    if one.hold and one.hold.cause is Cause.ACCOUNT:
                        self._readmitted.append(one.base_id)

    async def _look(self, key: str) -> Event:
        record = self._attempt(key)
        try:
            return await self._purchases.look(record, lambda: self.wanted(key))
        except ProviderError as error:
            return core.Failed(Asked.LOOK, record, trouble_of(error))

    async def _fetch(self, key: str) -> Event:
        record = self._attempt(key)
        lengths = (wish.seconds for wish in self._wishes(key))
        try:
            saved = await self._saver.save(record, next(filter(None, lengths), None))
        except (ProviderError, MediaError) as error:
            kept = self._records.get(key) or record
            return core.Failed(Asked.FETCH, kept, trouble_of(error))
        return core.Fetched(saved.record, saved.again_at)

    async def _ask_anything(self) -> None:
        """Find out whether the provider answers at all: a question about no task, else a page of the list."""
        for ask in (
            lambda: self._ports.client.query(_NO_TASK, endpoint=DEFAULT.ENDPOINT),
            lambda: self._ports.client.page(1, 1, endpoint=DEFAULT.ENDPOINT),
        ):
            self._asked_now()
            try:
                await ask()
            except ProviderError as error:
                if not trouble_of(error).is_answer:
                    self._asked_now()
                    continue
            self._share(decide.Advance.heard)
            return

    def _asked_now(self) -> None:
        contact = self.account.contact.asked(self._ports.now())
        self.account = replace(self.account, contact=contact)

    async def _deliver(self, key: str, effect: core.Deliver) -> Event:
        """Publish a result for each spec that wants it; then write their receipts (none: that of its own spec)."""
        record, wishes = self._attempt(key), self._wishes(key)
        specs, reason = sorted({wish.spec for wish in wishes}), ""
        for wish in self._places_at_rest(key, specs if effect.publish else []):
            try:
                if not await self._publisher.publish(wish, record):
                    self._records.apply(record, Lost())
                    return core.Delivered(record, lost=True)
            except OutputTaken as error:  # every plan finds it again: it need not be remembered
                self._ports.report.held(record, error.message)
            except errors.WorkspaceError as error:  # the other places get it all the same
                reason = error.message
        done = core.Delivered(record, reason=reason)
        return self._write_receipts(key, done, specs) if effect.receipts else done

    def _write_receipts(self, key: str, done: core.Delivered, specs: list[str]) -> core.Delivered:
        reason = ""
        for spec in specs or [done.record.spec]:
            if not self._specs.is_at_rest(spec):
                done = replace(done, waits=True, unwritten=True)
            elif specs and not self._places(key, spec):
                done = replace(done, unwritten=True)  # the spec asks for something else since
            else:
                try:
                    self.receipts.write(spec, newly=done.record)
                except errors.ReconcilerError as error:
                    reason = error.message
        return replace(done, reason=done.reason or reason)

    def _attempt(self, key: str) -> Record:
        record = self._records.of(key).current()
        assert record is not None
        return record

    def _wishes(self, key: str) -> tuple[Generation, ...]:
        work = self._records.of(key).work
        return work.wishes if work else ()

    def _places(self, key: str, spec: str) -> list[Generation]:
        return [one for one in self._specs.declared(spec) if one.external_task_id == key]

    def _places_at_rest(self, key: str, specs: list[str]) -> Iterator[Generation]:
        for spec in specs:
            if self._specs.is_at_rest(spec):
                yield from self._places(key, spec)

    def _take_slot(self, record: Record) -> bool:
        change = self._change(record.base_id)
        taken = change.take_slot(record)
        self._records.put(change.progress)
        self.account = change.account
        return taken

    def _change(self, key: str = "") -> decide.Advance:
        """Return a change to begin with: of a generation and the account, or (no key) of the account."""
        return decide.Advance(self._records.of(key), self.account, self._terms, self._ports.now())

    def _share(self, happens: Callable[[decide.Advance], None]) -> None:
        """Make a change of the account alone."""
        happens(change := self._change())
        self.account = change.account
        for effect in change.effects:
            self._tell(effect)

    def _know(self, model: str) -> None:
        """Begin with what an earlier run learnt of a model; older programs learnt one number for all."""
        if model in self.account.lanes:
            return
        recall = self._ports.repository.recall
        learnt = recall(f"{_SLOTS} {model}") or recall(_SLOTS)
        slots = Slots(limit=int(learnt)) if learnt and learnt.isdigit() else Slots()
        self.account = self.account.with_slots(model, slots)


def _stopped(error: errors.ReconcilerError) -> Stopped:
    causes = {errors.CapReached: Cause.CAP, CannotKeep: Cause.DISK}
    return Stopped(errors.told(error), causes.get(type(error), Cause.OWN))
