"""Commands start fast: what is slow to import is imported where a command needs it, and nowhere before."""

from __future__ import annotations

import contextlib
import inspect
import io
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.markup import escape
from typer.models import CommandInfo

from reconciler.cli import commands
from reconciler.cli.console import err
from reconciler.cli.terminal import tell
from reconciler.core import purchases
from tests.support.nursery import REPOSITORY
from tests.support.project import Project

LIBRARIES = frozenset(
    {
        *("alembic", "apprise", "av", "httpcore", "httpx", "jinja2", "jwt", "obstore", "PIL"),
        *("requests", "starlette", "tomllib", "uvicorn", "watchdog", "yaml"),
    }
)
FOR_A_FOLDER = frozenset(
    {"asyncio", "dotenv", "pydantic_settings", "rich", "sqlalchemy", "sqlite3", "sqlmodel"}
)
FOR_WHAT_LIES_IN_IT = frozenset(
    {
        *("reconciler.core.purchases", "reconciler.core.schedule", "reconciler.cli.status_page"),
        *("reconciler.workspace.media.decoding", "reconciler.workspace.media.judging"),
        *("reconciler.workspace.read.mentions", "reconciler.workspace.receipts.receipt_files"),
    }
)


def imported(
    folder: Path, *arguments: str, beside: Path = REPOSITORY
) -> tuple[int, frozenset[str]]:
    """Run the program in a process of its own; return its exit code, and what it imported: modules and top packages.

    `beside` is a folder where further libraries are installed.
    """
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "reconciler", *arguments],
        cwd=folder,
        env={**Project(folder).environment(), "PYTHONPATH": f"{REPOSITORY}:{beside}"},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    names = {line.rpartition("|")[2].strip() for line in lines}
    assert {"reconciler", "typer"} <= names, done.stderr
    return done.returncode, frozenset({*names, *(name.partition(".")[0] for name in names)})


@pytest.mark.parametrize("argument", ["--help", "--unknown"])
def test_help_needs_the_command_line_alone(tmp_path: Path, argument: str) -> None:
    """The help of the program and a wrong option of it import Typer, and none of the other libraries."""
    code, names = imported(tmp_path, argument)
    assert code == (0 if argument == "--help" else 64)
    assert not names & {*LIBRARIES, *FOR_A_FOLDER, "pydantic"}


@pytest.mark.parametrize("arguments", [["unknown"], ["plan", "--unknown"], ["plan", "--help"]])
def test_a_wrong_word_is_told_without_what_a_command_needs(
    tmp_path: Path, arguments: list[str]
) -> None:
    """A wrong command, a wrong option of a command and a command's help import Typer alone.

    And pydantic: by it Typer reads the values of `--root` and `--config`, also where they are not given.
    """
    code, names = imported(tmp_path, *arguments)
    assert code == (0 if "--help" in arguments else 64)
    assert not names & (LIBRARIES | FOR_A_FOLDER)


@pytest.mark.parametrize("arguments", [["plan"], ["plan", "--json"], ["status"], ["validate"]])
def test_what_looks_at_a_folder_needs_settings_and_state_alone(
    tmp_path: Path, arguments: list[str]
) -> None:
    """A look at an empty folder imports nothing for HTTP, media, receipts, YAML, TOML, migrations, events or tables."""
    (tmp_path / "specs").mkdir()
    code, names = imported(tmp_path, *arguments)
    assert code == 0
    assert not names & {*LIBRARIES, *FOR_WHAT_LIES_IN_IT, "rich"}


@pytest.mark.parametrize("info", commands.app.registered_commands, ids=lambda info: info.name)
def test_a_command_that_is_made_alone_is_the_same(info: CommandInfo) -> None:
    """The command that is the first word has the help that it has among all; a wrong word leaves all of them there."""
    name = str(info.name)
    among_all, alone = commands.command_line(), commands.command_line(name)
    assert helps(alone) == {name: helps(among_all)[name]}
    assert helps(commands.command_line("unknown")) == helps(among_all)


def helps(line: Any) -> dict[str, str]:
    """Return the help of each command below it."""
    above = line.make_context("reconciler", [], resilient_parsing=True)
    return {
        name: command.get_help(command.context_class(command, info_name=name, parent=above))
        for name, command in line.commands.items()
    }


def test_every_command_is_carried_out_with_what_the_command_line_gives() -> None:
    """The function that carries a command out has the parameters that the command line declares, in their order."""
    for info in commands.app.registered_commands:
        assert info.callback is not None
        found = inspect.getclosurevars(info.callback).nonlocals
        module = import_module(f"reconciler.cli.{found['module']}")
        carries_out = inspect.signature(getattr(module, found["name"])).parameters
        assert list(carries_out) == list(inspect.signature(info.callback).parameters), info.name


def test_spend_groups_by_what_the_command_line_offers() -> None:
    """The words of `spend --by` are those that purchases can be grouped by."""
    assert get_args(commands.By) == tuple(purchases.By)


def test_no_installed_distribution_adds_itself_to_pydantic(tmp_path: Path) -> None:
    """A distribution that names a plugin for pydantic is not asked, and its code does not see the settings."""
    (tmp_path / "specs").mkdir()
    (tmp_path / "stranger.py").write_text("")
    (tmp_path / "stranger-1.dist-info").mkdir()
    (tmp_path / "stranger-1.dist-info/METADATA").write_text("Name: stranger\nVersion: 1\n")
    (tmp_path / "stranger-1.dist-info/entry_points.txt").write_text("[pydantic]\na = stranger\n")
    code, names = imported(tmp_path, "plan", beside=tmp_path)
    assert code == 0
    assert "pydantic_settings" in names
    assert "stranger" not in names


@given(st.text().filter(lambda text: not text.endswith("\\")))  # the console doubles that one
@example(r"\[red]x[/] [bold] \\[a] ::debug::x \x1b[31m" + "\t" + 500 * "x " + "  ")
def test_a_line_without_colours_is_that_of_the_console(text: str) -> None:
    """What is printed without rich is what rich prints where there are no colours, to the letter."""
    with contextlib.redirect_stderr(io.StringIO()) as plain:
        tell("error", "red", text)
    with contextlib.redirect_stderr(io.StringIO()) as console:
        err.print(f"[red]error:[/] {escape(text)}")
    assert plain.getvalue() == console.getvalue()


def test_an_error_has_its_colour_where_there_are_colours(tmp_path: Path) -> None:
    """Where colours are asked for, the word of an error is red, as on a terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "reconciler", "unknown"],
        env={**Project(tmp_path).environment(), "FORCE_COLOR": "1", "TERM": "xterm"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.startswith("\x1b[1;31merror:\x1b[0m No such command")
