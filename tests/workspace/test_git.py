"""What counts as committed: asked of the real git, in real repositories."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from reconciler.core.errors import WorkspaceError
from reconciler.workspace.git import Checkout

IDENTITY = (
    *("-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=no"),
    *("-c", "init.defaultBranch=main", "-c", "core.autocrlf=false"),
)
SEVERAL = 201  # files: more than are named on a command line


class Repository:
    """A git repository; names are relative to its top."""

    def __init__(self, top: Path) -> None:
        self.top = top
        top.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet")

    def git(self, *arguments: str) -> str:
        command = ["git", *IDENTITY, "-C", str(self.top), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def write(self, name: str, content: str = "a: 1\n") -> Path:
        path = self.top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "as it is")

    def uncommitted(self, *names: str, root: str = "") -> set[str]:
        return set(Checkout.find(self.top / root).uncommitted(names))


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    repository = Repository(tmp_path / "repository")
    repository.write("specs/a.yaml")
    repository.write("specs/b.yaml", "b: 1\n")
    repository.write(".gitignore", "*.ignored.yaml\n")
    repository.commit()
    return repository


Change = Callable[[Repository], object]


def edit(name: str = "specs/a.yaml", content: str = "a: 2\n") -> Change:
    return lambda repository: repository.write(name, content)


def git(*arguments: str) -> Change:
    return lambda repository: repository.git(*arguments)


def then(*changes: Change) -> Change:
    return lambda repository: [change(repository) for change in changes]


def merge(repository: Repository) -> None:
    """Leave a merge of two versions of a.yaml unresolved; b.yaml merges by itself."""
    repository.git("checkout", "--quiet", "-b", "other")
    edit(content="a: theirs\n")(repository)
    edit("specs/b.yaml", "b: theirs\n")(repository)
    repository.commit()
    repository.git("checkout", "--quiet", "-")
    edit(content="a: ours\n")(repository)
    repository.commit()
    with pytest.raises(subprocess.CalledProcessError):
        repository.git("merge", "--quiet", "other")


def touch(repository: Repository) -> None:
    os.utime(repository.top / "specs/a.yaml", (1, 1))


A, B = "specs/a.yaml", "specs/b.yaml"
NEW = "specs/new.yaml"


@pytest.mark.parametrize(
    ("change", "uncommitted", "reason"),
    [
        (then(), set(), "nothing changed"),
        (touch, set(), "another mtime is no other content"),
        (edit(), {A}, "modified"),
        (then(edit(), git("add", A)), {A}, "staged is not committed"),
        (then(edit(), git("add", A), edit(content="a: 1\n")), {A}, "staged, and taken back on disk only"),
        (then(edit(), git("add", A), edit(content="a: 3\n")), {A}, "staged, and changed again"),
        (then(edit(), git("commit", "-aqm", "x")), set(), "modified and committed"),
        (edit(NEW), {NEW}, "untracked"),
        (then(edit(NEW), git("add", NEW)), {NEW}, "added"),
        (then(edit(NEW), git("add", "-N", NEW)), {NEW}, "meant to be added"),
        (then(edit(NEW), git("add", NEW), git("commit", "-qm", "x")), set(), "added and committed"),
        (edit("specs/x.ignored.yaml"), {"specs/x.ignored.yaml"}, "ignored"),
        (then(edit("specs/x.ignored.yaml"), git("add", "-f", "."), git("commit", "-qm", "x")), set(), "ignored, and committed all the same"),
        (git("rm", "-q", "--cached", A), {A}, "its removal is staged"),
        (git("mv", A, NEW), {A, NEW}, "renamed: neither is what HEAD holds"),
        (lambda repository: (repository.top / A).unlink(), {A}, "gone from the disk"),
        (lambda repository: (repository.top / A).chmod(0o755), {A}, "another mode"),
        (merge, {A, B}, "in a merge: HEAD holds neither outcome"),
        (then(merge, edit(content="a: both\n"), git("commit", "-aqm", "x")), set(), "the merge is done"),
        (git("checkout", "-q", "--detach"), set(), "a detached HEAD"),
        (then(git("checkout", "-q", "--detach"), edit()), {A}, "a change on a detached HEAD"),
        (git("checkout", "-q", "--orphan", "fresh"), {A, B}, "a branch without a commit"),
        (git("pack-refs", "--all"), set(), "packed refs"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("several", [False, True], ids=["few", "many"])
def test_only_what_head_holds_as_it_is_on_disk_is_committed(
    repository: Repository, change: Change, uncommitted: set[str], reason: str, several: bool
) -> None:
    """The same for a few names and for so many that git is asked for everything."""
    more = [f"many/{n}.yaml" for n in range(SEVERAL if several else 0)]
    for name in more:
        repository.write(name, name)
    repository.commit()
    checkout = Checkout.find(repository.top)
    change(repository)
    asked = [name for name in (A, B, NEW, "specs/x.ignored.yaml") if name in uncommitted]
    asked += [name for name in (A, B) if name not in uncommitted]
    absent = set(more) if "without a commit" in reason else set()
    assert checkout.uncommitted([*asked, *more]) == uncommitted | absent, reason


def test_a_name_that_is_nowhere_is_not_committed(repository: Repository) -> None:
    """Names outside the repository and in `.git` never count as committed."""
    outside = ["nowhere/x.yaml", "../x.yaml", ".git/HEAD"]
    assert repository.uncommitted(*outside, A) == set(outside)
    assert repository.uncommitted() == set()


def test_a_project_in_a_sub_folder_is_judged_by_its_own_names(repository: Repository) -> None:
    """A file of the same name higher up in the repository changes no answer."""
    repository.write("project/specs/a.yaml")
    repository.write("project/specs/new.yaml", "new")
    repository.commit()
    edit("specs/a.yaml")(repository)
    edit("project/specs/new.yaml")(repository)
    names = ["specs/a.yaml", "specs/new.yaml", *(f"specs/{n}.yaml" for n in range(SEVERAL))]
    for asked in (names[:2], names):
        absent = set(asked[2:])
        found = repository.uncommitted(*asked, root="project")
        assert found == {"specs/new.yaml"} | absent


def test_each_work_tree_has_its_own_head(repository: Repository, tmp_path: Path) -> None:
    """What is committed is asked of the work tree that the project lies in."""
    repository.git("worktree", "add", "--quiet", "-b", "side", str(tmp_path / "side"))
    edit(content="a: 2\n")(repository)
    side = Checkout.find(tmp_path / "side")
    assert side.uncommitted([A]) == set()
    assert repository.uncommitted(A) == {A}
    (tmp_path / "side" / A).write_text("a: 3\n")
    assert side.uncommitted([A]) == {A}
    assert side.git_dir != side.common_dir


def test_a_root_that_is_a_symbolic_link_is_the_folder_it_leads_to(
    repository: Repository, tmp_path: Path
) -> None:
    """Working through a link gives the answers of the folder itself."""
    (tmp_path / "link").symlink_to(repository.top)
    assert Checkout.find(tmp_path / "link").uncommitted([A, NEW]) == {NEW}


def test_of_a_link_both_the_link_and_what_it_leads_to_count(repository: Repository) -> None:
    """A spec that is a link changes with its target; so does a picture in a linked folder."""
    top = repository.top
    (top / "specs/link.yaml").symlink_to("step.yaml")
    (top / "specs/step.yaml").symlink_to("../shared/real.yaml")
    (top / "pictures").symlink_to(top / "shared")
    (top / "specs/out.yaml").symlink_to("/dev/null")
    (top / "specs/circle.yaml").symlink_to("circle.yaml")
    (top / "specs/broken.yaml").symlink_to("nowhere.yaml")
    repository.write("shared/real.yaml")
    names = [f"specs/{name}.yaml" for name in ("link", "step", "out", "circle", "broken")]
    names.append("pictures/real.yaml")
    assert repository.uncommitted(*names) == set(names)
    repository.commit()
    assert repository.uncommitted(*names) == {"specs/broken.yaml"}
    edit("shared/real.yaml", "other\n")(repository)
    through = {"specs/link.yaml", "specs/step.yaml", "pictures/real.yaml"}
    assert repository.uncommitted(*names) == through | {"specs/broken.yaml"}
    edit("shared/real.yaml", "a: 1\n")(repository)
    (top / "specs/step.yaml").unlink()
    (top / "specs/step.yaml").symlink_to(top / "shared/real.yaml")
    changed = {"specs/link.yaml", "specs/step.yaml"}
    assert repository.uncommitted(*names) == changed | {"specs/broken.yaml"}


NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"])
    | st.sampled_from('*?[]:()!-"\\ \n\té跳'),
    min_size=1,
    max_size=12,
).filter(lambda name: name not in {".", ".."} and name.lower() != ".git" and len(name.encode()) < 200)  # fmt: skip


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sets(NAMES, min_size=2, max_size=5))
@example({":x", ":(exclude)x", ":!x", "-x", "--", "*", "[x", "\n", "x\ny"})
def test_no_name_is_taken_for_a_pattern_an_option_or_two_names(
    tmp_path_factory: pytest.TempPathFactory, names: set[str]
) -> None:
    """Any file name reaches git as that name, so that no edit hides behind another."""
    repository = Repository(tmp_path_factory.mktemp("names"))
    for name in names:
        (repository.top / name).write_text(name)
    repository.commit()
    assert repository.uncommitted(*names) == set()
    changed = min(names)
    (repository.top / changed).write_text("changed")
    assert repository.uncommitted(*names) == {changed}
    for glob in ("*", ":/", f"{changed}*"):
        assert glob in repository.uncommitted(glob) or glob in names


def test_a_name_that_is_not_utf_8_is_a_name_too(repository: Repository) -> None:
    """A name in an old encoding is seen as uncommitted and as committed like any other."""
    name = os.fsdecode(b"specs/caf\xe9.yaml")
    repository.write(name)
    assert repository.uncommitted(name) == {name}
    repository.commit()
    assert repository.uncommitted(name) == set()


def test_filters_are_gits_business(repository: Repository) -> None:
    """What a clean filter or `autocrlf` makes of a file is compared, not the bytes on the disk."""
    repository.git("config", "filter.shout.clean", "tr a-z A-Z")
    repository.git("config", "filter.shout.smudge", "tr A-Z a-z")
    repository.write(".gitattributes", "*.big filter=shout\n*.txt text eol=crlf\n")
    repository.write("x.big", "large\n")
    repository.write("y.txt", "one\r\ntwo\r\n")
    repository.commit()
    assert repository.git("show", "HEAD:x.big") == "LARGE\n"
    for name in ("x.big", "y.txt"):
        os.utime(repository.top / name, (1, 1))
    assert repository.uncommitted("x.big", "y.txt") == set()
    repository.write("x.big", "larger\n")
    assert repository.uncommitted("x.big", "y.txt") == {"x.big"}


def test_the_users_settings_change_no_answer(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither what git was told to show nor the variables of a hook that started us."""
    for setting in ("diff.relative=true", "diff.autoRefreshIndex=false", "color.ui=always", "core.quotePath=true",
                    "diff.external=false", "diff.noprefix=true", "status.showUntrackedFiles=no", "core.fsmonitor=/bin/false"):  # fmt: skip
        repository.git("config", *setting.split("=", 1))
    elsewhere = Repository(tmp_path / "elsewhere")
    elsewhere.commit()
    monkeypatch.setenv("GIT_DIR", str(elsewhere.top / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(elsewhere.top))
    monkeypatch.setenv("GIT_INDEX_FILE", str(elsewhere.top / ".git/index"))
    monkeypatch.setenv("GIT_GLOB_PATHSPECS", "1")
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "false")
    touch(repository)
    assert Checkout.find(repository.top).uncommitted([A, NEW]) == {NEW}


def test_asking_writes_nothing_and_waits_for_no_lock(repository: Repository) -> None:
    """People work in the same folder: their index is neither refreshed nor locked."""
    touch(repository)

    def standing() -> dict[str, tuple[int, int]]:
        found = {path: path.stat() for path in (repository.top / ".git").rglob("*")}
        return {str(path): (one.st_ino, one.st_mtime_ns) for path, one in found.items()}

    for _ in range(2):
        before = standing()
        assert repository.uncommitted(A, B) == set()
        assert standing() == before
        (repository.top / ".git/index.lock").touch()


def test_no_key_of_ours_reaches_git_or_what_git_starts(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Filters and hooks of a repository never see the secrets of the program that asks."""
    monkeypatch.setenv("KLING_SECRET_KEY", "secret")
    monkeypatch.setenv("RECONCILER_X", "secret")
    repository.git("config", "filter.spy.clean", f"env >> {tmp_path}/seen; cat")
    repository.write(".gitattributes", "*.yaml filter=spy\n")
    edit()(repository)
    assert repository.uncommitted(A) == {A}
    seen = (tmp_path / "seen").read_text()
    assert "PATH=" in seen
    assert "secret" not in seen


def refusal(root: Path) -> WorkspaceError:
    with pytest.raises(WorkspaceError) as caught:
        Checkout.find(root)
    assert caught.value.hint
    return caught.value


def test_a_folder_without_a_repository_is_said_to_be_one(tmp_path: Path) -> None:
    """Asking for committed specs outside git ends in a sentence that says so."""
    assert "not in a git repository" in refusal(tmp_path).message


def test_a_repository_without_a_commit_is_said_to_be_one(tmp_path: Path) -> None:
    """Before the first commit the sentence says what is missing."""
    Repository(tmp_path)
    assert "nothing is committed yet" in refusal(tmp_path).message


def test_a_folder_that_is_not_there_is_said_not_to_be(tmp_path: Path) -> None:
    """A wrong root is told apart from a folder without git."""
    assert "is not a folder" in refusal(tmp_path / "nowhere").message


def test_a_machine_without_git_is_told_to_install_it(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without git nothing is taken for committed, and the hint says what to install."""
    checkout = Checkout.find(repository.top)
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert "Install git" in refusal(repository.top).hint
    with pytest.raises(WorkspaceError, match="git cannot be started"):
        checkout.uncommitted([A])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_a_repository_of_somebody_else_is_refused_with_gits_own_words(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Git's protection against other people's repositories is passed on with its way out."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in (repository.top, repository.top / ".git"):
        os.chown(path, 12345, 12345)
    error = refusal(repository.top)
    assert "dubious ownership" in error.message
    assert "safe.directory" in error.hint
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "safe.directory")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "*")
    assert repository.uncommitted(A) == set()


def test_a_damaged_repository_is_an_error_and_no_answer(repository: Repository) -> None:
    """A repository that git cannot read never makes a spec look committed."""
    checkout = Checkout.find(repository.top)
    (repository.top / ".git/index").write_bytes(b"rubbish")
    with pytest.raises(WorkspaceError, match="git cannot tell") as caught:
        checkout.uncommitted([A])
    assert "git status" in caught.value.hint
    (repository.top / ".git/HEAD").write_text("rubbish\n")
    with pytest.raises(WorkspaceError):
        checkout.uncommitted([A])


def test_a_git_that_does_not_end_is_an_error(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hanging git costs a bounded time and gives no answer."""
    repository.git("config", "filter.slow.clean", "sleep 60")
    repository.write(".gitattributes", "*.yaml filter=slow\n")
    touch(repository)
    monkeypatch.setattr("reconciler.workspace.programs.TIMEOUT", 0.5)
    with pytest.raises(WorkspaceError, match="did not answer"):
        repository.uncommitted(A)


@pytest.mark.parametrize(
    "change",
    [
        then(edit(), git("commit", "-aqm", "x")),
        then(edit(), git("add", A)),
        git("update-ref", "refs/heads/main", "HEAD~1"),
        git("reset", "-q", "--soft", "HEAD~1"),
        git("checkout", "-q", "--detach"),
        git("checkout", "-q", "-b", "deep/er"),
        git("stash", "-q"),
    ],
)
@pytest.mark.parametrize("place", ["main", "worktree", "sub-folder"])
def test_the_signs_change_whenever_head_or_the_index_does(
    repository: Repository, tmp_path: Path, change: Change, place: str
) -> None:
    """They are folders: something in one of them is made, replaced or removed."""
    repository.commit()
    if place == "worktree":
        repository.git("checkout", "--quiet", "--detach")
        repository.git("worktree", "add", "--quiet", str(tmp_path / "side"), "main")
        repository.top = tmp_path / "side"
    edit("specs/b.yaml")(repository)
    root = repository.top / "specs" if place == "sub-folder" else repository.top
    folders = Checkout.find(root).signs()
    assert len(set(folders)) == len(folders)
    for folder in folders:
        os.utime(folder, (1, 1))
    change(repository)
    assert any(folder.stat().st_mtime > 1 for folder in folders)


def test_one_name_among_many_files_and_all_of_them_are_answered_quickly(tmp_path: Path) -> None:
    """Thousands of specs are asked about in one go, within seconds."""
    repository = Repository(tmp_path)
    names = [f"specs/{n % 50}/{n}.yaml" for n in range(3000)]
    for name in names:
        repository.write(name, "x")
    repository.commit()
    checkout = Checkout.find(tmp_path)
    began = time.monotonic()
    assert checkout.uncommitted(names[:1]) == set()
    assert checkout.uncommitted(names) == set()
    assert time.monotonic() - began < 5
