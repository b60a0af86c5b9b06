"""Providers and folders at their worst: each test is a way in which money or a result was once lost here."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from reconciler.core.progress import Ended
from reconciler.core.states import Status
from reconciler.store.values import Caps
from tests.support.simulator import Simulator, simulator

from .world import SPEC, World, world

Answer = Callable[[httpx.Request], httpx.Response | None]


class Altered(httpx.AsyncBaseTransport):
    """The real wire, with some requests changed on the way and some answered by somebody else."""

    def __init__(
        self, answer: Answer, change: Callable[[bytes], bytes] = lambda body: body
    ) -> None:
        self._answer = answer
        self._change = change
        self._wire = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answered = self._answer(request)
        if answered is not None:
            return answered
        body = self._change(await request.aread())
        headers = {**request.headers, "content-length": str(len(body))}
        return await self._wire.handle_async_request(
            httpx.Request(request.method, request.url, headers=headers, content=body)
        )

    async def aclose(self) -> None:
        await self._wire.aclose()


def succeeded(project: World) -> bool:
    return any(
        record.status is Status.SUCCEEDED for record in project.repository.records().values()
    )


def flying(count: int) -> Callable[[World], bool]:
    return lambda project: (
        sum(r.task_id is not None for r in project.repository.records().values()) == count
    )


def test_a_result_that_was_unknown_for_a_while_is_found_by_the_next_run(
    project: World, sim: Simulator
) -> None:
    """An index that is down for longer than the grace ends as `expired`; the next run finds and saves the result."""
    project.write("dance.yaml")
    sim.faults([{"endpoint": "result", "effect": {"status": 500}}])
    project.apply(until=succeeded)
    sim.faults([{"endpoint": "query", "effect": {"status": 404, "code": 1203}}])
    project.apply()
    assert project.only().status is Status.EXPIRED
    sim.faults([])
    project.apply()
    assert project.only().status is Status.COMPLETE
    assert list(sim.billed().values()) == [1]


def test_a_result_that_is_listed_late_is_waited_for(tmp_path: Path) -> None:
    """The task has succeeded and shows no video for longer than the grace: that is not a result that was cleared."""
    root = tmp_path / "project"
    root.mkdir()
    with (
        simulator(tmp_path / "simulator", videos_late_s=900.0) as sim,  # a second and a half
        world(root, sim) as project,
    ):
        project.write("dance.yaml")
        assert project.apply() is Ended.SETTLED
        assert project.only().status is Status.COMPLETE
        assert list(sim.billed().values()) == [1]


def test_a_provider_that_shortens_our_ids_bills_once(tmp_path: Path) -> None:
    """The longest id is unknown: an answer that names another one still tells the task that was made."""

    def shorten(body: bytes) -> bytes:
        document = json.loads(body or b"{}")
        if "external_task_id" in document:
            document["external_task_id"] = document["external_task_id"][:24]
        return json.dumps(document).encode() if body else body

    root = tmp_path / "project"
    root.mkdir()
    with (
        simulator(tmp_path / "simulator", duplicate_ids="bill_again") as sim,
        world(root, sim) as project,
    ):
        project.write("dance.yaml")
        project.transport = Altered(lambda _: None, shorten)
        assert project.apply() is Ended.SETTLED
        assert project.only().status is Status.COMPLETE
        assert list(sim.billed().values()) == [1]


def test_creates_that_come_to_nothing_are_not_sent_without_end(tmp_path: Path) -> None:
    """Worse than anything that can be promised for: accepted, answered with 502, and never shown. Few are sent."""
    root = tmp_path / "project"
    root.mkdir()
    with (
        simulator(tmp_path / "simulator", duplicate_ids="bill_again", query_lag_s=600) as sim,
        world(root, sim) as project,
    ):
        project.write("dance.yaml")
        sim.faults([{"endpoint": "create", "effect": {"status": 502, "acted": True}}])
        assert project.apply(timeout=30) is Ended.SETTLED
        assert project.only().status is Status.BLOCKED
        assert sum(sim.billed().values()) <= 3


def test_a_purchase_that_arrives_by_git_is_seen_by_a_store_that_was_about_to_make_it(
    tmp_path: Path, sim: Simulator
) -> None:
    """Held back here, bought by a colleague meanwhile: the pulled receipt counts, and the provider may have forgotten."""
    roots = [tmp_path / "mine", tmp_path / "theirs"]
    for root in roots:
        root.mkdir()
    with world(roots[0], sim) as mine, world(roots[1], sim) as theirs:
        mine.write("dance.yaml")
        theirs.write("dance.yaml")
        sim.faults([{"endpoint": "create", "effect": {"refuse": 1102}}])
        mine.apply()
        assert mine.only().status is Status.BLOCKED
        sim.faults([])
        theirs.apply()
        for name in ("dance.receipt.json", "dance.mp4"):
            shutil.copy(theirs.root / "specs" / name, mine.root / "specs" / name)
        sim.advance(31 * 24 * 3600)
        before = sim.requests()["create_attempts"]
        mine.apply()
        assert mine.only().status is Status.COMPLETE
        assert sim.requests()["create_attempts"] == before


def test_a_refused_id_whose_task_shows_up_late_is_found_by_the_next_run(tmp_path: Path) -> None:
    """Lost answer, a lag of several graces, and a refusal of the used id: `rejected`, until a run finds the task."""
    root = tmp_path / "project"
    root.mkdir()
    with simulator(tmp_path / "simulator", query_lag_s=4.0) as sim, world(root, sim) as project:
        project.write("dance.yaml")
        sim.faults([{"endpoint": "create", "when": {"first": 1}, "effect": {"drop": "after"}}])
        deadline = time.monotonic() + 20
        while project.only().status is not Status.COMPLETE and time.monotonic() < deadline:
            project.apply()
        assert project.only().status is Status.COMPLETE
        assert list(sim.billed().values()) == [1]


def test_one_task_that_cannot_be_asked_for_does_not_starve_the_others(
    project: World, sim: Simulator
) -> None:
    """A single bad id in a poll round: the other tasks are observed and saved."""
    for number in range(4):
        project.write(f"{number}.yaml", prompt=f"wish {number}")
    sim.set_speed(0)
    project.apply(until=flying(4), concurrency=4)
    bad = min(str(record.task_id) for record in project.repository.records().values())
    broken = {"code": 5000, "message": "internal", "request_id": "r"}
    project.transport = Altered(
        lambda request: httpx.Response(500, json=broken) if request.url.path.endswith(bad) else None
    )
    sim.set_speed(600)
    project.apply(timeout=3)
    statuses = sorted(item.status for item in project.plan().assessments)
    assert statuses.count(Status.COMPLETE) == 3


def test_a_list_that_never_answers_leaves_single_queries(project: World, sim: Simulator) -> None:
    """The list is a short cut, not a condition."""
    for number in range(8):
        project.write(f"{number}.yaml", prompt=f"wish {number}")
    sim.faults([{"endpoint": "list", "effect": {"status": 500}}])
    assert project.apply(concurrency=8) is Ended.SETTLED
    assert {item.status for item in project.plan().assessments} == {Status.COMPLETE}


WATERMARKED = SPEC.format(image="girl", prompt="waves") + "watermark_info:\n  enabled: true\n"


def test_a_watermarked_copy_that_cannot_be_had_does_not_keep_the_video_back(
    project: World, sim: Simulator
) -> None:
    """The video is saved and published at once; the copy is asked for until it comes."""
    project.write("dance.yaml", WATERMARKED)
    sim.faults(
        [{"endpoint": "result", "when": {"calls": list(range(2, 60))}, "effect": {"status": 403}}]
    )
    project.apply(timeout=120)
    assert (project.root / "specs/dance.mp4").exists()
    assert project.only().status is Status.BLOCKED
    sim.faults([])
    project.apply()
    assert project.only().status is Status.COMPLETE
    assert (project.root / "specs/dance.watermark.mp4").exists()


def test_replacing_an_output_keeps_its_bytes_though_the_object_has_rotted(
    project: World, sim: Simulator
) -> None:
    """Rule 8: the published copy is the last good one, so it mends the object before it is replaced."""
    project.write("dance.yaml")
    project.apply()
    good = (project.root / "specs/dance.mp4").read_bytes()
    record = project.only().record
    assert record is not None
    digest = record.results[0].sha256
    rotten = project.objects.path(digest)
    rotten.chmod(0o644)
    rotten.write_bytes(b"\0" * len(good))
    project.write("dance.yaml", prompt="jumps")
    project.apply()
    assert project.objects.path(digest).read_bytes() == good


def test_a_held_wish_is_capped_at_what_it_costs_today(project: World, sim: Simulator) -> None:
    """An estimate that was made with other prices is made anew before it is checked against a cap."""
    project.write("dance.yaml")
    sim.faults([{"endpoint": "create", "effect": {"refuse": 1102}}])
    project.apply()
    sim.faults([])
    project.prices = {"kling-v2-6": {"std": Decimal(50), "pro": Decimal(80)}}
    project.apply(caps=Caps(per_run=Decimal(10)))
    assert project.only().status is Status.BLOCKED
    assert sim.billed() == {}


def test_a_result_whose_spec_left_the_folder_is_remembered_by_a_receipt(
    project: World, sim: Simulator
) -> None:
    """A branch without the spec is checked out while its task runs: the purchase is on record in the folder too."""
    spec = project.write("dance.yaml")
    sim.set_speed(0)
    project.apply(until=flying(1))
    name = project.only().external_task_id
    spec.unlink()
    sim.set_speed(600)
    project.apply()
    (entry,) = json.loads((project.root / "specs/dance.receipt.json").read_text())["generations"]
    assert (entry["external_task_id"], entry["status"], entry["current"]) == (
        name,
        "complete",
        False,
    )


def test_a_place_that_cannot_be_written_does_not_keep_the_result_from_another(
    project: World, sim: Simulator
) -> None:
    """The same wish in two folders, one of which is in the way."""
    project.write("a/dance.yaml")
    project.write("b/dance.yaml")
    (project.root / "specs/a/dance.mp4").mkdir()
    project.apply()
    assert (project.root / "specs/b/dance.mp4").is_file()


@pytest.mark.parametrize("id_", [".mine", "a..b", "_", "-x-"])
def test_every_id_that_a_spec_may_set_can_be_read_back_from_its_receipt(
    project: World, sim: Simulator, id_: str
) -> None:
    """What we write we can read."""
    project.write(
        "dance.yaml", SPEC.format(image="girl", prompt="waves") + f"external_task_id: '{id_}'\n"
    )
    project.apply()
    assert project.only().status is Status.COMPLETE
    project.apply()
    assert project.only().status is Status.COMPLETE


def test_one_spurious_account_error_on_a_poll_lets_the_running_finish(
    project: World, sim: Simulator
) -> None:
    """Nothing fails and nothing is held for a single 1102 in between."""
    project.write("dance.yaml")
    sim.set_speed(0)
    project.apply(until=flying(1))
    sim.set_speed(600)
    sim.faults([{"endpoint": "query", "when": {"first": 1}, "effect": {"refuse": 1102}}])
    assert project.apply() is Ended.SETTLED
    assert project.only().status is Status.COMPLETE


def test_a_later_failed_attempt_in_a_receipt_does_not_undo_what_is_saved(
    project: World, sim: Simulator
) -> None:
    """Two clones retried, one succeeded, git merged both receipts: what is bought and saved stays the result."""
    spec = project.write("dance.yaml")
    spec.write_text(spec.read_text() + "retries: 2\n")
    project.apply()
    receipt = project.root / "specs/dance.receipt.json"
    document = json.loads(receipt.read_text())
    saved = document["generations"][0]
    failed = {
        **saved,
        "external_task_id": saved["external_task_id"] + "-r2",
        "status": "failed",
        "outputs": [],
    }
    receipt.write_text(json.dumps({**document, "generations": [saved, failed]}))
    project.write("other.yaml", prompt="something open, so that receipts are read")
    project.apply()
    project.lose_state()
    assert {item.status for item in project.plan().assessments} == {Status.COMPLETE}
    project.apply()
    assert list(sim.billed().values()) == [1, 1]


def test_refused_slots_do_not_lengthen_a_later_doubt(project: World, sim: Simulator) -> None:
    """1303 creates nothing and leaves no doubt: a bad request afterwards is final after one grace period."""
    project.write("dance.yaml")
    sim.faults(
        [
            {"endpoint": "create", "when": {"calls": [1, 2]}, "effect": {"refuse": 1303}},
            {"endpoint": "create", "effect": {"refuse": 1201}},
        ]
    )
    project.apply()
    record = project.only().record
    assert record is not None
    assert (record.status, record.creates) == (Status.REJECTED, 1)


def test_an_old_video_that_only_a_receipt_calls_ours_is_not_replaced(
    project: World, sim: Simulator
) -> None:
    """State lost, prompt edited: nothing is bought until somebody moves last week's video away."""
    project.write("dance.yaml")
    project.apply()
    video = project.root / "specs/dance.mp4"
    old = video.read_bytes()
    project.lose_state()
    project.write("dance.yaml", prompt="jumps")
    project.apply()
    assert "only a receipt" in project.only().reason
    assert (video.read_bytes(), len(sim.billed())) == (old, 1)
    video.unlink()
    project.apply()
    assert project.only().status is Status.COMPLETE
    assert video.read_bytes() != old


def test_a_watermarked_copy_that_was_cleared_is_said(project: World, sim: Simulator) -> None:
    """Half of what was paid for is not complete: the video is published, and the status says `expired`."""
    project.write("dance.yaml", WATERMARKED)
    sim.faults(
        [{"endpoint": "result", "when": {"calls": list(range(2, 60))}, "effect": {"status": 403}}]
    )
    project.apply(
        until=lambda world: any(record.results for record in world.repository.records().values())
    )
    sim.advance(31 * 24 * 3600)
    project.apply()
    assert project.only().status is Status.EXPIRED
    assert (project.root / "specs/dance.mp4").exists()
    project.apply()
    assert project.only().status is Status.EXPIRED
    assert list(sim.billed().values()) == [1]


def test_a_task_that_showed_up_lifts_the_brake(project: World, sim: Simulator) -> None:
    """Answers are lost, and the tasks are found each time: that is not a provider that hides them."""
    spec = project.write("dance.yaml")
    spec.write_text(spec.read_text() + "retries: 4\n")
    sim.faults(
        [
            {
                "endpoint": "create",
                "when": {"calls": [1, 2, 3, 4]},
                "effect": {"fail": "bad luck", "delay_s": 2.5},
            },
        ]
    )
    project.apply(timeout=60)
    assert project.only().status is Status.COMPLETE
    assert set(sim.billed().values()) == {1}


def test_swapped_task_ids_in_receipts_do_not_swap_the_videos(
    project: World, sim: Simulator
) -> None:
    """A receipt that was merged wrongly names another's task: the result is asked for by our own id instead."""
    for name in "ab":
        project.write(f"{name}.yaml", prompt=name)
    project.apply()
    films = {name: (project.root / f"specs/{name}.mp4").read_bytes() for name in "ab"}
    receipts = {name: project.root / f"specs/{name}.receipt.json" for name in "ab"}
    documents = {name: json.loads(path.read_text()) for name, path in receipts.items()}
    ids = {name: document["generations"][0]["task_id"] for name, document in documents.items()}
    for name, other in ("ab", "ba"):
        documents[name]["generations"][0]["task_id"] = ids[other]
        receipts[name].write_text(json.dumps(documents[name]))
        (project.root / f"specs/{name}.mp4").unlink()
    project.lose_state()
    project.apply()
    assert {name: (project.root / f"specs/{name}.mp4").read_bytes() for name in "ab"} == films
    assert list(sim.billed().values()) == [1, 1]


def test_an_empty_file_at_an_output_is_nobodys(project: World, sim: Simulator) -> None:
    """A place that was reserved when the program was killed does not block the result for ever."""
    project.write("dance.yaml")
    (project.root / "specs/dance.mp4").touch()
    project.apply()
    assert project.only().status is Status.COMPLETE
    assert (project.root / "specs/dance.mp4").stat().st_size > 0


def test_a_colleagues_receipt_and_video_cure_what_expired_here(
    project: World, sim: Simulator
) -> None:
    """Expired in this store; somebody saved the same task, as other bytes, and committed both."""
    project.write("dance.yaml")
    project.apply()
    video, receipt = project.root / "specs/dance.mp4", project.root / "specs/dance.receipt.json"
    theirs = video.read_bytes() + b"\0\0\0\x08free"
    document = json.loads(receipt.read_text())
    video.unlink()
    project.lose_state()
    sim.advance(31 * 24 * 3600)
    project.apply()
    assert project.only().status is Status.EXPIRED
    output = document["generations"][0]["outputs"][0]
    output |= {"sha256": hashlib.sha256(theirs).hexdigest(), "bytes": len(theirs)}
    receipt.write_text(json.dumps(document))
    video.write_bytes(theirs)
    project.apply()
    assert project.only().status is Status.COMPLETE
    assert video.read_bytes() == theirs
