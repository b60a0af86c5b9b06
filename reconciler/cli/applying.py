"""The command that buys: plan, ask, apply, and say how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from reconciler.cli import views
from reconciler.cli.exits import ExitCode
from reconciler.cli.folder import Folder, Selection, open_folder, select
from reconciler.cli.offline import AsJson, Paths, note_newer_models, tell_notes
from reconciler.cli.root import root_of
from reconciler.cli.terminal import confirmed, err, is_interactive, out, print_json
from reconciler.core.diff import BUYS, NEEDS_SOMEBODY, Plan
from reconciler.core.errors import ReconcilerError, counted
from reconciler.core.states import Status
from reconciler.engine.loop import Ended

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from reconciler.core.money import UnitPrice
    from reconciler.core.work import Work
    from reconciler.engine.survey import Survey


def apply(
    context: typer.Context,
    paths: Paths = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Buy without asking.")] = False,
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, help="Stop after this long, with exit code 4."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Make the folder true once: submit what is missing, wait, and save the results."""
    from reconciler.cli.balance import warn_if_short
    from reconciler.cli.provider import credentials, has_key, watch_host
    from reconciler.cli.running import run
    from reconciler.engine.apply import unsaved, works_of

    with open_folder(root_of(context), write=True) as folder:
        desired = folder.load()
        chosen = select(folder, desired, paths or [])
        survey = folder.surveyor.survey(desired)
        plan, price = chosen.plan(survey), folder.settings.unit_price
        works = works_of(plan, survey, whole=chosen.whole)
        tell_notes(desired)
        _show(plan, works, price)
        note_newer_models(folder, [wish for work in works for wish in work.wishes])
        if has_key(folder.settings):
            watch_host(folder.repository, folder.settings.base_url, survey.stored)
        elif not all(work.local or work.optional for work in works):
            credentials(folder.settings)  # says what is missing, before anybody is asked
        else:
            works = [work for work in works if work.local]
        if any(item.action in BUYS for item in plan.assessments):
            warn_if_short(folder.settings, plan.estimated_units)
            if not yes and not _agreed(plan, price):
                if as_json:
                    print_json({"error": {"message": "nothing was bought", "hint": ""}})
                return ExitCode.ERROR
        ended = run(folder, survey, plan, works, timeout)
        after = folder.surveyor.survey(folder.load())
        left = unsaved(after) if chosen.whole else []
        _tell_unpublished(works, after)
    for record in left:
        err.print(
            f"[yellow]not saved yet[/] {record.external_task_id}: paid for, but no spec wants it any more"
        )
    code = _report(chosen.again(after.desired).plan(after), ended, idle=not works, as_json=as_json)
    return ExitCode.NEEDS_SOMEBODY if left and code == ExitCode.DONE else code


def settle(folder: Folder, base_ids: Collection[str]) -> int:
    """Apply what is wanted of these generations, which somebody agreed to; return the exit code."""
    from reconciler.cli.running import run
    from reconciler.engine.apply import works_of

    desired = folder.load()
    wishes = tuple(wish for wish in desired.generations if wish.external_task_id in base_ids)
    chosen = Selection(wishes, (), whole=False)
    survey = folder.surveyor.survey(desired)
    plan = chosen.plan(survey)
    works = works_of(plan, survey, whole=False)
    ended = run(folder, survey, plan, works, None)
    after = folder.surveyor.survey(folder.load())
    _tell_unpublished(works, after)
    ordered = (wish for wish in after.desired.generations if wish.external_task_id in base_ids)
    chosen = Selection(tuple(ordered), (), whole=False)
    return _report(chosen.plan(after), ended, idle=not works, as_json=False)


def _tell_unpublished(works: Sequence[Work], after: Survey) -> None:
    """Say which results are saved and stand nowhere: when they came, no spec asked for them any more."""
    wanted = {wish.external_task_id for wish in after.desired.generations}
    for work in works:
        record = after.stored.get(work.base_id)
        if (
            work.wishes
            and work.base_id not in wanted
            and record
            and record.status is Status.COMPLETE
        ):
            place = escape(work.wishes[0].spec)
            err.print(
                f"[yellow]not published[/] {record.external_task_id}: bought and saved, but "
                f"`{place}` no longer asks for it; when it does, it is published at no cost"
            )


def _show(plan: Plan, works: Sequence[Work], price: UnitPrice | None) -> None:
    table = views.plan_table(plan, price)
    if table.row_count:
        err.print(table)
    if works:
        err.print(views.plan_line(plan, price))


def _agreed(plan: Plan, price: UnitPrice | None) -> bool:
    if not is_interactive():
        hint = "Run `reconciler apply --yes` to buy without being asked."
        raise ReconcilerError("there is nobody to ask, so nothing was bought", hint=hint)
    count = len({item.external_task_id for item in plan.assessments if item.action in BUYS})
    cost = views.units_and_money(plan.estimated_units, price)
    if confirmed(f"Buy {counted(count, 'generation')} for about {cost}?"):
        return True
    err.print("Nothing was bought.")
    return False


def _report(plan: Plan, ended: Ended, *, idle: bool, as_json: bool) -> int:
    document = views.status_document(plan)
    if as_json:
        print_json(document)
    else:
        troubled = [item for item in plan.assessments if item.status in NEEDS_SOMEBODY]
        for item in troubled:
            err.print(
                f"[yellow]{item.status}[/] {escape(views.name_of(item))}: {escape(item.reason)}"
            )
        for line in views.invalid_lines(plan.invalid):
            err.print(f"[red]invalid[/] {escape(line)}")
        out.print(_said(document["summary"], ended, idle=idle))
    match ended:
        case Ended.STOPPED:
            return ExitCode.INTERRUPTED
        case Ended.TIMED_OUT:
            return ExitCode.TIMED_OUT
    unsettled = any(item.status is not Status.COMPLETE for item in plan.assessments)
    return ExitCode.NEEDS_SOMEBODY if unsettled or plan.invalid else ExitCode.DONE


def _said(summary: dict[str, int], ended: Ended, *, idle: bool) -> str:
    counts = views.summary_line(summary)
    match ended:
        case Ended.STOPPED:
            return f"Stopped: {counts}. Run again to go on; nothing is paid for twice."
        case Ended.TIMED_OUT:
            return f"Out of time: {counts}. Run again to go on; nothing is paid for twice."
    return f"{'Nothing to do' if idle else 'Done'}: {counts}."
