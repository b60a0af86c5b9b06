"""Where a plan is repeated, a survey of everything would find nothing to do; and it is repeated where it can be."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from reconciler.core.diff import Action
from reconciler.core.progress import Ended
from reconciler.core.states import Status
from reconciler.engine.observe.last_plan import LastPlan
from reconciler.store.file_cache import FileCache
from reconciler.store.values import Change
from tests.engine.world import SPEC, World, world
from tests.support.simulator import simulator

LOCAL = SPEC.replace("https://example.com/{image}.png", "{image}")
LATER = 60 * 10**9  # ns after which no file of a test is young


def last_plan(project: World, *, later: int = LATER, terms: tuple[object, ...] = ()) -> LastPlan:
    """Return what is remembered, as it were some time after every change so far."""
    cache = FileCache(project.root / "state" / "cache.db")
    began, database = time.time_ns() + later, project.root / "state" / "reconciler.db"
    return LastPlan(project.root, "specs", database, cache, frozenset(), terms, began_ns=began)


def complete(project: World) -> int:
    """Return how many generations are complete by a survey, 0 where anything is left to do or to say."""
    plan, desired = project.plan(), project.survey().desired
    settled = (Action.KEEP, Status.COMPLETE)
    is_quiet = not (plan.invalid or plan.orphans or desired.notes)
    kept = [item for item in plan.assessments if (item.action, item.status) == settled]
    return len(kept) if is_quiet and len(kept) == len(plan.assessments) else 0


def keep(project: World) -> None:
    """Remember what a survey finds."""
    last_plan(project).keep(project.survey(), project.plan())


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
        ours = project.repository.publications()["specs/a.mp4"]
        project.repository.publish([replace(ours, path="old/a.mp4")])  # by another setting
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


def _bring(project: World) -> None:
    """A folder is moved here whose files keep the times that they had long ago."""
    text = LOCAL.format(image="https://example.com/new.png", prompt="brought")
    _write("brought/new.yaml", text)(project)
    (project.root / "brought").rename(project.root / "specs/brought")


def _publish_elsewhere(project: World) -> None:
    """A file of ours outside the specs folder, such as of another specs folder, stands there again."""
    (project.root / "old").mkdir(exist_ok=True)
    (project.root / "old/a.mp4").write_bytes((project.root / "specs/a.mp4").read_bytes())


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
    "a folder with a spec comes": _bring,
    "a folder of media goes": _move("specs/cast", "gone"),
    "a result that stood elsewhere comes back": _publish_elsewhere,
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
        for folder in ("specs", "assets", "old", "gone"):
            shutil.rmtree(project.root / folder, ignore_errors=True)
        for path, data in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        known = project.repository.records()
        gone = [one for base, one in attempts.items() if base not in known]
        project.repository.save([Change(one, None) for one in gone])
        project.repository.publish(list(publications.values()))
        project.repository.replace_holds({}, now=1)


@settings(max_examples=20, deadline=None)
@given(names=st.lists(st.sampled_from(sorted(CHANGES)), min_size=1, max_size=4))
def test_a_plan_that_is_repeated_is_the_plan(bought: World, names: list[str]) -> None:
    """Whatever was changed, and however often: it is repeated only where a survey finds nothing to do."""
    with put_back(bought):
        for name in names:
            keep(bought)
            assert last_plan(bought).complete() in {0, complete(bought)}
            with suppress(OSError, IndexError):  # it went, or came, before
                CHANGES[name](bought)
            assert last_plan(bought).complete() in {0, complete(bought)}


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_after_any_change_everything_is_looked_at(bought: World, name: str) -> None:
    """What is complete is remembered; right after any change it is not said any more."""
    keep(bought)
    assert last_plan(bought).complete() == complete(bought) == 3
    with put_back(bought):
        CHANGES[name](bought)
        assert last_plan(bought).complete() == 0


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_what_changes_while_it_is_read_is_not_remembered(bought: World, name: str) -> None:
    """Whether the survey read the one or the other: the next plan looks at everything."""
    (bought.root / "state/cache.db").unlink(missing_ok=True)
    with put_back(bought):
        last = last_plan(bought)
        survey, plan = bought.survey(), bought.plan()
        CHANGES[name](bought)
        last.keep(survey, plan)
        assert last_plan(bought).complete() == 0


def test_other_settings_are_another_plan(bought: World) -> None:
    """With another price list the same folder may need something else."""
    cheap, dear = ({"model": Decimal(1)},), ({"model": Decimal(2)},)
    last_plan(bought, terms=cheap).keep(bought.survey(), bought.plan())
    assert last_plan(bought, terms=cheap).complete() == 3
    assert last_plan(bought, terms=dear).complete() == 0


def test_what_changed_a_moment_ago_is_not_remembered(bought: World) -> None:
    """A file could change once more within the same tick of its times, and nothing would show it."""
    (bought.root / "state/cache.db").unlink(missing_ok=True)
    (bought.root / "specs/a.yaml").touch()
    last_plan(bought, later=0).keep(bought.survey(), bought.plan())
    assert last_plan(bought, later=0).complete() == 0


@pytest.mark.parametrize(
    "packed", [b"", b"[]", b"[1]", b"nonsense", b'["x", []]', b"[1e999, []]", b"[1, 7]", b"\xff"]
)
def test_a_damaged_memory_is_none(bought: World, packed: bytes) -> None:
    """Nonsense in the cache costs a survey and nothing else, though it is stamped as the truth is."""
    keep(bought)
    cache = FileCache(bought.root / "state/cache.db")
    stamp, _ = cache.get("//plan") or ("", b"")
    assert stamp
    cache.save({"//plan": (stamp, packed)}, ())
    assert last_plan(bought).complete() == 0
