"""Callbacks: whoever is named in a create is told of every change, at its time, unless the configuration says worse."""

from __future__ import annotations

import base64
import hmac
import socket
import sqlite3
import time
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.simulator.agenda import Agenda
from reconciler.simulator.config import SimulatorConfig
from reconciler.simulator.tasks import Task
from tests.simulator.caller import calling, order
from tests.simulator.receiver import receiving, wait_for
from tests.support.simulator import Simulator, simulator

ALL = ["submitted", "processing", "succeed"]
TASK = Task(
    task_id="800000000000000001",
    external_task_id="one",
    mode="std",
    image="",
    video="",
    duration_ms=5000,
    rate=Fraction(25),
    keep_sound=False,
    watermark=False,
    failure="",
    units=Decimal(1),
    created_at=0,
    created_real=0,
    started_at=5_000,
    ended_at=120_000,
    callback_url="http://127.0.0.1:1/",
)


def wait_counted(sim: Simulator, name: str, count: int) -> None:
    """Wait until the simulator has counted so many calls of a kind; more of them are an error."""
    wait_for(lambda: sim.requests()[name] >= count, lambda: f"{count} {name}: {sim.requests()}")
    assert sim.requests()[name] == count


def test_every_change_is_told_at_its_time() -> None:
    """Each change comes when its virtual time has come and not before, also when time jumps."""
    with receiving() as receiver, simulator(speed=0) as sim, calling(sim) as api:
        api.create(order("one", callback_url=f"{receiver.url}/callbacks"))
        assert receiver.until(1) == ["submitted"]
        sim.advance(10)
        assert receiver.until(2) == ["submitted", "processing"]
        sim.advance(95)  # a tenth less than the usual time is not over
        sim.advance(30)
        assert receiver.until(3) == ALL
        wait_counted(sim, "callback", 3)
    assert len(receiver.told) == 3


def test_a_jump_skips_no_change() -> None:
    """Time that jumps over everything leaves every change told once, each as it was at its moment."""
    with receiving() as receiver, simulator(speed=0, render="stamp") as sim, calling(sim) as api:
        api.create(order("one", callback_url=receiver.url))
        receiver.until(1)
        sim.advance(10_000)
        receiver.until(3)
        data = api.query("one").json()["data"]
        told = {body["task_status"]: body["updated_at"] for body in receiver.told}
    assert told == {
        "submitted": data["created_at"],
        "processing": data["created_at"] + 5000,
        "succeed": data["updated_at"],
    }


def test_a_call_is_what_the_documents_say() -> None:
    """The documented fields and no envelope; the result's address works; no token comes along."""
    with receiving() as receiver, simulator() as sim, calling(sim) as api:
        api.create(order("one", callback_url=receiver.url))
        receiver.until(3)
        last = next(body for body in receiver.told if body["task_status"] == "succeed")
        seen = api.query("one").json()["data"]
        film = sim.control.get(last["task_result"]["videos"][0]["url"])
        wait_counted(sim, "callback", 3)
    for body in receiver.told:
        assert body.keys() == {
            "task_id", "task_status", "task_status_msg", "created_at", "updated_at",
            "final_unit_deduction", "task_info", "task_result",
        }  # fmt: skip
    for name in ("task_id", "task_info", "created_at", "updated_at", "final_unit_deduction"):
        assert last[name] == seen[name]
    assert (film.status_code, film.content[4:8]) == (200, b"ftyp")
    assert all("authorization" not in headers for headers in receiver.headers)
    assert {headers["content-type"] for headers in receiver.headers} == {
        "application/json; charset=utf-8"
    }
    assert last["task_result"].keys() == {"images", "videos", "audios"}
    assert not any("webhook-signature" in headers for headers in receiver.headers)


def test_calls_are_signed_where_the_account_has_a_secret() -> None:
    """The Standard Webhooks scheme, checked by hand; a repeat carries the same id."""
    key = b"testsecrettestsecrettestsecret12"
    secret = f"whsec_{base64.b64encode(key).decode()}"
    with (
        receiving() as receiver,
        simulator(callback_secret=secret, callback_repeats=1) as sim,
        calling(sim) as api,
    ):
        api.create(order("one", callback_url=receiver.url))
        receiver.until(6)
    for headers, body in zip(receiver.headers, receiver.bodies, strict=True):
        name, sent_at = headers["webhook-id"], headers["webhook-timestamp"]
        assert abs(int(sent_at) - time.time()) < 30
        signed = hmac.digest(key, f"{name}.{sent_at}.".encode() + body, "sha256")
        assert headers["webhook-signature"] == f"v1,{base64.b64encode(signed).decode()}"
    assert len({headers["webhook-id"] for headers in receiver.headers}) == 3


def test_a_failure_is_told_with_its_reason() -> None:
    """The last call says failed, why, and that nothing was deducted."""
    with receiving() as receiver, simulator() as sim, calling(sim) as api:
        api.create(order("one", callback_url=receiver.url, prompt="[[fail: nothing moves]]"))
        receiver.until(3)
    last = next(body for body in receiver.told if body["task_status"] == "failed")
    assert (last["task_status_msg"], last["final_unit_deduction"]) == ("nothing moves", "0")
    assert last["task_result"] == {"images": [], "videos": [], "audios": []}


def test_a_status_in_no_list_is_told_too() -> None:
    """It is a change like any other, and so is the way back."""
    with (
        receiving() as receiver,
        simulator(speed=0, alien_status="paused", seed="1") as sim,
        calling(sim) as api,
    ):
        api.create(order("one", callback_url=receiver.url))
        for count in range(1, 6):
            receiver.until(count)
            sim.advance(
                35
            )  # one change at a time: two that are due at once may overtake each other
    assert receiver.statuses == ["submitted", "processing", "paused", "processing", "succeed"]


@pytest.mark.parametrize(
    ("reason", "config", "steps", "statuses"),
    [
        ("as it happens", {}, [(0, 1), (70, 2), (140, 3)], ALL),
        ("no creation", {"callback_first": "processing"}, [(70, 1), (140, 2)], ALL[1:]),
        ("repeats", {"callback_repeats": 1}, [(0, 2), (70, 4), (140, 6)], sorted(ALL * 2, key=ALL.index)),
        ("out of order", {"callback_order": "reversed"}, [(140, 1), (210, 2), (270, 3)], ALL[::-1]),
        ("switched off", {"callbacks": "off"}, [(300, 0)], []),
        ("all lost", {"callback_lost": 1.0}, [(300, 0)], []),
    ],
)  # fmt: skip
def test_the_configuration_says_how_it_goes_wrong(
    reason: str, config: dict[str, Any], steps: list[tuple[int, int]], statuses: list[str]
) -> None:
    """After each step (virtual seconds since the create) so many calls have come, and no more in the end."""
    with (
        receiving() as receiver,
        simulator(speed=0, queue_s=60, **config) as sim,
        calling(sim) as api,
    ):
        api.create(order("one", callback_url=receiver.url))
        passed = 0
        for until, count in steps:
            sim.advance(until - passed)
            passed = until
            receiver.until(count)
            wait_counted(sim, "callback", count)
        assert api.until_over("one")["task_status"] == "succeed"
    assert receiver.statuses == statuses, reason


def test_late_calls_overtake_each_other() -> None:
    """Each draws its delay up to the limit, and some are lost."""
    config: dict[str, Any] = {"callback_late_s": 300, "callback_lost": 0.2, "concurrency": 40}
    with receiving() as receiver, simulator(speed=0, **config) as sim, calling(sim) as api:
        for number in range(40):
            api.create(order(str(number), callback_url=receiver.url))
        for _ in range(90):
            sim.advance(5)
        wait_for(lambda: sim.requests()["callback"] == len(receiver.told), lambda: "every answer")
        told: dict[str, list[str]] = {}
        for body in receiver.told:
            told.setdefault(body["task_id"], []).append(body["task_status"])
    assert 60 <= len(receiver.told) < 120
    assert not all(sorted(one, key=ALL.index) == one for one in told.values())


@given(st.text(max_size=3), st.integers(0, 3), st.integers(0, 600), st.floats(0, 1))
@settings(deadline=None, max_examples=50)
def test_the_seed_decides_what_becomes_of_a_call(
    seed: str, repeats: int, late_s: int, lost: float
) -> None:
    """The same account makes the same calls again, none before its change nor later than it may be."""
    config = SimulatorConfig(
        folder=Path("unused"),
        callback_repeats=repeats,
        callback_late_s=late_s,
        callback_lost=lost,
    )
    moments = [0, 5_000, 120_000]
    made = []
    for _ in range(2):
        agenda = Agenda(config, seed)
        agenda.expect(TASK, moments, after=-1)
        made.append([(call.due, call.moment) for call in agenda.take(10**9)])
    assert made[0] == made[1]
    assert all(moment <= due <= moment + late_s * 1000 for due, moment in made[0])
    assert len(made[0]) <= 3 * (1 + repeats)
    if not lost:
        assert {moment for _, moment in made[0]} == set(moments)


def test_only_this_machine_is_ever_called() -> None:
    """Any other address is counted and never contacted, however much it looks like this machine."""
    with receiving() as receiver, simulator(concurrency=9) as sim, calling(sim) as api:
        port = receiver.url.rpartition(":")[2]
        places = ["0.0.0.0", "127.0.0.1.invalid", "localhost.invalid", "user@0.0.0.0"]
        for place in places:
            api.create(order(place, callback_url=f"http://{place}:{port}/"))
        wait_counted(sim, "callback_foreign", 3 * len(places))
        api.create(order("near", callback_url=f"http://localhost:{port}/"))
        receiver.until(3)
        assert sim.requests()["callback_unanswered"] == 0
    assert {body["task_info"]["external_task_id"] for body in receiver.told} == {"near"}


def test_nobody_there_disturbs_nothing() -> None:
    """A port that is closed and a server that refuses are counted; the task goes its way."""
    with socket.socket() as taken, receiving(status=500) as receiver, simulator() as sim:
        taken.bind(("127.0.0.1", 0))
        with calling(sim) as api:
            api.create(order("closed", callback_url=f"http://127.0.0.1:{taken.getsockname()[1]}"))
            api.create(order("refusing", callback_url=receiver.url))
            wait_counted(sim, "callback_unanswered", 6)
            assert api.until_over("closed")["task_status"] == "succeed"
        assert sim.requests()["callback"] == 0


def test_a_slow_answer_delays_no_other_call() -> None:
    """While one receiver keeps its caller waiting, the others are told; in the end it is given up."""
    with receiving() as receiver, simulator(callback_timeout_s=1.0) as sim, calling(sim) as api:
        api.create(order("slow", callback_url=f"{receiver.url}/slow"))
        api.create(order("quick", callback_url=f"{receiver.url}/quick"))
        receiver.until(3)
        assert {body["task_info"]["external_task_id"] for body in receiver.told} == {"quick"}
        wait_counted(sim, "callback_unanswered", 3)


def test_calls_go_on_after_a_restart(tmp_path: Path) -> None:
    """What changes after the restart is told; what was told before is not told again."""
    with receiving() as receiver:
        with simulator(tmp_path, speed=0) as sim, calling(sim) as api:
            api.create(order("one", callback_url=receiver.url))
            receiver.until(1)
            wait_counted(sim, "callback", 1)
        with simulator(tmp_path, speed=0) as sim:
            sim.advance(200)
            receiver.until(3)
            wait_counted(sim, "callback", 2)
    assert sorted(receiver.statuses) == ["processing", "submitted", "succeed"]


def test_a_folder_from_before_callbacks_is_opened(tmp_path: Path) -> None:
    """An older table of tasks loses nothing and gets the new column."""
    with simulator(tmp_path) as sim, calling(sim) as api:
        api.create(order("old"))
    with sqlite3.connect(tmp_path / "tasks.db") as db:
        db.execute("ALTER TABLE task DROP COLUMN callback_url")
    db.close()
    with receiving() as receiver, simulator(tmp_path) as sim, calling(sim) as api:
        api.create(order("new", callback_url=receiver.url))
        receiver.until(3)
        assert api.until_over("old")["task_status"] == "succeed"
