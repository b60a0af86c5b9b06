"""The commands that give orders: retry, import, refresh, forget, prune, gc. Each shows what it will do, and asks.

What they decide is carried out in `engine.orders`, here or by a running daemon.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from reconciler.cli import views
from reconciler.cli.office import Office, open_office, say
from reconciler.cli.project import Paths, root_of
from reconciler.cli.terminal import ExitCode, agreed, err, out, print_error
from reconciler.core.errors import WorkspaceError, counted
from reconciler.core.states import BOUGHT, Status

_AT_ONCE = (
    1000  # files in one order: it travels as one document, and nothing else is done meanwhile
)
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]
What = Annotated[
    list[str],
    typer.Argument(metavar="SPEC|ID", help="Specs' paths, external_task_ids or task_ids."),
]
Ids = Annotated[
    list[str], typer.Argument(metavar="ID", help="External_task_ids or task_ids of tasks.")
]


def retry(context: typer.Context, what: What, yes: Yes = False) -> int:
    """Try failed, rejected or expired generations again."""
    from reconciler.engine.retrying import why_not

    with open_office(root_of(context)) as office:
        chosen, holds = [], office.folder.repository.holds()
        for base in office.bases(what):
            if reason := why_not(office.known(base), holds.get(base, "")):
                out.print(escape(f"{office.called(base)} {reason}."))
            else:
                chosen.append(base)
        if not chosen:
            out.print("Nothing to try again.")
            return ExitCode.DONE
        _prepare(office)
        question = _show_retries(office, chosen)
        if not agreed(question, yes=yes, otherwise="nothing was bought"):
            return ExitCode.ERROR
        outcome = office.carry_out("retry", (_next_attempt(office, base) for base in chosen))
        code = say(outcome)
        if office.writer is None and outcome.touched:
            from reconciler.cli.applying import settle

            code = max(code, settle(office.folder, outcome.touched))
        return code


def import_(
    context: typer.Context,
    ids: Ids,
    target: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="SPEC|ID",
            help="Bind the one task to this generation, even though its id does not say so.",
        ),
    ] = None,
) -> int:
    """Take over tasks that the provider has; buys nothing."""
    with open_office(root_of(context)) as office:
        _prepare(office)
        bound = "" if target is None else f"={_single(office, ids, target)}"
        outcome = office.carry_out("import", (f"{name}{bound}" for name in ids))
        code = say(outcome)
        if office.writer is None and outcome.touched:
            out.print("Run `reconciler apply` to wait for results and fetch them.")
        return code


def refresh(context: typer.Context, paths: Paths = None) -> int:
    """Ask how everything stands that is not settled; buys nothing."""
    with open_office(root_of(context)) as office:
        _prepare(office)
        bases = office.bases([str(path) for path in paths or []])
        return say(office.carry_out("refresh", bases))


def forget(context: typer.Context, ids: Ids, yes: Yes = False) -> int:
    """Remove generations from the state and receipts; files stay."""
    from reconciler.engine.forgetting import IN_FLIGHT

    with open_office(root_of(context)) as office:
        bases = [_known(office, name) for name in ids]
        flying = {
            base
            for base in bases
            if (r := office.known(base)) is not None and r.status in IN_FLIGHT
        }
        for base in bases:
            _show_forgotten(office, base, in_flight=base in flying)
        if flying and not yes:
            print_error(
                f"{len(flying)} of these may still be billed, so nothing was forgotten",
                "Use `--yes` to forget them all the same; the provider is not told.",
            )
            return ExitCode.ERROR
        question = f"Forget {counted(len(bases), 'generation')}?"
        if not agreed(question, yes=yes, otherwise="nothing was forgotten"):
            return ExitCode.ERROR
        names = (f"{base}!" if base in flying else base for base in bases)
        return say(office.carry_out("forget", names))


def prune(context: typer.Context, yes: Yes = False) -> int:
    """Remove outputs that no spec asks for any more."""
    with open_office(root_of(context)) as office:
        orphans = sorted(office.survey.orphans)
        for path, why in sorted(office.survey.needed.items()):
            err.print(f"  [dim]keep[/] {escape(path)}  {escape(why)}")
        if not orphans:
            left = (
                "what no spec asks for is needed"
                if office.survey.needed
                else "a spec asks for every output of ours"
            )
            out.print(f"Nothing to prune: {left}.")
            return ExitCode.DONE
        sizes = [_size(office.folder.root / path) for path in orphans]
        for path, size in zip(orphans, sizes, strict=True):
            err.print(f"  [yellow]remove[/] {escape(path)}  {size:,} bytes")
        err.print("Their bytes stay in the object store, and their receipts stay as they are.")
        question = f"Remove {counted(len(orphans), 'file')} ({sum(sizes):,} bytes)?"
        if not agreed(question, yes=yes, otherwise="nothing was removed"):
            return ExitCode.ERROR
        return say(office.carry_out("prune", orphans))


def gc(
    context: typer.Context,
    yes: Yes = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would go, and remove nothing.")
    ] = False,
) -> int:
    """Remove from the state what nothing refers to any more."""
    from reconciler.cli.running import calendar
    from reconciler.engine.collecting import garbage

    with open_office(root_of(context)) as office:
        folder = office.folder
        found = garbage(
            folder.root, office.survey, folder.repository, folder.objects, now=calendar()
        )
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
        if not agreed(f"Remove {what}?", yes=yes, otherwise="nothing was removed"):
            return ExitCode.ERROR
        names, code = list(found), 0
        for begin in range(0, len(names), _AT_ONCE):
            part = names[begin : begin + _AT_ONCE]
            outcome = office.carry_out("gc", part, (found[name].seen for name in part))
            code = max(code, say(outcome))
        return code


def _prepare(office: Office) -> None:
    """Find out before anybody is asked whether the provider can be.

    Raises:
        SettingsError: a key is missing, or tasks are under way at another host.
    """
    from reconciler.cli.provider import credentials, watch_host

    if office.writer is None:
        folder = office.folder
        credentials(folder.settings)
        watch_host(folder.repository, folder.settings.base_url, office.survey.stored)


def _show_retries(office: Office, bases: Sequence[str]) -> str:
    """Show what would be tried again; return the question."""
    from reconciler.engine.retrying import next_number

    wishes = {wish.external_task_id: wish for wish in office.survey.valid_wishes()}
    total, price = Decimal(0), office.folder.settings.unit_price
    for base in bases:
        record, wish = office.known(base), wishes.get(base)
        if record is None or wish is None:
            continue  # said, and skipped, when it is carried out
        total += wish.estimated_units
        paid = "; IT WAS PAID FOR, AND WILL BE PAID AGAIN" if record.status in BOUGHT else ""
        err.print(
            f"  [green]retry[/] {escape(office.called(base))}  attempt {next_number(record)}, about "
            f"{views.units_and_money(wish.estimated_units, price)}; {record.status}: {escape(record.reason)}{paid}"
        )
    count = counted(len(bases), "generation")
    return f"Try {count} again for about {views.units_and_money(total, price)}?"


def _next_attempt(office: Office, base: str) -> str:
    """Return a generation and the attempt that was shown: no order makes more of it than was agreed to."""
    from reconciler.engine.retrying import next_number

    record = office.known(base)
    return base if record is None else f"{base}={next_number(record)}"


def _single(office: Office, ids: Sequence[str], target: str) -> str:
    """Return the one generation that `--for` names."""
    bases = office.bases([target])
    if len(ids) != 1 or len(bases) != 1:
        hint = "Name one task, and a spec with one generation or the generation's id."
        raise WorkspaceError(
            f"`--for` binds one task to one generation, not {counted(len(ids), 'task')} to {counted(len(bases), 'generation')}",
            hint=hint,
        )
    return bases[0]


def _known(office: Office, name: str) -> str:
    """Return the generation that an id names; it may be in receipts alone.

    Raises:
        WorkspaceError: it is known nowhere.
    """
    from reconciler.core.identity import split_attempt
    from reconciler.engine.forgetting import listed

    if found := office.folder.repository.find(name):
        return found.base_id
    for base in (name, split_attempt(name)[0]):
        if base in office.survey.records:
            return base
        known = listed(office.folder.root, office.survey.desired.receipts, base)
        if known.entries or known.unreadable:
            return base
    hint = "`reconciler status --json` and `reconciler show SPEC` show the ids."
    raise WorkspaceError(f"`{name}` is not an id that the state or a receipt knows", hint=hint)


def _show_forgotten(office: Office, base: str, *, in_flight: bool) -> None:
    """Show what goes, and what that means."""
    from reconciler.engine.forgetting import listed

    folder, record = office.folder, office.known(base)
    attempts = folder.repository.attempts(base)
    status = f"  {record.status}" if record else ""
    err.print(f"  [yellow]forget[/] {escape(office.called(base))}  [dim]{base}[/]{status}")
    if attempts:
        err.print(f"    {counted(len(attempts), 'attempt')} in the state (the history stays)")
    for receipt in listed(folder.root, office.survey.desired.receipts, base).entries:
        err.print(f"    its entry in {escape(receipt)}")
    ours = {attempt.external_task_id for attempt in attempts}
    for path, row in sorted(folder.repository.publications().items()):
        if row.external_task_id in ours:
            err.print(f"    {escape(path)} stays, and counts as somebody else's from then on")
    if any(wish.external_task_id == base for wish in office.survey.desired.generations):
        err.print("    A spec still wants it: IT MAY BE BOUGHT AGAIN.")
    if in_flight and record and record.status is not Status.SUCCEEDED:
        err.print("    It is under way: the provider goes on, and may bill it all the same.")
    elif in_flight:
        err.print("    It is paid for, and its result is not saved yet.")


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
