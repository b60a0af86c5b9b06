"""`validate` and `plan`: what the specs ask for, and what it would cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from reconciler.cli import views
from reconciler.cli.project import Folder, open_folder, plan_of, root_of, surveyed, wishes_of
from reconciler.cli.terminal import ExitCode, note, print_json, say, tell
from reconciler.core.diff import Plan
from reconciler.core.documents import waiting_for, waiting_words
from reconciler.core.errors import counted
from reconciler.core.generations import Generation, newer_models
from reconciler.core.spending import UnitPrice
from reconciler.workspace.read.loader import Desired


def validate(
    context: typer.Context, paths: Sequence[Path] | None, as_json: bool, probe: bool
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
            from reconciler.cli.probe import probed

            invalid |= probed(folder, asking - invalid.keys())
    problems = sorted({problem for found in invalid.values() for problem in found})
    checked = len(asking | invalid.keys())
    good = sum(wish.spec not in invalid for wish in wishes)
    note_strays(survey.desired)
    if as_json:
        print_json(views.validate_document(problems, checked, good))
        return int(bool(problems))
    waiting = waiting_for(invalid)
    for problem in problems:
        tell("error", "red", f"{problem}{waiting_words(waiting[problem])}")
    found = counted(len(problems), "problem") if problems else "all well"
    said = f"{counted(checked, 'spec')}, {counted(good, 'generation')}: {found}"
    say(said if checked else views.NO_SPECS)
    return int(bool(problems))


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
    paths: Sequence[Path] | None,
    as_json: bool,
    refresh: bool,
    detailed_exitcode: bool,
) -> int:
    """Show what apply would do, and what it is expected to cost."""
    with open_folder(root_of(context)) as folder:
        last = None if paths or as_json or refresh else folder.last_plan()
        if last and (complete := last.complete()):
            say(views.nothing_to_do(complete))
            return ExitCode.DONE
        specs, survey = surveyed(folder, paths)
        desired = survey.desired
        if refresh:
            from reconciler.cli.provider import refreshed

            known = refreshed(folder, survey)
            survey = folder.surveyor.survey(desired, known)
        plan, price = plan_of(survey, specs), folder.settings.unit_price
        note_newer_models(folder, wishes_of(desired, specs))
        if last:
            last.keep(survey, plan)
    note_strays(desired)
    if as_json:
        print_json(views.plan_document(plan, price))
    else:
        _show(plan, price)
    if refresh:
        from reconciler.cli.provider import ask_balance, balance_sentences

        balance = ask_balance(folder.settings)
        for sentence in balance_sentences(balance, plan.estimated_units, price):
            say(sentence, stderr=as_json)
    return ExitCode.CHANGES if detailed_exitcode and plan.changes else ExitCode.DONE


def _show(plan: Plan, price: UnitPrice | None) -> None:
    counts = plan.summary()
    if not counts:
        say(views.NO_SPECS)
    elif counts.keys() == {"keep"}:
        say(views.nothing_to_do(counts["keep"]))
    else:
        from reconciler.cli.console import out
        from reconciler.cli.tables import plan_table

        out.print(plan_table(plan, price))
        say(views.plan_line(plan, price))
