"""The checks of `doctor` that need no provider: the folder, its disk, the state, and what the system allows."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rich.progress import track

from reconciler.cli.folder import kept_private
from reconciler.cli.terminal import err
from reconciler.core.errors import ReconcilerError, counted
from reconciler.engine.outcome import in_a_line
from reconciler.settings import Settings
from reconciler.settings.sources import ENV_FILE
from reconciler.store.durable import OTHERS
from reconciler.store.lock import lock_holder
from reconciler.store.objects import ObjectStore
from reconciler.store.repository import Repository
from reconciler.workspace.walk import specs_folder, walk

LEAST_FREE = 1_000_000_000  # bytes; a result is some tens of megabytes
_MANY_OBJECTS = 50  # from here on it takes long enough to be followed
_MOST_NAMED = 5
_INOTIFY = Path("/proc/sys/fs/inotify")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    message: str


def checked(name: str, look: Callable[[], tuple[bool, str]]) -> Check:
    """Return what a look found; one that cannot be made is a check that failed."""
    try:
        return Check(name, *look())
    except ReconcilerError as error:
        return Check(name, False, in_a_line(error))
    except OSError as error:
        return Check(
            name,
            False,
            (f"`{error.filename}`: " if error.filename else "") + (error.strerror or str(error)),
        )


def local_checks(root: Path, settings: Settings, *, quick: bool) -> Iterator[Check]:
    """Give one check after the other; `quick` leaves out reading every object."""
    state = root / settings.state_dir
    yield checked("folder", lambda: _folder(root, settings))
    yield checked("privacy", lambda: _privacy(root, settings))
    yield checked("disk", lambda: _disk(root, settings))
    yield checked("database", lambda: _database(settings, state))
    yield checked("objects", lambda: _objects(settings, state, quick=quick))
    yield checked("lock", lambda: _lock(state))
    yield checked("inotify", lambda: _inotify(root, settings))
    yield checked("git", lambda: _git(root, settings))


def _folder(root: Path, settings: Settings) -> tuple[bool, str]:
    specs = specs_folder(root, settings.specs_dir)
    if not (root / specs).is_dir():
        return False, f"there is no folder `{settings.specs_dir}` in `{root}`"
    tree = walk(root, specs)
    count = len(tree.problems) + (tree.ignoring.problem is not None)
    wrong = f"; {counted(count, 'file')} cannot be used: see `validate`" if count else ""
    return True, f"`{root / settings.specs_dir}` holds {counted(len(tree.specs), 'spec')}{wrong}"


def _privacy(root: Path, settings: Settings) -> tuple[bool, str]:
    """Look whether other users of this machine can read keys, or what was bought."""
    for name in sorted(settings.secret_files() | {ENV_FILE}):
        secrets = root / name
        if secrets.exists() and (mode := _others(secrets)):
            return False, (
                f"`{name}` is where keys stand, and other users of this machine may read it (mode {mode}): "
                f"run `chmod 600 {name}`"
            )
    readable = next((place for place in kept_private(root, settings) if _others(place)), None)
    if readable is not None:
        return True, (
            f"other users of this machine may use `{readable}` (mode {_others(readable)}); the next `apply` or `watch` "
            "of its owner takes that from them"
        )
    return True, "other users of this machine can read neither keys nor the state"


def _others(path: Path) -> str:
    """Return the mode of a file or folder that others than its owner may use, or an empty string."""
    mode = stat.S_IMODE(path.stat().st_mode)
    return f"{mode:04o}" if mode & OTHERS else ""


def _disk(root: Path, settings: Settings) -> tuple[bool, str]:
    said, well = [], True
    for name in dict.fromkeys((settings.state_dir, settings.specs_dir)):
        place = _existing(root / name)
        free = shutil.disk_usage(place).free
        writable = os.access(place, os.W_OK)
        well = well and writable and free >= LEAST_FREE
        said.append(f"{name}: {free / 1e9:,.1f} GB free{'' if writable else ', NOT WRITABLE'}")
    return well, "; ".join(said)


def _existing(path: Path) -> Path:
    """Return the path, or the nearest folder above it that is there."""
    return next(place for place in (path, *path.parents) if place.exists())


def _database(settings: Settings, state: Path) -> tuple[bool, str]:
    with closing(_open(settings, state)) as repository:
        complaints = repository.integrity_check()
        if complaints:
            return False, (
                f"damaged: {complaints[0]}. Move it and its -wal and -shm files away, keep them, "
                "and run `plan`: the receipts remember what was bought"
            )
        count = len(repository.records())
    return True, f"sound; {counted(count, 'generation')} on record"


def _objects(settings: Settings, state: Path, *, quick: bool) -> tuple[bool, str]:
    objects = ObjectStore(state / "objects")
    names = list(objects.names())
    with closing(_open(settings, state)) as repository:
        lacking = repository.known_results(previews=False).keys() - set(names)
    elsewhere = f"; {counted(len(lacking), 'result')} without an object here" if lacking else ""
    if quick:
        return True, f"{len(names):,}, not read (--quick){elsewhere}"
    shown = (
        track(names, "objects", console=err, transient=True)
        if err.is_terminal and len(names) >= _MANY_OBJECTS
        else names
    )
    damaged = [name for name in shown if not objects.verify(name)]
    if damaged:
        named = ", ".join(name[:12] for name in damaged[:_MOST_NAMED])
        return False, (
            f"{len(damaged):,} of {len(names):,} are damaged ({named}{'…' * (len(damaged) > _MOST_NAMED)}); "
            "where an output is missing `apply` fetches it again, while the provider has it"
        )
    return True, f"{len(names):,}, all of them intact{elsewhere}"


def _lock(state: Path) -> tuple[bool, str]:
    holder = lock_holder(state)
    return True, "nobody writes here" if holder is None else f"{holder} writes here"


def _inotify(root: Path, settings: Settings) -> tuple[bool, str]:
    if not _INOTIFY.is_dir():
        return True, "not used on this system"
    watches, instances = (
        int((_INOTIFY / name).read_text()) for name in ("max_user_watches", "max_user_instances")
    )
    folders = sum(1 for _ in os.walk(root / settings.specs_dir))
    said = f"{watches:,} watches and {instances:,} instances for {counted(folders, 'folder')}"
    if watches < 2 * folders or instances < 2:
        return False, (
            f"{said}: too few, so `watch` would have to poll. Raise fs.inotify.max_user_watches "
            "(and max_user_instances) with sysctl"
        )
    return True, said


def _git(root: Path, settings: Settings) -> tuple[bool, str]:
    if not settings.require_committed:
        return True, "not needed: RECONCILER_REQUIRE_COMMITTED is off"
    from reconciler.workspace.git import Checkout

    return True, f"the repository at {Checkout.find(root).top}"


def _open(settings: Settings, state: Path) -> Repository:
    return Repository.open(settings.database_url or state / "reconciler.db", read_only=True)
