"""`apply`: making what the specs ask for true, once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import typer
from rich.markup import escape

from reconciler.cli import provider, views
from reconciler.cli.console import err, out
from reconciler.cli.plan import note_newer_models, note_strays
from reconciler.cli.project import Folder, open_folder, plan_of, root_of, surveyed
from reconciler.cli.running import run
from reconciler.cli.tables import plan_table
from reconciler.cli.terminal import ExitCode, agree, print_json
from reconciler.core.diff import BUYS, NEEDS_SOMEBODY, Plan
from reconciler.core.documents import waiting_for, waiting_words
from reconciler.core.errors import counted
from reconciler.core.progress import Ended, Work
from reconciler.core.states import Status
from reconciler.engine.observe.survey import Survey
from reconciler.engine.run.apply import unsaved, works_of

_CUT_SHORT = {
    Ended.STOPPED: ("Stopped", ExitCode.INTERRUPTED),
    Ended.TIMED_OUT: ("Out of time", ExitCode.TIMED_OUT),
}


def apply(
    context: typer.Context,
    paths: Sequence[Path] | None,
    yes: bool,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Make the folder true once: submit what is missing, wait, and save the results."""
    with open_folder(root_of(context), write=True) as folder:
        specs, survey = surveyed(folder, paths)
        plan, price = plan_of(survey, specs), folder.settings.unit_price
        works: Sequence[Work] = works_of(plan, survey, whole=specs is None)
        note_strays(survey.desired)
        table = plan_table(plan, price)
        if table.row_count:
            err.print(table)
        if works:
            err.print(views.plan_line(plan, price))
        note_newer_models(folder, [wish for work in works for wish in work.wishes])
        works = _possible(folder, survey, works)
        if buys := {one.external_task_id for one in plan.assessments if one.action in BUYS}:
            provider.warn_if_short(folder.settings, plan.estimated_units)
            cost = views.units_and_money(plan.estimated_units, price)
            agree(
                f"Buy {counted(len(buys), 'generation')} for about {cost}?",
                yes=yes,
                otherwise="nothing was bought",
                hint="Run `reconciler apply --yes` to buy without being asked.",
                as_json=as_json,
            )
        ended, after = run(folder, survey, plan, works, timeout)
        left = unsaved(after) if specs is None else []
    for record in left:
        err.print(
            f"[yellow]not saved yet[/] {record.external_task_id}: paid for, but no spec wants it any more"
        )
    code = _report(plan_of(after, specs), ended, idle=not works, as_json=as_json)
    return ExitCode.NEEDS_SOMEBODY if left and code == ExitCode.DONE else code


def settle(folder: Folder, base_ids: Collection[str]) -> int:
    """Apply the plan for these generations, which the user agreed to; return the exit code."""

    def ordered(survey: Survey) -> Plan:
        wishes = survey.desired.generations
        return survey.plan([w for w in wishes if w.external_task_id in base_ids], (), whole=False)

    survey = folder.survey()
    plan = ordered(survey)
    works = works_of(plan, survey, whole=False)
    ended, after = run(folder, survey, plan, works, None)
    return _report(ordered(after), ended, idle=not works, as_json=False)


def _possible(folder: Folder, survey: Survey, works: Sequence[Work]) -> Sequence[Work]:
    """Return the work that can be done: without a key only what needs the local disk alone."""
    if provider.has_key(folder.settings):
        provider.require_provider(folder, survey.stored)
        return works
    if not all(work.local or work.optional for work in works):
        provider.credentials(folder.settings)  # raises, before the user is asked
    return [work for work in works if work.local]


def _report(plan: Plan, ended: Ended, *, idle: bool, as_json: bool) -> int:
    document = views.status_document(plan)
    word, code = _CUT_SHORT.get(ended, ("Nothing to do" if idle else "Done", ExitCode.DONE))
    if as_json:
        print_json(document)
    else:
        for item in plan.assessments:
            if item.status in NEEDS_SOMEBODY:
                name, reason = escape(views.name_of(item)), escape(item.reason)
                err.print(f"[yellow]{item.status}[/] {name}: {reason}")
        waiting = waiting_for({file: found[:1] for file, found in plan.invalid.items()})
        said = {views.in_short(found): waiting[found[0]] for found in plan.invalid.values()}
        for line, count in said.items():
            err.print(f"[red]invalid[/] {escape(f'{line}{waiting_words(count)}')}")
        again = " Run again to go on; nothing is paid for twice." if code else ""
        out.print(f"{word}: {views.summary_line(document['summary'])}.{again}")
    if code:
        return code
    unsettled = any(item.status is not Status.COMPLETE for item in plan.assessments)
    return ExitCode.NEEDS_SOMEBODY if unsettled or plan.invalid else ExitCode.DONE
