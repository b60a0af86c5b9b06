"""Local videos on their way to the provider: what an upload may not cost, and what it may not hide."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from reconciler.core.errors import HostingError, WorkspaceError
from reconciler.core.progress import Ended
from reconciler.core.states import Status
from tests.engine.world import SPEC, World, world
from tests.simulator.caller import calling, order
from tests.support.simulator import simulator

MEDIA = Path(__file__).parents[2] / "media" / "bigbuckbunny.mp4"
URL = "https://cdn.example.com/dance.mp4?X-Amz-Signature=hush"


@dataclass
class Store:
    """A media store that does what a test wants while it uploads."""

    meanwhile: Callable[[], object]
    takes: float = 0.0  # s

    async def publish(self, sha256: str, path: Path, suffix: str) -> str:
        await asyncio.sleep(self.takes)
        self.meanwhile()
        return URL


def with_local_video(project: World) -> None:
    (project.root / "assets").mkdir(exist_ok=True)
    shutil.copy(MEDIA, project.root / "assets/dance.mp4")
    text = SPEC.format(image="girl", prompt="waves")
    project.write("dance.yaml", text.replace("https://example.com/dance", "../assets/dance"))


def test_a_task_that_another_clone_bought_during_the_upload_is_adopted(tmp_path: Path) -> None:
    """An upload takes long; a provider that bills a repeated id would bill it again, so it is asked once more."""
    with simulator(tmp_path / "simulator", duplicate_ids="bill_again") as sim:
        root = tmp_path / "project"
        root.mkdir()
        with world(root, sim) as project:
            with_local_video(project)
            name = project.only().external_task_id
            with calling(sim) as other:
                project.hosting = Store(lambda: other.create(order(name)), takes=1.2)
                assert project.apply() is Ended.SETTLED
            assert project.only().status is Status.COMPLETE
            assert sim.billed() == {name: 1}


@pytest.mark.parametrize(
    "error",
    [
        HostingError("the media store s3://videos is not there", hint="Make it."),
        WorkspaceError("`dance.mp4` changed while it was being uploaded"),
        FileNotFoundError(2, "No such file"),
    ],
)
def test_what_fails_at_the_store_holds_that_generation_alone(
    tmp_path: Path, error: Exception
) -> None:
    """The other one is bought, no create was sent for this one, and it goes through when the store is well again."""
    with simulator(tmp_path / "simulator") as sim:
        root = tmp_path / "project"
        root.mkdir()
        with world(root, sim) as project:
            with_local_video(project)
            name = project.only().external_task_id
            project.write("other.yaml", prompt="another")

            def fail() -> None:
                raise error

            project.hosting = Store(fail)
            assert project.apply() is Ended.SETTLED
            assert name not in sim.billed()
            assert len(sim.billed()) == 1
            assert name not in project.repository.records(), "nothing is promised"
            assert project.told.holds.keys() == {name}
            assert not project.told.said, "nothing that concerns everybody was said"
            project.hosting = Store(lambda: None)
            assert project.apply() is Ended.SETTLED
            assert sim.billed()[name] == 1


def test_a_stop_does_not_wait_for_an_upload(tmp_path: Path) -> None:
    """Stopped in the middle of an upload: cut off after two seconds, nothing is sent."""
    with simulator(tmp_path / "simulator") as sim:
        root = tmp_path / "project"
        root.mkdir()
        with world(root, sim) as project:
            with_local_video(project)
            project.hosting = Store(lambda: None, takes=60)
            assert project.apply(until=lambda _: True, timeout=30) is Ended.STOPPED
            assert sim.billed() == {}
