"""The commands that give orders: retry, import, refresh, forget, prune, gc. Each shows what it will do, and asks.

With the state's lock an order is carried out here; else it goes through the queue in the database to `watch`.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import typer
from rich.markup import escape

from reconciler.cli import project, views
from reconciler.cli.apply import settle
from reconciler.cli.console import err, out
from reconciler.cli.provider import require_provider
from reconciler.cli.terminal import ExitCode, agree, print_error
from reconciler.core.errors import StateError, StateLocked, WorkspaceError, counted
from reconciler.core.identity import split_attempt
from reconciler.core.orders import Order, Outcome, Verb
from reconciler.core.printable import labelled
from reconciler.core.progress import is_unsaved
from reconciler.core.schedule import SECOND
from reconciler.core.states import BOUGHT, Record, Status
from reconciler.engine.observe.survey import Survey
from reconciler.engine.orders.attempts import next_number, why_not
from reconciler.engine.orders.collect import garbage
from reconciler.engine.orders.context import sightings
from reconciler.engine.orders.forget import listed
from reconciler.engine.orders.take import carry_out
from reconciler.engine.records import Records
from reconciler.store.order_queue import OrderQueue, new_ticket, open_queue
from reconciler.workspace.files.outputs import signature

_TAKEN = 10.0  # s; a daemon takes orders, or says that it will, far more often
_DONE = 60.0  # s from then on
_LATE = 5.0  # s that an order may be late
_LOOK_AGAIN = 0.05  # s
_AT_ONCE = 1000  # files in one order, which is one document and delays all else


@dataclass(frozen=True, slots=True)
class Giver:
    """A folder that was opened to give an order, and its survey."""

    folder: project.Folder
    survey: Survey
    writer: StateLocked | None  # another process writes; None: this one does

    def bases(self, what: Sequence[str]) -> list[str]:
        """Return the base ids that specs, folders of specs or ids name; raises WorkspaceError for any other name."""
        return list(dict.fromkeys(base for name in what for base in self._bases(name)))

    def called(self, base_id: str) -> str:
        """Return a generation's name for people: its spec and label, or its id."""
        wishes = (w for w in self.survey.desired.generations if w.external_task_id == base_id)
        place = next(wishes, None) or self.survey.records.get(base_id)
        return labelled(place.spec, place.label) if place and place.spec else base_id

    def require_provider(self) -> None:
        """Check key and host before the user is asked; where another process writes, it checks that itself."""
        if self.writer is None:
            require_provider(self.folder, self.survey.stored)

    def carry_out(self, verb: Verb, names: Iterable[str], seen: Iterable[str] = ()) -> Outcome:
        """Carry an order out, or hand it to the process that writes; print and return its outcome.

        `seen` is what was seen of each name, where the survey does not tell.
        Raises OrderError: a name is wrong; StateLocked: another process writes, and takes no orders.
        """
        chosen = tuple(names)
        order = Order(verb, chosen, tuple(seen) or sightings(verb, chosen, self.survey))
        if self.writer is None:
            outcome = asyncio.run(carry_out_here(self.folder, order))
        else:
            with open_queue(project.database_of(self.folder.root, self.folder.settings)) as queue:
                if queue is None:
                    raise self.writer
                outcome = _hand_over(queue, order, self.writer)
        for sentence in outcome.said:
            out.print(escape(sentence))
        return outcome

    def _bases(self, name: str) -> list[str]:
        if found := self.folder.repository.find(name):
            return [found.base_id]
        desired = self.survey.desired
        wanted = {wish.external_task_id for wish in desired.generations}
        if name in wanted or name in self.survey.records:
            return [name]
        try:
            specs = project.select(self.folder, desired, [Path(name)])
        except WorkspaceError as error:
            hint = "Give a spec's path, or an id as `reconciler status --json` shows it."
            raise WorkspaceError(f"`{name}` names no spec and no generation", hint=hint) from error
        wishes = project.wishes_of(desired, specs)
        if not wishes and any(spec in desired.invalid for spec in specs or ()):
            hint = "`reconciler validate` says what is wrong with it."
            raise WorkspaceError(f"`{name}` is invalid, so it asks for nothing", hint=hint)
        return [wish.external_task_id for wish in wishes]


@contextmanager
def open_giver(context: typer.Context) -> Iterator[Giver]:
    """Open a folder as its only writer or, where another process is the writer, to read and to hand orders over."""
    with ExitStack() as stack:
        root, writer = project.root_of(context), None
        try:
            folder = stack.enter_context(project.open_folder(root, write=True))
        except StateLocked as locked:
            writer = locked
            folder = stack.enter_context(project.open_folder(root))
        yield Giver(folder, folder.survey(), writer)


def retry(context: typer.Context, what: Sequence[str], yes: bool) -> int:
    """Try failed, rejected or expired generations again."""
    with open_giver(context) as giver:
        chosen, holds = dict[str, Record](), giver.folder.repository.holds()
        for base in giver.bases(what):
            record = giver.survey.records.get(base)
            reason = why_not(record, holds.get(base, ""))
            if record is None or reason:
                out.print(escape(f"{giver.called(base)} {reason}."))
            else:
                chosen[base] = record
        if not chosen:
            out.print("Nothing to try again.")
            return ExitCode.DONE
        giver.require_provider()
        agree(_show_retries(giver, chosen), yes=yes, otherwise="nothing was bought")
        # Names the attempt that the user agreed to: the order creates no other one.
        names = (f"{base}={next_number(record)}" for base, record in chosen.items())
        outcome = giver.carry_out(Verb.RETRY, names)
        code = int(not outcome.ok)
        if giver.writer is None and outcome.touched:
            code = max(code, settle(giver.folder, outcome.touched))
        return code


def import_(context: typer.Context, ids: Sequence[str], target: str | None) -> int:
    """Take over tasks that the provider has; buys nothing."""
    with open_giver(context) as giver:
        giver.require_provider()
        bound = ""
        if target is not None:
            bases = giver.bases([target])
            if len(ids) != 1 or len(bases) != 1:
                hint = "Name one task, and a spec with one generation or the generation's id."
                given = f"{counted(len(ids), 'task')} to {counted(len(bases), 'generation')}"
                told = f"`--for` binds one task to one generation, not {given}"
                raise WorkspaceError(told, hint=hint)
            bound = f"={bases[0]}"
        outcome = giver.carry_out(Verb.IMPORT, (f"{name}{bound}" for name in ids))
        if giver.writer is None and outcome.touched:
            out.print("Run `reconciler apply` to wait for results and fetch them.")
        return int(not outcome.ok)


def refresh(context: typer.Context, paths: Sequence[Path] | None) -> int:
    """Ask how everything stands that is not settled; buys nothing."""
    with open_giver(context) as giver:
        giver.require_provider()
        bases = giver.bases([str(path) for path in paths or []])
        return int(not giver.carry_out(Verb.REFRESH, bases).ok)


def forget(context: typer.Context, ids: Sequence[str], yes: bool) -> int:
    """Remove generations from the state and receipts; files stay."""
    with open_giver(context) as giver:
        bases = [_known(giver, name) for name in ids]
        flying = {base for base in bases if is_unsaved(giver.survey.records.get(base))}
        for base in bases:
            _show_forgotten(giver, base, in_flight=base in flying)
        if flying and not yes:
            print_error(
                f"{len(flying)} of these may still be billed, so nothing was forgotten",
                "Use `--yes` to forget them all the same; the provider is not told.",
            )
            return ExitCode.ERROR
        question = f"Forget {counted(len(bases), 'generation')}?"
        agree(question, yes=yes, otherwise="nothing was forgotten")
        names = (f"{base}!" if base in flying else base for base in bases)
        return int(not giver.carry_out(Verb.FORGET, names).ok)


def prune(context: typer.Context, yes: bool) -> int:
    """Remove outputs that no spec asks for any more."""
    with open_giver(context) as giver:
        orphans = sorted(giver.survey.orphans)
        for path, why in sorted(giver.survey.needed.items()):
            err.print(f"  [dim]keep[/] {escape(path)}  {escape(why)}")
        if not orphans:
            needed = "what no spec asks for is needed"
            left = needed if giver.survey.needed else "a spec asks for every output of ours"
            out.print(f"Nothing to prune: {left}.")
            return ExitCode.DONE
        found = {path: signature(giver.folder.root / path) for path in orphans}
        sizes = {path: 0 if one is None else one.size for path, one in found.items()}
        for path, size in sizes.items():
            err.print(f"  [yellow]remove[/] {escape(path)}  {size:,} bytes")
        err.print("Their bytes stay in the object store, and their receipts stay as they are.")
        question = f"Remove {counted(len(orphans), 'file')} ({sum(sizes.values()):,} bytes)?"
        agree(question, yes=yes, otherwise="nothing was removed")
        return int(not giver.carry_out(Verb.PRUNE, orphans).ok)


def gc(context: typer.Context, yes: bool, dry_run: bool) -> int:
    """Remove from the state what nothing refers to any more."""
    from reconciler.cli.running import calendar

    with open_giver(context) as giver:
        folder, now = giver.folder, calendar()
        found = garbage(folder.root, giver.survey, folder.repository, folder.objects, now=now)
        if not found:
            out.print("Nothing to remove: all that is older than an hour is referred to.")
            return ExitCode.DONE
        for name, one in found.items():
            err.print(
                f"  [yellow]remove[/] {escape(name)}  {one.found.size:,} bytes  [dim]{escape(one.what)}[/]"
            )
        what = f"{counted(len(found), 'file')} ({sum(one.found.size for one in found.values()):,} bytes)"
        err.print(
            "Objects were bought: what only another branch's receipts list is not referred to here."
        )
        if dry_run:
            out.print(f"{what} would be removed.")
            return ExitCode.DONE
        agree(f"Remove {what}?", yes=yes, otherwise="nothing was removed")
        names, all_well = list(found), True
        for begin in range(0, len(names), _AT_ONCE):
            part = names[begin : begin + _AT_ONCE]
            seen = (found[name].seen for name in part)
            all_well &= giver.carry_out(Verb.GC, part, seen).ok
        return int(not all_well)


def _show_retries(giver: Giver, chosen: Mapping[str, Record]) -> str:
    """Print what would be tried again; return the question."""
    wishes = {wish.external_task_id: wish for wish in giver.survey.valid_wishes()}
    total, price = Decimal(0), giver.folder.settings.unit_price
    for base, record in chosen.items():
        if (wish := wishes.get(base)) is None:
            continue  # said, and skipped, when it is carried out
        total += wish.estimated_units
        paid = "; IT WAS PAID FOR, AND WILL BE PAID AGAIN" if record.status in BOUGHT else ""
        err.print(
            f"  [green]retry[/] {escape(giver.called(base))}  attempt {next_number(record)}, about "
            f"{views.units_and_money(wish.estimated_units, price)}; {record.status}: {escape(record.reason)}{paid}"
        )
    count = counted(len(chosen), "generation")
    return f"Try {count} again for about {views.units_and_money(total, price)}?"


def _known(giver: Giver, name: str) -> str:
    """Return the base id of an id that the state or a receipt knows; raises WorkspaceError for an unknown one."""
    if found := giver.folder.repository.find(name):
        return found.base_id
    for base in (name, split_attempt(name)[0]):
        if base in giver.survey.records:
            return base
        known = listed(giver.folder.root, giver.survey.desired.receipts, base)
        if known.entries or known.unreadable:
            return base
    hint = "`reconciler status --json` and `reconciler show SPEC` show the ids."
    raise WorkspaceError(f"`{name}` is not an id that the state or a receipt knows", hint=hint)


def _show_forgotten(giver: Giver, base: str, *, in_flight: bool) -> None:
    folder, record = giver.folder, giver.survey.records.get(base)
    attempts = folder.repository.attempts(base)
    status = f"  {record.status}" if record else ""
    err.print(f"  [yellow]forget[/] {escape(giver.called(base))}  [dim]{base}[/]{status}")
    if attempts:
        err.print(f"    {counted(len(attempts), 'attempt')} in the state (the history stays)")
    for receipt in listed(folder.root, giver.survey.desired.receipts, base).entries:
        err.print(f"    its entry in {escape(receipt)}")
    ours = {attempt.external_task_id for attempt in attempts}
    for path, row in sorted(folder.repository.publications().items()):
        if row.external_task_id in ours:
            err.print(f"    {escape(path)} stays, and counts as somebody else's from then on")
    if any(wish.external_task_id == base for wish in giver.survey.desired.generations):
        err.print("    A spec still wants it: IT MAY BE BOUGHT AGAIN.")
    if in_flight and record and record.status is not Status.SUCCEEDED:
        err.print("    It is under way: the provider goes on, and may bill it all the same.")
    elif in_flight:
        err.print("    It is paid for, and its result is not saved yet.")


async def carry_out_here(folder: project.Folder, order: Order) -> Outcome:
    """Carry an order out in this process, which holds the lock."""
    from reconciler.cli.log import QuietReporter
    from reconciler.cli.running import SteadyClock, open_ports, options_of

    survey, options = folder.survey(), options_of(folder.settings)
    async with open_ports(folder, QuietReporter(), SteadyClock()) as ports:
        records = Records(ports, options, survey.stored)
        return await carry_out(order, ports, options, records, survey)


def _hand_over(queue: OrderQueue, order: Order, writer: StateLocked) -> Outcome:
    """Put an order into the daemon's queue and wait for its outcome; an order that was not taken is withdrawn."""
    from reconciler.cli.running import calendar

    given = calendar()
    until = given + int((_TAKEN + _DONE + _LATE) * SECOND)
    with _every_end_interrupts():
        ticket = new_ticket()
        try:
            queue.put(replace(order, given=given, until=until).document(), ticket)
            answer = _answer(queue, ticket, _TAKEN)
            is_taken = answer is not None or not queue.withdraw(ticket)
            if is_taken:
                answer = answer or _answer(queue, ticket, _DONE)
        except BaseException:
            with suppress(StateError):
                if not queue.leave(ticket):
                    err.print("The daemon has taken the order, and carries it out if it has begun.")
            raise
    if not is_taken:
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
    """Make SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does, so that a queued order is withdrawn."""
    earlier = {
        number: signal.signal(number, signal.default_int_handler)
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) == signal.SIG_DFL  # under nohup a closed terminal means nothing
    }
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _answer(queue: OrderQueue, ticket: str, seconds: float) -> dict[str, object] | None:
    deadline = time.monotonic() + seconds
    while (answer := queue.poll(ticket)) is None and time.monotonic() < deadline:
        time.sleep(_LOOK_AGAIN)
    return answer
