"""The one module that can spend money: it looks, and creates only where the look was answered with *unknown*.

Order is everything here (rules 1 to 4):

1. ask by id; only a readable *unknown* lets `core.transitions.step` decide to create;
2. prepare the inputs (transcode, upload, Base64) before any intent; where that took a while, ask again;
3. put the intent on disk;
4. send one create, and write down its outcome. A program stopped in between leaves the record in `submitting`, and the
   next one begins with a look.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from reconciler.core import transitions
from reconciler.core.generations import Generation
from reconciler.core.identity import is_computed
from reconciler.core.progress import Looked
from reconciler.core.schedule import SECOND
from reconciler.core.states import ALIVE, Record, Reply, Status
from reconciler.engine.ask.answers import UNPROVEN, Answers, event_of, trouble_of
from reconciler.engine.buy.sender import Sender
from reconciler.engine.ports import Options, Ports
from reconciler.engine.records import INTENT, Records
from reconciler.kling import errors
from reconciler.kling.wire import create_body
from reconciler.workspace.files.outputs import check_room

_SURELY_OURS = frozenset({1203})  # no such model; policy refusals are told by their class
_LOOK_HOLDS = 1 * SECOND  # how old a look may be when the intent is written; an upload takes longer
REFUSED = "refused"
# In the history.
_KINDS = {
    transitions.Seen: "accepted",
    transitions.Ambiguous: "in doubt",
    transitions.Exists: "exists",
    transitions.NotCreated: "not created",
    transitions.Refused: REFUSED,
}
ENDS_OF_A_CREATE = frozenset({INTENT, *_KINDS.values()})
"""What the history says last of a create; after any of these but `REFUSED` a task may exist."""


Wanted = Callable[[], Generation | None]
"""Returns the wish that a create would be for; None where nothing may be bought now."""


@dataclass(frozen=True, slots=True)
class _Sight:
    """The provider's answers about all attempts at a generation."""

    reply: Reply  # about the attempt that was looked for
    other: Record | None = None  # another attempt that takes its place
    request_id: str = ""


class Purchases:
    """Looks and creates; the only caller of `KlingClient.create`."""

    def __init__(
        self, ports: Ports, options: Options, records: Records, take_slot: Callable[[Record], bool]
    ) -> None:
        self._ports = ports
        self._options = options
        self._records = records
        self._answers = Answers(ports.client, ports.repository)
        self._take_slot = take_slot
        self._sender = Sender(ports, host_images=options.host_images)
        self._closed = False

    def close(self) -> None:
        """Send no further create; those under way may still be answered."""
        self._closed = True

    async def look(self, record: Record, wanted: Wanted) -> Looked:
        """Ask the provider for the task; when it is readably unknown and still `wanted`, create it.

        `wanted` is asked after the answer, and once more right before the intent: wishes change meanwhile.

        Raises:
            ProviderError: the question was not answered readably; nothing changed.
            CapReached: a spending cap would be passed; nothing was sent.
            WorkspaceError: an input changed, cannot be read or cannot be prepared, or the result could not be put
                beside the spec; nothing was sent.
            HostingError: the media store does not take an input; nothing was sent.
        """
        sight = await self._sight(record)
        if over := self._other_than(record, sight):
            return over
        wish = None if self._closed else wanted()
        decision = self._step(record, sight.reply, wanted=wish is not None)
        if decision.create and wish is not None:
            if wish.canonical != record.request:  # an id of the user's own got another content
                waits = record.status is Status.SUBMITTING
                later = self._ports.now() + self._options.rules.poll_interval
                return Looked(record, later if waits else None)
            return await self._create(record, decision.record, wish, wanted)
        return self._learn(record, decision, sight.reply)

    async def _sight(self, record: Record) -> _Sight:
        """Ask for an attempt and, where it could lead to a create or is over, for all others at the generation."""
        reply = await self._answers.about(record)
        seen = self._step(record, reply)
        if seen.record.status in ALIVE and not seen.create:
            return _Sight(reply)
        others = [
            (self._step(known, found).record, found.request_id)
            for known, found in await self._answers.about_others(record)
        ]
        other = transitions.in_place_of(seen.record, [attempt for attempt, _ in others])
        request_id = next((request for attempt, request in others if attempt is other), "")
        return _Sight(reply, other, request_id)

    def _step(self, record: Record, reply: Reply, *, wanted: bool = True) -> transitions.Step:
        return self._records.decide(record, event_of(reply), wanted=wanted)

    def _other_than(self, record: Record, sight: _Sight | None) -> Looked | None:
        """Return the record where it changed meanwhile, or another attempt that the provider has; None for neither."""
        now = self._records.get(record.base_id)
        if now is not None and _has_moved(record, now):  # the answer is to an old question
            return Looked(now, self._ports.now())
        if sight is None or sight.other is None:
            return None
        self._say_if_unproven(sight.other)
        self._records.commit(sight.other, "adopted", request_id=sight.request_id)
        return Looked(sight.other)

    def _learn(self, record: Record, decision: transitions.Step, reply: Reply) -> Looked:
        """Write down what a look showed, where that changes the record."""
        if decision.record != record:
            if reply.task is not None and record.status is Status.PENDING:
                self._say_if_unproven(record)
            kind = "looked" if reply.task is None else "adopted"
            self._records.commit(decision.record, kind, request_id=reply.request_id)
        return Looked(decision.record, decision.again_at)

    def _say_if_unproven(self, record: Record) -> None:
        if not is_computed(record.external_task_id):
            already = f"`{record.external_task_id}` already exists at the provider"
            self._ports.report.say(f"{already} and was adopted{UNPROVEN}")

    async def _create(
        self, before: Record, intent: Record, wish: Generation, wanted: Wanted
    ) -> Looked:
        looked_at = self._ports.now()
        check_room(self._ports.root, str(PurePosixPath(wish.spec).parent))
        self._ports.objects.check_room()
        body = create_body(
            wish.kind.body(wish.request, await self._sender.inputs(wish)),
            external_task_id=intent.external_task_id,
            callback_url=wish.callback_url or self._options.callback_url,
        )
        # Anything may have changed while the inputs were prepared.
        if over := await self._over_since(looked_at, before):
            return over
        still = wanted()
        if self._closed or still is None or still.canonical != wish.canonical:
            again_at = self._ports.now() if before.status is Status.SUBMITTING else None
            return Looked(before, again_at)
        if not self._take_slot(before):
            return Looked(before, full=True)
        return await self._send(self._records.intend(intent), body)

    async def _over_since(self, looked_at: int, record: Record) -> Looked | None:
        """Return what became of an attempt after a look, asking again where that is old; None for nothing new."""
        is_old = self._ports.now() - looked_at > _LOOK_HOLDS
        late = await self._sight(record) if is_old else None
        over = self._other_than(record, late)
        if over or late is None or late.reply.task is None:
            return over
        return self._learn(record, self._step(record, late.reply), late.reply)

    async def _send(self, intent: Record, body: dict[str, object]) -> Looked:
        """Send the one create that the intent on disk stands for, and write down its outcome."""
        trouble: errors.ProviderError | None = None
        try:
            reply = await self._ports.client.create(body, endpoint=intent.endpoint)
            self._answers.check(intent, reply.task)
        except errors.Unreadable as error:
            # The answer is about another attempt's task: what became of this create is not known.
            trouble = errors.OutcomeUnknown(error.message)
            event, request_id = _event(trouble), ""
        except errors.ProviderError as error:
            trouble = error
            event, request_id = _event(error), error.request_id
        else:
            unnamed = transitions.Ambiguous("the create was answered without a task")
            event = unnamed if reply.task is None else transitions.Seen(reply.task)
            request_id = reply.request_id
        decision = self._records.apply(intent, event, _KINDS[type(event)], request_id=request_id)
        came_to = None if trouble is None else trouble_of(trouble)
        return Looked(decision.record, decision.again_at, came_to)


def _has_moved(before: Record, now: Record) -> bool:
    """Whether the record was changed meanwhile, or another attempt took its place."""
    if now.external_task_id != before.external_task_id:
        return now.attempt > before.attempt or now.status in ALIVE
    return (now.status, now.task_id, now.creates) != (before.status, before.task_id, before.creates)


def _event(error: errors.ProviderError) -> transitions.Event:
    """Sort a failed create by one question: whether the server could have acted."""
    match error:
        case errors.IdInUse():
            return transitions.Exists(error.message)
        case errors.RequestRefused():
            sure = error.policy or error.code in _SURELY_OURS
            return transitions.Refused(error.message, surely_ours=sure)
        case (
            errors.SlotsExhausted() | errors.SlowDown() | errors.AccountTrouble() | errors.NotSent()
        ):
            return transitions.NotCreated(error.message)
        case _:
            return transitions.Ambiguous(error.message)
