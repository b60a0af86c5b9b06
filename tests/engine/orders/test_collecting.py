"""`gc`: what nothing refers to goes, by its name and once it is old; what could be the only copy of a purchase stays."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest
from PIL import Image

from reconciler.core.errors import WorkspaceError
from reconciler.core.media_rules import IMAGE
from reconciler.core.orders import Order, Verb
from reconciler.core.states import Status
from reconciler.engine.orders.collect import Garbage, garbage
from reconciler.store.values import KEPT_BESIDE, HistoryEntry
from reconciler.workspace.files.plain import temporary_beside
from reconciler.workspace.media.preparing import recipe
from tests.engine.orders.test_orders import DAY, _obey, _with_client, give
from tests.engine.world import SPEC, World, now_ms
from tests.support.project import wait_until
from tests.support.simulator import Simulator


def found(project: World, *, later: float = 0.0) -> dict[str, Garbage]:
    """Return what would go, so many s from now."""
    now = now_ms() + int(later * 1000)
    return garbage(project.root, project.survey(), project.repository, project.objects, now=now)


def age(project: World) -> None:
    """Let everything be from yesterday."""
    for path in project.root.rglob("*"):
        if (
            path.is_file() and path.parent.name != "state"
        ):  # a writer notices what is done to its own
            os.utime(path, (time.time() - DAY, time.time() - DAY), follow_symlinks=False)


def put(project: World, text: str) -> str:
    """Make an object of a text; return its digest."""
    source = project.root / "source"
    source.write_text(text)
    return project.objects.ingest(source)[0]


def lay(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("left over")
    return path.name


def bought(project: World, name: str) -> tuple[str, str]:
    """Buy a wish; return its id and the digest of its video."""
    project.write(f"{name}.yaml", prompt=name)
    project.apply()
    (record,) = [r for r in project.repository.records().values() if r.spec == f"specs/{name}.yaml"]
    return record.base_id, record.results[0].sha256


def test_only_what_nothing_refers_to_goes(project: World, sim: Simulator) -> None:
    """Results, publications, receipts, history, specs' films, unsaved downloads and young files keep what they name."""
    kept, video = bought(project, "kept")
    gone, forgotten = bought(project, "gone")
    project.max_result = 1000
    project.write("unsaved.yaml", prompt="unsaved")
    project.apply()
    (unsaved,) = [r for r in project.repository.records().values() if r.status is Status.SUCCEEDED]
    project.repository.note([
        HistoryEntry(kept, 1, KEPT_BESIDE, f"video 2 is kept as the object {put(project, 'second')}"),
        HistoryEntry(gone, 1, KEPT_BESIDE, f"video 2 is kept as the object {put(project, 'of gone')}"),
    ])  # fmt: skip
    of_gone, film = put(project, "of gone"), put(project, "prepared film")
    project.objects.remember("a" * 64, film)
    download = project.objects.partial("nobody's").path
    lay(project.objects.partial(f"{unsaved.external_task_id}.video").path)
    leftover = temporary_beside(project.root / "specs" / "kept.mp4")
    foreign = project.root / "specs" / ".0123456789abcdef.part"
    (project.root / "specs" / "gone.yaml").unlink()
    # Within the grace period after its create, it is not forgotten.
    wait_until(lambda: give(project, Verb.FORGET, gone).ok, "the grace period")
    for path in (download, leftover, foreign):
        lay(path)
    assert found(project) == {}, "all of it is young"
    age(project)
    expected = {
        *(f"objects/{digest}" for digest in (forgotten, of_gone, film)),
        f"prepared/{'a' * 64}",
        f"partial/{download.name}",
        "beside/specs/kept.mp4",
    }
    assert found(project).keys() == expected
    before = {path for path in project.root.rglob("*") if path.is_file()}
    outcome = give(project, Verb.GC, *expected, f"objects/{video}")
    assert "removed 6 files" in outcome.said[0]
    assert "left 1 file" in outcome.said[0]
    assert len(before) - len({path for path in project.root.rglob("*") if path.is_file()}) == 6
    assert foreign.exists()
    assert found(project) == {}
    project.max_result = 10**8
    project.apply()
    (project.root / "specs" / "kept.mp4").unlink()
    project.apply()
    assert {item.status for item in project.plan().assessments} == {Status.COMPLETE}
    assert set(sim.billed().values()) == {1}


def test_what_was_prepared_for_a_spec_stays(project: World) -> None:
    """It is about to be sent, and making it again takes a while."""
    Image.new("RGB", (400, 400)).save(project.root / "specs" / "girl.webp")
    local = SPEC.replace("https://example.com/{image}.png", "girl.webp")
    project.write("dance.yaml", f"{local.format(prompt='waves')}prepare: true\n")
    (wish,) = project.survey().desired.generations
    assert wish.inputs["image_url"].preparation is not None
    name = recipe(IMAGE, wish.inputs["image_url"])
    project.objects.remember(name, put(project, "prepared"))
    assert found(project, later=DAY) == {}


def test_what_changed_or_is_wanted_since_it_was_shown_stays(project: World, sim: Simulator) -> None:
    """Time passes between the list and the removal: another file under a name was not agreed to."""
    bought(project, "kept")
    path = project.objects.partial("nobody's").path
    lay(path)
    age(project)
    (name,) = found(project)
    seen = found(project)[name].seen
    path.write_text("something else")
    age(project)
    order = Order(Verb.GC, (name,), (seen,))
    asyncio.run(_with_client(project, lambda ports: _obey(project, ports, order)))
    assert path.exists()


def test_where_it_cannot_be_told_nothing_goes(project: World, sim: Simulator) -> None:
    """A receipt that cannot be read, and a state that lost everything: each may be about any of the objects."""
    bought(project, "kept")
    receipt = project.root / "specs" / "kept.receipt.json"
    text = receipt.read_text()
    receipt.write_text("{")
    with pytest.raises(WorkspaceError, match=r"kept\.receipt\.json"):
        found(project, later=DAY)
    receipt.unlink()
    objects = project.root / "objects"
    (project.root / "state" / "objects").rename(objects)
    project.lose_state()
    objects.rename(project.root / "state" / "objects")
    with pytest.raises(WorkspaceError, match="remembers no purchase"):
        found(project, later=DAY)
    receipt.write_text(text)
    assert found(project, later=DAY) == {}


def test_the_history_that_alone_knows_of_a_purchase_is_never_trimmed(
    project: World, sim: Simulator
) -> None:
    """What a provider gave beside a result is told by its line and by nothing else."""
    kept, _ = bought(project, "kept")
    digest = put(project, "second")
    old = now_ms() - int(500 * DAY * 1000)
    project.repository.note([
        HistoryEntry(kept, old, KEPT_BESIDE, digest), HistoryEntry(kept, old, "looked")
    ])  # fmt: skip
    assert project.repository.trim_history(old + 1, most=10) == 1
    assert project.repository.kept_beside() == {digest}
