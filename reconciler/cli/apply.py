"""The command that buys: plan, ask, apply, and say how it ended."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated

import typer
from rich.markup import escape

from reconciler.cli import documents
from reconciler.cli.plan import note_newer_models, note_strays
from reconciler.cli.project import Folder, Paths, open_folder, plan_of, root_of, surveyed
from reconciler.cli.provider import credentials, has_key, require_provider, warn_if_short
from reconciler.cli.terminal import AsJson, ExitCode, agree, err, out, print_json
from reconciler.core.diff import BUYS, NEEDS_SOMEBODY, Plan
from reconciler.core.errors import counted
from reconciler.core.states import Status
from reconciler.core.work import Work
from reconciler.engine.loop.loop import Ended
from reconciler.engine.observe.survey import Survey

_CUT_SHORT = {
    Ended.STOPPED: ("Stopped", ExitCode.INTERRUPTED),
    Ended.TIMED_OUT: ("Out of time", ExitCode.TIMED_OUT),
}


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
    from reconciler.engine.run.apply import unsaved, works_of

    with open_folder(root_of(context), write=True) as folder:
        specs, survey = surveyed(folder, paths)
        plan, price = plan_of(survey, specs), folder.settings.unit_price
        works: Sequence[Work] = works_of(plan, survey, whole=specs is None)
        note_strays(survey.desired)
        table = documents.plan_table(plan, price)
        if table.row_count:
            err.print(table)
        if works:
            err.print(documents.plan_line(plan, price))
        note_newer_models(folder, [wish for work in works for wish in work.wishes])
        works = _possible(folder, survey, works)
        if buys := {one.external_task_id for one in plan.assessments if one.action in BUYS}:
            warn_if_short(folder.settings, plan.estimated_units)
            cost = documents.units_and_money(plan.estimated_units, price)
            agree(
                f"Buy {counted(len(buys), 'generation')} for about {cost}?",
                yes=yes,
                otherwise="nothing was bought",
                hint="Run `reconciler apply --yes` to buy without being asked.",
                as_json=as_json,
            )
        ended, after = _run(folder, survey, plan, works, timeout)
        left = unsaved(after) if specs is None else []
    for record in left:
        err.print(
            f"[yellow]not saved yet[/] {record.external_task_id}: paid for, but no spec wants it any more"
        )
    code = _report(plan_of(after, specs), ended, idle=not works, as_json=as_json)
    return ExitCode.NEEDS_SOMEBODY if left and code == ExitCode.DONE else code


def settle(folder: Folder, base_ids: Collection[str]) -> int:
    """Apply what is wanted of these generations, which somebody agreed to; return the exit code."""
    from reconciler.engine.run.apply import works_of

    def ordered(survey: Survey) -> Plan:
        wishes = survey.desired.generations
        return survey.plan([w for w in wishes if w.external_task_id in base_ids], (), whole=False)

    survey = folder.survey()
    plan = ordered(survey)
    works = works_of(plan, survey, whole=False)
    ended, after = _run(folder, survey, plan, works, None)
    return _report(ordered(after), ended, idle=not works, as_json=False)


def _possible(folder: Folder, survey: Survey, works: Sequence[Work]) -> Sequence[Work]:
    """Return what can be done: all of it with a key, without one what takes only this disk."""
    if has_key(folder.settings):
        require_provider(folder, survey.stored)
        return works
    if not all(work.local or work.optional for work in works):
        credentials(folder.settings)  # says what is missing, before anybody is asked
    return [work for work in works if work.local]


def _run(
    folder: Folder, survey: Survey, plan: Plan, works: Sequence[Work], timeout: float | None
) -> tuple[Ended, Survey]:
    """Carry a plan out, look again, and say which results no spec asked for any more when they came."""
    from reconciler.cli.running import run

    ended = run(folder, survey, plan, works, timeout)
    after = folder.survey()
    wanted = {wish.external_task_id for wish in after.desired.generations}
    for work in works:
        record = after.stored.get(work.base_id)
        is_complete = record is not None and record.status is Status.COMPLETE
        if record and is_complete and work.wishes and work.base_id not in wanted:
            place = escape(work.wishes[0].spec)
            err.print(
                f"[yellow]not published[/] {record.external_task_id}: bought and saved, but "
                f"`{place}` no longer asks for it; when it does, it is published at no cost"
            )
    return ended, after


def _report(plan: Plan, ended: Ended, *, idle: bool, as_json: bool) -> int:
    document = documents.status_document(plan)
    word, code = _CUT_SHORT.get(ended, ("Nothing to do" if idle else "Done", ExitCode.DONE))
    if as_json:
        print_json(document)
    else:
        for item in plan.assessments:
            if item.status in NEEDS_SOMEBODY:
                name, reason = escape(documents.name_of(item)), escape(item.reason)
                err.print(f"[yellow]{item.status}[/] {name}: {reason}")
        for line in documents.invalid_lines(plan.invalid):
            err.print(f"[red]invalid[/] {escape(line)}")
        again = " Run again to go on; nothing is paid for twice." if code else ""
        out.print(f"{word}: {documents.summary_line(document['summary'])}.{again}")
    if code:
        return code
    unsettled = any(item.status is not Status.COMPLETE for item in plan.assessments)
    return ExitCode.NEEDS_SOMEBODY if unsettled or plan.invalid else ExitCode.DONE
