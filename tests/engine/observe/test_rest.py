"""Where a folder is said to be at rest, a survey of everything would find nothing to do; and it is said where it can be."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from reconciler.core.diff import Action
from reconciler.core.progress import Ended
from reconciler.core.states import Status
from reconciler.engine.observe.rest import RestMemory
from reconciler.store.file_cache import FileCache
from reconciler.store.values import Change
from tests.engine.world import SPEC, World, world
from tests.support.simulator import simulator

LOCAL = SPEC.replace("https://example.com/{image}.png", "{image}")
LATER = 60 * 10**9  # ns after which no file of a test is young


def memory_of(project: World, *, later: int = LATER, terms: tuple[object, ...] = ()) -> RestMemory:
    """Return a memory that was made some time after every change so far."""
    cache = FileCache(project.root / "state" / "cache.db")
    database = project.root / "state" / "reconciler.db"
    return RestMemory(
        project.root, "specs", database, cache, terms, now_ns=lambda: time.time_ns() + later
    )


def complete(project: World) -> int:
    """Return how many generations are complete by a survey, 0 where anything is left to do or to say."""
    plan, desired = project.plan(), project.survey().desired
    settled = (Action.KEEP, Status.COMPLETE)
    is_quiet = not (plan.invalid or plan.orphans or desired.notes)
    kept = [item for item in plan.assessments if (item.action, item.status) == settled]
    return len(kept) if is_quiet and len(kept) == len(plan.assessments) else 0


def keep(project: World) -> None:
    """Remember what a survey finds."""
    memory_of(project).keep(project.survey(), project.plan())


@pytest.fixture(scope="module")
def bought(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A project of three complete specs: media below and beside the specs folder, and defaults."""
    place = tmp_path_factory.mktemp("rest")
    root = place / "project"
    for picture in ("assets/girl.png", "specs/cast/boy.png", "specs/.cast/cat.png"):
        (root / picture).parent.mkdir(parents=True)
        Image.new("RGB", (400, 400), "teal").save(root / picture)
    with simulator(place / "simulator") as sim, world(root, sim) as project:
        project.write("a.yaml", LOCAL.format(image="../assets/girl.png", prompt="one"))
        project.write("x/b.yaml", LOCAL.format(image="../cast/boy.png", prompt="two"))
        project.write("x/c.yaml", LOCAL.format(image="../.cast/cat.png", prompt="three"))
        project.write("x/_defaults.yaml", "prompt: unused\n")
        assert project.apply(timeout=120) is Ended.SETTLED
        assert complete(project) == 3
        yield project


def _files(project: World) -> dict[Path, bytes]:
    found = [path for name in ("specs", "assets") for path in (project.root / name).rglob("*")]
    return {path: path.read_bytes() for path in found if path.is_file()}


def _edit(name: str, *, bytes_kept: bool = False, times_kept: bool = False) -> Callable[..., None]:
    """Return a change of a file: of its last byte or of its size, with or without its time."""

    def change(project: World) -> None:
        path = project.root / name
        data, found = path.read_bytes(), path.stat()
        path.write_bytes(data[:-1] + b"#" if bytes_kept else data + b"#\n")
        if times_kept:
            os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))

    return change


def _write(name: str, text: str) -> Callable[[World], None]:
    def change(project: World) -> None:
        (project.root / name).parent.mkdir(parents=True, exist_ok=True)
        (project.root / name).write_text(text)

    return change


def _remove(name: str) -> Callable[[World], None]:
    return lambda project: (project.root / name).unlink(missing_ok=True)


def _move(name: str, target: str) -> Callable[[World], None]:
    def change(project: World) -> None:
        (project.root / name).replace(project.root / target)

    return change


def _link(name: str, target: str) -> Callable[[World], None]:
    def change(project: World) -> None:
        (project.root / name).unlink(missing_ok=True)
        (project.root / name).symlink_to(target)

    return change


def _hold(project: World) -> None:
    base = project.survey().desired.generations[0].external_task_id
    project.repository.replace_holds({base: "held"}, now=1)


def _forget(project: World) -> None:
    base = project.survey().desired.generations[0].external_task_id
    project.repository.forget(base, now=1)


CHANGES: Mapping[str, Callable[[World], None]] = {
    "a spec is edited": _edit("specs/a.yaml"),
    "a spec is edited, its size and time kept": _edit(
        "specs/x/b.yaml", bytes_kept=True, times_kept=True
    ),
    "a spec goes": _remove("specs/x/b.yaml"),
    "a spec is renamed": _move("specs/a.yaml", "specs/x/a.yaml"),
    "a spec is added": _write("specs/new.yaml", LOCAL.format(image="cast/boy.png", prompt="new")),
    "a broken spec is added": _write("specs/x/new.yaml", "image_url: ["),
    "the same is asked for twice": _write(
        "specs/x/y/b.yaml", LOCAL.format(image="../../cast/boy.png", prompt="two")
    ),
    "something like a spec is added": _write("specs/new.ymal", "prompt: x"),
    "defaults are edited": _write("specs/x/_defaults.yaml", "suspend: true\n"),
    "defaults above are added": _write("specs/_defaults.yaml", "nonsense: true\n"),
    "an ignore file is added": _write(".reconcilerignore", "x/\n"),
    "a result is edited, its size and time kept": _edit(
        "specs/a.mp4", bytes_kept=True, times_kept=True
    ),
    "a result goes": _remove("specs/x/b.mp4"),
    "a receipt is edited": _edit("specs/a.receipt.json"),
    "a receipt goes": _remove("specs/a.receipt.json"),
    "media elsewhere change": _edit("assets/girl.png"),
    "media elsewhere go": _remove("assets/girl.png"),
    "media below change": _edit("specs/cast/boy.png"),
    "hidden media change": _edit("specs/.cast/cat.png"),
    "a spec becomes a link": _link("specs/a.yaml", "x/b.yaml"),
    "media elsewhere become a link": _link("assets/girl.png", "../specs/cast/boy.png"),
    "a generation is held": _hold,
    "a generation is forgotten": _forget,
}
"""What may happen between two looks."""


@contextmanager
def put_back(project: World) -> Iterator[None]:
    """Put files and state back as they are now when the block ends."""
    files, attempts = _files(project), project.repository.records()
    publications = project.repository.publications()
    try:
        yield
    finally:
        (project.root / ".reconcilerignore").unlink(missing_ok=True)
        for path in _files(project):
            path.unlink()
        for path, data in files.items():
            path.write_bytes(data)
        known = project.repository.records()
        gone = [one for base, one in attempts.items() if base not in known]
        project.repository.save([Change(one, None) for one in gone])
        project.repository.publish(list(publications.values()))
        project.repository.replace_holds({}, now=1)


@settings(max_examples=40, deadline=None)
@given(names=st.lists(st.sampled_from(sorted(CHANGES)), min_size=1, max_size=4))
def test_what_is_said_to_be_at_rest_is_at_rest(bought: World, names: list[str]) -> None:
    """Whatever was changed, and however often: rest is said only where a survey finds nothing to do."""
    with put_back(bought):
        for name in names:
            keep(bought)
            rest = memory_of(bought).find()
            assert (rest.complete if rest else 0) in {0, complete(bought)}
            with suppress(FileNotFoundError, IndexError):  # it went before
                CHANGES[name](bought)
            rest = memory_of(bought).find()
            assert (rest.complete if rest else 0) in {0, complete(bought)}


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_every_change_ends_a_rest(bought: World, name: str) -> None:
    """What is complete is remembered; right after any change all is looked at again."""
    keep(bought)
    rest = memory_of(bought).find()
    assert rest is not None
    assert rest.complete == complete(bought) == 3
    with put_back(bought):
        CHANGES[name](bought)
        assert memory_of(bought).find() is None


def test_other_settings_end_a_rest(bought: World) -> None:
    """With another price list or other previews the plan may be another one."""
    memory_of(bought, terms=({"model": Decimal(1)},)).keep(bought.survey(), bought.plan())
    assert memory_of(bought, terms=({"model": Decimal(1)},)).find() is not None
    assert memory_of(bought, terms=({"model": Decimal(2)},)).find() is None


def test_what_changed_a_moment_ago_is_not_remembered(bought: World) -> None:
    """A file could change once more within the same tick of its times, and nothing would show it."""
    (bought.root / "specs/a.yaml").touch()
    memory_of(bought, later=0).keep(bought.survey(), bought.plan())
    assert memory_of(bought, later=0).find() is None


def test_what_changes_while_it_is_read_is_not_remembered(bought: World) -> None:
    """The survey may have read the one or the other; with a clock set back meanwhile it does not show in the times."""
    (bought.root / "state/cache.db").unlink(missing_ok=True)
    survey, plan, now = bought.survey(), bought.plan(), time.time_ns()
    clock = iter([now + LATER, now + LATER // 2])  # set back by half a minute after the reading
    memory = memory_of(bought)
    set_back = RestMemory(
        bought.root,
        "specs",
        bought.root / "state/reconciler.db",
        FileCache(bought.root / "state/cache.db"),
        (),
        now_ns=lambda: next(clock),
    )
    set_back.keep(survey, plan)
    assert memory.find() is None


def test_a_damaged_memory_is_none(bought: World) -> None:
    """Nonsense in the cache costs a survey and nothing else."""
    cache = FileCache(bought.root / "state/cache.db")
    for packed in (b"", b"[]", b"[1]", b"nonsense", b'["x", true, []]', b"[1, true, 7]", b"\xff"):
        cache.save({"//rest": ("", packed)}, ())
        assert memory_of(bought).find() is None
