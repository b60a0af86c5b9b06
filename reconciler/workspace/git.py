"""What is committed in git, by asking the `git` program: it alone knows its filters, line ends and work trees.

Nothing here writes, takes a lock of git's, reads the network or needs a terminal.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from reconciler.core.errors import WorkspaceError
from reconciler.workspace.git_process import OTHERWISE, GitRefused, Questions, ask_git, ask_line

_MOST_PATHS = 200  # in one command line; more than these, and git lists everything below the root
_LONGEST_PATHS = 60_000  # bytes of them together
# Not `git diff`: that rewrites the index even where it is told to take no optional locks.
_STATUS = (
    *("status", "--porcelain=v2", "-z", "--branch", "--no-ahead-behind"),
    *("--untracked-files=no", "--no-renames", "--ignore-submodules=all"),
)
_UNBORN = "(initial)"
_BRANCH = "ref: "  # before the branch that HEAD is on
_GIT_DIR = "gitdir: "  # before the git folder, in a file that stands for it
_FIELDS = {"1": 8, "u": 10}  # of a changed and of an unmerged entry, before its path


@dataclass(frozen=True, slots=True)
class Checkout:
    """The work tree that a project lies in."""

    root: Path  # of the project
    top: Path  # of the work tree, links resolved
    git_dir: Path
    common_dir: Path  # of all work trees of the repository
    _questions: Questions = field(default_factory=Questions, repr=False, compare=False)

    @classmethod
    def find(cls, root: Path) -> Self:
        """Return the work tree that holds `root`.

        Raises `WorkspaceError`: no git, no repository, one that git refuses, nothing committed yet.
        """
        base = Path(os.path.realpath(root))
        try:
            top = Path(ask_line(base, "rev-parse", "--show-toplevel"))
            git_dir = Path(ask_line(base, "rev-parse", "--absolute-git-dir"))
            common_dir = base / ask_line(base, "rev-parse", "--git-common-dir")
            found = cls(base, Path(os.path.realpath(top)), git_dir, common_dir)
            commit = found._head()
        except GitRefused as error:
            raise _no_repository(base, error) from error
        if not commit:
            raise WorkspaceError(
                f"nothing is committed yet in the git repository of `{root}`",
                hint=f"Commit the specs, {OTHERWISE}.",
            )
        return found

    def uncommitted(self, names: Collection[str]) -> frozenset[str]:
        """Return which of these files (relative to the root) HEAD does not hold just as they are on disk.

        Of a symbolic link, the link and what it leads to both count. What is staged is not committed.
        Raises `WorkspaceError` when git cannot tell.
        """
        if not names:
            return frozenset()
        links = _Links()
        known_as = {name: self._known_as(name, links) for name in names}
        paths = set().union(*known_as.values())
        try:
            asked = self._pathspecs(paths)
            commit, changed = _read_status(self._git(*_STATUS, *asked))
            if commit == _UNBORN:
                return frozenset(names)
            listed = self._git("ls-tree", "-r", "-z", "--name-only", commit, *asked)
        except GitRefused as error:
            raise WorkspaceError(
                f"git cannot tell what is committed in `{self.top}`: {error}",
                hint=f"See what `git status` says there, {OTHERWISE}.",
            ) from error
        held = set(os.fsdecode(listed).split("\0")) - changed
        return frozenset(name for name, paths in known_as.items() if not (paths and paths <= held))

    def signs(self) -> tuple[Path, ...]:
        """Return the folders in which something changes whenever HEAD or the index does.

        Git is not asked: this is called all the time, and must not wait for a git that hangs.
        """
        folders = [self.git_dir, self.common_dir]
        with contextlib.suppress(OSError, UnicodeError):
            head = (self.git_dir / "HEAD").read_text(encoding="utf-8")
            if head.startswith(_BRANCH):  # else it is detached: the commit stands in the git folder
                folders.append((self.common_dir / head.removeprefix(_BRANCH).strip()).parent)
        folders.append(self.common_dir / "reftable")
        return tuple(dict.fromkeys(folder.resolve() for folder in folders if folder.is_dir()))

    def abandon(self) -> None:
        """End what git is asked in other threads, which is an error to them, and ask nothing more."""
        self._questions.abandon()

    def _git(self, *arguments: str) -> bytes:
        return ask_git(self.top, *arguments, questions=self._questions)

    def _head(self) -> str:
        """Return the id of the commit that HEAD leads to, or an empty string before the first one."""
        try:
            return ask_line(self.top, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        except GitRefused as error:
            if str(error):
                raise
            return ""

    def _known_as(self, name: str, links: _Links) -> frozenset[str]:
        """Return the paths, relative to the top, that must be committed for this file to be."""
        path, passed = links.follow(str(self.root / name))
        top = f"{self.top}/"
        return frozenset(one.removeprefix(top) for one in (path, *passed) if one.startswith(top))

    def _pathspecs(self, paths: Collection[str]) -> tuple[str, ...]:
        if len(paths) <= _MOST_PATHS and sum(map(len, paths)) * 4 <= _LONGEST_PATHS:
            return ("--", *sorted(paths))
        return () if self.root == self.top else ("--", f"{self.root.relative_to(self.top)}/")


class _Links:
    """Follows symbolic links step by step, each folder once."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, frozenset[str]]] = {}

    def follow(self, path: str) -> tuple[str, frozenset[str]]:
        """Return where an absolute path leads in the end, and every link that was passed on the way."""
        if path not in self._seen:
            self._seen[path] = self._step(path)
        return self._seen[path]

    def _step(self, path: str) -> tuple[str, frozenset[str]]:
        above, name = os.path.split(path)
        if not name and above in {path, ""}:
            return path, frozenset()
        folder, passed = self.follow(above)
        if name in {"", "."}:
            return folder, passed
        if name == "..":
            return str(Path(folder).parent), passed
        here = f"{folder.rstrip('/')}/{name}"
        target = _target(here)
        if not target:
            return here, passed
        end, more = self.follow(str(Path(folder) / target))
        return end, passed | more | {here}


def _target(path: str) -> str:
    """Return what a symbolic link says; empty for anything else, and for one that goes in a circle."""
    try:
        target = str(Path(path).readlink())
    except OSError:
        return ""
    try:
        Path(path).stat()
    except OSError as error:
        return "" if error.errno == errno.ELOOP else target
    return target


def _read_status(output: bytes) -> tuple[str, set[str]]:
    """Return the commit that a status is about, and the paths that are not as it has them."""
    commit, changed = _UNBORN, set[str]()
    for entry in os.fsdecode(output).split("\0"):
        if entry.startswith("# branch.oid "):
            commit = entry.rpartition(" ")[2]
        elif fields := _FIELDS.get(entry[:1]):
            changed.add(entry.split(" ", fields)[fields])
    return commit, changed


def is_tracked(root: Path, path: Path) -> bool:
    """Whether a file, or a link on the way to it, is in the index of the repository that holds `root`.

    Asked the other way round: only what git lists as a stranger is untracked, by git's own idea of which names are the
    same. Outside of any repository nothing is tracked; a commit cannot bring a `.git`.
    Raises `WorkspaceError` when git cannot tell.
    """
    top, mine = _within_repository(root, path)
    lock = index_lock(
        Path(os.path.realpath(root))
    )  # before git is asked: what ended meanwhile is in its answer
    if lock is not None and any(_is_since(lock, one) for one in mine):
        raise WorkspaceError(f"git began to change the folder before it came (there is `{lock}`)")
    names = [str(one.relative_to(top)) for one in mine]
    try:  # at the top: a folder below may look like a repository
        asked = [ask_git(top, "ls-files", "--others", "-z", "--", name) for name in names]
    except GitRefused as error:
        raise WorkspaceError(f"git cannot tell what it tracks in `{top}`: {error}") from error
    return any(os.fsdecode(told) != f"{name}\0" for told, name in zip(asked, names, strict=True))


def tracked_below(root: Path, folder: Path) -> str:
    """Return a name that git tracks as `folder`, as a link on the way to it, or within; empty for none.

    Where git does not answer, nothing is known to be tracked.
    """
    top, mine = _within_repository(root, folder)
    for one in mine:
        depth = len(one.relative_to(top).parts)
        with contextlib.suppress(WorkspaceError, GitRefused):
            listed = ask_git(top, "ls-files", "-z", "--", *one.parent.relative_to(top).parts[:1])
            for name in os.fsdecode(listed).split("\0"):
                held = top.joinpath(*Path(name).parts[:depth])
                if str(held).casefold() == str(one).casefold() and _is_same(held, one):
                    return name
    return ""


def _within_repository(root: Path, path: Path) -> tuple[Path, list[Path]]:
    """Return the top of the root's work tree, and what of a path lies in it: every link on the way, and its end."""
    base = Path(os.path.realpath(root))
    top = next(
        (folder for folder in (base, *base.parents) if os.path.lexists(folder / ".git")), None
    )
    if top is None:
        return base, []
    end, passed = _Links().follow(str(path.absolute()))
    return top, [Path(one) for one in (*passed, end) if Path(one).is_relative_to(top)]


def _is_since(lock: Path, path: Path) -> bool:
    """Whether a file came, or changed, since git began to change files: its index tells of it only in the end."""
    try:
        return path.lstat().st_ctime_ns >= lock.lstat().st_mtime_ns
    except OSError:
        return False


def _is_same(one: Path, other: Path) -> bool:
    """Whether two spellings are one name: always where they are equal, and where the file system says so."""
    with contextlib.suppress(OSError):
        return one == other or one.samefile(other)
    return False


def index_lock(root: Path) -> Path | None:
    """Return the file that is there while git changes the files of a folder; None outside of any repository."""
    for folder in (root, *root.parents):
        place = folder / ".git"
        if place.is_dir():
            return place / "index.lock"
        with contextlib.suppress(OSError, UnicodeError):
            said = place.read_text(encoding="utf-8")  # of another worktree, or a submodule
            if said.startswith(_GIT_DIR):
                return folder / said.removeprefix(_GIT_DIR).strip() / "index.lock"
    return None


def _no_repository(root: Path, error: GitRefused) -> WorkspaceError:
    if any((folder / ".git").exists() for folder in (root, *root.parents)):
        return WorkspaceError(
            f"git refuses the repository of `{root}`: {error}",
            hint="Run `git status` there as the same user, and do what it says (for a folder of another "
            "owner: `git config --global --add safe.directory FOLDER`).",
        )
    return WorkspaceError(
        f"`{root}` is not in a git repository, so nothing in it is committed",
        hint=f"Run `git init` there and commit the specs, {OTHERWISE}.",
    )
