"""Which folder a command is about, where nobody says so: found upwards as git finds its own, and never guessed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.cli.main import run
from tests.cli.shell import SPEC, Shell
from tests.support.simulator import Simulator

Here = Callable[..., tuple[int, str, str]]


@pytest.fixture
def here(shell: Shell, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Here:
    """A command line without `--root`, in a folder of the project."""
    monkeypatch.setenv("HOME", str(shell.root.parent))

    def command(folder: str, *arguments: str) -> tuple[int, str, str]:
        (shell.root / folder).mkdir(parents=True, exist_ok=True)
        monkeypatch.chdir(shell.root / folder)
        capsys.readouterr()
        return (run(arguments), *capsys.readouterr())

    return command


def test_the_root_is_found_from_a_folder_below(
    shell: Shell, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its specs, its settings or its database; it is named on stderr unless it is the working folder."""
    shell.write("dance.yaml")
    assert here(".", "plan")[2] == ""
    for folder in ("specs", "specs/deep/er", "media"):
        code, out, err = here(folder, "plan", "--json")
        assert (code, err) == (0, f"The root is {shell.root}\n")
        assert [row["spec"] for row in json.loads(out)["actions"]] == ["specs/dance.yaml"]
    shutil.move(shell.root / "specs", shell.root / "wishes")
    (shell.root / ".env").write_text("RECONCILER_SPECS_DIR=wishes\n")
    assert here("wishes/deep", "status", "--json")[1].count("wishes/dance.yaml") == 1
    (shell.root / ".env").unlink()
    (shell.root / "reconciler.toml").write_text("")
    monkeypatch.setenv("RECONCILER_SPECS_DIR", "wishes")
    assert here("wishes/deep", "status", "--json")[1].count("wishes/dance.yaml") == 1


def test_what_is_bought_from_below_is_bought_by_the_caps_of_the_root(
    shell: Shell, here: Here, sim: Simulator
) -> None:
    """State, outputs and settings are the root's: a cap that stands there holds."""
    shell.write("dance.yaml")
    (shell.root / ".env").write_text("RECONCILER_MAX_UNITS_PER_DAY=1\n")
    assert here("specs", "apply", "--yes")[0] == 3
    assert sim.billed() == {}
    (shell.root / ".env").unlink()
    assert here("specs", "apply", "--yes")[0] == 0
    assert (shell.root / "specs/dance.mp4").exists()
    assert (shell.root / "state/reconciler.db").exists()
    assert not (shell.root / "specs/state").exists()
    assert here("specs", "status")[1:] == (shell("status")[1], f"The root is {shell.root}\n")
    assert list(sim.billed().values()) == [1]


def test_a_path_is_one_of_the_working_folder(shell: Shell, here: Here) -> None:
    """What is there is meant, also where it holds nothing; what is not may be named as `status` names it."""
    (shell.root / "specs/a/sub").mkdir(parents=True)
    for name in ("a/one.yaml", "two.yaml", "a/sub/two.yaml"):
        shell.write(name)

    def chosen(folder: str, path: str) -> list[str]:
        code, out, _ = here(folder, "plan", "--json", path)
        return sorted(row["spec"] for row in json.loads(out)["actions"]) if code == 0 else []

    assert chosen("specs/a", "one.yaml") == ["specs/a/one.yaml"]
    assert chosen("specs/a", ".") == ["specs/a/one.yaml", "specs/a/sub/two.yaml"]
    assert chosen("specs/a", "..") == chosen(".", "specs")
    assert chosen("specs/a", "specs/two.yaml") == ["specs/two.yaml"]
    assert chosen("specs/empty", ".") == []
    assert chosen("specs/a", "two.yaml") == []


def test_two_folders_that_could_be_meant_are_none(shell: Shell, here: Here, sim: Simulator) -> None:
    """A folder called `specs` among the specs looks like a root: nothing is bought for either."""
    (shell.root / "specs/specs").mkdir()
    shell.write("specs/dance.yaml")
    for folder in ("specs", "specs/specs"):
        code, _, err = here(folder, "apply", "--yes")
        assert code == 1
        assert f"`{shell.root}/specs` could be the root, and so could `{shell.root}`" in err
        assert "--root" in err
    assert sim.billed() == {}
    assert here("specs", "--root", "..", "status")[0] == 0


def test_where_it_was_looked_for_is_said(
    shell: Shell, here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in the home folder, not on another file system, and not in somebody else's folder: their key is not ours."""
    (shell.root / "specs").rmdir()
    (tmp_path / "specs").mkdir()
    code, _, err = here("deep", "plan")
    assert code == 1
    assert f"there is no folder `specs` in `{shell.root}/deep`" in err
    assert f"up to `{shell.root}` (the home folder itself is not searched)" in err
    monkeypatch.setenv("HOME", "/nowhere")
    assert here("deep", "plan")[0] == 0
    real = os.geteuid
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: real() + 1)
        code, _, err = here("deep", "plan")
    assert (code, f"(`{shell.root}` belongs to another user)" in err) == (1, True)
    error = json.loads(here("/proc/self", "status", "--json")[1])["error"]
    assert ("file system" in error["message"], "--root" in error["hint"]) == (True, True)


def test_what_begins_something_does_not_look_for_it(shell: Shell, here: Here) -> None:
    """`init` makes a folder where it was told to, `schema` and `--version` need none, `doctor` looks at what is there."""
    shell.write("dance.yaml", SPEC)
    assert here("specs/new", "init")[0] == 0
    assert (shell.root / "specs/new/specs/dance.yaml").exists()
    (shell.root / "specs").rename(shell.root / "away")
    assert here("elsewhere", "schema")[0::2] == (0, "")
    assert "there is no folder" in here("elsewhere", "doctor", "--quick")[1]


def test_a_working_folder_that_is_gone_is_a_sentence(shell: Shell, here: Here) -> None:
    """As after a branch switch in another terminal."""
    here("specs/gone", "status")
    (shell.root / "specs/gone").rmdir()
    assert run(["status"]) == 1


def test_a_commit_makes_no_other_root(shell: Shell, here: Here, sim: Simulator) -> None:
    """Specs that came into a folder of the project would be bought there without its caps, its settings and its state."""
    shell.write("dance.yaml")
    (shell.root / ".env").write_text("RECONCILER_MAX_UNITS_PER_DAY=1\n")
    (shell.root / "tools/specs").mkdir(parents=True)
    (shell.root / "tools/specs/dance.yaml").write_text(
        (shell.root / "specs/dance.yaml").read_text()
    )
    code, _, err = here("tools", "apply", "--yes")
    assert (code, "could be the root" in err, sim.billed()) == (1, True, {})
    assert here("tools", "--root", ".", "plan")[0] == 0
    (shell.root / "tools/.env").write_text("")
    assert here("tools", "plan")[0] == 0


@pytest.mark.parametrize("words", [["--version"], ["-h"], ["plan", "-h"], ["import", "-h"]])
def test_help_and_versions_need_nothing(here: Here, words: list[str]) -> None:
    """`-h` is `--help` everywhere, and `--version` names what a report of a bug has to."""
    code, out, err = here("empty", *words)
    assert (code, err) == (0, "")
    if words == ["--version"]:
        assert out.splitlines()[0].startswith("reconciler ")
        for name in ("Python", "SQLite", "FFmpeg", "pydantic", "sqlmodel", "SQLAlchemy", "httpx"):
            assert name in out
        assert all(name in out.lower() for name in (" av ", "pillow", "pyyaml", "linux"))
    else:
        assert out == here("empty", *words[:-1], "--help")[1]
