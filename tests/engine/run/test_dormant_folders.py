"""A daemon that begins from dormant folders: nothing of them is read, and whatever concerns them is done all the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.engine.run.daemon import Pace
from reconciler.store.file_cache import FileCache
from tests.engine.watching import SETTLE, Watching, dormant_in, watching
from tests.engine.world import SPEC, World
from tests.support.project import wait_until
from tests.support.simulator import Simulator

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
