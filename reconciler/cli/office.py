"""Where orders are given: the folder, whether this process may write in it, and the way to whoever does.

With the lock in hand an order is carried out here; a running `watch` has it handed over through its inbox.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from reconciler.cli.project import Folder, ProjectRoot, open_folder, select
from reconciler.cli.terminal import ExitCode, err, out
from reconciler.core.errors import StateError, StateLocked, WorkspaceError
from reconciler.core.printable import labelled
from reconciler.core.schedule import SECOND
from reconciler.core.states import Record
from reconciler.engine.survey import Survey
from reconciler.store.inbox import Inbox

if TYPE_CHECKING:
    from reconciler.engine.orders import Order, Outcome

_TAKEN = 10.0  # s; a daemon looks into its inbox far more often
_DONE = 60.0  # s from then on
_LATE = 5.0  # s that an order may be late: longer than that nobody waits for it
_LOOK_AGAIN = 0.05  # s


@dataclass(frozen=True, slots=True)
class Office:
    """A folder that was opened for an order, and what was found there."""

    folder: Folder
    survey: Survey
    writer: StateLocked | None  # who else writes here; None: we do

    def bases(self, what: Sequence[str]) -> list[str]:
        """Return the generations that specs, folders of specs or ids name.

        Raises:
            WorkspaceError: something names neither.
        """
        return list(dict.fromkeys(base for name in what for base in self._bases(name)))

    def known(self, base_id: str) -> Record | None:
        """Return the latest attempt at a generation, by the state or else by a receipt."""
        return self.survey.records.get(base_id)

    def called(self, base_id: str) -> str:
        """Return how people call a generation."""
        wishes = (w for w in self.survey.desired.generations if w.external_task_id == base_id)
        place = next(wishes, None) or self.known(base_id)
        if place is None or not place.spec:
            return base_id
        return labelled(place.spec, place.label)

    def carry_out(self, verb: str, names: Iterable[str], seen: Iterable[str] = ()) -> Outcome:
        """Have an order carried out: here, or by the process that writes.

        `seen` is what was seen of each name, where the survey does not tell.

        Raises:
            OrderError: a name is none.
            StateLocked: another process writes, and takes no orders.
        """
        from reconciler.engine.fitting import sightings
        from reconciler.engine.orders import Order, Verb

        chosen = tuple(names)
        shown = tuple(seen) or sightings(verb, chosen, self.survey)
        order = Order(Verb(verb), chosen, shown)
        if self.writer is None:
            return asyncio.run(carry_out_here(self.folder, order))
        inbox = Inbox(self.folder.root / self.folder.settings.state_dir)
        given = int(time.time() * SECOND)
        until = given + int((_TAKEN + _DONE + _LATE) * SECOND)
        return _hand_over(inbox, replace(order, given=given, until=until), self.writer)

    def _bases(self, name: str) -> list[str]:
        if found := self.folder.repository.find(name):
            return [found.base_id]
        wanted = {wish.external_task_id for wish in self.survey.desired.generations}
        if name in wanted or name in self.survey.records:
            return [name]
        try:
            chosen = select(self.folder, self.survey.desired, [Path(name)])
        except WorkspaceError as error:
            hint = "Give a spec's path, or an id as `reconciler status --json` shows it."
            raise WorkspaceError(f"`{name}` names no spec and no generation", hint=hint) from error
        if chosen.invalid and not chosen.generations:
            hint = "`reconciler validate` says what is wrong with it."
            raise WorkspaceError(f"`{name}` is invalid, so it asks for nothing", hint=hint)
        return [wish.external_task_id for wish in chosen.generations]


@contextmanager
def open_office(root: ProjectRoot) -> Iterator[Office]:
    """Open a folder as its only writer or, where another process is that, to read and to hand over."""
    with ExitStack() as stack:
        writer = None
        try:
            folder = stack.enter_context(open_folder(root, write=True))
        except StateLocked as locked:
            writer = locked
            folder = stack.enter_context(open_folder(root))
        yield Office(folder, folder.surveyor.survey(folder.load()), writer)


def say(outcome: Outcome) -> int:
    """Print what came of an order; return the exit code."""
    for sentence in outcome.said:
        out.print(escape(sentence))
    return ExitCode.DONE if outcome.ok else ExitCode.ERROR


class _Quiet:
    """A reporter for an order: what came of it is told in sentences afterwards."""

    def changed(self, record: Record) -> None:
        """Say nothing."""

    def held(self, record: Record, reason: str) -> None:
        """Say nothing."""

    def say(self, message: str, topic: object = None) -> None:  # noqa: ARG002
        """Tell something that concerns everybody."""
        err.print(f"[bold yellow]warning:[/] {escape(message)}")


async def carry_out_here(folder: Folder, order: Order) -> Outcome:
    """Carry an order out in this process, which has the lock."""
    from reconciler.cli.running import SteadyClock, open_ports, options_of
    from reconciler.engine.journal import Journal
    from reconciler.engine.orders import carry_out

    survey, options = folder.surveyor.survey(folder.load()), options_of(folder.settings)
    async with open_ports(folder, _Quiet(), SteadyClock()) as ports:
        journal = Journal(ports, options, survey.stored)
        journal.take_over(survey.records.values())
        return await carry_out(order, ports, options, journal, survey)


def _hand_over(inbox: Inbox, order: Order, writer: StateLocked) -> Outcome:
    """Put an order into the inbox and wait for what comes of it; however that ends, nothing is left there to be done."""
    from reconciler.engine.orders import Outcome

    with _every_end_interrupts():
        ticket = inbox.new_ticket()
        try:
            inbox.put(order.document(), ticket)
            answer = _answer(inbox, ticket, _TAKEN)
            withdrawn = answer is None and inbox.withdraw(ticket)
            if not withdrawn:
                answer = answer or _answer(inbox, ticket, _DONE)
        except BaseException:
            with suppress(StateError):
                if not inbox.leave(ticket):
                    err.print("The daemon has taken the order, and carries it out if it has begun.")
            raise
        inbox.leave(ticket)
    if withdrawn:
        raise writer  # it is no daemon, or it is stuck
    if answer is None:
        return Outcome.left(
            "the daemon took the order but has not answered: what it has not begun, it will not do; "
            "`reconciler status` shows how things stand"
        )
    outcome = Outcome.read(answer)
    did = ("The running daemon did this, and goes on with it.",) if outcome.ok else ()
    return Outcome((*outcome.said, *did), outcome.touched, outcome.ok)


@contextmanager
def _every_end_interrupts() -> Iterator[None]:
    """Let a closed terminal and a plain `kill` interrupt as Ctrl-C does: what was left somewhere is taken back."""

    def interrupt(number: int, frame: object) -> None:  # noqa: ARG001 - the signature is the system's
        raise KeyboardInterrupt

    earlier = {
        number: signal.signal(number, interrupt)
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) == signal.SIG_DFL  # under nohup a closed terminal means nothing
    }
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _answer(inbox: Inbox, ticket: str, seconds: float) -> dict[str, object] | None:
    deadline = time.monotonic() + seconds
    while (answer := inbox.answered(ticket)) is None and time.monotonic() < deadline:
        time.sleep(_LOOK_AGAIN)
    return answer
