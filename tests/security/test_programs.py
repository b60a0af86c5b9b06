"""The folder runs no program: git is told where the repository is, and no program of ours gets a key or the tree's words."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.cli.begin import Demo
from reconciler.cli.project import ProjectRoot, open_folder
from reconciler.core.errors import WorkspaceError
from reconciler.workspace.git import Checkout, index_lock
from reconciler.workspace.programs import environment
from tests.cli.shell import SPEC, Shell
from tests.engine.run.test_daemon import creates, is_idle, wait_for_wish
from tests.engine.watching import watching
from tests.engine.world import world
from tests.support.project import wait_until
from tests.support.simulator import simulator

SETTINGS = ("user.name=t", "user.email=t@localhost", "commit.gpgsign=no", "init.defaultBranch=main")
INNER = "specs/inner.yaml"


def git(top: Path, *arguments: str) -> str:
    words = [word for setting in SETTINGS for word in ("-c", setting)]
    command = ["git", *words, "-c", "protocol.file.allow=always", "-C", str(top), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def repository(top: Path, *names: str) -> Path:
    """Make a repository in which these files are committed."""
    top.mkdir(parents=True, exist_ok=True)
    git(top, "init", "--quiet")
    for name in names:
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SPEC)
    commit(top)
    return top


def commit(top: Path) -> None:
    git(top, "add", "--all")
    git(top, "commit", "--quiet", "--allow-empty", "--message", "as it is")


def embed(root: Path, trap: Path) -> None:
    """Put into a folder what git takes for a repository when it looks for one: its filter sets off a trap."""
    made = trap.with_name("made")
    repository(made)
    shutil.copytree(root / "specs", made / "specs")
    commit(made)
    (root / ".gitattributes").write_text("* filter=x\n")
    for name in ("HEAD", "objects", "refs", "index"):
        source = made / ".git" / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, root / name)
    (root / "config").write_text(
        "[core]\nrepositoryformatversion = 0\nbare = false\nworktree = .\n"
        f'[filter "x"]\nclean = "touch {trap}; cat"\nrequired = true\n'
    )


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    return tmp_path / "trap"


@pytest.fixture
def attacked(tmp_path: Path, trap: Path) -> Path:
    """The root in a sub-folder of a repository, and a commit that holds a second repository in it."""
    top = repository(tmp_path / "outer")
    root = top / "project"
    (root / "specs").mkdir(parents=True)
    (root / "specs/dance.yaml").write_text(SPEC)
    (root / INNER).write_text(SPEC.replace("std", "pro"))
    embed(root, trap)
    git(top, "add", "--all")
    git(top, "rm", "--quiet", "--cached", f"project/{INNER}")
    git(top, "commit", "--quiet", "--message", "what a stranger sends")
    os.utime(root / "specs/dance.yaml", (1, 1))  # so that git looks at its bytes again
    assert not trap.exists()
    return root


def test_a_repository_within_the_tree_neither_runs_a_command_nor_says_what_is_committed(
    attacked: Path, trap: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`plan`, `status`, `show` and `doctor` ask the outer repository, which holds the one spec and not the other."""
    monkeypatch.setenv("RECONCILER_REQUIRE_COMMITTED", "true")
    shell = Shell(attacked, capsys)
    rows = shell.json("status")[1]["generations"]
    assert {row["spec"]: row["status"] for row in rows} == {
        "specs/dance.yaml": "pending",
        INNER: "blocked",
    }
    actions = shell.json("plan")[1]["actions"]
    assert {one["spec"]: one["action"] for one in actions} == {
        "specs/dance.yaml": "submit",
        INNER: "blocked",
    }
    assert shell("show", str(attacked / INNER))[0] == 0
    said = shell("doctor")[1]
    assert f"the repository at {attacked.parent}\n" in said
    assert not trap.exists()


def test_the_daemon_asks_the_outer_repository_too(
    tmp_path: Path, attacked: Path, trap: Path
) -> None:
    """`watch` buys what the outer repository holds, keeps back what only the embedded one does, and runs nothing."""
    with simulator(tmp_path / "simulator") as sim, world(attacked, sim) as project:
        with watching(project, checkout=Checkout.find(attacked)) as watched:
            base = wait_for_wish(watched, INNER)
            wait_until(is_idle(project, "dance"), "the committed one to be bought")
            assert "commit" in watched.call(lambda: watched.daemon.obstacle(base))
        assert creates(sim) == 1
    assert not trap.exists()


def linked(tmp_path: Path) -> tuple[Path, set[str]]:
    """A linked work tree, whose git folder lies in the main one."""
    git(
        repository(tmp_path / "main", "a.yaml"),
        "worktree",
        "add",
        "--quiet",
        str(tmp_path / "side"),
    )
    return tmp_path / "side", set()


def moved(tmp_path: Path) -> tuple[Path, set[str]]:
    """Its git folder goes on saying where it was."""
    linked(tmp_path)
    (tmp_path / "side").rename(tmp_path / "elsewhere")
    return tmp_path / "elsewhere", {"is not the git folder of"}


def submodule(tmp_path: Path) -> tuple[Path, set[str]]:
    """A submodule has its git folder in that of the outer repository, with the way back in its settings."""
    repository(tmp_path / "inner", "a.yaml")
    git(
        repository(tmp_path / "outer"),
        "submodule",
        "--quiet",
        "add",
        str(tmp_path / "inner"),
        "sub",
    )
    return tmp_path / "outer/sub", set()


def in_a_submodule(tmp_path: Path) -> tuple[Path, set[str]]:
    """What a submodule of the project holds is not committed in the project: it can be another commit tomorrow."""
    submodule(tmp_path)
    git(tmp_path / "outer", "mv", "sub", "specs")
    commit(tmp_path / "outer")
    return tmp_path / "outer", {"specs/a.yaml"}


def in_a_nested_one(tmp_path: Path) -> tuple[Path, set[str]]:
    """A repository below the specs, of which the outer one knows nothing."""
    top = repository(tmp_path / "outer", "a.yaml")
    repository(top / "specs", "a.yaml")
    return top, {"specs/a.yaml"}


def apart(tmp_path: Path) -> tuple[Path, set[str]]:
    """`git init --separate-git-dir`: a file leads out of the tree, and nothing leads back."""
    git(tmp_path, "init", "--quiet", f"--separate-git-dir={tmp_path / 'held'}", "top")
    return repository(tmp_path / "top", "a.yaml"), set()


def within(tmp_path: Path) -> tuple[Path, set[str]]:
    """A git folder that lies where commits put files, whatever names it."""
    top = repository(tmp_path / "top", "a.yaml")
    (top / ".git").rename(top / "held")
    (top / ".git").write_text("gitdir: held\n")
    return top, {"is not the git folder of"}


def of_another_tree(tmp_path: Path) -> tuple[Path, set[str]]:
    """A git folder whose settings say that it is for another folder."""
    top = repository(tmp_path / "top", "a.yaml")
    git(top, "config", "core.worktree", str(tmp_path))
    return top, {"is not the git folder of"}


def beside_an_empty_one(tmp_path: Path) -> tuple[Path, set[str]]:
    """As git does: a `.git` that is none, such as the place of a mount, hides nothing."""
    top = repository(tmp_path / "top", "project/a.yaml", "project/specs/a.yaml")
    (top / "project/.git").mkdir()
    return top / "project", set()


def beside_a_broken_one(tmp_path: Path) -> tuple[Path, set[str]]:
    """Git would pass over it, and take the folder that a commit brought."""
    top = repository(tmp_path / "top")
    (top / "specs").mkdir()
    embed(top, tmp_path / "trap")
    shutil.rmtree(top / ".git/objects")
    return top, {"git refuses the repository"}


@pytest.mark.parametrize(
    "made",
    [linked, moved, submodule, in_a_submodule, in_a_nested_one, apart, within, of_another_tree,
     beside_an_empty_one, beside_a_broken_one],
)  # fmt: skip
def test_a_repository_is_found_by_a_dot_git_that_is_its_own(
    tmp_path: Path, made: Callable[[Path], tuple[Path, set[str]]]
) -> None:
    """Holder and top agree, or a sentence says that they do not; what is within another repository is not committed."""
    root, found = made(tmp_path)
    asked = {name for name in ("a.yaml", "specs/a.yaml") if (root / name).exists()}
    if " " in min(found, default=""):
        with pytest.raises(WorkspaceError, match=min(found)) as refused:
            Checkout.find(root)
        assert refused.value.hint
    else:
        checkout = Checkout.find(root)
        assert checkout.uncommitted(asked) == found
        assert index_lock(root) == checkout.git_dir / "index.lock"
    assert not (tmp_path / "trap").exists()


def test_the_search_ends_where_gits_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ceiling that the operator sets is not looked into from below."""
    top = repository(tmp_path / "top", "project/specs/a.yaml")
    assert Checkout.find(top / "project").uncommitted(["specs/a.yaml"]) == set()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", f"/nowhere:{top}")
    with pytest.raises(WorkspaceError, match="is not in a git repository"):
        Checkout.find(top / "project")
    assert index_lock(top / "project") is None
    assert index_lock(top) == top / ".git/index.lock"


def test_what_the_operator_has_set_runs_and_nothing_else_does(
    tmp_path: Path, trap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filter of the user's settings (as Git LFS has one) compares; hooks, monitors, diffs and fetches stay out of it."""
    settings = tmp_path / "gitconfig"
    settings.write_text(f'[filter "lfs"]\nclean = "touch {tmp_path}/ran; tr a-z A-Z"\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    top = repository(tmp_path / "top")
    (top / ".gitattributes").write_text("* filter=lfs diff=x\n")
    (top / "a.yaml").write_text("large\n")
    commit(top)
    assert git(top, "show", "HEAD:a.yaml") == "LARGE\n"
    (top / ".git/hooks").mkdir(exist_ok=True)
    for name in ("post-index-change", "fsmonitor-watchman", "query-watchman"):
        (top / ".git/hooks" / name).write_text(f"#!/bin/sh\ntouch {trap}\n")
        (top / ".git/hooks" / name).chmod(0o755)
    for name in ("core.fsmonitor", "diff.external", "diff.x.textconv", "diff.x.command", "core.pager", "core.sshCommand"):  # fmt: skip
        git(top, "config", name, f"touch {trap};")
    (tmp_path / "ran").unlink()
    os.utime(top / "a.yaml", (1, 1))
    assert Checkout.find(top).uncommitted(["a.yaml"]) == set()
    assert (tmp_path / "ran").exists()
    assert not trap.exists()


def test_no_commit_holds_what_stands_for_a_repository(tmp_path: Path) -> None:
    """What the search rests on: git itself lets no `.git` into a tree, in whatever case, as a file, a link or a folder."""
    top = repository(tmp_path / "top", "a.yaml")
    blob = git(top, "rev-parse", "HEAD:a.yaml").strip()
    for name in (".git", ".GIT", "specs/.Git/config", "specs/.gIT"):
        for mode in ("100644", "120000"):
            with pytest.raises(subprocess.CalledProcessError):
                git(top, "update-index", "--add", "--cacheinfo", f"{mode},{blob},{name}")


KEYS = {
    "KLING_SECRET_KEY": "secret",
    "KLINGAI_ACCESS_KEY": "secret",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "GOOGLE_APPLICATION_CREDENTIALS": "secret",
    "AZURE_STORAGE_ACCOUNT_KEY": "secret",
    "GITHUB_TOKEN": "secret",
    "HTTPS_PROXY": "http://user:secret@proxy",
    "SSH_AUTH_SOCK": "secret",
    "SOMETHING_NEW": "secret",
    "PYTHONSTARTUP": "secret",
    "LD_PRELOAD": "",
}


def test_no_program_gets_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An allow-list: git, what git starts, decoders and the demonstration get what they need, whatever else is new."""
    for name, text in KEYS.items():
        monkeypatch.setenv(name, text)
    for name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH"):  # an empty entry is the folder, too
        monkeypatch.setenv(name, f"{os.environ.get(name) or '/nowhere'}::.:bin:")
    top = repository(tmp_path / "top", "a.yaml")
    git(top, "config", "filter.spy.clean", f"env > {tmp_path}/seen; cat")
    (top / ".gitattributes").write_text("* filter=spy\n")
    assert Checkout.find(top).uncommitted(["a.yaml"]) == set()
    os.utime(top / "a.yaml", (1, 1))
    assert Checkout.find(top).uncommitted(["a.yaml"]) == set()
    seen = dict(line.split("=", 1) for line in (tmp_path / "seen").read_text().splitlines())
    for passed in (seen, environment(os.environ)):
        assert passed["HOME"] == os.environ["HOME"]
        assert not passed.keys() & KEYS.keys()
        assert all("secret" not in text for text in passed.values())
        for name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH"):
            assert all(folder.startswith("/") for folder in passed[name].split(":"))


def test_a_demonstrations_folder_runs_nothing(attacked: Path, trap: Path) -> None:
    """What looks like one of an earlier run may come from anybody: modules, a repository in it, the keys of its caller."""
    (attacked / ".simulator").mkdir()
    (attacked / "typer.py").write_text(f"open({str(trap)!r}, 'w')\n")
    demo = Demo(attacked)
    before = git(attacked.parent, "rev-parse", "HEAD")
    with demo._simulator() as settings:
        assert settings["KLING_BASE_URL"]
    demo._commit("as the demonstration would")
    assert git(attacked.parent, "rev-parse", "HEAD") == before
    assert not trap.exists()


def test_what_a_submodules_entry_names_is_not_committed(tmp_path: Path) -> None:
    """Such an entry holds no bytes: a file that lies under its name, a spec or a film, was in no commit."""
    top = repository(tmp_path / "top", "specs/a.yaml", "specs/b.yaml")
    head = git(top, "rev-parse", "HEAD").strip()
    git(top, "update-index", "--cacheinfo", f"160000,{head},specs/a.yaml")
    git(top, "update-index", "--add", "--cacheinfo", f"160000,{head},specs/film.mp4")
    git(top, "commit", "--quiet", "--message", "entries")
    (top / "specs/film.mp4").write_bytes(b"anything")
    (top / "specs/c.yaml").symlink_to("b.yaml")
    git(top, "add", "specs/c.yaml")
    git(top, "commit", "--quiet", "--message", "a link")
    names = {f"specs/{one}" for one in ("a.yaml", "b.yaml", "c.yaml", "film.mp4")}
    found = Checkout.find(top).uncommitted(names)
    assert found == {"specs/a.yaml", "specs/film.mp4"}


def without_git(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")


def refused_by_git(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (top / ".git/config").write_text("[core\n")


@pytest.mark.parametrize("silence", [without_git, refused_by_git])
def test_no_state_is_written_where_git_does_not_say_whose_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silence: Callable[..., None]
) -> None:
    """Commands that write refuse and say what to do, those that read go on; elsewhere, and without `.git`, git is not asked."""
    top = repository(tmp_path / "top", "specs/a.yaml")
    silence(top, monkeypatch)
    with (
        pytest.raises(WorkspaceError, match="nobody knows") as caught,
        open_folder(ProjectRoot(top), write=True),
    ):
        pass
    for advice in ("Install git", "safe.directory", "RECONCILER_STATE_DIR"):
        assert advice in caught.value.hint
    assert not (top / "state").exists()
    with open_folder(ProjectRoot(top)) as folder:
        assert folder.load().specs == ("specs/a.yaml",)
    monkeypatch.setenv("RECONCILER_STATE_DIR", str(tmp_path / "state"))
    with open_folder(ProjectRoot(top), write=True):
        pass
    monkeypatch.delenv("RECONCILER_STATE_DIR")
    shutil.rmtree(top / ".git")
    with open_folder(ProjectRoot(top), write=True):
        pass
    (top / ".git").mkdir()  # no repository
    with open_folder(ProjectRoot(top), write=True):
        pass


def test_no_module_of_the_working_folder_is_imported(attacked: Path, trap: Path) -> None:
    """`python -m reconciler` looks for no library where it was started."""
    for name in ("typer", "yaml", "signal", "gc", "dotenv"):
        (attacked / f"{name}.py").write_text(f"open({str(trap)!r}, 'w')\n")
    command = [sys.executable, "-m", "reconciler", "validate"]
    subprocess.run(command, cwd=attacked, capture_output=True, check=False)
    assert not trap.exists()
