"""Opening a root folder: settings, stores, the specs and the selection that a command is about."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Self
from urllib.parse import urlsplit

from reconciler import settings as configuration
from reconciler.cli.root import Root, named
from reconciler.core.diff import Plan
from reconciler.core.errors import SettingsError, WorkspaceError
from reconciler.core.generations import Generation
from reconciler.core.hosts import is_loopback
from reconciler.engine.survey import (
    Survey,
    Surveyor,
    Uncommitted,
    none_uncommitted,
    waiting_for_commit,
)
from reconciler.settings import Settings
from reconciler.store.cache import FileCache
from reconciler.store.database import database_path
from reconciler.store.durable import FILES, tighten
from reconciler.store.lock import StateLock
from reconciler.store.objects import ObjectStore
from reconciler.store.repository import Repository
from reconciler.workspace.ignoring import IGNORE_FILE
from reconciler.workspace.loader import Desired, load
from reconciler.workspace.walk import DEFAULTS_NAME


@dataclass(frozen=True, slots=True)
class Folder:
    """A root folder that was opened."""

    root: Path
    settings: Settings
    repository: Repository
    objects: ObjectStore
    cache: FileCache

    @property
    def surveyor(self) -> Surveyor:
        """Return a surveyor of this folder."""
        return Surveyor(
            self.root,
            self.repository,
            self.objects,
            can_host=self.can_host,
            uncommitted=self._uncommitted if self.settings.require_committed else none_uncommitted,
            previews=self.settings.previews,
        )

    @property
    def can_host(self) -> bool:
        """Whether a local video can be made readable: by a media store, or the one that the simulator brings."""
        here = is_loopback(urlsplit(self.settings.base_url).hostname or "")
        return here or bool(self.settings.media_store)

    def _uncommitted(self, desired: Desired) -> Uncommitted:
        """Ask git about every file that wishes are made of."""
        from reconciler.workspace.git import Checkout

        names = {name for wish in desired.generations for name in _made_of(wish, desired)}
        uncommitted = Checkout.find(self.root).uncommitted(names)
        return lambda wish: waiting_for_commit(
            min(_made_of(wish, desired) & uncommitted, default="")
        )

    def load(self) -> Desired:
        """Read the specs."""
        return load(
            self.root, self.settings.specs_dir, prices=self.settings.prices, cache=self.cache
        )


@dataclass(frozen=True, slots=True)
class Selection:
    """What a command is about: everything, or what lies at the paths that were named."""

    generations: tuple[Generation, ...]
    invalid: tuple[str, ...]
    whole: bool

    def again(self, desired: Desired) -> Self:
        """Return what the same selection comes to now: while a command worked, specs may have changed or gone."""
        if self.whole:
            return type(self)(desired.generations, tuple(desired.invalid), whole=True)
        specs = {*self.invalid, *(wish.spec for wish in self.generations)}
        wishes = tuple(wish for wish in desired.generations if wish.spec in specs)
        return type(self)(wishes, tuple(one for one in desired.invalid if one in specs), False)

    def plan(self, survey: Survey) -> Plan:
        """Return the plan for this selection."""
        return survey.plan(self.generations, self.invalid, whole=self.whole)


@contextmanager
def open_folder(
    place: Root,
    *,
    write: bool = False,
    settings: Settings | None = None,
    busy_timeout: float | None = None,
) -> Iterator[Folder]:
    """Open a root folder; with `write`, as its only writer. Its settings are read, unless they are given.

    `busy_timeout` is how long a change waits for another program that holds the database, in seconds.

    Raises:
        WorkspaceError: there are no specs here.
        SettingsError, StateError, StateLocked: see there.
    """
    root = place.path.resolve()
    settings = settings or configuration.load(root, config=place.config)
    if not (root / settings.specs_dir).is_dir():
        hint = "Go to the project's root, or name it with --root."
        raise WorkspaceError(f"there is no folder `{settings.specs_dir}` in `{root}`", hint=hint)
    database = database_of(root, settings)
    state = root / settings.state_dir
    _refuse_tracked(root, state, write=write)
    cache = FileCache(state / "cache.db")
    try:
        if write:
            with (
                _locked(root, settings, state) as locks,
                _repository(
                    database, read_only=False, busy_timeout=busy_timeout, locks=locks
                ) as repository,
            ):
                yield Folder(root, settings, repository, ObjectStore(state / "objects"), cache)
        else:
            with _repository(database, read_only=True) as repository:
                yield Folder(root, settings, repository, ObjectStore(state / "objects"), cache)
    finally:
        cache.close()


def _refuse_tracked(root: Path, state: Path, *, write: bool) -> None:
    """Raise WorkspaceError where a commit could hold the state: what was bought, and which files are ours.

    Where git cannot tell, what only reads goes on.
    """
    from reconciler.workspace.git import tracked_below

    if root.is_relative_to(os.path.normpath(state)):
        return  # the operator keeps the state among the files of the folder
    try:
        name = tracked_below(root, state)
    except WorkspaceError as error:
        if not write:
            return
        raise WorkspaceError(
            f"nobody knows whether the state in `{state}` is somebody's commit: {error.message}",
            hint="Install git, or let it read the repository (`git config --global --add safe.directory FOLDER`), or keep "
            "the state outside of the repository (RECONCILER_STATE_DIR).",
        ) from error
    if name:
        raise WorkspaceError(
            f"git tracks `{name}`, so the state in `{state}` could be somebody's commit",
            hint="Take the folder out of git (`git rm -r --cached`) and commit that. If it came with a commit of somebody else, "
            "move it away: the receipts remember what was bought.",
        )


def database_of(root: Path, settings: Settings) -> Path:
    """Return where the state database is; raises SettingsError for one that is no file of this machine."""
    if settings.database_url and not settings.database_url.startswith("sqlite:"):
        hint = "Use a sqlite: URL, or leave it unset: state/reconciler.db is the default."
        raise SettingsError("RECONCILER_DATABASE_URL: only SQLite is supported so far", hint=hint)
    return database_path(settings.database_url or root / settings.state_dir / "reconciler.db")


@contextmanager
def _locked(root: Path, settings: Settings, state: Path) -> Iterator[tuple[StateLock, ...]]:
    """Be the only writer: of the state folder, and of the database where a setting puts it elsewhere."""
    with ExitStack() as stack:
        locks = [stack.enter_context(StateLock(state))]
        if settings.database_url:
            beside = database_path(settings.database_url).absolute().parent
            if beside.resolve() != state.resolve():
                locks.append(stack.enter_context(StateLock(beside)))
        tighten(kept_private(root, settings))
        yield tuple(locks)


def kept_private(root: Path, settings: Settings) -> list[Path]:
    """Return what only its owner may read: the files of the state, and its folder where that is for the state alone."""
    state = (root / settings.state_dir).resolve()
    places = [state / name for name in FILES]
    if settings.database_url:
        database = database_path(settings.database_url).absolute()
        places += [database.with_name(f"{database.name}{end}") for end in ("", "-wal", "-shm")]
    found = [path for path in places if path.exists()]
    with suppress(OSError):
        others = [path for path in state.iterdir() if path.is_dir() and path.name not in FILES]
        if not others and not root.is_relative_to(state):
            found.append(state)
    return found


@contextmanager
def _repository(
    database: Path,
    *,
    read_only: bool,
    busy_timeout: float | None = None,
    locks: Sequence[StateLock] = (),
) -> Iterator[Repository]:
    repository = Repository.open(
        database,
        read_only=read_only,
        busy_timeout=busy_timeout,
        locks=locks,
    )
    try:
        yield repository
    finally:
        repository.close()


def _made_of(wish: Generation, desired: Desired) -> frozenset[str]:
    """Return the files that a wish was read from: its spec, `.reconcilerignore`, its defaults and its local media."""
    above = (f"{parent / DEFAULTS_NAME}" for parent in PurePosixPath(wish.spec).parents)
    defaults = (name for name in above if name in desired.defaults)
    ignoring = () if desired.seen.get(IGNORE_FILE) is None else (IGNORE_FILE,)
    return frozenset({wish.spec, *ignoring, *defaults, *wish.files})


def select(folder: Folder, desired: Desired, paths: Sequence[Path]) -> Selection:
    """Return what lies at these paths: specs, or folders of specs.

    Raises:
        WorkspaceError: a path names no spec.
    """
    if not paths:
        return Selection(desired.generations, tuple(desired.invalid), whole=True)
    chosen: set[str] = set()
    for path in paths:
        found = named(folder.root, path, desired.specs)
        if not found:
            hint = "Give the path of a spec file, or of a folder that holds some."
            if desired.seen.get(IGNORE_FILE) is not None:
                hint += f" What `{IGNORE_FILE}` leaves out is not a spec."
            raise WorkspaceError(f"`{path}` names no spec", hint=hint)
        chosen |= found
    generations = tuple(wish for wish in desired.generations if wish.spec in chosen)
    return Selection(
        generations, tuple(spec for spec in desired.invalid if spec in chosen), whole=False
    )
