"""The project of a command: finding its root folder, opening it, and selecting specs by path."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import typer

from reconciler import settings as configuration
from reconciler.cli.terminal import say
from reconciler.core.diff import Plan
from reconciler.core.errors import SettingsError, StateError, WorkspaceError
from reconciler.core.generations import Generation
from reconciler.engine.observe.last_plan import LastPlan
from reconciler.engine.observe.survey import Survey, Surveyor, Uncommitted, waiting_for_commit
from reconciler.settings.definitions import Settings
from reconciler.settings.sources import CONFIG_FILE, ENV_FILE, LARGEST_FILE
from reconciler.store.database import database_path
from reconciler.store.file_cache import FileCache
from reconciler.store.lock import StateLock
from reconciler.store.objects import ObjectStore
from reconciler.store.private_files import FILES, tighten
from reconciler.store.state import State
from reconciler.workspace.files.root import Root
from reconciler.workspace.git import Checkout, tracked_below
from reconciler.workspace.read.loader import Desired, load
from reconciler.workspace.tree.fingerprint import of_this_program
from reconciler.workspace.tree.ignoring import IGNORE_FILE
from reconciler.workspace.tree.walk import DEFAULTS_NAME, specs_folder

if TYPE_CHECKING:
    from reconciler.store.repository import Repository
    from reconciler.workspace.index.dormant import DormantFolders

_SPECS, _STATE = "RECONCILER_SPECS_DIR", "RECONCILER_STATE_DIR"
Specs = Collection[str] | None  # the specs of a command; None: all of them
_HINT = "Go to the project's root, name it with --root, or begin one with `reconciler init`."


class ProjectRoot(NamedTuple):
    """A root folder, and the settings file that the operator named for it."""

    path: Path
    config: Path | None = None


def root_of(context: typer.Context, *, or_here: bool = False) -> ProjectRoot:
    """Return a command's root folder, `or_here` the working folder; raises WorkspaceError: none or two are possible."""
    root, config = context.obj  # `--root` and `--config`
    return ProjectRoot(_found(or_here=or_here) if root is None else root, config)


def _found(*, or_here: bool) -> Path:
    try:
        here = Path.cwd()
    except FileNotFoundError:
        raise WorkspaceError("the working folder does not exist any more", hint=_HINT) from None
    specs, state = os.environ.get(_SPECS, "specs"), os.environ.get(_STATE, "state")
    for path in (Path(specs), Path(state)):
        if path.is_absolute() or not path.parts or ".." in path.parts:
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
        say(f"The root is {roots[0]}", stderr=True)
    return roots[0]


def _upwards(here: Path) -> tuple[list[Path], str]:
    """Return the folders that may be searched for a root, and why the search ends, in words.

    As in git, it ends at another file system and at another user's folder, whose `.env` could send our key anywhere.
    The home folder is searched only where it is the working folder.
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


def _is_root(folder: Path, specs: str, state: str) -> bool:
    if _has_any(folder, CONFIG_FILE, f"{state}/reconciler.db") or os.path.isdir(folder / specs):  # noqa: PTH112
        return True
    try:
        with (folder / ENV_FILE).open("rb") as file:
            text = file.read(LARGEST_FILE)
    except OSError:
        return False
    return any(name.encode() in text.upper() for name in (_SPECS, _STATE))


def _has_any(folder: Path, *names: str) -> bool:
    return any(os.path.isfile(folder / name) for name in names)  # noqa: PTH113 - pathlib raises where a folder is closed to us


def _refuse_nested(roots: Sequence[Path], specs: str, state: str) -> None:
    """Raise WorkspaceError where an outer folder could be the root: a commit can bring a nested one."""
    nearest, used = roots[0], (ENV_FILE, f"{state}/reconciler.db")  # refused where git tracks them
    for outer in roots[1:]:
        if outer / specs in (nearest, *nearest.parents):
            why = "whose specs it is among"
        elif _has_any(outer, *used) and not _has_any(nearest, *used):
            why = "which has settings or a state, as this one has not"
        else:
            continue
        said = f"`{nearest}` could be the root, and so could `{outer}`, {why}"
        raise WorkspaceError(said, hint="Say which one is meant with --root.")


class Folder(NamedTuple):
    """An open root folder."""

    root: Path
    settings: Settings
    repository: State  # the writer's, where the folder was opened to write
    objects: ObjectStore
    cache: FileCache

    @property
    def writable(self) -> Repository:
        """Return the state to write to; raises StateError where the folder was opened for reading only."""
        from reconciler.store.repository import Repository

        if not isinstance(self.repository, Repository):
            raise StateError("The state database was opened for reading only.")
        return self.repository

    @property
    def surveyor(self) -> Surveyor:
        """Return a surveyor of this folder."""
        return Surveyor(
            self.root,
            self.repository,
            self.objects,
            can_host=self.can_host,
            uncommitted=self._uncommitted if self.settings.require_committed else None,
            previews=self.settings.previews,
        )

    @property
    def can_host(self) -> bool:
        """Whether local videos can be uploaded: to a media store, or to the simulator."""
        return self.settings.is_simulated or bool(self.settings.media_store)

    def _uncommitted(self, desired: Desired) -> Uncommitted:
        names = {name for wish in desired.generations for name in _made_of(wish, desired)}
        uncommitted = Checkout.find(self.root).uncommitted(names)
        return lambda wish: waiting_for_commit(
            min(_made_of(wish, desired) & uncommitted, default="")
        )

    def load(self) -> Desired:
        """Read the specs."""
        settings = self.settings
        return load(self.root, settings.specs_dir, prices=settings.prices, cache=self.cache)

    def last_plan(self) -> LastPlan:
        """Return what is remembered of the last plan; to be made before anything is read for the next."""
        settings = self.settings
        terms = settings.prices, settings.require_committed
        database, specs = database_of(self.root, settings), settings.specs_dir
        return LastPlan(self.root, specs, database, self.cache, settings.previews, terms)

    def dormant(self) -> DormantFolders:
        """Return the folders that an earlier `watch` left dormant; none where the folder cannot be listed.

        Raises StateError.
        """
        from reconciler.workspace.index.dormant import DormantFolders

        settings, standings = self.settings, self.repository.standings()
        if not (program := of_this_program()):
            return DormantFolders(self.root)
        said = settings.specs_dir, settings.prices, sorted(settings.previews), program
        terms = blake2b(repr(said).encode(), digest_size=16).hexdigest()
        try:
            return DormantFolders.found(
                self.root,
                specs_folder(self.root, settings.specs_dir),
                cache=self.cache,
                terms=terms,
                complete=standings.complete,
                others=standings.others,
            )
        except WorkspaceError:  # reading the folder tells
            return DormantFolders(self.root, cache=self.cache, terms=terms)

    def survey(self) -> Survey:
        """Read the specs, and survey everything."""
        return self.surveyor.survey(self.load())


def _made_of(wish: Generation, desired: Desired) -> frozenset[str]:
    """Return the files that a wish was read from: its spec, `.reconcilerignore`, defaults and local media."""
    above = (f"{parent / DEFAULTS_NAME}" for parent in PurePosixPath(wish.spec).parents)
    defaults = (name for name in above if name in desired.defaults)
    ignoring = () if desired.seen.get(IGNORE_FILE) is None else (IGNORE_FILE,)
    return frozenset({wish.spec, *ignoring, *defaults, *wish.files})


@contextmanager
def open_folder(
    place: ProjectRoot,
    *,
    write: bool = False,
    settings: Settings | None = None,
    busy_timeout: float | None = None,
) -> Iterator[Folder]:
    """Open a root folder; with `write`, as its only writer. `settings` are read where they are not given.

    `busy_timeout` (s) is how long a change waits for another program that holds the database.
    Raises WorkspaceError: there are no specs here; and the errors of settings, store and lock.
    """
    root = place.path.resolve()
    settings = settings or configuration.load(root, config=place.config)
    if not (root / settings.specs_dir).is_dir():
        hint = "Go to the project's root, or name it with --root."
        raise WorkspaceError(f"there is no folder `{settings.specs_dir}` in `{root}`", hint=hint)
    database, state = database_of(root, settings), root / settings.state_dir
    _refuse_tracked(root, state, write=write)
    with ExitStack() as stack:
        cache = stack.enter_context(closing(FileCache(state / "cache.db")))
        repository = (
            _open_writer(stack, root, settings, busy_timeout) if write else State.open(database)
        )
        stack.enter_context(closing(repository))
        yield Folder(root, settings, repository, ObjectStore(state / "objects"), cache)


def _open_writer(
    stack: ExitStack, root: Path, settings: Settings, busy_timeout: float | None
) -> Repository:
    """Open the database as the only writer: of the state folder, and of its own where a setting puts it elsewhere."""
    database, state = database_of(root, settings), root / settings.state_dir
    locks = [stack.enter_context(StateLock(state))]
    beside = database.absolute().parent
    if settings.database_url and beside.resolve() != state.resolve():
        locks.append(stack.enter_context(StateLock(beside)))
    tighten(kept_private(root, settings))
    from reconciler.store.repository import Repository  # SQLAlchemy, which readers do without

    return Repository.open(database, busy_timeout=busy_timeout, locks=locks)


def _refuse_tracked(root: Path, state: Path, *, write: bool) -> None:
    """Raise WorkspaceError where git tracks the state; where git fails, only writers are refused."""
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
    """Return the path of the state database; raises SettingsError for a URL that is not SQLite's."""
    if settings.database_url and not settings.database_url.startswith("sqlite:"):
        hint = "Use a sqlite: URL, or leave it unset: state/reconciler.db is the default."
        raise SettingsError("RECONCILER_DATABASE_URL: only SQLite is supported so far", hint=hint)
    return database_path(settings.database_url or root / settings.state_dir / "reconciler.db")


def kept_private(root: Path, settings: Settings) -> list[Path]:
    """Return the paths that only their owner may read: files of the state, and its folder if nothing else is in it."""
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


def refuse_leading_out(root: Path, file: Path) -> None:
    """Raise WorkspaceError where a link leads a file to be written out of the project."""
    if Root(root).leads_out(file):
        hint = "Remove the link, or name a file in another folder."
        raise WorkspaceError(f"a link takes `{file}` out of the project", hint=hint)


def wishes_of(desired: Desired, specs: Specs) -> list[Generation]:
    """Return what these specs ask for."""
    return [wish for wish in desired.generations if specs is None or wish.spec in specs]


def plan_of(survey: Survey, specs: Specs) -> Plan:
    """Return the plan for these specs."""
    invalid = [spec for spec in survey.desired.invalid if specs is None or spec in specs]
    return survey.plan(wishes_of(survey.desired, specs), invalid, whole=specs is None)


def select(folder: Folder, desired: Desired, paths: Sequence[Path]) -> Specs:
    """Return the specs at these paths, which may be folders; raises WorkspaceError: a path names no spec."""
    hint = "Give the path of a spec file, or of a folder that holds some."
    if desired.seen.get(IGNORE_FILE) is not None:
        hint += f" What `{IGNORE_FILE}` leaves out is not a spec."
    chosen = specs_at(folder.root, paths, desired.specs, "names no spec", hint)
    return chosen if paths else None


def surveyed(folder: Folder, paths: Sequence[Path] | None) -> tuple[Specs, Survey]:
    """Return the selected specs and a survey of everything; raises WorkspaceError: a path names no spec."""
    desired = folder.load()
    return select(folder, desired, paths or []), folder.surveyor.survey(desired)


def specs_at(
    root: Path, paths: Sequence[Path], specs: Sequence[str], otherwise: str, hint: str
) -> frozenset[str]:
    """Return the specs at or below paths; raises WorkspaceError, in these words, for a path without any."""
    chosen: set[str] = set()
    for path in paths:
        found = _named(root, path, specs)
        if not found:
            raise WorkspaceError(f"`{path}` {otherwise}", hint=hint)
        chosen |= found
    return frozenset(chosen)


def _named(root: Path, path: Path, specs: Sequence[str]) -> set[str]:
    """Return the specs at or below a path, relative to the working folder or else to the root."""
    for candidate in (path.absolute(), root / path):
        where = candidate.parent.resolve() / candidate.name
        wanted = candidate.resolve() if candidate.name == ".." else where
        found = {spec for spec in specs if wanted == root / spec or wanted in (root / spec).parents}
        if found or (os.path.lexists(candidate) and root in (wanted, *wanted.parents)):
            return found
    return set()
