"""Finding the files of the specs folder by name and signature: all of them, or some names. No file is opened here.

Hidden and ignored files are passed over, but not receipts, which record what was bought; links to folders are not
followed. A folder that cannot be listed stops the walk: its specs must not look as if they had been removed.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Callable, Collection, Container, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate
from pathlib import Path

from reconciler.core.documents import Place, Problem
from reconciler.core.errors import WorkspaceError
from reconciler.core.naming import SPEC_SUFFIXES, join, spec_meant
from reconciler.workspace.files.outputs import Signature, followed
from reconciler.workspace.files.plain import describe_os_error, described
from reconciler.workspace.files.root import Root
from reconciler.workspace.tree.ignoring import IGNORE_FILE, Ignoring, foreign_copy

RECEIPT_SUFFIX = ".receipt.json"
DEFAULTS_NAME = "_defaults.yaml"
SETTINGS_NAME = "reconciler.toml"  # of the root; not a spec, even where the root holds the specs

_MISNAMED_DEFAULTS = tuple(
    stem + suffix for stem in ("_defaults", "_default", "defaults") for suffix in SPEC_SUFFIXES
)
_Entry = os.DirEntry[str] | Path
_UNSPEAKABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(slots=True)
class Tree:
    """What the specs folder, or a part of it, holds; names are relative to the root, with forward slashes."""

    specs: dict[str, Signature] = field(default_factory=dict)
    defaults: dict[str, Signature] = field(default_factory=dict)
    receipts: dict[str, Signature] = field(default_factory=dict)
    misnamed: dict[str, set[str]] = field(default_factory=dict)  # folder -> defaults not read
    links: set[str] = field(default_factory=set)  # the symbolic links among the files
    problems: dict[str, Problem] = field(default_factory=dict)  # name -> why it cannot be used
    misspelt: dict[str, str] = field(default_factory=dict)  # name like a spec's -> the name meant
    ignoring: Ignoring = field(default_factory=Ignoring)
    folder: str = ""  # the specs folder

    def files(self) -> dict[str, Signature | None]:
        """Return the signature of every file; None for one that cannot be used."""
        unusable = dict.fromkeys((*self.problems, *self.misspelt))
        return {**unusable, **self.specs, **self.defaults, **self.receipts}


def defaults_above(folder: str, spec: str) -> list[str]:
    """Return the names of the defaults files that apply to a spec, there or not, from the specs folder down."""
    inner = spec.rpartition("/")[0][len(folder) :].split("/")
    folders = accumulate(filter(None, inner), join, initial=folder)
    return [join(here, DEFAULTS_NAME) for here in folders]


def is_defaults(name: str) -> bool:
    """Whether a name is that of a defaults file, or a misspelling of it."""
    last = name.rpartition("/")[2]
    return last.lower() in _MISNAMED_DEFAULTS or spec_meant(last).lower() == DEFAULTS_NAME


def is_misnamed(name: str) -> bool:
    """Whether a file of this name holds defaults that are not read, because of the name."""
    return is_defaults(name) and name.rpartition("/")[2] != DEFAULTS_NAME


def specs_folder(root: Path, specs_dir: str) -> str:
    """Return the specs folder relative to the root; empty for the root. Raises `WorkspaceError` when it leads elsewhere."""
    base = os.path.realpath(root)
    inside = os.path.relpath(os.path.realpath(root / specs_dir), base)
    named = os.path.relpath(os.path.abspath(root / specs_dir), os.path.abspath(root))  # noqa: PTH100 - links stay
    if any(name == ".." or name.startswith("../") for name in (inside, named)):
        raise WorkspaceError(
            f"the specs folder `{specs_dir}` lies outside the project `{root}`",
            hint="Set RECONCILER_SPECS_DIR to a folder inside it.",
        )
    if named != "." and (fault := Root(root).fault(named)):
        raise WorkspaceError(
            f"the specs folder `{specs_dir}` {fault}", hint="Make it a folder, or a link to one."
        )
    return "" if named == "." else named


def _none(_: str) -> bool:
    return False


def walk(
    root: Path,
    folder: str,
    ignoring: Ignoring | None = None,
    passing: Callable[[str], bool] = _none,
) -> Tree:
    """Return what lies in a folder of the root and below, sorted by name; no file of a folder for which `passing` holds.

    Raises `WorkspaceError`.
    """
    tree = Tree(ignoring=ignoring or Ignoring.read(root), folder=folder)
    try:
        below = _list(root, folder, tree, passing)
    except FileNotFoundError as error:
        raise _no_folder(root, folder) from error
    _walk(root, below, tree, passing)
    tree.specs = dict(sorted(tree.specs.items()))
    tree.receipts = dict(sorted(tree.receipts.items()))
    return tree


def list_one(root: Path, folder: str, here: str, ignoring: Ignoring) -> Tree:
    """Return what lies right in one folder (`here`) of the specs `folder`. Raises `WorkspaceError`, FileNotFoundError."""
    tree = Tree(ignoring=ignoring, folder=folder)
    _list(root, here, tree, _none)
    return tree


def look(
    root: Path,
    folder: str,
    names: Collection[str],
    ignoring: Ignoring,
    passing: Callable[[str], bool] = _none,
) -> dict[str, Tree]:
    """Return what stands at and below these names of the specs folder now, with an empty tree for what is gone.

    Files of folders for which `passing` holds are passed over. The key may be a name above; hidden names, and those outside the folder, have none. The ignore file, where named, is
    read again. Raises `WorkspaceError`, also when there is no such folder.
    """
    found: dict[str, Tree] = {}
    if IGNORE_FILE in names:
        ignoring = Ignoring.read(root)

    @cache
    def is_folder(name: str, *, follow_symlinks: bool = False) -> bool:
        with described(name), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            # By a text: this is asked several times for each save of a spec.
            status = os.stat(f"{root}/{name}", follow_symlinks=follow_symlinks)  # noqa: PTH116
            return stat.S_ISDIR(status.st_mode)
        return False

    for name in sorted(names):  # a folder before what it holds
        if _holds(name, folder):
            return {folder: walk(root, folder, ignoring, passing)}
        if _holds(folder, name) and (place := _place(folder, name, found, is_folder)):
            found[place] = _look_at(root, place, ignoring, passing)
    if found and not is_folder(folder, follow_symlinks=True):
        raise _no_folder(root, folder)
    return found


def _place(folder: str, name: str, found: Container[str], is_folder: Callable[[str], bool]) -> str:
    """Return the name, or one above that is no folder; nothing when it is hidden, or in what was found."""
    here = folder
    for part in name[len(folder) :].strip("/").split("/"):
        here = join(here, part)
        if part.startswith(".") or here in found:
            return ""
        is_spec = part[part.rfind(".") :].lower() in SPEC_SUFFIXES
        if here == name or is_spec or _UNSPEAKABLE.search(part) or not is_folder(here):
            break
    return here


def _look_at(root: Path, name: str, ignoring: Ignoring, passing: Callable[[str], bool]) -> Tree:
    tree, entry = Tree(ignoring=ignoring), root / name
    prefix = name[: name.rfind("/") + 1]
    with described(name), contextlib.suppress(FileNotFoundError, NotADirectoryError):
        entry.stat(follow_symlinks=False)
        _walk(root, list(_sort([entry], prefix, tree)), tree, passing)
    return tree


def misspelt_notes(tree: Tree) -> Iterator[str]:
    """Yield a sentence about each file with a misspelt name of a spec, where no spec has the right name."""
    for name, meant in sorted(tree.misspelt.items()):
        stem = meant.rpartition(".")[0]
        if not any(stem + suffix in tree.specs for suffix in SPEC_SUFFIXES):
            goal = meant.rpartition("/")[2]
            yield f"`{name}` is not read as a spec because of its name: if it should be, rename it to `{goal}`"


def _holds(folder: str, name: str) -> bool:
    return not folder or name == folder or name.startswith(f"{folder}/")


def _is_folder(entry: _Entry) -> bool:
    if isinstance(entry, os.DirEntry):
        return entry.is_dir(follow_symlinks=False)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return stat.S_ISDIR(entry.lstat().st_mode)
    return False


def _no_folder(root: Path, folder: str) -> WorkspaceError:
    return WorkspaceError(
        f"the specs folder `{folder}` does not exist in `{root}`",
        hint="Make the folder, and put a spec into it.",
    )


def _walk(root: Path, waiting: list[str], tree: Tree, passing: Callable[[str], bool]) -> None:
    while waiting:
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile
            waiting += _list(root, waiting.pop(), tree, passing)


def _list(root: Path, here: str, tree: Tree, passing: Callable[[str], bool]) -> list[str]:
    """Put a folder's files into the tree, and return its folders. Raises FileNotFoundError, `WorkspaceError`."""
    try:
        with os.scandir(root / here) as entries:
            found = filter(_is_folder, entries) if passing(here) else entries
            return list(_sort(found, join(here, ""), tree))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise describe_os_error(error, here or root) from error


def _sort(entries: Iterable[_Entry], prefix: str, tree: Tree) -> Iterator[str]:
    """Put the files among a folder's entries into the tree, and yield the names of the folders."""
    for entry in entries:
        name = entry.name
        if name.startswith("."):
            continue
        is_spec = name[name.rfind(".") :].lower() in SPEC_SUFFIXES
        if not is_spec and not _is_folder(entry):
            meant = spec_meant(name)
            if meant and not (_UNSPEAKABLE.search(name) or tree.ignoring.ignores(prefix + name)):
                if meant.lower() == DEFAULTS_NAME:
                    _note_misnamed(prefix + name, prefix, tree)
                else:
                    tree.misspelt[prefix + name] = prefix + meant
        elif is_spec and not name.endswith(RECEIPT_SUFFIX) and tree.ignoring.ignores(prefix + name):
            continue
        elif _UNSPEAKABLE.search(name):
            if tree.ignoring.ignores_folder(prefix + name):
                continue
            shown = prefix + os.fsencode(name).decode("utf-8", "backslashreplace")
            shown = _UNSPEAKABLE.sub(lambda match: f"\\x{ord(match.group()):02x}", shown)
            sentence = "the name holds control characters or is not UTF-8: rename it"
            tree.problems[prefix + name] = Problem(Place(shown), "", sentence)
        elif not is_spec:
            yield prefix + name
        elif prefix or name != SETTINGS_NAME:
            _sort_in(entry, prefix, tree)


def _note_misnamed(name: str, prefix: str, tree: Tree) -> None:
    """Note misnamed defaults as a problem of all specs below: they may say `suspend`, and are not read."""
    sentence = f"defaults are read from `{DEFAULTS_NAME}` only: rename the file"
    tree.problems[name] = Problem(Place(name), "", sentence)
    tree.misnamed.setdefault(prefix.rstrip("/"), set()).add(name)


def _sort_in(entry: _Entry, prefix: str, tree: Tree) -> None:
    name = prefix + entry.name
    if (signature := followed(entry)) is None:
        return
    if entry.is_symlink():
        tree.links.add(name)
    if entry.name == DEFAULTS_NAME:
        tree.defaults[name] = signature
    elif entry.name.lower() in _MISNAMED_DEFAULTS:
        _note_misnamed(name, prefix, tree)
    elif entry.name.endswith(RECEIPT_SUFFIX):
        tree.receipts[name] = signature
    elif sentence := foreign_copy(name):
        tree.problems[name] = Problem(Place(name), "", sentence)
    else:
        tree.specs[name] = signature
