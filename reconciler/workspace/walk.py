"""Finding the files of the specs folder by name and signature. No file is opened here.

Hidden files and folders are passed over, symbolic links to folders are not followed, and anything that cannot be
listed stops the walk: specs that were merely not seen must not look as if they had been removed.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.core.documents import Place, Problem
from reconciler.core.errors import WorkspaceError
from reconciler.workspace.documents import SUFFIXES
from reconciler.workspace.files import describe_os_error
from reconciler.workspace.outputs import Signature

RECEIPT_SUFFIX = ".receipt.json"
DEFAULTS_NAME = "_defaults.yaml"
SETTINGS_NAME = "reconciler.toml"  # of the root; not a spec, even where the root holds the specs

_MISNAMED_DEFAULTS = tuple("_defaults" + suffix for suffix in SUFFIXES)
_UNSPEAKABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(slots=True)
class Tree:
    """What the specs folder holds; names are relative to the root, with forward slashes."""

    specs: dict[str, Signature] = field(default_factory=dict)
    defaults: dict[str, Signature] = field(default_factory=dict)  # folder -> its defaults file
    receipts: dict[str, Signature] = field(default_factory=dict)
    misnamed: dict[str, str] = field(default_factory=dict)  # folder -> a defaults file not read
    links: set[str] = field(default_factory=set)  # specs and defaults that are symbolic links
    problems: dict[str, Problem] = field(default_factory=dict)  # name -> why it cannot be used


def specs_folder(root: Path, specs_dir: str) -> str:
    """Return the name of the specs folder relative to the root; empty when it is the root itself.

    Raises `WorkspaceError` when it lies outside the root, links included.
    """
    base = os.path.realpath(root)
    inside = os.path.relpath(os.path.realpath(root / specs_dir), base)
    named = os.path.relpath(os.path.abspath(root / specs_dir), os.path.abspath(root))  # noqa: PTH100 - links stay
    if any(name == ".." or name.startswith("../") for name in (inside, named)):
        raise WorkspaceError(
            f"the specs folder `{specs_dir}` lies outside the project `{root}`",
            hint="Set RECONCILER_SPECS_DIR to a folder inside it.",
        )
    return "" if named == "." else named


def walk(root: Path, folder: str) -> Tree:
    """Return what lies in a folder of the root and below, sorted by name.

    Raises `WorkspaceError` naming the folder that does not exist or cannot be listed.
    """
    tree = Tree()
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        prefix = f"{here}/" if here else ""
        try:
            with os.scandir(root / here) as entries:
                waiting += (prefix + name for name in _look(entries, prefix, tree))
        except FileNotFoundError as error:
            if here != folder:
                continue  # removed while we walked
            raise WorkspaceError(
                f"the specs folder `{here}` does not exist in `{root}`",
                hint="Make the folder, and put a spec into it.",
            ) from error
        except OSError as error:
            raise describe_os_error(error, here or root) from error
    tree.specs = dict(sorted(tree.specs.items()))
    tree.receipts = dict(sorted(tree.receipts.items()))
    return tree


def _look(entries: Iterator[os.DirEntry[str]], prefix: str, tree: Tree) -> Iterator[str]:
    """Sort the entries of one folder into the tree, and yield the names of its folders."""
    for entry in entries:
        name = entry.name
        if name.startswith("."):
            continue
        is_spec = name[name.rfind(".") :].lower() in SUFFIXES
        if not is_spec and not entry.is_dir(follow_symlinks=False):
            continue
        if _UNSPEAKABLE.search(name):
            shown = prefix + os.fsencode(name).decode("utf-8", "backslashreplace")
            shown = _UNSPEAKABLE.sub(lambda match: f"\\x{ord(match.group()):02x}", shown)
            sentence = "the name holds control characters or is not UTF-8: rename it"
            tree.problems[shown] = Problem(Place(shown), "", sentence)
        elif not is_spec:
            yield name
        elif prefix or name != SETTINGS_NAME:
            _sort_in(entry, prefix, tree)


def _sort_in(entry: os.DirEntry[str], prefix: str, tree: Tree) -> None:
    name = prefix + entry.name
    signature = _signature(entry)
    if signature is None:
        return
    if entry.is_symlink():
        tree.links.add(name)
    if entry.name == DEFAULTS_NAME:
        tree.defaults[prefix.rstrip("/")] = signature
    elif entry.name.lower() in _MISNAMED_DEFAULTS:
        sentence = f"defaults are read from `{DEFAULTS_NAME}` only: rename the file"
        tree.problems[name] = Problem(Place(name), "", sentence)
        tree.misnamed[prefix.rstrip("/")] = name
    elif entry.name.endswith(RECEIPT_SUFFIX):
        tree.receipts[name] = signature
    else:
        tree.specs[name] = signature


def _signature(entry: os.DirEntry[str]) -> Signature | None:
    """Return the signature of an entry or, for a link, of what it leads to; None when it is gone."""
    try:
        return Signature.of(entry.stat())
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.ELOOP}:
            raise
    try:
        return Signature.of(entry.stat(follow_symlinks=False))  # a link to nothing, or to itself
    except FileNotFoundError:
        return None
