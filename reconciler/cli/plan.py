"""`validate`, `plan`, `apply` and `schema`: what the specs ask for, what it would cost, and making it true."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from reconciler.cli import provider, views
from reconciler.cli.project import Folder, Paths, open_folder, plan_of, root_of, surveyed, wishes_of
from reconciler.cli.terminal import AsJson, ExitCode, agree, err, note, out, print_json
from reconciler.core import kinds
from reconciler.core.diff import BUYS, NEEDS_SOMEBODY, Plan
from reconciler.core.documents import Problem, waiting_for, waiting_words
from reconciler.core.errors import counted
from reconciler.core.generations import Generation, newer_models
from reconciler.core.media_rules import Medium
from reconciler.core.progress import Ended, Work
from reconciler.core.spending import UnitPrice
from reconciler.core.states import Record, Status
from reconciler.engine.observe.survey import Survey
from reconciler.settings.definitions import Settings
from reconciler.workspace.read.loader import Desired
from reconciler.workspace.read.remote import next_part, remote_faults, remote_media

if TYPE_CHECKING:
    from reconciler.kling.samples import ProbeFailed, Sample

_Asked = tuple[Medium, str]  # the medium, and its URL
_CUT_SHORT = {
    Ended.STOPPED: ("Stopped", ExitCode.INTERRUPTED),
    Ended.TIMED_OUT: ("Out of time", ExitCode.TIMED_OUT),
}


def validate(
    context: typer.Context,
    paths: Paths = None,
    as_json: AsJson = False,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe", help="Ask for media at URLs too: at most two megabytes of each are read."
        ),
    ] = False,
) -> int:
    """Check specs and their media, offline unless --probe."""
    with open_folder(root_of(context)) as folder:
        specs, survey = surveyed(folder, paths)
        wishes = wishes_of(survey.desired, specs)
        asking = {wish.spec for wish in wishes}
        invalid = {
            spec: found for spec, found in survey.invalid.items() if specs is None or spec in specs
        }
        note_newer_models(folder, wishes)
        if probe:
            invalid |= _probed(folder, asking - invalid.keys())
    problems = sorted({problem for found in invalid.values() for problem in found})
    checked = len(asking | invalid.keys())
    good = sum(wish.spec not in invalid for wish in wishes)
    note_strays(survey.desired)
    if as_json:
        print_json(views.validate_document(problems, checked, good))
        return int(bool(problems))
    waiting = waiting_for(invalid)
    for problem in problems:
        err.print(f"[red]error:[/] {escape(f'{problem}{waiting_words(waiting[problem])}')}")
    found = counted(len(problems), "problem") if problems else "all well"
    said = f"{counted(checked, 'spec')}, {counted(good, 'generation')}: {found}"
    out.print(said if checked else views.NO_SPECS)
    return int(bool(problems))


def _probed(folder: Folder, specs: Collection[str]) -> dict[str, tuple[Problem, ...]]:
    """Ask for each URL in these specs once; return the problems found, by spec."""
    from reconciler.kling.samples import ProbeFailed

    settings = folder.settings
    remotes = remote_media(folder.root, settings.specs_dir, specs, settings.prices)
    answers = asyncio.run(_ask_each(settings, {(one.wanted.medium, one.url) for one in remotes}))
    found: defaultdict[str, tuple[Problem, ...]] = defaultdict(tuple)
    for remote in remotes:
        answer = answers[remote.wanted.medium, remote.url]
        if isinstance(answer, ProbeFailed):
            sentences = [answer.message]
        else:
            sentences = remote_faults(remote, answer.size, answer.content_type, answer.parts)
        if sentences:
            found[remote.spec] += tuple(map(remote.problem, sentences))
    return found


async def _ask_each(
    settings: Settings, urls: Collection[_Asked]
) -> dict[_Asked, Sample | ProbeFailed]:
    from reconciler.kling.samples import ProbeFailed, Prober

    prober = Prober(timeout=settings.request_timeout, allowed=provider.allowed_networks(settings))

    async def sample(medium: Medium, url: str) -> Sample | ProbeFailed:
        try:
            return await prober.sample(url, lambda seen: next_part(medium, seen.size, seen.parts))
        except ProbeFailed as failure:
            return failure

    async with aclosing(prober):
        answers = await asyncio.gather(*(sample(*asked) for asked in urls))
    return dict(zip(urls, answers, strict=True))


def note_newer_models(folder: Folder, generations: Sequence[Generation]) -> None:
    """Print a note for each model of which only the price is known."""
    for name in newer_models(generations, folder.settings.prices):
        note(
            f"`{name}` is newer than this program: its limits are not known here. "
            "Its specs are checked against those of the models before it, and the API has the last word."
        )


def note_strays(desired: Desired) -> None:
    """Print which files may have been meant as specs."""
    for sentence in desired.notes:
        note(sentence)


def plan(
    context: typer.Context,
    paths: Paths = None,
    as_json: AsJson = False,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask the provider what it knows first.")
    ] = False,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with 2 when there is something to do.")
    ] = False,
) -> int:
    """Show what apply would do, and what it is expected to cost."""
    with open_folder(root_of(context)) as folder:
        memory = folder.rest()
        if not (paths or as_json or refresh) and (rest := memory.find()):
            out.print(views.nothing_to_do(rest.complete))
            return ExitCode.DONE
        specs, survey = surveyed(folder, paths)
        desired = survey.desired
        if refresh:
            known = asyncio.run(_refreshed(folder, survey))
            survey = folder.surveyor.survey(desired, known)
        plan, price = plan_of(survey, specs), folder.settings.unit_price
        note_newer_models(folder, wishes_of(desired, specs))
        if specs is None and not refresh:
            memory.keep(survey, plan)
    note_strays(desired)
    if as_json:
        print_json(views.plan_document(plan, price))
    else:
        _show(plan, price)
    if refresh:
        balance = provider.ask_balance(folder.settings)
        for sentence in provider.balance_sentences(balance, plan.estimated_units, price):
            (err if as_json else out).print(escape(sentence))
    return ExitCode.CHANGES if detailed_exitcode and plan.changes else ExitCode.DONE


async def _refreshed(folder: Folder, survey: Survey) -> dict[str, Record]:
    from reconciler.engine.ask.answers import Answers
    from reconciler.engine.ask.poll import refreshed

    async with provider.open_client(folder.settings) as client:
        answers, wishes = Answers(client, folder.repository), survey.desired.generations
        return await refreshed(answers, survey.records, wishes)


def _show(plan: Plan, price: UnitPrice | None) -> None:
    table = views.plan_table(plan, price)
    if table.row_count:
        out.print(table)
    counts = plan.summary()
    if not counts:
        out.print(views.NO_SPECS)
    elif counts.keys() == {"keep"}:
        out.print(views.nothing_to_do(counts["keep"]))
    else:
        out.print(views.plan_line(plan, price))


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
    from reconciler.cli.running import run
    from reconciler.engine.run.apply import unsaved, works_of

    with open_folder(root_of(context), write=True) as folder:
        memory = folder.rest()
        if not (paths or as_json) and (rest := memory.find()) and rest.is_confirmed:
            out.print(f"Nothing to do: {rest.complete} complete.")
            return ExitCode.DONE
        specs, survey = surveyed(folder, paths)
        plan, price = plan_of(survey, specs), folder.settings.unit_price
        works: Sequence[Work] = works_of(plan, survey, whole=specs is None)
        note_strays(survey.desired)
        table = views.plan_table(plan, price)
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
        if specs is None and not (works or left):
            memory.keep(after, plan_of(after, specs), is_confirmed=True)
    for record in left:
        err.print(
            f"[yellow]not saved yet[/] {record.external_task_id}: paid for, but no spec wants it any more"
        )
    code = _report(plan_of(after, specs), ended, idle=not works, as_json=as_json)
    return ExitCode.NEEDS_SOMEBODY if left and code == ExitCode.DONE else code


def settle(folder: Folder, base_ids: Collection[str]) -> int:
    """Apply the plan for these generations, which the user agreed to; return the exit code."""
    from reconciler.cli.running import run
    from reconciler.engine.run.apply import works_of

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


def schema() -> None:
    """Print the JSON Schema of a spec, for editors."""
    print_json(kinds.schema())
