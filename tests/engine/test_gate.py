"""The gate of a run that endures: one tries, the others wait, and nobody comes back at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from reconciler.core.schedule import SECOND
from reconciler.core.states import Record, Status
from reconciler.engine.gate import Gate
from reconciler.engine.ports import Options, Ports
from tests.support.ports import Told, offline


@dataclass
class Clock:
    """A clock that is set by hand; ms."""

    at: int = 1_000_000

    def __call__(self) -> int:
        return self.at


@dataclass
class Scene:
    gate: Gate
    clock: Clock
    told: Told
    ports: Ports


def flying(name: str, model: str) -> Record:
    request = json.dumps({"request": {"model_name": model}})
    return Record(external_task_id=name, base_id=name, status=Status.SUBMITTED, request=request)


def fill(gate: Gate, model: str, count: int) -> None:
    """Have so many of a model accepted, each while all slots are used."""
    for number in range(count):
        record = flying(f"{model}-{number}", model)
        assert gate.take_slot(record), number
        gate.accepted(record, 1_000_000)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    clock, told = Clock(), Told()
    with offline(tmp_path, told, clock) as ports:
        yield Scene(Gate(ports, Options("run", enduring=True)), clock, told, ports)


def test_pauses_begin_with_half_a_minute_and_double_to_ten_minutes(scene: Scene) -> None:
    """Each try that fails waits twice as long as the one before, and ten minutes at most."""
    pauses = []
    for _ in range(7):
        scene.gate.close("out of units", by_create=True)
        pauses.append((scene.gate.again_at() - scene.clock.at) // SECOND)
        scene.clock.at = scene.gate.again_at()
        assert scene.gate.obstacle("a") == ""
    assert pauses == [30, 60, 120, 240, 480, 600, 600]
    assert len(scene.told.said) == 1


def test_several_victims_of_one_trouble_count_once(scene: Scene) -> None:
    """Creates that were under way together and are all refused do not make the pause longer."""
    for _ in range(5):
        scene.gate.close("out of units", by_create=True)
    assert scene.gate.again_at() - scene.clock.at == 30 * SECOND


def test_one_tries_while_the_others_wait_and_come_back_later_than_now(scene: Scene) -> None:
    """After a pause the first to ask may try; who asks meanwhile is told a time in the future, not now."""
    scene.gate.close("out of units", by_create=True)
    scene.clock.at = scene.gate.again_at()
    assert scene.gate.obstacle("a") == ""
    assert scene.gate.obstacle("a") == ""
    assert scene.gate.obstacle("b") == "out of units"
    assert scene.gate.again_at() > scene.clock.at
    scene.gate.turn_over("a")  # without an answer
    assert scene.gate.obstacle("b") == "out of units"
    scene.clock.at = scene.gate.again_at()
    assert scene.gate.obstacle("b") == ""


def test_an_answered_question_does_not_end_a_trouble_of_creates(scene: Scene) -> None:
    """Where creates were refused, only a create that is answered otherwise opens the gate; then all come back."""
    scene.gate.close("out of units", by_create=True)
    assert scene.gate.obstacle("b") == "out of units"
    scene.gate.answered()
    assert scene.gate.closed
    assert scene.gate.readmitted() == []
    scene.gate.answered(create=True)
    assert not scene.gate.closed
    assert scene.gate.readmitted() == ["b"]
    assert scene.gate.readmitted() == []
    assert len(scene.told.said) == 2


def test_an_answered_question_ends_a_trouble_of_questions(scene: Scene) -> None:
    """A wrong key refuses questions too: the first one that is answered shows that it is over."""
    scene.gate.close("wrong key", by_create=False)
    scene.gate.answered()
    assert not scene.gate.closed


OLD, NEW = "kling-v2-6", "kling-v3"


def test_a_refused_slot_of_one_model_throttles_no_other(scene: Scene) -> None:
    """What is learnt belongs to a model version, and is remembered for it."""
    gate = scene.gate
    fill(gate, OLD, 5)
    fill(gate, NEW, 1)
    last = flying("last", NEW)
    assert gate.take_slot(last)
    gate.refused(last, scene.clock.at)
    gate.free("last")
    assert gate.room_at(NEW) is None  # one is in flight, and no more are allowed
    assert gate.room_at(OLD) == 0
    later = Gate(scene.ports, Options("run"))
    fill(later, OLD, 6)
    assert later.take_slot(flying("a", NEW))
    assert not later.take_slot(flying("b", NEW))


def test_what_the_user_allows_bounds_all_models_together(scene: Scene) -> None:
    """Three in flight at most, whatever they are of; one that ends makes room for either."""
    gate = Gate(scene.ports, Options("run", max_concurrency=3))
    fill(gate, OLD, 2)
    fill(gate, NEW, 1)
    assert not gate.take_slot(flying("b", OLD))
    assert not gate.take_slot(flying("b", NEW))
    assert (gate.room_at(OLD), gate.room_at(NEW)) == (None, None)
    gate.free(f"{OLD}-0")
    assert (gate.room_at(OLD), gate.room_at(NEW)) == (0, 0)
    assert gate.take_slot(flying("b", NEW))


def test_what_an_older_program_learnt_of_all_models_is_where_each_begins(scene: Scene) -> None:
    """One number was remembered for the account."""
    scene.ports.repository.remember("slots", "7")
    gate = Gate(scene.ports, Options("run"))
    for model in (OLD, NEW):
        for number in range(7):
            assert gate.take_slot(flying(f"{model}-{number}", model))
        assert not gate.take_slot(flying("one more", model))
