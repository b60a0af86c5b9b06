"""The documents say what the program is: names that are not written down, and words that are not true, fail here."""

from __future__ import annotations

import ast
import functools
import importlib.util
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from starlette.routing import Route

from reconciler import settings
from reconciler.cli.terminal import ExitCode
from reconciler.core.diff import Action
from reconciler.core.errors import CapReached, StaleRecord, StateLocked
from reconciler.core.orders import Verb
from reconciler.core.states import Status
from reconciler.kling.errors import REACTIONS, ProviderError
from reconciler.notifications.notifier import Notice
from reconciler.settings.definitions import rule_of
from reconciler.settings.sources import key_of
from reconciler.simulator.control import control_routes
from reconciler.simulator.faults import ACTIONS, ENDPOINTS, STATES
from reconciler.simulator.knobs import KINDS
from reconciler.simulator.ledger import Ledger
from reconciler.simulator.plans import MODIFIERS, WHEN, parse_plan

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    ROOT / "benchmarks" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def page(name: str) -> str:
    """Return a document's text."""
    return (ROOT / name).read_text(encoding="utf-8")


def kinds(error: type[ProviderError]) -> Iterator[type[ProviderError]]:
    """Give an error class and everything below it."""
    yield error
    for kind in error.__subclasses__():
        yield from kinds(kind)


@functools.cache
def generator(name: str = "generate_commands") -> ModuleType:
    """Return a script that makes a page, by default the one of commands."""
    place = ROOT / "docs" / f"{name}.py"
    specification = importlib.util.spec_from_file_location(name, place)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@functools.cache
def commands_page() -> str:
    """Return the page of commands as the program would have it now."""
    text: str = generator().page()
    return text


def test_every_setting_is_documented() -> None:
    """Every setting has a row with its name in the environment, its name in a settings file, and what the folder may do."""
    rows = [line for line in page("docs/settings.md").splitlines() if line.startswith("| `")]
    for field in settings.Settings.model_fields.values():
        name = settings.names_of(field)[0]
        cells = f"| `{name}` | `{key_of(name)}` | {rule_of(field).leave}"
        found = [row for row in rows if row.startswith(cells)]
        assert len(found) == 1, f"docs/settings.md needs one row that begins with {cells}"


def test_no_setting_is_invented() -> None:
    """Every name that looks like a setting is one, or is said to be read beside one."""
    fields = settings.Settings.model_fields.values()
    known = {name for field in fields for name in settings.names_of(field)}
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        named = set(re.findall(r"\b(?:RECONCILER|KLING|KLINGAI)_[A-Z_]+[A-Z]\b", text))
        assert named <= known, path.name


def test_the_page_of_commands_is_what_the_program_says() -> None:
    """`docs/commands.md` equals what the generator makes of the program's own help."""
    assert page("docs/commands.md") == commands_page(), "run docs/generate_commands.py"


def test_every_command_is_in_the_readme() -> None:
    """A command that exists is in the README's table, and no command is there that does not exist."""
    section = page("README.md").partition("## Commands")[2].partition("\n## ")[0]
    listed = set(re.findall(r"^\| `reconciler ([a-z]+)", section, re.MULTILINE))
    assert listed == set(generator().commands(commands_page()))


def test_every_option_in_prose_exists() -> None:
    """Every `--option` that the README and the operations page name is one of the program's."""
    options = set(re.findall(r"--[a-z][a-z-]+", commands_page()))
    for name in ("README.md", "docs/operations.md"):
        named = set(re.findall(r"`[^`\n]*?(--[a-z][a-z-]+)", page(name)))
        assert named <= options, name


@pytest.mark.parametrize("status", Status)
def test_every_status_says_what_to_do(status: Status) -> None:
    """The operations page has an answer for every status, and the glossary names it."""
    section = page("docs/operations.md").partition("## What to do for each status")[2]
    rows = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("|")]
    assert any(f"`{status}`" in row.split("|")[1] for row in rows)
    assert f"`{status}`" in page("docs/glossary.md")


def test_every_class_of_the_engine_is_in_the_glossary() -> None:
    """Whoever meets a public class of the engine finds in a line what it stands for."""
    modules = [
        ast.parse(path.read_text("utf-8")) for path in (ROOT / "reconciler/engine").rglob("*.py")
    ]
    classes = {
        node.name
        for module in modules
        for node in module.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    }
    section = (
        page("docs/glossary.md").partition("## Classes of the engine")[2].partition("\n## ")[0]
    )
    assert classes <= set(re.findall(r"^\| `(\w+)` \| \S", section, re.MULTILINE))


@pytest.mark.parametrize("action", Action)
def test_every_action_is_explained(action: Action) -> None:
    """The glossary names everything that a plan can mean to do."""
    assert f"`{action}`" in page("docs/glossary.md")


@pytest.mark.parametrize("code", ExitCode)
def test_every_exit_code_is_explained(code: ExitCode) -> None:
    """Scripts find each exit code in the operations page."""
    assert re.search(rf"^\| {code.value} \| \S", page("docs/operations.md"), re.MULTILINE)


@pytest.mark.parametrize("verb", Verb)
def test_every_order_is_explained(verb: Verb) -> None:
    """The operations page says of every order what it does, and what it leaves alone."""
    section = page("docs/operations.md").partition("## Orders")[2].partition("\n## ")[0]
    assert re.search(rf"^- \*\*{verb}\b", section, re.MULTILINE)


@pytest.mark.parametrize("kind", Notice)
def test_everything_that_people_can_be_told_of_is_named(kind: Notice) -> None:
    """The row of the setting names every kind of notification."""
    rows = [line for line in page("docs/settings.md").splitlines() if "_NOTIFY_ON`" in line]
    assert kind in re.findall(r"[a-z]+", rows[0])


def test_every_code_of_the_provider_has_a_remedy() -> None:
    """Every code in the provider's table stands in the operations page."""
    section = page("docs/operations.md").partition("## The provider's codes")[2]
    first_cells = " ".join(
        line.split("|")[1]
        for line in section.partition("\n## ")[0].splitlines()
        if line.startswith("|")
    )
    assert set(re.findall(r"\b\d{4}\b", first_cells)) == {str(code) for code in REACTIONS}


def test_every_way_that_money_is_at_stake_is_explained() -> None:
    """The architecture page names every class of the provider's errors and every refusal of the store."""
    text = page("docs/architecture.md")
    for kind in {*kinds(ProviderError), CapReached, StaleRecord, StateLocked}:
        assert f"`{kind.__name__}`" in text, kind.__name__


def test_the_knobs_of_the_simulator_are_as_its_page_says() -> None:
    """`docs/simulator.md` equals what the generator makes of the fields: every knob, default, value and sentence."""
    text = page("docs/simulator.md")
    assert text == generator("generate_simulator").page(), "run docs/generate_simulator.py"
    assert all(f"\n| `{name}` |" in text for name in KINDS)


def test_every_word_of_a_fault_plan_is_explained() -> None:
    """The simulator's page has a row or a word for every endpoint, condition, state, action and modifier."""
    section = page("docs/simulator.md").partition("## Fault plans")[2].partition("\n## ")[0]
    first_cells = {line.split("|")[1] for line in section.splitlines() if line.startswith("| `")}
    rows = set(re.findall(r"`([a-z0-9_]+)`", " ".join(first_cells)))
    assert rows == (set(WHEN) - {"seed"}) | ACTIONS.keys()
    for word in (*ENDPOINTS, *STATES, *MODIFIERS, "seed", "match", "external_task_id"):
        assert f"`{word}`" in section, word


def test_the_examples_of_fault_plans_are_right() -> None:
    """Whoever copies one gets what the simulator takes."""
    examples = re.findall(r"```json\n(.*?)```", page("docs/simulator.md"), re.DOTALL)
    assert len(examples) >= 3
    for example in examples:
        assert parse_plan(json.loads(example)).rules


def test_every_control_call_and_every_key_of_the_ledger_is_listed(tmp_path: Path) -> None:
    """The simulator's page names what can be asked of it, and what its ledger answers."""
    text = page("docs/simulator.md")
    for route in control_routes():
        assert isinstance(route, Route)
        methods = route.methods or set()
        for method in methods - ({"HEAD"} if "GET" in methods else set()):
            assert f"`{method} {route.path}`" in text
    ledger = Ledger(tmp_path / "ledger.jsonl", lambda: 1)
    ledger.bill(0, "a", "1", Decimal(1))
    report: Any = ledger.report()
    for key in {*report, *report["entries"][0], *report["ids"]["a"]}:
        assert f"`{key}`" in text, key


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    """Every relative link names a file that is there, and every anchor a heading in it."""
    for target in _LINK.findall(path.read_text(encoding="utf-8")):
        if target.startswith(("https:", "http:")):
            continue
        name, _, anchor = target.partition("#")
        linked = (path.parent / name).resolve() if name else path
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), target


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as code hosts make them."""
    headings = _HEADING.findall(path.read_text(encoding="utf-8"))
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_two_commands_of_the_readme_exist() -> None:
    """What the README tells a newcomer to type is a target of the Makefile, and both say no more than make."""
    typed = re.findall(r"^make ([a-z]+)", page("README.md"), re.MULTILINE)
    assert typed == ["demo", "test"]
    targets = set(re.findall(r"^([a-z]+):", page("Makefile"), re.MULTILINE))
    named = set(re.findall(r"^make ([a-z]+)", page("CONTRIBUTING.md"), re.MULTILINE))
    assert {*typed, *named, "lock"} <= targets


def test_every_decision_has_the_four_parts() -> None:
    """Decisions are numbered without a gap, and say context, decision, what was rejected, and consequences."""
    decisions = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert [path.name[:4] for path in decisions] == [
        f"{number:04d}" for number in range(1, len(decisions) + 1)
    ]
    for path in decisions:
        text = path.read_text(encoding="utf-8")
        for part in ("**Context.**", "**Decision.**", "**Rejected.**", "**Consequences.**"):
            assert part in text, f"{path.name} lacks {part}"


def test_each_row_about_security_names_a_test_that_is_there() -> None:
    """What somebody can cause at worst is tested: no row without a test, no test that was renamed or removed."""
    rows = re.findall(
        r"^\| .*\|$", page("docs/security.md").split("\n## The operator\n")[1], re.MULTILINE
    )
    claims = [row for row in rows if not re.search(r"\| test \|$|^\| \*\*[^|]*\*\* \| \| \|$", row)]
    assert len(claims) >= 36
    for row in claims:
        named = re.findall(r"`((?:[a-z_]+/)*test_[a-z_]+\.py)(?:::(test_\w+))?`", row)
        assert named, f"no test: {row}"
        for file, test in named:
            text = page(f"tests/{file}")
            assert not test or re.search(rf"^(?:async )?def {test}\(", text, re.MULTILINE), (
                file,
                test,
            )


def test_nothing_private_is_written_down() -> None:
    """No page names a folder of the machine it was written on."""
    for path in PAGES:
        private = re.search(r"(?<![\w.])/(?:work|root|home|tmp)/", path.read_text(encoding="utf-8"))
        assert private is None, f"{path.name}: {private}"


def test_every_room_of_the_engine_and_of_the_workspace_is_named_with_its_own_sentence() -> None:
    """Whoever is new finds in one table where a line belongs; the sentence is the one that the code begins with."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    for package in ("engine", "workspace"):
        home = ROOT / "reconciler" / package
        folders = (one.parent for one in home.glob("*/__init__.py"))
        modules = (one for one in home.glob("*.py") if one.name != "__init__.py")
        for room in (*folders, *modules):
            file = room / "__init__.py" if room.is_dir() else room
            sentence = (ast.get_docstring(ast.parse(file.read_text())) or "").split("\n")[0]
            name = f"{room.relative_to(ROOT / 'reconciler')}{'/' if room.is_dir() else ''}"
            assert f"| `{name}` | {sentence} |" in page
