"""`doctor`: everything that can be wrong around the program, looked at once. It changes nothing and needs no lock."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from reconciler import settings as configuration
from reconciler.cli.console import err, out
from reconciler.cli.project import ProjectRoot, kept_private, root_of
from reconciler.cli.provider import credentials, has_key, open_client, packs_of
from reconciler.cli.terminal import os_error, print_json
from reconciler.core.errors import ReconcilerError, counted, in_a_line
from reconciler.core.moments import day_of
from reconciler.core.printable import printable
from reconciler.core.schedule import DAY, SECOND
from reconciler.core.spending import units_text
from reconciler.kling.errors import ProviderError, TryLater
from reconciler.kling.wire import ResourcePack, balance_of
from reconciler.settings import DEFAULT, Origin, origins
from reconciler.settings.definitions import Settings
from reconciler.settings.sources import ENV_FILE
from reconciler.store.lock import lock_holder
from reconciler.store.objects import ObjectStore
from reconciler.store.private_files import OTHERS
from reconciler.store.state import State
from reconciler.workspace.git import Checkout
from reconciler.workspace.tree.walk import specs_folder, walk

if TYPE_CHECKING:
    from reconciler.kling.client import KlingClient

_MOST_SKEW = 5.0  # s; a token is dated back by as much (documented)
_LEAST_FREE = 1_000_000_000  # bytes; a result is some tens of megabytes
_SOON = 7 * DAY  # ms; a pack that expires within it is mentioned
_MANY_OBJECTS = 50  # from here on a progress bar is shown
_MOST_NAMED = 5
_INOTIFY = Path("/proc/sys/fs/inotify")


@dataclass(frozen=True, slots=True)
class Check:
    """The outcome of one check."""

    name: str
    ok: bool
    message: str


def doctor(context: typer.Context, as_json: bool, quick: bool) -> int:
    """Look for what is wrong around the program."""
    found = []
    for check in _checks(root_of(context, or_here=True), quick=quick):
        found.append(check)
        if not as_json:
            mark = "[green]✓[/]" if check.ok else "[red]✗[/]"
            first, *more = check.message.split("\n")
            out.print(f"{mark} [bold]{check.name:<9}[/] {escape(first)}")
            for line in more:
                out.print(escape(line))
    if as_json:
        print_json({"checks": [asdict(check) for check in found]})
    return int(not all(check.ok for check in found))


def checked(name: str, look: Callable[[], tuple[bool, str]]) -> Check:
    """Return the check that `look` makes; an error is a check that failed."""
    try:
        return Check(name, *look())
    except ReconcilerError as error:
        return Check(name, False, in_a_line(error))
    except OSError as error:
        return Check(name, False, os_error(error))


def _checks(place: ProjectRoot, *, quick: bool) -> Iterator[Check]:
    from reconciler.cli.running import try_media_store

    root = place.path.resolve()
    try:
        settings = configuration.load(root, config=place.config)
    except ReconcilerError as error:
        yield Check("settings", False, f"{in_a_line(error)} Nothing else was checked.")
        return
    known = origins(settings)
    given = sum(item.source != DEFAULT for item in known.values())
    lines = "".join(f"\n  {printable(str(item))}" for item in known.values())
    yield Check("settings", True, f"{len(known)}, {given} of them given:{lines}")
    yield checked("key", lambda: _key(settings, known))
    yield from _provider(settings)
    yield checked("media", lambda: try_media_store(settings))
    state = root / settings.state_dir
    database = settings.database_url or state / "reconciler.db"
    yield checked("folder", lambda: _folder(root, settings))
    yield checked("privacy", lambda: _privacy(root, settings))
    yield checked("disk", lambda: _disk(root, settings))
    yield checked("database", lambda: _database(database))
    yield checked("objects", lambda: _objects(database, state, quick=quick))
    yield checked("lock", lambda: (True, f"{lock_holder(state) or 'nobody'} writes here"))
    yield checked("inotify", lambda: _inotify(root, settings))
    yield checked("git", lambda: _git(root, settings))


def _key(settings: Settings, known: dict[str, Origin]) -> tuple[bool, str]:
    credentials(settings)
    is_pair = settings.access_key and settings.secret_key
    used = ("access_key", "secret_key") if is_pair else ("api_key",)
    places = ", ".join(f"{known[name].name} from {known[name].source}" for name in used)
    return True, f"{'a pair of keys' if is_pair else 'a static key'}: {places}"


def _provider(settings: Settings) -> list[Check]:
    """Ask the provider two questions, which cost nothing: a page of tasks (key, clock), and the balance."""
    why = "there is no key"
    if has_key(settings):
        try:
            return asyncio.run(_ask(settings))
        except ReconcilerError as error:
            why = in_a_line(error)
    return [Check(name, False, f"not asked: {why}") for name in ("provider", "clock", "balance")]


async def _ask(settings: Settings) -> list[Check]:
    async with open_client(settings) as client:
        reached = Check("provider", True, f"{client.base_url} answers and accepts the key")
        try:
            await client.page(1, 1)
        except TryLater as error:
            unknown = "not known: the provider gave no answer"
            reached = Check("provider", False, f"{client.base_url}: {in_a_line(error)}")
            return [reached, *(Check(name, False, unknown) for name in ("clock", "balance"))]
        except ProviderError as error:
            said = f"{client.base_url} answers, but refuses: {in_a_line(error)}"
            reached = Check("provider", False, said)
        skew = client.clock_skew
        clock = f"within {max(abs(skew), 1):.0f} s of the provider's"
        if is_off := abs(skew) > _MOST_SKEW:
            way = "behind" if skew > 0 else "ahead of"
            clock = f"{abs(skew):.0f} s {way} the provider's; tokens are corrected for it, but set the clock"
        return [reached, Check("clock", not is_off, clock), await _balance(client)]


async def _balance(client: KlingClient) -> Check:
    try:
        packs = await packs_of(client)
    except ProviderError as error:
        return Check("balance", False, in_a_line(error))
    if not packs:
        return Check("balance", True, "the account lists no packs (a postpaid account has none)")
    now = int(time.time() * SECOND)
    balance = balance_of(packs, now)
    said = "; ".join(_pack(pack) for pack in balance.usable or packs)
    if not balance.usable:
        return Check("balance", False, f"no pack can be used: {said}")
    for pack in balance.usable:
        if pack.invalid_at is not None and pack.invalid_at - now < _SOON:
            left = units_text(pack.remaining) or "what is left of the"
            said += (
                f". {pack.name or 'A pack'} expires on {day_of(pack.invalid_at)}, and {left} units in it will be lost "
                "unless they are used before then"
            )
    return Check("balance", True, said)


def _pack(pack: ResourcePack) -> str:
    left, total = units_text(pack.remaining) or "?", units_text(pack.total) or "?"
    until = "" if pack.invalid_at is None else f", until {day_of(pack.invalid_at)}"
    return f"{pack.name or 'a pack'}: {left} of {total} units, {pack.status}{until}"


def _folder(root: Path, settings: Settings) -> tuple[bool, str]:
    specs = specs_folder(root, settings.specs_dir)
    if not (root / specs).is_dir():
        return False, f"there is no folder `{settings.specs_dir}` in `{root}`"
    tree = walk(root, specs)
    count = len(tree.problems) + (tree.ignoring.problem is not None)
    wrong = f"; {counted(count, 'file')} cannot be used: see `validate`" if count else ""
    return True, f"`{root / settings.specs_dir}` holds {counted(len(tree.specs), 'spec')}{wrong}"


def _privacy(root: Path, settings: Settings) -> tuple[bool, str]:
    for name in sorted(settings.secret_files() | {ENV_FILE}):
        secrets = root / name
        if secrets.exists() and (mode := _others(secrets)):
            return False, (
                f"`{name}` is where keys stand, and other users of this machine may read it (mode {mode}): "
                f"run `chmod 600 {name}`"
            )
    for place in kept_private(root, settings):
        if mode := _others(place):
            return True, (
                f"other users of this machine may use `{place}` (mode {mode}); the next `apply` or `watch` "
                "of its owner takes that from them"
            )
    return True, "other users of this machine can read neither keys nor the state"


def _others(path: Path) -> str:
    """Return the mode of a path that other users may read or change; empty where only its owner may."""
    mode = stat.S_IMODE(path.stat().st_mode)
    return f"{mode:04o}" if mode & OTHERS else ""


def _disk(root: Path, settings: Settings) -> tuple[bool, str]:
    said, well = [], True
    for name in dict.fromkeys((settings.state_dir, settings.specs_dir)):
        wanted = root / name
        place = next(one for one in (wanted, *wanted.parents) if one.exists())
        free = shutil.disk_usage(place).free
        writable = os.access(place, os.W_OK)
        well = well and writable and free >= _LEAST_FREE
        said.append(f"{name}: {free / 1e9:,.1f} GB free{'' if writable else ', NOT WRITABLE'}")
    return well, "; ".join(said)


def _database(database: str | Path) -> tuple[bool, str]:
    with closing(State.open(database)) as repository:
        complaints = repository.integrity_check()
        if complaints:
            return False, (
                f"damaged: {complaints[0]}. Move it and its -wal and -shm files away, keep them, "
                "and run `plan`: the receipts remember what was bought"
            )
        count = len(repository.records())
    return True, f"sound; {counted(count, 'generation')} on record"


def _objects(database: str | Path, state: Path, *, quick: bool) -> tuple[bool, str]:
    objects = ObjectStore(state / "objects")
    names = list(objects.names())
    with closing(State.open(database)) as repository:
        lacking = repository.known_results(previews=False).keys() - set(names)
    elsewhere = f"; {counted(len(lacking), 'result')} without an object here" if lacking else ""
    if quick:
        return True, f"{len(names):,}, not read (--quick){elsewhere}"
    from rich.progress import track

    is_followed = err.is_terminal and len(names) >= _MANY_OBJECTS
    shown = track(names, "objects", console=err, transient=True) if is_followed else names
    damaged = [name for name in shown if not objects.verify(name)]
    if damaged:
        named = ", ".join(name[:12] for name in damaged[:_MOST_NAMED])
        return False, (
            f"{len(damaged):,} of {len(names):,} are damaged ({named}{'…' * (len(damaged) > _MOST_NAMED)}); "
            "where an output is missing `apply` fetches it again, while the provider has it"
        )
    return True, f"{len(names):,}, all of them intact{elsewhere}"


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
    return True, f"the repository at {Checkout.find(root).top}"
