"""A daemon that begins from dormant folders: nothing of them is read, and whatever concerns them is done all the same."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.core.errors import StateError
from reconciler.core.states import Record
from reconciler.engine.run.daemon import Pace
from reconciler.store.file_cache import FileCache
from reconciler.store.values import Caps
from tests.engine.watching import SETTLE, Watching, dormant_in, watching
from tests.engine.world import SPEC, World, world
from tests.support.database import open_repository
from tests.support.project import wait_until
from tests.support.simulator import Simulator, simulator

FOLDERS = ("specs/a", "specs/b", "specs/c")
PACE = Pace(settle=SETTLE, tick=50, noting=100)


def noted(project: World) -> set[str]:
    """Return the folders that a daemon which begins now would find dormant."""
    cache = FileCache(project.root / "state" / "cache.db")
    try:
        return {*dormant_in(project, cache)}
    finally:
        cache.close()


@contextmanager
def resumed(project: World) -> Iterator[Watching]:
    with watching(project, pace=PACE, dormant=True) as watch:
        yield watch


@pytest.fixture
def settled(project: World, sim: Simulator) -> World:
    """Three folders with a complete generation each, which a daemon left dormant."""
    for folder in FOLDERS:
        project.write(f"{folder[-1]}/dance.yaml", prompt=folder)
    with resumed(project):
        wait_until(lambda: noted(project) == {*FOLDERS}, "three dormant folders")
    assert sorted(sim.billed().values()) == [1, 1, 1]
    return project


def awake(watch: Watching) -> set[str]:
    return set(watch.call(lambda: {*watch.index.specs}))


def has(project: World, name: str) -> Callable[[], bool]:
    return (project.root / "specs" / name).exists


def test_nothing_is_read_and_a_new_wish_wakes_its_folder_alone(
    settled: World, sim: Simulator
) -> None:
    """One more spec in one of three folders: it is bought, and the other two stay unread."""
    with resumed(settled) as watch:
        assert awake(watch) == set()
        assert not list(watch.call(watch.daemon.records.all))
        settled.write("b/wave.yaml", prompt="more")
        wait_until(has(settled, "b/wave.receipt.json"), "what is new")
        assert awake(watch) == {"specs/b/dance.yaml", "specs/b/wave.yaml"}
    assert sorted(sim.billed().values()) == [1, 1, 1, 1]


@pytest.mark.parametrize("name", ["b/dance.mp4", "b/dance.receipt.json"])
def test_what_is_lost_of_a_folder_at_rest_is_put_back(
    settled: World, sim: Simulator, name: str
) -> None:
    """A film or a receipt that goes is there again, byte for byte, and nothing is asked of the provider."""
    path, asked = settled.root / "specs" / name, sim.requests()
    data = path.read_bytes()
    with resumed(settled):
        path.unlink()
        wait_until(lambda: path.exists() and path.read_bytes() == data, name)
    path.unlink()
    with resumed(settled) as watch:
        wait_until(lambda: path.exists() and path.read_bytes() == data, f"{name}, at the start")
        assert awake(watch) == {"specs/b/dance.yaml"}
    assert sim.requests() == asked


def test_defaults_above_wake_all_below(settled: World, sim: Simulator) -> None:
    """They may change what every spec asks for: here they do not, and nothing is bought."""
    with resumed(settled) as watch:
        (settled.root / "specs" / "_defaults.yaml").write_text("mode: pro\n")
        wait_until(lambda: len(awake(watch)) == 3, "all specs")
    assert sorted(sim.billed().values()) == [1, 1, 1]


def test_who_asks_for_the_same_gets_the_same_film(settled: World, sim: Simulator) -> None:
    """A spec elsewhere that wants what a dormant folder holds: one purchase, two films."""
    with resumed(settled):
        settled.write("new/dance.yaml", prompt="specs/c")
        wait_until(has(settled, "new/dance.receipt.json"), "the film of the second spec")
    films = [(settled.root / "specs" / one / "dance.mp4").read_bytes() for one in ("new", "c")]
    assert films[0] == films[1]
    assert sorted(sim.billed().values()) == [1, 1, 1]


def test_a_state_that_forgot_has_its_folder_read(settled: World, sim: Simulator) -> None:
    """A record that is gone, as in an older copy of the state: its receipt is read, and nothing is bought again."""
    (gone,) = [r for r in settled.repository.records().values() if r.spec == "specs/b/dance.yaml"]
    settled.repository.forget(gone.base_id, now=1)
    assert noted(settled) == {"specs/a", "specs/c"}
    with resumed(settled) as watch:
        wait_until(lambda: watch.status(gone.base_id) == "complete", "the record, by its receipt")
        assert awake(watch) == {"specs/b/dance.yaml"}
    assert sorted(sim.billed().values()) == [1, 1, 1]


def test_who_asks_about_everything_wakes_everything(settled: World) -> None:
    """The status page lists every generation, dormant or not."""
    with resumed(settled) as watch:
        watch.run(watch.daemon.awake)
        assert len(awake(watch)) == 3
        found = watch.call(lambda: [watch.index.generations(spec) for spec in watch.index.specs])
    assert sorted(len(one) for one in found) == [1, 1, 1]


def test_a_folder_that_moves_takes_its_films_along(settled: World, sim: Simulator) -> None:
    """Renamed while the daemon runs, and while none does: nothing is bought, and every film has its receipt."""
    specs = settled.root / "specs"
    with resumed(settled) as watch:
        (specs / "a").rename(specs / "moved")
        wait_until(lambda: "specs/moved/dance.yaml" in awake(watch), "the moved folder")
    (specs / "b").rename(specs / "away")
    with resumed(settled) as watch:
        wait_until(lambda: "specs/away/dance.yaml" in awake(watch), "the other one")
        wait_until(
            lambda: noted(settled) == {"specs/moved", "specs/away", "specs/c"}, "all dormant"
        )
    for name in ("moved", "away"):
        receipt = json.loads((specs / name / "dance.receipt.json").read_text())
        assert [one["status"] for one in receipt["generations"]] == ["complete"]
    assert sorted(sim.billed().values()) == [1, 1, 1]


@pytest.mark.parametrize(
    "text", ["prompt: [", SPEC.format(image="x", prompt="y") + "suspend: true\n"]
)
def test_what_is_not_complete_is_awake(settled: World, text: str) -> None:
    """A broken spec, or one that is suspended, keeps its folder awake at every start."""
    Path(settled.root / "specs/a/other.yaml").write_text(text)
    with resumed(settled) as watch:
        assert "specs/a/other.yaml" in awake(watch)
    assert noted(settled) == {"specs/b", "specs/c"}


def test_what_only_a_receipt_lists_is_not_bought_again_after_an_older_state_is_put_back(
    tmp_path: Path,
) -> None:
    """Bought, edited, bought, edited back: a backup from before the second purchase knows less than the receipt."""
    root, backup = tmp_path / "project", tmp_path / "backup.db"
    (root / "specs").mkdir(parents=True)
    with (
        simulator(tmp_path / "simulator", used_ids="until_cleared") as sim,
        world(root, sim) as project,
    ):
        project.write("a/dance.yaml", prompt="B")
        with resumed(project):
            wait_until(lambda: noted(project) == {"specs/a"}, "a dormant folder")
        with closing(sqlite3.connect(root / "state" / "reconciler.db")) as database:
            database.execute("VACUUM INTO ?", (str(backup),))
        with resumed(project):
            project.write("a/dance.yaml", prompt="A")
            wait_until(lambda: len(sim.billed()) == 2, "the second purchase")
            wait_until(lambda: noted(project) == {"specs/a"}, "its end")
            project.write("a/dance.yaml", prompt="B")
            wait_until(lambda: noted(project) == {"specs/a"}, "a folder with a past")
        project.repository.close()
        for file in (root / "state").glob("reconciler.db*"):
            file.unlink()
        shutil.copy2(backup, root / "state" / "reconciler.db")
        project.repository = open_repository(root / "state" / "reconciler.db")
        sim.advance(40 * 86_400)  # the provider has forgotten both
        with resumed(project):
            project.write("c/new.yaml", prompt="A")
            wait_until(has(project, "c/new.receipt.json"), "the film that was there")
        assert sorted(sim.billed().values()) == [1, 1]


def test_a_folder_is_not_dormant_while_something_in_it_was_not_read(
    settled: World, sim: Simulator
) -> None:
    """A spec of which no event told lies in it when it is looked at: it is bought by the next daemon."""
    slow = replace(PACE, resync=3_600_000, polled=3_600_000)
    with watching(settled, pace=slow, dormant=True, events=False) as watch:
        watch.run(watch.daemon.awake)
        settled.write("a/new.yaml", prompt="new")
        watch.call(lambda: list(watch.daemon.work.note_dormant()))
        assert "specs/a" not in noted(settled)
        assert "specs/a/new.yaml" not in awake(watch)
    with resumed(settled):
        wait_until(has(settled, "a/new.receipt.json"), "what was not read")


def test_what_changes_while_a_folder_is_looked_at_keeps_it_awake(
    project: World, sim: Simulator
) -> None:
    """Defaults above come between its first spec and its last: what they ask for is held by a cap, and not complete."""
    for name in ("x", "y"):
        project.write(f"a/{name}.yaml", prompt=name)
    enough = Caps(per_day=project.plan().estimated_units)  # for these two
    once = replace(PACE, noting=10**9)
    with watching(project, pace=once, dormant=True, caps=enough) as watch:
        wait_until(has(project, "a/x.receipt.json"), "x")
        wait_until(has(project, "a/y.receipt.json"), "y")
        looking = watch.daemon.work.note_dormant()
        watch.call(lambda: [next(looking) for _ in range(3)])
        (project.root / "specs" / "_defaults.yaml").write_text("model_name: kling-v3\n")
        wait_until(lambda: bool(watch.call(watch.daemon.records.holds)), "wishes that a cap holds")
        watch.call(lambda: list(looking))
        assert noted(project) == set()


def test_films_that_stayed_behind_are_found_by_their_bytes(settled: World, sim: Simulator) -> None:
    """Spec and receipt moved, the film did not, and neither an object nor the provider has it any more: it is copied."""
    specs = settled.root / "specs"
    (specs / "z").mkdir()
    for name in ("dance.yaml", "dance.receipt.json"):
        (specs / "b" / name).rename(specs / "z" / name)
    shutil.rmtree(settled.root / "state" / "objects")
    sim.advance(40 * 86_400)
    with resumed(settled):
        wait_until(has(settled, "z/dance.mp4"), "the film")
    assert sorted(sim.billed().values()) == [1, 1, 1]


def test_a_state_that_cannot_be_read_for_a_moment_loses_no_wish(
    settled: World, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program holds it while new specs are taken in: all are bought once it is free."""
    failed: list[str] = []
    with resumed(settled) as watch:
        ask = settled.repository.records_of

        def held(base_ids: Iterable[str]) -> dict[str, Record]:
            if not failed:
                failed.append("once")
                raise StateError("The database is held.")
            return ask(base_ids)

        monkeypatch.setattr(settled.repository, "records_of", held)
        for number in range(5):
            settled.write(f"new/{number}.yaml", prompt=f"new {number}")
        wait_until(lambda: len(sim.billed()) == 8, "five more")
        assert failed
        assert not watch.daemon.trouble
