"""Whether a daemon is ready to buy, over real files and a real provider: what it says while something stops purchases."""

from __future__ import annotations

import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest

from reconciler.core.errors import StateReplaced, WorkspaceError
from reconciler.engine.loop.desired import FolderLooks
from reconciler.engine.run.daemon import Pace
from reconciler.store.objects import ObjectStore
from reconciler.store.values import Caps
from tests.engine.watching import SETTLE, Watching, watching
from tests.engine.world import World
from tests.support.project import wait_until
from tests.support.simulator import Simulator


def says(watch: Watching, words: str) -> Callable[[], bool]:
    """Whether one of the reasons why it is not ready has these words."""
    return lambda: any(words in one for one in watch.call(watch.daemon.unready))


def is_ready(watch: Watching) -> bool:
    return not watch.call(watch.daemon.unready)


def test_what_stops_purchases_is_said_until_it_is_over(
    project: World, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The account, then the disk: not ready, with a sentence for each, and ready again without a restart."""
    sim.faults([{"endpoint": "create", "effect": {"refuse": 1102}}])
    project.write("dance.yaml")
    with watching(project, options={"first_retry": 200}) as watch:
        wait_until(says(watch, "paused for the whole account"), "the account's sentence")
        sim.faults([])
        wait_until(lambda: is_ready(watch), "the account's end")

        def full(_: ObjectStore) -> None:
            raise WorkspaceError("the disk is full", hint="Free some space.")

        with monkeypatch.context() as patched:
            patched.setattr(ObjectStore, "check_room", full)
            wait_until(says(watch, "the disk is full. Free some space."), "the disk's sentence")
        wait_until(lambda: is_ready(watch), "the disk's end")
    assert list(sim.billed().values()) == [1]


def test_a_cap_that_is_met_is_said_while_somebody_waits_for_it(
    project: World, sim: Simulator
) -> None:
    """One sentence, however many wait; when nobody asks for anything beyond the cap any more, it is ready."""
    specs = [project.write(f"s{number}.yaml", prompt=f"take {number}") for number in range(3)]
    with watching(project, caps=Caps(per_day=Decimal(0))) as watch:
        wait_until(lambda: len(project.told.holds) == 3, "three held generations")
        (reason,) = watch.call(watch.daemon.unready)
        assert "cap of 0 units" in reason
        for spec in specs:
            spec.unlink()
        wait_until(lambda: is_ready(watch), "the end of it")
    assert sim.billed() == {}


@pytest.fixture
def quick() -> Pace:
    """A pace by which a look is overdue after half a second."""
    return Pace(settle=SETTLE, tick=50, resync=500, patience=0)


class Hanging:
    """A checkout whose git, or disk, does not answer while it is told to hang."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.answers.set()

    def uncommitted(self, names: frozenset[str]) -> frozenset[str]:
        self.answers.wait(20)
        return names

    def signs(self) -> tuple[Path, ...]:
        return ()

    def abandon(self) -> None:
        self.answers.set()


def test_a_look_that_hangs_is_seen_while_the_loop_goes_on(
    project: World, sim: Simulator, quick: Pace
) -> None:
    """Not ready, and not alive for systemd, until git answers again; the loop answers all the time."""
    checkout = Hanging()
    with watching(project, checkout=cast(Any, checkout), pace=quick) as watch:
        wait_until(lambda: is_ready(watch), "its being ready")
        assert not watch.call(lambda: watch.daemon.looks.hangs)
        checkout.answers.clear()
        project.write("dance.yaml")
        wait_until(says(watch, "The last look at the folder ended"), "the sentence")
        assert watch.call(lambda: watch.daemon.looks.hangs)
        checkout.answers.set()
        wait_until(lambda: is_ready(watch), "its being ready again")
        assert not watch.call(lambda: watch.daemon.looks.hangs)
    assert sim.billed() == {}


def test_before_the_first_look_and_without_a_state_it_is_not_ready(project: World) -> None:
    """A daemon that has not looked yet says so; one whose state is moved away says so at once, and ends."""
    seen: list[str] = []

    def swept_away(watch: Watching) -> None:
        state = project.root / "state"
        state.rename(state.with_name("elsewhere"))
        seen.extend([FolderLooks(60).trouble, *watch.daemon.unready()])

    def run() -> None:
        with watching(project) as watch:
            watch.call(lambda: swept_away(watch))
            wait_until(lambda: not watch.loop.is_running(), "its end")

    with pytest.raises(StateReplaced):
        run()
    assert "has not ended yet" in seen[0]
    assert any("was removed, moved or replaced" in one for one in seen[1:])
