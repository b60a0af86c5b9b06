"""Which folder is the root: the one that `--root` names, or the nearest one from the working folder upwards.

A root that was found is named on stderr, and none is guessed: where two could be meant, neither is.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.markup import escape

from reconciler.cli.terminal import err
from reconciler.core.errors import WorkspaceError
from reconciler.settings.sources import CONFIG_FILE, ENV_FILE, LARGEST_FILE

_SPECS, _STATE = "RECONCILER_SPECS_DIR", "RECONCILER_STATE_DIR"
_HINT = "Go to the project's root, name it with --root, or begin one with `reconciler init`."


@dataclass(frozen=True, slots=True)
class Root:
    """A root folder, and the settings file that the operator named for it."""

    path: Path
    config: Path | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """What stands before the command: `--root` and `--config`."""

    root: Path | None
    config: Path | None


def root_of(context: typer.Context, *, or_here: bool = False) -> Root:
    """Return the root folder of a command; with `or_here` the working folder, where there is none.

    Raises:
        WorkspaceError: there is none, or two could be meant.
    """
    options: Options = context.obj
    path = options.root if options.root is not None else _found(or_here=or_here)
    return Root(path, options.config)


def _found(*, or_here: bool) -> Path:
    try:
        here = Path.cwd()
    except FileNotFoundError:
        raise WorkspaceError("the working folder does not exist any more", hint=_HINT) from None
    specs, state = os.environ.get(_SPECS, "specs"), os.environ.get(_STATE, "state")
    if not (_is_below(specs) and _is_below(state)):
        return here  # such a name says the same in every folder
    looked, end = _upwards(here)
    roots = [folder for folder in looked if _is_root(folder, specs, state)]
    if not roots and or_here:
        return here
    if not roots:
        above = f", nor above it up to `{looked[-1]}`" if len(looked) > 1 else ""
        raise WorkspaceError(f"there is no folder `{specs}` in `{here}`{above}{end}", hint=_HINT)
    _refuse_nested(roots, specs, state)
    if roots[0] != here:
        err.print(f"The root is {escape(str(roots[0]))}")
    return roots[0]


def named(root: Path, path: Path, specs: Sequence[str]) -> set[str]:
    """Return the specs that a path is, or holds: a path of the working folder or, where it is not there, of the root."""
    for candidate in (path.absolute(), root / path):
        where = candidate.parent.resolve() / candidate.name
        wanted = candidate.resolve() if candidate.name == ".." else where
        found = {spec for spec in specs if wanted == root / spec or wanted in (root / spec).parents}
        if found or (os.path.lexists(candidate) and root in (wanted, *wanted.parents)):
            return found
    return set()


def _upwards(here: Path) -> tuple[list[Path], str]:
    """Return the folders that may be looked at, and in words why there are no more.

    As git does, it stops where another file system begins and where a folder is somebody else's: their `.env` would
    send our key anywhere. The home folder is nobody's project unless somebody works right in it.
    """
    device, us = here.stat().st_dev, os.geteuid()
    home = Path(os.path.expanduser("~")).resolve()  # noqa: PTH111 - Path.home() fails where there is none
    looked = [here]
    for folder in here.parents if here != home else ():
        found = folder.stat()
        if folder == home:
            return looked, " (the home folder itself is not searched)"
        if found.st_dev != device:
            return looked, f" (`{folder}` is on another file system)"
        if found.st_uid != us:
            return looked, f" (`{folder}` belongs to another user)"
        looked.append(folder)
    return looked, ""


def _is_below(name: str) -> bool:
    path = Path(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def _is_root(folder: Path, specs: str, state: str) -> bool:
    return (
        os.path.isfile(folder / CONFIG_FILE)  # noqa: PTH113 - pathlib raises where a folder is closed to us
        or os.path.isfile(folder / state / "reconciler.db")  # noqa: PTH113
        or os.path.isdir(folder / specs)  # noqa: PTH112
        or _names_its_folders(folder / ENV_FILE)
    )


def _names_its_folders(env_file: Path) -> bool:
    try:
        with env_file.open("rb") as file:
            text = file.read(LARGEST_FILE)
    except OSError:
        return False
    return any(name.encode() in text.upper() for name in (_SPECS, _STATE))


def _refuse_nested(roots: Sequence[Path], specs: str, state: str) -> None:
    """Raise WorkspaceError where the nearest root may be none: a commit can bring all that makes a folder one."""
    nearest = roots[0]
    for outer in roots[1:]:
        if outer / specs in (nearest, *nearest.parents):
            why = "whose specs it is among"
        elif _is_used(outer, state) and not _is_used(nearest, state):
            why = "which has settings or a state, as this one has not"
        else:
            continue
        raise WorkspaceError(
            f"`{nearest}` could be the root, and so could `{outer}`, {why}",
            hint="Say which one is meant with --root.",
        )


def _is_used(folder: Path, state: str) -> bool:
    """Whether somebody worked here: of these files, a commit's own are refused."""
    return any(os.path.isfile(folder / name) for name in (ENV_FILE, f"{state}/reconciler.db"))  # noqa: PTH113
