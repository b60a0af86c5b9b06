"""What is committed in git, by asking the `git` program: it alone knows its filters, line ends and work trees.

The repository is found here, by its `.git`: the one name that no commit can hold. Git itself would also take a folder
that a commit brings (`HEAD`, `objects`, `refs`, a `config` with commands), and run what its `config` says.
Nothing here writes, takes a lock of git's, reads the network or needs a terminal.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Self

from reconciler.core.errors import WorkspaceError
from reconciler.workspace.files.plain import open_plain
from reconciler.workspace.programs import OTHERWISE, GitRefused, Questions, ask_git

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
_LONGEST_FILE = 8192  # bytes of such a file: longer than any path
_TRUE = {"1", "true", "yes", "on"}  # in git's words
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
        """Return the work tree that holds `root`. Raises `WorkspaceError`, also where nothing is committed yet."""
        base = Path(os.path.realpath(root))
        repository = _repository_of(base)
        if repository is None:
            if not base.is_dir():
                raise WorkspaceError(f"`{base}` is not a folder", hint="Check the path.")
            raise WorkspaceError(
                f"`{base}` is not in a git repository, so nothing in it is committed",
                hint=f"Run `git init` there and commit the specs, {OTHERWISE}.",
            )
        top, git_dir = repository
        try:
            found = cls(base, top, git_dir, _common_folder(top, git_dir))
            found._git("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        except GitRefused as error:
            if not str(error):  # what `--quiet` keeps to itself
                raise WorkspaceError(
                    f"nothing is committed yet in the git repository of `{root}`",
                    hint=f"Commit the specs, {OTHERWISE}.",
                ) from error
            raise WorkspaceError(
                f"git refuses the repository of `{base}`: {error}",
                hint="Run `git status` there as the same user, and do what it says (for a folder of another "
                "owner: `git config --global --add safe.directory FOLDER`).",
            ) from error
        return found

    def uncommitted(self, names: Collection[str]) -> frozenset[str]:
        """Return which files HEAD does not hold as they are on disk, links with targets. Raises `WorkspaceError`."""
        if not names:
            return frozenset()
        follow, top = _follower(), f"{self.top}/"
        known_as = {  # the paths, relative to the top, that must be committed for a file to be
            name: {one.removeprefix(top) for one in (end, *passed) if one.startswith(top)}
            for name, (end, passed) in ((name, follow(str(self.root / name))) for name in names)
        }
        paths = set().union(*known_as.values())
        asked = [] if self.root == self.top else ["--", f"{self.root.relative_to(self.top)}/"]
        if len(paths) <= _MOST_PATHS and sum(map(len, paths)) * 4 <= _LONGEST_PATHS:
            asked = ["--", *sorted(paths)]
        try:
            commit, changed = _read_status(self._git(*_STATUS, *asked))
            if commit == _UNBORN:
                return frozenset(names)
            listed = self._git("ls-tree", "-r", "-z", commit, *asked)
        except GitRefused as error:
            raise WorkspaceError(
                f"git cannot tell what is committed in `{self.top}`: {error}",
                hint=f"See what `git status` says there, {OTHERWISE}.",
            ) from error
        held = _files(listed) - changed
        return frozenset(name for name, paths in known_as.items() if not (paths and paths <= held))

    def signs(self) -> tuple[Path, ...]:
        """Return the folders in which something changes whenever HEAD or the index does. Git is not asked: it may hang."""
        folders = [self.git_dir, self.common_dir]
        with contextlib.suppress(OSError, UnicodeError):
            head = (self.git_dir / "HEAD").read_text(encoding="utf-8")
            if head.startswith(_BRANCH):  # else it is detached: the commit stands in the git folder
                folders.append((self.common_dir / head.removeprefix(_BRANCH).strip()).parent)
        folders.append(self.common_dir / "reftable")
        return tuple(dict.fromkeys(folder.resolve() for folder in folders if folder.is_dir()))

    def abandon(self) -> None:
        """End the git processes that other threads wait for, which raises there, and start no more."""
        self._questions.abandon()

    def _git(self, *arguments: str) -> bytes:
        places = (f"--git-dir={self.git_dir}", f"--work-tree={self.top}")
        return ask_git(self.top, *places, *arguments, questions=self._questions)


def _follower() -> Callable[[str], tuple[str, frozenset[str]]]:
    """Return a function from an absolute path to its end and the links on the way; it reads each link once."""

    @cache
    def follow(path: str) -> tuple[str, frozenset[str]]:
        above, name = os.path.split(path)
        if not name:
            return path, frozenset()
        folder, passed = follow(above)
        if name == "..":
            return str(Path(folder).parent), passed
        here = f"{folder.rstrip('/')}/{name}"
        target = _target(here)
        if not target:
            return here, passed
        end, more = follow(str(Path(folder) / target))
        return end, passed | more | {here}

    return follow


def _target(path: str) -> str:
    """Return a symbolic link's target as written; empty for anything else, and for a link in a circle."""
    link, target = Path(path), ""
    try:
        target = str(link.readlink())
        link.stat()
    except OSError as error:
        return "" if error.errno == errno.ELOOP else target
    return target


def _read_status(output: bytes) -> tuple[str, set[str]]:
    """Return the commit that a status compares with, and the paths that differ from it."""
    entries = os.fsdecode(output).split("\0")
    commits = (one.rpartition(" ")[2] for one in entries if one.startswith("# branch.oid "))
    changed = {one.split(" ", at)[at] for one in entries if (at := _FIELDS.get(one[:1]))}
    return next(commits, _UNBORN), changed


def _files(output: bytes) -> set[str]:
    """Return the paths of files and symbolic links in a listed tree; a submodule's content is not in it."""
    entries = (entry.partition("\t") for entry in os.fsdecode(output).split("\0"))
    return {path for said, _, path in entries if said.partition(" ")[2].startswith("blob ")}


def is_tracked(root: Path, path: Path) -> bool:
    """Whether the repository of `root`, if any, tracks a file or a link on the way to it. Raises `WorkspaceError`."""
    top, mine = _within_repository(root, path)
    # Looked at before git is asked: a checkout that ends in between is in git's answer.
    lock = index_lock(root)
    if lock is not None and any(_is_since(lock, one) for one in mine):
        raise WorkspaceError(f"git began to change the folder before it came (there is `{lock}`)")
    names = [str(one.relative_to(top)) for one in mine]
    # All but what git lists as untracked: git knows which names are the same.
    return any(_listed(top, "--others", "-z", "--", name) != f"{name}\0" for name in names)


def tracked_below(root: Path, folder: Path) -> str:
    """Return a tracked name that is `folder`, in it, or a link on the way to it; or nothing. Raises `WorkspaceError`."""
    top, mine = _within_repository(root, folder)
    for one in mine:
        parts = one.relative_to(top).parts
        sought = "/".join(parts).casefold()
        for name in _listed(top, "-z", "--", *parts[:-1][:1]).split("\0"):
            held = "/".join(name.split("/", len(parts))[: len(parts)])
            if held.casefold() == sought and _is_same(top / held, one):
                return name
    return ""


def _listed(top: Path, *arguments: str) -> str:
    try:
        return os.fsdecode(ask_git(top, "ls-files", *arguments))
    except GitRefused as error:
        raise WorkspaceError(f"git cannot tell what it tracks in `{top}`: {error}") from error


def _within_repository(root: Path, path: Path) -> tuple[Path, list[Path]]:
    """Return the top of the root's work tree, and of a path's end and the links on the way those that lie in it."""
    base = Path(os.path.realpath(root))
    top = next((folder for folder in (base, *base.parents) if _is_repository(folder)), None)
    if top is None:
        return base, []
    end, passed = _follower()(str(path.absolute()))
    return top, [Path(one) for one in (*passed, end) if Path(one).is_relative_to(top)]


def _is_repository(folder: Path) -> bool:
    """Whether there is a `.git`, or what stands for one; a folder of that name without a HEAD is none."""
    place = folder / ".git"
    is_open = os.path.isdir(place) and os.access(place, os.X_OK)  # noqa: PTH112 - as below
    return os.path.lexists(place / "HEAD" if is_open else place)


def _is_since(lock: Path, path: Path) -> bool:
    """Whether a file changed since git began a checkout: git's index knows of it only at the end."""
    try:
        return path.lstat().st_ctime_ns >= lock.lstat().st_mtime_ns
    except OSError:
        return False


def _is_same(one: Path, other: Path) -> bool:
    """Whether two spellings are one name on this file system."""
    with contextlib.suppress(OSError):
        return one == other or one.samefile(other)
    return False


def index_lock(root: Path) -> Path | None:
    """Return the path of the file that git holds while it changes a folder; None outside of any repository."""
    found = _repository_of(Path(os.path.realpath(root)))
    return found[1] / "index.lock" if found else None


def _repository_of(base: Path) -> tuple[Path, Path] | None:
    """Return the nearest folder with a `.git` at or above `base` (links resolved), and the git folder that this means."""
    for folder in _searched(base):
        place = folder / ".git"
        if os.path.isdir(place):  # noqa: PTH112 - pathlib raises where a folder is closed to us
            if os.path.lexists(place / "HEAD"):
                return folder, Path(os.path.realpath(place))
            continue
        with contextlib.suppress(OSError, UnicodeError), open_plain(place) as file:
            said = file.read(_LONGEST_FILE).decode("utf-8", "surrogateescape")
            if said.startswith(_GIT_DIR):  # of another work tree, or a submodule
                named = said.removeprefix(_GIT_DIR).rstrip("\r\n")
                return folder, Path(os.path.realpath(folder / named))
    return None


def _searched(base: Path) -> Iterator[Path]:
    """Yield the folders in which git would look for a `.git`, by its two settings of the environment."""
    ceilings = os.environ.get("GIT_CEILING_DIRECTORIES", "").split(":")
    is_across = os.environ.get("GIT_DISCOVERY_ACROSS_FILESYSTEM", "").lower() in _TRUE
    yield base
    with contextlib.suppress(OSError):
        device = base.stat().st_dev
        for folder in base.parents:
            if str(folder) in ceilings or (folder.stat().st_dev != device and not is_across):
                return
            yield folder


def _common_folder(top: Path, git_dir: Path) -> Path:
    """Return the git folder that all work trees of a repository share.

    Git is asked at `top`, where it can find no other repository, and refuses an owner that it does not trust. Raises
    `GitRefused`, and `WorkspaceError` where the git folder is not that of this work tree.
    """
    options = ("--absolute-git-dir", "--show-toplevel", "--git-common-dir")
    told = (os.fsdecode(ask_git(top, "rev-parse", one)).removesuffix("\n") for one in options)
    holder, work_tree, common = (Path(os.path.realpath(top / one)) for one in told)
    is_whole = common == holder or _work_tree_of(holder) == top
    is_apart = holder == top / ".git" or top not in (holder, *holder.parents)
    if (holder, work_tree) != (git_dir, top) or not is_whole or not is_apart:
        raise WorkspaceError(
            f"`{top / '.git'}` leads to `{git_dir}`, which is not the git folder of `{top}`",
            hint=f"Run `git worktree repair` in the main work tree, or clone again, {OTHERWISE}.",
        )
    return common


def _work_tree_of(holder: Path) -> Path | None:
    """Return the linked work tree that a git folder names in its `gitdir`; None when it has none."""
    try:
        with open_plain(holder / "gitdir") as file:
            said = Path(os.fsdecode(file.read(_LONGEST_FILE)).rstrip("\r\n"))
    except OSError:
        return None
    return Path(os.path.realpath(holder / said.parent))
