"""What happens next to a generation under way: `advance(progress, event, account, terms, now)`.

`core.transitions.step` decides what becomes of its record. Decided here is when its turn is, how long to bear with
trouble, and what the trouble concerns: this generation (held, with a sentence), the account (all purchases pause), or
the connection (back-off, and after long enough the end of the run). Nothing here fails a task.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from reconciler.core import progress as core
from reconciler.core.account import Account, Failures, Move, Patience, next_move
from reconciler.core.errors import counted
from reconciler.core.progress import (
    GIVEN_UP,
    Asked,
    At,
    Cause,
    Done,
    Held,
    Trouble,
    TroubleKind,
    Verdict,
)
from reconciler.core.schedule import HOUR, MOST_RETRY, SECOND, Brake, backoff
from reconciler.core.states import LIVE, Record, Status
from reconciler.core.transitions import may_turn_up

MOST_SAVES = 8  # failures in a row before a result is left for later
_LIVE = 2  # times the patience before a create: what is in flight may be paid for
_SELDOM = HOUR  # between two downloads of a result that is too large
_NOT_SHOWN = "the provider says that a task with this id exists, but does not show it yet; it may have been paid for, so nothing is sent: `watch` or the next run goes on looking"


def advance(
    progress: core.Progress, event: core.Event, account: Account, terms: core.Terms, now: int
) -> Advance:
    """Return what an event makes of a generation and of the account, and what to do."""
    change = Advance(progress, account, terms, now)
    verdict = _on(change, event)
    in_turn = not isinstance(event, core.Stopped) or event.in_turn
    change.verdict = verdict if verdict is None or not in_turn else _end_turn(change, verdict)
    return change


def _on(change: Advance, event: core.Event) -> Verdict | None:
    match event:
        case core.Due():
            return _due(change)
        case core.Looked():
            return _looked(change, event)
        case core.Fetched():
            return _fetched(change, event)
        case core.Failed():
            return _failed(change, event)
        case core.Polled():
            return _polled(change, event)
        case core.Delivered():
            return _delivered(change, event)
        case core.Stopped(reason, cause, in_turn):
            record = change.progress.current() if in_turn else change.progress.record
            return change.hold(record, reason, cause)


@dataclass(slots=True)
class Advance:
    """The state after an event, the effects to carry out in their order, and when the next turn is.

    Without a verdict, the last effect acts on the outside, and what comes of it is the next event.
    """

    progress: core.Progress
    account: Account
    terms: core.Terms
    now: int
    effects: list[core.Effect] = field(default_factory=list)
    verdict: Verdict | None = None

    def note(self, **changes: object) -> None:
        """Change what is known of the generation."""
        self.progress = replace(self.progress, **changes)  # type: ignore[arg-type]

    def say(self, sentence: str, topic: core.Topic = core.Topic.OTHER) -> None:
        """Have the user told."""
        self.effects.append(core.Say(sentence, topic))

    def hold(
        self, record: Record | None, reason: str, cause: Cause = Cause.OWN, until: int | None = None
    ) -> Held:
        """Leave the generation where it is; a run that ends leaves it to the next one."""
        if cause is Cause.CAP and self.terms.enduring and not self.account.capped:
            self.account = replace(self.account, capped=True)
            self.say(reason, core.Topic.CAP)
        self.note(hold=core.Hold(reason, cause))
        if record is not None:
            self.effects.append(core.Tell(record, reason))
        if not self.terms.enduring:
            return Held(None)
        if until is not None:
            return Held(until)
        tries = self.progress.tries + 1
        self.note(tries=tries)
        key = self.progress.base_id
        return Held(self.now + backoff(tries, key, first=self.terms.first_retry, most=MOST_RETRY))

    def take_slot(self, record: Record) -> bool:
        """Give a slot for a create that is about to be sent; False where none is free."""
        if self.progress.slot != record.model and self.account.is_full(record.model):
            return False
        self.hold_slot(record.model)
        return True

    def hold_slot(self, model: str | None) -> None:
        """Count the generation as one that holds a slot of this model, or none (None), whatever the limit."""
        held = self.progress.slot
        if held == model:
            return
        if held is not None:
            self.account = self.account.freed(held)
        if model is not None:
            self.account = self.account.held(self.progress.base_id, model)
        self.note(slot=model)

    def heard(self) -> None:
        """Note that the provider gave a readable answer, whatever was asked."""
        if self.account.silence:
            seconds = (self.now - self.account.contact.silent_since) // SECOND
            self.say(f"the provider answers again, after {seconds} s")
        contact = self.account.contact.heard(self.now)
        self.account = replace(self.account, contact=contact, silence="")

    def answered(self, *, create: bool = False) -> None:
        """Note an answer that an account in trouble does not get: to a create, or to a question."""
        if self.account.pause.reason and self.terms.enduring:
            self.account = self.account.resumed(create=create)
            if not self.account.pause.reason:
                self.say("the account can be used again; submitting resumes", core.Topic.ACCOUNT)
                self.effects.append(core.Readmit())

    def close(self, trouble: Trouble, *, by_create: bool) -> None:
        """Pause the account, and say so once."""
        if not self.account.pause.reason:
            told = f"submitting is paused for the whole account: {trouble.told}"
            self.say(told, core.Topic.ACCOUNT)
        self.account = self.account.paused(trouble.told, self.now, by_create=by_create)

    def pause(self, trouble: Trouble, record: Record, *, by_create: bool) -> Held:
        """Pause the account, and hold this generation until the account may be asked again."""
        self.close(trouble, by_create=by_create)
        return self.hold(record, trouble.told, Cause.ACCOUNT, self.account.again_at(self.now))

    def count(self, record: Record | None) -> None:
        """Have the generation hold a slot while it may have a task, unless nothing is seen of it for long."""
        holds_one = (
            record is not None
            and record.status in LIVE
            and not self.progress.hold
            and not self.progress.failures.lasts(self.limits(record, patient=True))
        )
        self.hold_slot(record.model if record is not None and holds_one else None)

    def learn(self, model: str, change: Callable[[Account], Account]) -> None:
        """Change what is known of a model's slots, and have a new limit remembered."""
        before = self.account.lane(model).slots.limit
        self.account = change(self.account)
        if (limit := self.account.lane(model).slots.limit) != before:
            self.effects.append(core.Learn(model, limit))

    def probe(self) -> None:
        """Let this generation try whether the account's trouble is over, where it is time for it."""
        if self.terms.enduring and self.account.pause.reason:
            self.account = self.account.probed_by(self.progress.base_id, self.now)

    def obstacle(self) -> str:
        """Return why nothing may be bought for the generation now; empty where it may be."""
        if self.progress.work and self.progress.work.obstacle:
            return self.progress.work.obstacle
        if self.account.is_shut_to(self.progress.base_id):
            return self.account.pause.reason
        brake = self.progress.brake  # in a run that endures for a while, in any other to its end
        if not brake.is_on() or (self.terms.enduring and self.now >= brake.ends_at()):
            return ""
        told = f"{counted(brake.creates, 'request')} to create it had no readable answer, and no task showed up"
        if not self.terms.enduring:
            return f"{told}; ask the provider before you run again"
        hours = (brake.ends_at() - brake.last_at) // HOUR
        return f"{told}; the next one is sent {hours} h after the last, unless the task shows up: ask the provider"

    def limits(self, record: Record, *, patient: bool = False) -> Patience:
        """Return how long to bear with silence about an attempt."""
        first, later = self.terms.first_patience, self.terms.patience
        one = min(later, _LIVE * first) if record.status in LIVE else first
        return Patience(first, later, later if patient else one)

    def back_off(self, record: Record, *, most: int = 60 * SECOND) -> At:
        """Ask again later with every failure, but not past the end of our patience."""
        limits = self.limits(record)
        failures = self.progress.failures.failed(self.now)
        wait = backoff(max(failures.count - 1, 1), self.progress.base_id, most=most)
        if not self.terms.enduring:
            wait = min(wait, max(self.account.contact.ends_at(limits) - self.now, SECOND))
            if (left := failures.since + limits.one - self.now) > 0:
                wait = min(wait, left)
        return At(self.now + wait)


def _due(change: Advance) -> Verdict | None:
    progress = change.progress
    record = progress.attempt()
    if record is None:
        # Its hold stays: a complete generation may be held for its receipt.
        change.hold_slot(None)
        change.account = change.account.turn_over(progress.base_id, change.now)
        return Done()
    change.note(began_as=record.status)
    change.count(record)
    match record.status:
        case Status.PENDING:
            return _submit(change, record)
        case Status.SUBMITTING:
            if record.gave_up_at is None or progress.inherited:
                change.note(inherited=False)
                change.effects.append(core.TakeUp(record))
            change.effects.append(core.Look())
        case Status.SUBMITTED | Status.PROCESSING:
            return core.InFlight()
        case Status.SUCCEEDED | Status.COMPLETE:
            change.effects.append(
                core.Fetch() if record.status is Status.SUCCEEDED else core.Deliver()
            )
        case _ if _is_looked_at_again(change, record):
            change.note(looked_at=(record.external_task_id, change.now))
            change.effects.append(core.Look())
        case _:
            change.effects.append(core.Deliver(publish=False))
    return None


def _submit(change: Advance, record: Record) -> Verdict | None:
    progress, account = change.progress, change.account
    if progress.work is None or not progress.work.wishes:
        return Done()
    if not account.is_forward(progress.base_id) and not account.pause.reason:
        return core.Waits(record.model)  # a generation that was held does not overtake others
    change.probe()
    if change.terms.enduring and change.account.is_shut_to(progress.base_id):
        until = change.account.again_at(change.now)
        return change.hold(record, account.pause.reason, Cause.ACCOUNT, until)
    change.effects.append(core.Look())
    return None


def _looked(change: Advance, event: core.Looked) -> Verdict | None:
    change.heard()
    change.answered()
    if event.trouble is not None:
        return _not_created(change, event, event.trouble)
    change.note(failures=Failures())
    return _after(change, event)


def _after(change: Advance, event: core.Looked) -> Verdict:
    """Go on after a look that was answered, and a create (if there was one) that went well."""
    record, now = event.record, change.now
    if record.task_id is not None:
        change.note(brake=Brake())
    # Others took the slots while this generation got ready: it is first in line now.
    if event.full:
        if record.status is Status.SUBMITTING or change.account.pause.reason:
            return At(now + change.terms.rules.poll_interval)
        return core.Waits(record.model, first=True)
    if record.status is Status.PENDING:
        return _not_bought(change, record)
    # A task that is not shown for two grace periods keeps no slot from others.
    since = now if record.gave_up_at is None else record.gave_up_at
    if record.in_use and now - since >= 2 * change.terms.rules.absence_grace:
        return change.hold(record, _NOT_SHOWN, until=event.again_at)
    if record.status in core.FLYING and change.progress.began_as is not record.status:
        change.hold_slot(record.model)
        change.learn(record.model, lambda account: account.accepted(record.model, now))
        change.answered(create=True)
        change.account = replace(change.account, capped=False)
    if record.status is Status.SUBMITTING:
        return _at(event.again_at)
    return At(now)


def _not_bought(change: Advance, record: Record) -> Verdict:
    change.probe()
    reason = change.obstacle()
    if not reason:
        return Done()
    own = change.progress.work.obstacle if change.progress.work else ""
    is_account = not own and change.account.is_shut_to(change.progress.base_id)
    held = change.hold(record, reason, Cause.ACCOUNT if is_account else Cause.OWN)
    return Held(None) if own else held  # what is on this disk tells when it changes


def _not_created(change: Advance, event: core.Looked, trouble: Trouble) -> Verdict | None:
    """Go on after a create that was refused for the account's sake, did not leave, or is in doubt."""
    record = event.record
    if trouble.kind in {TroubleKind.SLOW_DOWN, TroubleKind.LATER}:
        return _failed(change, core.Failed(Asked.CREATE, record, trouble))
    change.note(failures=Failures())
    match trouble.kind:
        case TroubleKind.SLOTS:
            change.answered(create=True)
            change.learn(record.model, lambda account: account.refused(record.model, change.now))
            return core.Waits(record.model)
        case TroubleKind.ACCOUNT:
            return change.pause(trouble, record, by_create=True)
        case TroubleKind.REFUSED:
            change.answered(create=True)
        case TroubleKind.BROKE:
            change.note(brake=change.progress.brake.pressed(change.now))
            return change.hold(record, trouble.told)
        case _:
            change.note(brake=change.progress.brake.pressed(change.now))
            if trouble.kind is TroubleKind.MISDIRECTED:  # in doubt; and no other create goes there
                change.close(trouble, by_create=True)
    return _at(event.again_at) if record.status is Status.SUBMITTING else At(change.now)


def _fetched(change: Advance, event: core.Fetched) -> Verdict:
    change.heard()
    change.note(failures=Failures())
    change.answered()
    if event.record.status is Status.EXPIRED and event.record.results:
        change.effects.append(core.Deliver(receipts=False))
    return At(event.again_at or change.now)


def _failed(change: Advance, event: core.Failed) -> Verdict | None:
    """Find out what a request that came to nothing concerns: the generation, the account, the connection."""
    record, trouble = event.record, event.trouble
    if trouble.kind is TroubleKind.ACCOUNT and event.asked is not Asked.POLL:
        return change.pause(trouble, record, by_create=False)
    if event.asked is Asked.FETCH and trouble.kind is not TroubleKind.LATER:
        change.note(failures=change.progress.failures.failed(change.now))
        is_final = trouble.kind in {TroubleKind.UNSAFE, TroubleKind.TOO_LARGE, TroubleKind.UNPROVEN}
        if is_final or change.progress.failures.count >= MOST_SAVES:
            return _leave_result(change, record, trouble)
        return change.back_off(record, most=30 * SECOND)
    match _bear(change, event):
        case Move.ASK_ANYTHING:
            change.effects.append(core.AskAnything(replace(event, is_counted=True)))
            return None
        case Move.HOLD if event.asked is Asked.FETCH:
            return _leave_result(change, record, trouble)
        case Move.HOLD:
            asked = event.asked is Asked.CREATE or trouble.kind is TroubleKind.UNPROVEN
            not_asked = "it cannot be asked about, although the provider answers other questions: "
            return change.hold(record, trouble.told if asked else not_asked + trouble.told)
        case _ if event.asked is Asked.POLL:
            return core.InFlight()
        case _:
            most = (30 if event.asked is Asked.FETCH else 60) * SECOND
            return change.back_off(record, most=most)


def _bear(change: Advance, event: core.Failed) -> Move:
    """Count a request that came to nothing, and return what to do: hold the generation, ask anything, or ask on."""
    record, trouble = event.record, event.trouble
    if trouble.kind is TroubleKind.UNPROVEN:  # it was answered, and asking again answers the same
        change.heard()
        return Move.HOLD
    if not event.is_counted:
        change.note(failures=change.progress.failures.failed(change.now))
        if trouble.is_answer:
            change.heard()
        else:
            contact = change.account.contact.unheard(change.now)
            change.account = replace(change.account, contact=contact)
    limits = change.limits(record, patient=trouble.kind is TroubleKind.SLOW_DOWN)
    contact = change.account.contact
    move = next_move(change.progress.failures, contact, limits, change.now)
    if move is Move.ASK_ANYTHING and not event.is_counted:
        return move
    if move is Move.GIVE_UP and not change.terms.enduring:
        seconds = (limits.later if contact.answered else limits.first) // SECOND
        told = f"the provider gave no readable answer for {seconds} s: {trouble.message}"
        change.effects.append(core.GiveUp(told))
    if change.terms.enduring and not change.account.silence and contact.is_noticed(change.now):
        said = f"the provider gives no readable answer; still asking: {trouble.message}"
        change.account = replace(change.account, silence=said)
        change.say(said)
    return Move.HOLD if move is Move.HOLD else Move.ASK_ON


def _leave_result(change: Advance, record: Record, trouble: Trouble) -> Verdict:
    """Leave a result for later; what was saved of it is published."""
    reason = f"bought, but its result could not be saved yet: {trouble.told}"
    if trouble.kind is TroubleKind.UNPROVEN:
        reason = f"nothing is fetched: {trouble.told}"
    until = change.now + _SELDOM if trouble.kind is TroubleKind.TOO_LARGE else None
    held = change.hold(record, reason, until=until)
    if record.results:
        change.effects.append(core.Deliver(receipts=False))
    return held


def _polled(change: Advance, event: core.Polled) -> Verdict:
    if event.shown:
        change.note(failures=Failures(), hold=None, tries=0)
    else:
        change.note(failures=change.progress.failures.failed(change.now))
    record = change.progress.record
    change.count(record)
    return (
        core.InFlight() if record is not None and record.status in core.FLYING else At(change.now)
    )


def _delivered(change: Advance, event: core.Delivered) -> Verdict:
    if event.lost:
        return At(change.now)
    change.note(unwritten=event.unwritten)
    if event.reason:
        return change.hold(event.record, event.reason)
    return At(change.now + SECOND) if event.waits else Done()


def _is_looked_at_again(change: Advance, record: Record) -> bool:
    """Whether to look at an attempt that an earlier run gave up, or this run long ago: it may be found."""
    if record.status not in GIVEN_UP:
        return False
    if change.progress.looked_at is None or change.progress.looked_at[0] != record.external_task_id:
        return True
    next_look = _next_look(change, record)
    return next_look is not None and change.now >= next_look


def _next_look(change: Advance, record: Record | None) -> int | None:
    """Return when a run that endures looks again at an attempt that was given up, while it may turn up."""
    looked_at = change.progress.looked_at
    if record is None or looked_at is None or looked_at[0] != record.external_task_id:
        return None
    if not change.terms.enduring or not may_turn_up(record, change.now):
        return None
    return looked_at[1] + change.terms.look_again


def _end_turn(change: Advance, verdict: Verdict) -> Verdict:
    """End a turn: others may come forward, and a hold that was not renewed is over."""
    began, record = change.progress.began_as, change.progress.record
    if began is None:
        if isinstance(verdict, Held):  # a task that cannot be asked about keeps no slot from others
            change.count(record)
        return verdict
    change.note(began_as=None)
    change.account = change.account.turn_over(change.progress.base_id, change.now)
    if isinstance(verdict, Done | At):  # otherwise nothing was found out yet
        change.note(hold=None, tries=0)
    if record is not None and record.status in GIVEN_UP and began not in GIVEN_UP:
        change.note(looked_at=(record.external_task_id, change.now))
    change.count(record)
    is_over = isinstance(verdict, Done) or verdict == Held(None)
    next_look = _next_look(change, record) if is_over else None
    return verdict if next_look is None else At(next_look)


def _at(at: int | None) -> Verdict:
    return Done() if at is None else At(at)
