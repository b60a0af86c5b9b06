"""Applying a plan against the simulator: what is billed, which bytes are where, and what is said."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from reconciler.core.diff import Action
from reconciler.core.kinds import DEFAULT
from reconciler.core.progress import Ended
from reconciler.core.states import LIVE, Status
from reconciler.store.values import Caps
from tests.engine.world import World, world
from tests.support.simulator import Simulator, simulator


def in_flight(project: World) -> bool:
    records = project.repository.records().values()
    return any(record.status in LIVE and record.task_id for record in records)


def test_a_wish_becomes_a_video_and_a_receipt_and_is_billed_once(
    project: World, sim: Simulator
) -> None:
    """The main job, and a second run that does nothing."""
    project.write("dance.yaml")
    assert project.apply() is Ended.SETTLED
    item = project.only()
    assert (item.action, item.status) == (Action.KEEP, Status.COMPLETE)
    assert sim.billed() == {item.external_task_id: 1}
    receipt = json.loads((project.root / "specs/dance.receipt.json").read_text())
    (entry,) = receipt["generations"]
    assert entry["outputs"][0]["bytes"] == (project.root / "specs/dance.mp4").stat().st_size
    before = sim.requests()
    assert project.apply() is Ended.SETTLED
    assert sim.requests() == before


def test_the_intent_is_on_disk_before_the_create_leaves_and_after_a_readable_look(
    project: World,
) -> None:
    """Rules 2 and 3, seen from the wire: when the create arrives, another reader of the database sees the intent,
    and the id was asked for just before."""
    project.write("dance.yaml")
    seen: list[str] = []
    database = project.root / "state/reconciler.db"

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            seen.append("look")
            return httpx.Response(
                404, json={"code": 1203, "message": "no such task", "request_id": "r"}
            )
        connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        seen.extend(status for (status,) in connection.execute("SELECT status FROM task"))
        connection.close()
        return httpx.Response(400, json={"code": 1301, "message": "policy", "request_id": "r"})

    project.transport = httpx.MockTransport(answer)
    project.apply()
    assert seen[-1] == "submitting"
    assert set(seen[:-1]) == {"look"}
    assert project.only().status is Status.REJECTED


@pytest.mark.parametrize(
    "look",
    [
        httpx.Response(200, html="<html>maintenance</html>"),
        httpx.Response(502, html="<html>bad gateway</html>"),
        httpx.Response(200, json={"code": 5000, "message": "internal", "request_id": "r"}),
        httpx.Response(404, html="<html>not found</html>"),
        httpx.Response(400, json={"code": 1200, "message": "invalid", "request_id": "r"}),
    ],
    ids=["html", "502", "5000 in a 200", "html 404", "1200"],
)
def test_nothing_is_created_while_a_look_is_not_answered_with_unknown(
    project: World, look: httpx.Response
) -> None:
    """A page of a proxy is no *unknown*: whoever creates upon it pays twice."""
    project.write("dance.yaml")
    methods: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        methods.append(request.method)
        return httpx.Response(look.status_code, headers=look.headers, content=look.content)

    project.transport = httpx.MockTransport(answer)
    assert project.apply(timeout=1.0) is Ended.TIMED_OUT
    assert set(methods) == {"GET"}


def test_a_lost_answer_is_found_again_even_where_repeated_ids_are_billed(tmp_path: Path) -> None:
    """Rule 4 against the worst provider: it bills a repeated id, and the first answer never came."""
    with simulator(tmp_path / "simulator", duplicate_ids="bill_again", query_lag_s=0.3) as sim:
        root = tmp_path / "project"
        root.mkdir()
        sim.faults([{"endpoint": "create", "when": {"first": 1}, "effect": {"drop": "after"}}])
        with world(root, sim) as project:
            project.write("dance.yaml")
            assert project.apply() is Ended.SETTLED
            assert project.only().status is Status.COMPLETE
        assert list(sim.billed().values()) == [1]


def test_an_interrupted_run_goes_on_where_it_stopped(project: World, sim: Simulator) -> None:
    """Stopped while the task is in flight: the next run waits for the same task."""
    project.write("dance.yaml")
    sim.set_speed(0)
    assert project.apply(until=in_flight) is Ended.STOPPED
    sim.set_speed(600)
    assert project.apply() is Ended.SETTLED
    assert list(sim.billed().values()) == [1]


def test_what_is_paid_for_comes_home_though_nobody_wants_it_any_more(
    project: World, sim: Simulator
) -> None:
    """A spec that is edited while its task is in flight: both results are saved, and the receipt lists both."""
    spec = project.write("dance.yaml")
    sim.set_speed(0)
    project.apply(until=in_flight)
    first = project.only().external_task_id
    project.write("dance.yaml", prompt="jumps")
    sim.set_speed(600)
    assert project.apply() is Ended.SETTLED
    assert sorted(sim.billed().values()) == [1, 1]
    old = project.repository.record(first)
    assert old is not None
    assert old.status is Status.COMPLETE
    assert project.objects.verify(old.results[0].sha256)
    entries = json.loads(spec.with_name("dance.receipt.json").read_text())["generations"]
    assert {entry["external_task_id"]: entry.get("current", True) for entry in entries}[
        first
    ] is False


def test_a_replaced_output_stays_in_the_object_store_and_a_revert_is_free(
    project: World, sim: Simulator
) -> None:
    """`git checkout` of last week's prompt gives back last week's video, without a request."""
    project.write("dance.yaml")
    project.apply()
    first = (project.root / "specs/dance.mp4").read_bytes()
    project.write("dance.yaml", prompt="jumps")
    project.apply()
    assert (project.root / "specs/dance.mp4").read_bytes() != first
    before = sim.requests()
    project.write("dance.yaml")
    assert project.only().action is Action.PUBLISH
    project.apply()
    assert (project.root / "specs/dance.mp4").read_bytes() == first
    assert sim.requests() == before


def test_a_foreign_file_is_never_overwritten_and_blocks_the_purchase(
    project: World, sim: Simulator
) -> None:
    """Rule 8: somebody else's bytes at the output path stay, nothing is bought, and the sentence names the file."""
    project.write("dance.yaml")
    mine = project.root / "specs/dance.mp4"
    mine.write_bytes(b"my own film")
    assert project.apply() is Ended.SETTLED
    item = project.only()
    assert item.status is Status.BLOCKED
    assert "specs/dance.mp4" in item.reason
    assert (mine.read_bytes(), sim.billed()) == (b"my own film", {})


def test_a_file_that_appears_while_the_task_runs_is_kept_and_the_result_saved(
    project: World, sim: Simulator
) -> None:
    """The race: bought with a free place, taken when the result arrives."""
    project.write("dance.yaml")
    sim.set_speed(0)
    project.apply(until=in_flight)
    mine = project.root / "specs/dance.mp4"
    mine.write_bytes(b"my own film")
    sim.set_speed(600)
    project.apply()
    item = project.only()
    assert (item.status, mine.read_bytes()) == (Status.BLOCKED, b"my own film")
    assert item.record is not None
    assert project.objects.verify(item.record.results[0].sha256)
    mine.unlink()
    project.apply()
    assert project.only().status is Status.COMPLETE
    assert list(sim.billed().values()) == [1]


def test_a_cap_blocks_what_would_pass_it_and_nothing_else(project: World, sim: Simulator) -> None:
    """Rule 9: of three wishes of 5 units each, a cap of 10 per run lets two through."""
    for name in ("a", "b", "c"):
        project.write(f"{name}.yaml", prompt=name)
    assert project.apply(caps=Caps(per_run=Decimal(10))) is Ended.SETTLED
    statuses = sorted(item.status for item in project.plan().assessments)
    assert statuses == [Status.BLOCKED, Status.COMPLETE, Status.COMPLETE]
    assert len(sim.billed()) == 2
    assert project.apply(caps=Caps(per_run=Decimal(10))) is Ended.SETTLED
    assert {item.status for item in project.plan().assessments} == {Status.COMPLETE}


def test_account_trouble_blocks_the_rest_is_said_once_and_lets_the_running_finish(
    project: World, sim: Simulator
) -> None:
    """Out of units after the first: it comes home, the others are blocked, and nobody failed."""
    for name in ("a", "b", "c"):
        project.write(f"{name}.yaml", prompt=name)
    sim.faults(
        [{"endpoint": "create", "when": {"calls": [2, 3, 4, 5]}, "effect": {"refuse": 1102}}]
    )
    assert project.apply(concurrency=1) is Ended.SETTLED
    statuses = sorted(item.status for item in project.plan().assessments)
    assert statuses == [Status.BLOCKED, Status.BLOCKED, Status.COMPLETE]
    assert len(project.told.said) == 1
    sim.faults([])
    project.apply()
    assert {item.status for item in project.plan().assessments} == {Status.COMPLETE}
    assert list(sim.billed().values()) == [1, 1, 1]


def test_more_wishes_than_slots_are_all_bought_once(tmp_path: Path) -> None:
    """A refused slot is no failure: 20 wishes, 3 slots, each bought once."""
    root = tmp_path / "project"
    root.mkdir()
    with simulator(tmp_path / "simulator", concurrency=3) as sim, world(root, sim) as project:
        for number in range(20):
            project.write(f"{number}.yaml", prompt=f"wish {number}")
        assert project.apply(timeout=60) is Ended.SETTLED
        assert {item.status for item in project.plan().assessments} == {Status.COMPLETE}
        assert list(sim.billed().values()) == [1] * 20


def test_a_failed_task_is_not_wanted_again_by_itself(project: World, sim: Simulator) -> None:
    """Rule 6: the reason is shown, and a second run sends nothing."""
    project.write("dance.yaml", prompt='"falls [[fail: too dark]]"')
    project.apply()
    assert (project.only().status, project.only().reason) == (Status.FAILED, "too dark")
    before = sim.requests()["create_attempts"]
    project.apply()
    assert sim.requests()["create_attempts"] == before


def test_retries_of_the_spec_allow_a_second_attempt_under_its_own_id(
    project: World, sim: Simulator
) -> None:
    """`retries: 1` after a failure: the id ends with -r2, and its success is the result."""
    spec = project.write("dance.yaml")
    spec.write_text(spec.read_text() + "retries: 1\n")
    sim.faults([{"endpoint": "create", "when": {"first": 1}, "effect": {"fail": "bad luck"}}])
    project.apply()
    item = project.only()
    assert item.status is Status.COMPLETE
    assert item.external_task_id.endswith("-r2")
    assert set(sim.billed()) == {item.external_task_id.removesuffix("-r2"), item.external_task_id}


@pytest.mark.parametrize(
    ("effect", "reason"),
    [
        ({"truncate": 1000}, "a result that ends early is not kept"),
        ({"cut": 5000}, "a cut download is resumed"),
        ({"status": 403}, "an expired URL is asked for anew"),
        ({"status": 500}, "the result's host stumbles"),
        ({"wrong_bytes": True}, "bytes that were changed on the way are not kept"),
        ({"wrong_length": 999}, "an announced length that is wrong"),
    ],
)
def test_a_result_that_arrives_badly_is_fetched_until_it_is_whole(
    project: World, sim: Simulator, effect: dict[str, object], reason: str
) -> None:
    """Rule 7: whatever happens on the way, what is published is what the provider made."""
    project.write("dance.yaml")
    sim.faults([{"endpoint": "result", "when": {"first": 1}, "effect": effect}])
    assert project.apply() is Ended.SETTLED, reason
    item = project.only()
    assert item.status is Status.COMPLETE, item.reason
    assert item.record is not None
    assert project.objects.verify(item.record.results[0].sha256)
    sim.faults([])
    reply = httpx.get(_fresh_url(project))
    assert reply.content == (project.root / "specs/dance.mp4").read_bytes()


def _fresh_url(project: World) -> str:
    """A URL of the only result, asked of the API as anybody could."""

    async def ask() -> str:
        async with project.ports() as ports:
            reply = await ports.client.query(
                project.only().external_task_id, endpoint=DEFAULT.ENDPOINT
            )
        assert reply.task is not None
        return reply.task.videos[0].url

    return asyncio.run(ask())


def test_a_query_that_stumbles_while_a_result_is_saved_delays_it_only(
    project: World, sim: Simulator
) -> None:
    """The URL is asked for anew before each download; when that question fails, it is asked again."""
    project.write("dance.yaml")
    sim.set_speed(0)
    project.apply(until=in_flight)
    sim.set_speed(600)
    sim.faults([{"endpoint": "query", "when": {"every": 2}, "effect": {"status": 502}}])
    assert project.apply() is Ended.SETTLED
    assert project.only().status is Status.COMPLETE
    assert list(sim.billed().values()) == [1]


def test_stopping_sends_no_further_create(project: World, sim: Simulator) -> None:
    """From the moment that somebody asks to stop, nothing new is bought."""
    for number in range(12):
        project.write(f"{number}.yaml", prompt=f"wish {number}")
    sim.faults([{"endpoint": "query", "effect": {"delay_s": 0.2}}])
    assert project.apply(until=lambda world: bool(sim.billed()), concurrency=2) is Ended.STOPPED
    assert len(sim.billed()) <= 2


def test_a_result_that_never_becomes_whole_is_left_for_the_next_run(
    project: World, sim: Simulator
) -> None:
    """The provider serves rubbish for hours: the run settles, says so, and a later run saves the result."""
    project.write("dance.yaml")
    sim.faults([{"endpoint": "result", "effect": {"redirect": "http://192.0.2.1/elsewhere.mp4"}}])
    assert project.apply() is Ended.SETTLED
    assert project.only().status is Status.BLOCKED
    sim.faults([])
    project.apply()
    assert project.only().status is Status.COMPLETE
    assert list(sim.billed().values()) == [1]


def test_the_token_never_reaches_the_results_host(project: World, sim: Simulator) -> None:
    """Rule 10, seen from the host of the results."""
    project.write("dance.yaml")
    project.apply()
    assert sim.requests()["authorization_leaks"] == 0


def test_a_receipt_that_cannot_be_read_blocks_the_purchase_and_stays_as_it_is(
    project: World, sim: Simulator
) -> None:
    """It may say that the generation is bought already: nobody buys on a guess, and nobody repairs it silently."""
    project.write("dance.yaml")
    receipt = project.root / "specs/dance.receipt.json"
    receipt.write_text("<<<<<<< HEAD\n{}\n=======\n{}\n>>>>>>> other\n")
    before = receipt.read_bytes()
    project.apply()
    assert project.only().status is Status.BLOCKED
    assert (receipt.read_bytes(), sim.billed()) == (before, {})


def test_a_receipt_is_written_again_when_it_was_deleted(project: World, sim: Simulator) -> None:
    """The state knows what was bought; a lost receipt costs nothing."""
    project.write("dance.yaml")
    project.apply()
    receipt = project.root / "specs/dance.receipt.json"
    before = receipt.read_bytes()
    receipt.unlink()
    project.apply()
    assert receipt.read_bytes() == before
    assert list(sim.billed().values()) == [1]


def test_a_damaged_object_is_not_published_but_fetched_again(
    project: World, sim: Simulator
) -> None:
    """Disks forget: an object whose bytes changed is no result, and the provider still has the real one."""
    project.write("dance.yaml")
    project.apply()
    output = project.root / "specs/dance.mp4"
    good = output.read_bytes()
    record = project.only().record
    assert record is not None
    damaged = project.objects.path(record.results[0].sha256)
    damaged.chmod(0o644)
    damaged.write_bytes(b"\0" * len(good))
    output.unlink()
    project.apply()
    assert output.read_bytes() == good
    assert project.objects.verify(record.results[0].sha256)
    assert list(sim.billed().values()) == [1]


def test_one_taken_place_does_not_keep_the_result_from_another(
    project: World, sim: Simulator
) -> None:
    """The same wish in two specs, one of whose outputs is taken: bought once, and published where there is room."""
    project.write("a.yaml")
    project.write("b.yaml")
    (project.root / "specs/a.mp4").write_bytes(b"my own film")
    project.apply()
    statuses = {item.generation.spec: item.status for item in project.plan().assessments}
    assert statuses == {"specs/a.yaml": Status.BLOCKED, "specs/b.yaml": Status.COMPLETE}
    assert (project.root / "specs/a.mp4").read_bytes() == b"my own film"
    assert list(sim.billed().values()) == [1]
