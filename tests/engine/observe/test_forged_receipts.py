"""Receipts come out of git, from anybody: a forged one buys nothing, fetches nothing, and makes no file ours."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.diff import Action
from reconciler.core.identity import attempt_id
from reconciler.core.orders import Verb
from reconciler.core.progress import Ended
from reconciler.core.receipt_entries import Recalled
from reconciler.core.states import Status
from reconciler.engine.observe.locations import Locations
from reconciler.engine.observe.recall import ReceiptMemory
from reconciler.engine.records import Records
from tests.engine.orders.test_orders import give, made_by_hand
from tests.engine.world import World
from tests.support.simulator import Simulator

PRIVATE = b"\0\0\0\x18ftypisom the operator's own film"
DIGEST = hashlib.sha256(PRIVATE).hexdigest()


def row(project: World, **changes: Any) -> dict[str, Any]:
    """What a receipt would list of the one generation that is wanted, had it been bought; `changes` forge it."""
    wish = project.only().generation
    output = {"path": "dance.mp4", "role": "video", "sha256": DIGEST, "bytes": len(PRIVATE)}
    return {
        "external_task_id": wish.external_task_id,
        "task_id": "77",
        "label": "",
        "status": "complete",
        "request": json.loads(wish.canonical)["request"],
        "outputs": [output | {"duration": 5.0}],
        "units": "1",
        "created_at": None,
        "finished_at": None,
    } | changes


def forge(project: World, *rows: dict[str, Any], name: str = "dance") -> Path:
    return project.write(
        f"{name}.receipt.json", json.dumps({"schema": 1, "generations": list(rows)})
    )


def test_a_receipt_alone_makes_no_file_prunable(project: World, sim: Simulator) -> None:
    """A receipt of a spec that is not there lists an operator's film: no orphan, and an order to prune it is refused."""
    spec = project.write("dance.yaml")
    forge(project, row(project))
    spec.unlink()
    film = project.root / "specs/dance.mp4"
    film.write_bytes(PRIVATE)
    survey = project.survey()
    assert (survey.orphans, list(survey.needed)) == ((), ["specs/dance.mp4"])
    outcome = give(project, Verb.PRUNE, "specs/dance.mp4")
    assert (outcome.ok, film.read_bytes()) == (False, PRIVATE)
    assert "only a receipt says" in outcome.said[0]


def test_what_was_complete_by_a_receipt_stays_unlicensed(project: World, sim: Simulator) -> None:
    """Taken over as complete, then its spec is gone: still nothing that the state published itself."""
    spec = project.write("dance.yaml")
    forge(project, row(project))
    film = project.root / "specs/dance.mp4"
    film.write_bytes(PRIVATE)
    project.apply()
    assert project.only().status is Status.COMPLETE
    spec.unlink()
    assert project.plan().orphans == ()
    assert not give(project, Verb.PRUNE, "specs/dance.mp4").ok
    assert (film.read_bytes(), sim.billed()) == (PRIVATE, {})


@pytest.mark.parametrize("name", ["dance", "other"])
def test_a_receipt_alone_makes_no_file_replaceable(
    project: World, sim: Simulator, name: str
) -> None:
    """A film that a receipt, the spec's own or another, calls a result stands where one belongs: blocked, unbought."""
    project.write("dance.yaml", prompt="something else")
    past = row(project)
    project.write("dance.yaml")
    forge(project, past, name=name)
    film = project.root / "specs/dance.mp4"
    film.write_bytes(PRIVATE)
    project.apply()
    assert project.only().status is Status.BLOCKED
    assert (film.read_bytes(), sim.billed()) == (PRIVATE, {})


@pytest.mark.parametrize("own_name", ["", "theirs"])
def test_another_projects_video_is_not_fetched(
    project: World, sim: Simulator, own_name: str
) -> None:
    """A receipt names a task of the account that was made by somebody else, with and without an id: held, and said."""
    project.write("dance.yaml")
    task_id = made_by_hand(project, own_name)
    sim.advance(3600)
    for status in ("complete", "submitted"):
        forge(project, row(project, task_id=task_id, status=status, outputs=[]))
        project.apply()
        assert project.only().status is Status.BLOCKED
        assert task_id in project.only().reason
        assert "import" in project.only().reason
        project.lose_state()
    assert not (project.root / "specs/dance.mp4").exists()
    assert list((project.root / "state").rglob("objects/??/*")) == []
    assert sum(sim.billed().values()) == 1  # theirs
    base = project.only().generation.external_task_id
    project.apply()
    assert give(project, Verb.IMPORT, f"{task_id}={base}").ok, "somebody says that it is"
    project.apply()
    assert project.only().status is Status.COMPLETE


def test_a_task_that_is_shown_as_ours_is_not_kept_by_a_claim(
    project: World, sim: Simulator
) -> None:
    """A forged receipt gives our running task to another wish: it comes home to the one whose id it carries."""
    project.write("dance.yaml")
    sim.set_speed(0)
    project.apply(until=lambda world: any(r.task_id for r in world.repository.records().values()))
    (record,) = project.repository.records().values()
    project.lose_state()
    sim.set_speed(600)
    wave = project.write("wave.yaml", prompt="another wish")
    mine = next(w for w in project.survey().desired.generations if w.spec == "specs/wave.yaml")
    request = json.loads(mine.canonical)["request"]
    (project.root / "specs/dance.yaml").rename(project.root / "dance.yaml")
    forge(
        project,
        row(project, task_id=record.task_id, request=request, outputs=[], status="processing"),
        name="wave",
    )
    project.apply()
    (project.root / "dance.yaml").rename(project.root / "specs/dance.yaml")
    wave.unlink()
    project.apply()
    assert project.only().status is Status.COMPLETE
    assert sim.billed() == {record.external_task_id: 1}


def test_an_entry_that_contradicts_its_id_holds_back_that_one_alone(
    project: World, sim: Simulator
) -> None:
    """Its request is not the one of the id: neither complete nor bought, and said; the spec beside it is bought."""
    project.write("dance.yaml")
    lie = row(project)
    lie["request"] |= {"prompt": "something else"}
    forge(project, lie)
    project.write("wave.yaml", prompt="innocent")
    project.apply()
    found = {item.generation.spec: item for item in project.plan().assessments}
    assert found["specs/dance.yaml"].status is Status.BLOCKED
    assert "dance.receipt.json" in found["specs/dance.yaml"].reason
    assert found["specs/wave.yaml"].status is Status.COMPLETE
    assert list(sim.billed()) == [found["specs/wave.yaml"].external_task_id]


def test_a_broken_receipt_holds_back_what_it_names_and_its_own_spec(
    project: World, sim: Simulator
) -> None:
    """Under whatever name: what was renamed or copied is known by its id; everything else goes on."""
    project.write("dance.yaml")
    project.write("own.yaml", prompt="mine")
    project.write("wave.yaml", prompt="innocent")
    wishes = {wish.spec: wish for wish in project.survey().desired.generations}
    hidden = wishes["specs/dance.yaml"].external_task_id
    for name, text in (("old", f'<<<<<<< HEAD\n"{attempt_id(hidden, 2)}"\n'), ("own", "{")):
        project.write(f"{name}.receipt.json", text)
    project.apply()
    found = {item.generation.spec: item.status for item in project.plan().assessments}
    assert found == {
        "specs/dance.yaml": Status.BLOCKED,
        "specs/own.yaml": Status.BLOCKED,
        "specs/wave.yaml": Status.COMPLETE,
    }
    assert len(sim.billed()) == 1


def test_what_the_provider_delivers_decides_and_not_what_was_claimed(
    project: World, sim: Simulator
) -> None:
    """A receipt gives our own task the digest of an operator's film: fetched once, that film is nobody's of ours."""
    project.write("dance.yaml")
    project.apply()
    film = project.root / "specs/dance.mp4"
    real = film.read_bytes()
    (bought,) = project.repository.records().values()
    project.lose_state()
    forge(project, row(project, task_id=bought.task_id))
    film.write_bytes(PRIVATE)
    project.apply()
    assert project.only().status is Status.COMPLETE
    film.unlink()
    project.apply()
    assert film.read_bytes() == real
    film.write_bytes(PRIVATE)
    project.apply()
    assert (project.only().status, film.read_bytes()) == (Status.BLOCKED, PRIVATE)
    assert sim.billed() == {bought.external_task_id: 1}


def test_a_task_that_only_a_receipt_tells_of_is_not_waited_for(
    project: World, sim: Simulator
) -> None:
    """It says *processing*, and the provider knows nothing of it: the run ends, nothing is bought, and it is said."""
    project.write("dance.yaml")
    forge(project, row(project, status="processing", outputs=[]))
    assert project.apply() is Ended.SETTLED
    assert (project.only().status, sim.billed()) == (Status.BLOCKED, {})
    assert "a receipt names task 77" in project.only().reason


def test_receipts_are_read_beside_the_loop(
    project: World, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long one takes, whatever else is under way goes on."""

    def slow(*_: object) -> Recalled:
        time.sleep(0.3)
        return Recalled()

    async def turns_meanwhile() -> int:
        where = Locations(project.root, project.repository, project.objects)
        knows_nothing = Records(None, None, {})  # type: ignore[arg-type]
        memory = ReceiptMemory(project.root, knows_nothing, where)
        reading = asyncio.create_task(memory.read(["specs/dance.receipt.json"]))
        turns = 0
        while not reading.done():
            await asyncio.sleep(0.01)
            turns += 1
        return turns

    monkeypatch.setattr("reconciler.engine.observe.recall.recall", slow)
    assert asyncio.run(turns_meanwhile()) > 3


def test_what_has_expired_is_not_tried_again_on_a_receipts_word(
    project: World, sim: Simulator
) -> None:
    """Paid for, and cleared: a receipt that calls a later attempt failed does not set `retries` going."""
    spec = project.write("dance.yaml")
    spec.write_text(spec.read_text() + "retries: 5\n")
    project.apply()
    base = project.only().generation.external_task_id
    record = project.repository.record(base)
    assert record is not None
    for path in (project.root / "specs/dance.mp4", project.objects.path(record.results[0].sha256)):
        path.unlink()
    sim.advance(31 * 24 * 3600)
    project.apply()
    assert project.only().action is Action.EXPIRED
    (project.root / "specs/dance.receipt.json").unlink()
    failed = row(project, external_task_id=attempt_id(base, 2), status="failed", outputs=[])
    forge(project, failed, name="other")
    project.apply()
    assert project.only().action is Action.EXPIRED
    assert sim.billed() == {base: 1}


def test_a_receipt_elsewhere_does_not_speak_against_a_specs_own(
    project: World, sim: Simulator
) -> None:
    """Its own says *expired*, so paid for; another one, that a later attempt failed: `retries` buys nothing."""
    spec = project.write("dance.yaml")
    spec.write_text(spec.read_text() + "retries: 5\n")
    forge(project, row(project, status="expired", outputs=[]))
    base = project.only().generation.external_task_id
    failed = row(project, external_task_id=attempt_id(base, 2), status="failed", outputs=[])
    forge(project, failed, name="other")
    project.apply()
    assert (project.only().action, sim.billed()) == (Action.EXPIRED, {})


@pytest.mark.parametrize("place", ["waves.mp4", "dance.watermark.mp4"])
def test_a_receipt_speaks_for_the_files_of_its_own_spec_alone(
    project: World, sim: Simulator, place: str
) -> None:
    """A film that stands at another name is not copied to where the result belongs: it is asked for by id instead."""
    project.write("dance.yaml")
    forged = row(project)
    forged["outputs"][0]["path"] = place
    forge(project, forged)
    (project.root / "specs" / place).write_bytes(PRIVATE)
    project.apply()
    assert project.only().status is Status.EXPIRED
    assert not (project.root / "specs/dance.mp4").exists()
