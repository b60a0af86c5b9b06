"""The one module that can spend money: it looks, and creates only where the look was answered with *unknown*.

Order is everything here (rules 1 to 4):

1. ask by id; only a readable *unknown* lets `core.transitions.step` decide to create;
2. make what the request needs (transcode, upload, Base64) while nothing is promised yet; where that took a while, ask again;
3. put the intent on disk;
4. send one create, and write down what came of it. Whatever stops the program in between leaves the record in
   `submitting`, and the next one begins with a look.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from reconciler.core.generations import Generation
from reconciler.core.identity import PREFIX
from reconciler.core.schedule import SECOND
from reconciler.core.states import Record, Status, Task
from reconciler.core.transitions import (
    Absent,
    Ambiguous,
    Event,
    Held,
    Refused,
    Seen,
    Step,
    step,
)
from reconciler.engine.inputs import LocalInputs
from reconciler.engine.journal import Journal
from reconciler.engine.ports import Options, Ports
from reconciler.kling import errors
from reconciler.kling.client import Reply
from reconciler.kling.wire import create_body

_SURELY_OURS = frozenset(
    {1202, 1203}
)  # no such method or model; policy refusals are told by their class
_LOOK_HOLDS = 1 * SECOND  # how old a look may be when the intent is written; an upload takes longer
_KINDS = {
    Seen: "accepted",
    Ambiguous: "in doubt",
    Held: "not created",
    Refused: "refused",
}  # in the history


Wanted = Callable[[], Generation | None]
"""Says which wish a create would be for; None where nothing may be bought now: no spec asks for it any more, or
something stands in the way."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a look, or the create that followed it, came to."""

    record: Record
    again_at: int | None = None  # ms: when the next look is due, if one is
    trouble: errors.ProviderError | None = (
        None  # why nothing was created, where the cause is not the request
    )
    full: bool = False  # ready to be created, and no slot was free


class Purchases:
    """Looks and creates; the only caller of `KlingClient.create`."""

    def __init__(
        self, ports: Ports, options: Options, journal: Journal, take_slot: Callable[[str], bool]
    ) -> None:
        self._ports = ports
        self._options = options
        self._journal = journal
        self._take_slot = take_slot
        self._inputs = LocalInputs(ports, host_images=options.host_images)
        self._closed = False

    def close(self) -> None:
        """Send no further create; those under way may still be answered."""
        self._closed = True

    async def look(self, record: Record, wanted: Wanted) -> Outcome:
        """Ask the provider for the task; when it is readably unknown and still `wanted`, create it.

        `wanted` is asked after the answer, and once more right before the intent: wishes change meanwhile.

        Raises:
            ProviderError: the question was not answered readably; nothing changed.
            CapReached: a spending cap would be passed; nothing was sent.
            WorkspaceError: an input changed, cannot be read or cannot be prepared; nothing was sent.
            HostingError: the media store does not take an input; nothing was sent.
        """
        reply = await self._ports.client.query(record.external_task_id)
        now = self._journal.get(record.base_id)
        if now is not None and _has_moved(record, now):  # the answer is to an old question
            return Outcome(now, self._ports.now())
        event: Event = Absent() if reply.task is None else Seen(reply.task)
        wish = None if self._closed else wanted()
        decision = step(
            record,
            event,
            rules=self._options.rules,
            now=self._ports.now(),
            wanted=wish is not None,
        )
        if decision.create and wish is not None:
            if wish.canonical != record.request:  # an id of the user's own got another content
                waits = record.status is Status.SUBMITTING
                later = self._ports.now() + self._options.rules.poll_interval
                return Outcome(record, later if waits else None)
            return await self._create(record, decision.record, wish, wanted)
        return self._learn(record, decision, reply)

    def _learn(self, record: Record, decision: Step, reply: Reply) -> Outcome:
        """Write down what a look showed, when that is something new."""
        if decision.record != record:
            kind = "looked" if reply.task is None else "adopted"
            if (
                reply.task is not None
                and record.status is Status.PENDING
                and not record.base_id.startswith(PREFIX)
            ):
                self._ports.report.say(
                    f"`{record.external_task_id}` exists at the provider already and was adopted; "
                    "an id of your own cannot prove what it was made from: look at the result"
                )
            self._journal.commit(decision.record, kind=kind, request_id=reply.request_id)
        return Outcome(decision.record, decision.again_at)

    async def _create(
        self, before: Record, intent: Record, wish: Generation, wanted: Wanted
    ) -> Outcome:
        looked_at = self._ports.now()
        body = await self._body(wish, intent.external_task_id)
        # While the inputs were prepared anything may have changed, and nothing is promised yet.
        late: Reply | None = None
        if self._ports.now() - looked_at > _LOOK_HOLDS:
            late = await self._ports.client.query(before.external_task_id)
        now = self._journal.get(before.base_id)
        if now is not None and _has_moved(before, now):
            return Outcome(now, self._ports.now())
        if late is not None and late.task is not None:
            seen = step(before, Seen(late.task), rules=self._options.rules, now=self._ports.now())
            return self._learn(before, seen, late)
        still = wanted()
        if self._closed or still is None or still.canonical != wish.canonical:
            return Outcome(
                before, self._ports.now() if before.status is Status.SUBMITTING else None
            )
        if not self._take_slot(before.base_id):
            return Outcome(before, full=True)
        intent = self._journal.intend(intent)
        trouble: errors.ProviderError | None = None
        try:
            reply = await self._ports.client.create(body)
        except errors.ProviderError as error:
            trouble = error
            event, request_id = _event(error), error.request_id
        else:
            event, request_id = _answer(reply.task), reply.request_id
        decision = step(intent, event, rules=self._options.rules, now=self._ports.now())
        self._journal.commit(decision.record, kind=_KINDS[type(event)], request_id=request_id)
        return Outcome(decision.record, decision.again_at, trouble)

    async def _body(self, wish: Generation, external_task_id: str) -> dict[str, object]:
        return create_body(
            wish.request,
            external_task_id=external_task_id,
            image=await self._inputs.image(wish.image),
            video_url=await self._inputs.video(wish.video),
            callback_url=wish.callback_url or self._options.callback_url,
        )


def _has_moved(before: Record, now: Record) -> bool:
    """Whether somebody else brought a generation forward, or began another attempt."""
    if now.external_task_id != before.external_task_id:
        return now.attempt > before.attempt
    return (now.status, now.task_id, now.creates) != (before.status, before.task_id, before.creates)


def _answer(task: Task | None) -> Event:
    return Ambiguous("the create was answered without a task") if task is None else Seen(task)


def _event(error: errors.ProviderError) -> Event:
    """Sort a failed create by one question: whether the server could have acted."""
    match error:
        case errors.RequestRefused():
            sure = error.policy or error.code in _SURELY_OURS
            return Refused(error.message, surely_ours=sure)
        case (
            errors.SlotsExhausted() | errors.SlowDown() | errors.AccountTrouble() | errors.NotSent()
        ):
            return Held(error.message)
        case _:
            return Ambiguous(error.message)
