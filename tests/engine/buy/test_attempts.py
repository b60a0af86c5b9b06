"""Which attempt stands for a generation: whatever exists at the provider is found before anything is bought.

The provider here refuses a used id, as the real one was seen to do. Each test asks its books in the end.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from reconciler.core.diff import Action
from reconciler.core.identity import attempt_id
from reconciler.core.orders import Verb
from reconciler.core.states import LIVE, Status
from tests.engine.orders.test_orders import (
    a_minute_passes,
    fail_once,
    give,
    in_flight,
    latest,
    made_by_hand,
    wait_for_success,
)
from tests.engine.test_odd_providers import Altered
from tests.engine.world import World, world
from tests.support.simulator import Simulator, simulator

POLICY = [{"endpoint": "create", "when": {"first": 1}, "effect": {"refuse": 1301}}]


def lose_everything(project: World) -> None:
    """State, receipts and outputs are gone; only the spec is left."""
    project.lose_state()
    for path in (project.root / "specs").iterdir():
        if path.suffix != ".yaml":
            path.unlink()


def rejected_then_bought(project: World, sim: Simulator) -> str:
    """The first create is refused by policy, a retry is bought; return the base id."""
    project.write("dance.yaml")
    sim.faults(POLICY)
    project.apply()
    base = latest(project).base_id
    assert latest(project).status is Status.REJECTED
    give(project, Verb.RETRY, base)
    project.apply()
    assert project.only().status is Status.COMPLETE
    return base


def forget_it(project: World) -> None:
    """The video is moved away, and the generation forgotten by order, a minute later."""
    (project.root / "specs" / "dance.mp4").unlink()
    a_minute_passes(project)
    give(project, Verb.FORGET, latest(project).base_id)


LOSSES: dict[str, Callable[[World], object]] = {
    "state": World.lose_state,
    "state, receipt and output": lose_everything,
    "the output, and it is forgotten": forget_it,
}


@pytest.mark.parametrize("loss", LOSSES)
def test_what_a_retry_of_a_rejected_generation_bought_is_not_bought_again(
    project: World, sim: Simulator, loss: str
) -> None:
    """Rejected, tried again and bought; whatever is lost then, the one purchase is found."""
    rejected_then_bought(project, sim)
    LOSSES[loss](project)
    project.apply()
    assert project.only().status is Status.COMPLETE
    assert list(sim.billed().values()) == [1]


def test_a_rejected_generation_is_tried_again_under_the_same_id(
    project: World, sim: Simulator
) -> None:
    """Under a rejected id nothing exists, so the id that a provider may know to be used is kept."""
    base = rejected_then_bought(project, sim)
    assert sim.billed() == {base: 1}


@pytest.mark.parametrize("gap", [2, 3, 4])
def test_a_later_attempt_of_somebody_else_is_found_over_gaps(
    project: World, sim: Simulator, gap: int
) -> None:
    """Another machine numbered differently: its attempt is taken over, and nothing is bought."""
    project.write("dance.yaml")
    theirs = attempt_id(project.only().generation.external_task_id, gap)
    made_by_hand(project, theirs)
    project.apply()
    assert (project.only().status, latest(project).attempt) == (Status.COMPLETE, gap)
    assert sim.billed() == {theirs: 1}


def test_a_second_attempt_in_flight_survives_the_state(project: World, sim: Simulator) -> None:
    """The receipt says that attempt 1 failed; attempt 2, paid and in flight, is on no receipt, and is fetched."""
    project.write("dance.yaml")
    fail_once(sim)
    project.apply()
    base = latest(project).base_id
    give(project, Verb.RETRY, base)
    sim.set_speed(0)
    project.apply(until=in_flight)
    project.lose_state()
    sim.set_speed(600)
    project.apply()
    assert project.only().status is Status.COMPLETE
    assert sim.billed() == {base: 1, f"{base}-r2": 1}  # accepted; the failed one is given back


def test_a_failed_later_attempt_is_not_followed_by_an_earlier_one(
    project: World, sim: Simulator
) -> None:
    """A lost state, no first attempt at the provider, a failed second one: it failed, and nothing is bought."""
    project.write("dance.yaml", prompt="waves")
    base = project.only().generation.external_task_id
    fail_once(sim)
    made_by_hand(project, f"{base}-r2")
    sim.advance(3600)
    project.apply()
    assert (project.only().status, latest(project).attempt) == (Status.FAILED, 2)
    assert base not in sim.billed()


def test_an_earlier_attempt_that_is_there_after_all_takes_the_place_of_one_that_waits(
    project: World, sim: Simulator
) -> None:
    """A retry waits to be sent; the attempt before it, given up here, turns out to be in flight: one is bought."""
    project.write("dance.yaml")
    fail_once(sim)
    project.apply()
    base = latest(project).base_id
    give(project, Verb.RETRY, base)
    assert latest(project).attempt == 2
    right = str(project.repository.attempts(base)[0].task_id)
    project.transport = Altered(_as_running(right), lambda body: body)
    sim.set_speed(0)
    project.apply(until=in_flight, timeout=5)
    assert latest(project).attempt == 1
    assert [one.attempt for one in project.repository.attempts(base)] == [1]  # the other never was
    project.repository.close()
    assert f"{base}-r2" not in sim.billed()


def _as_running(task_id: str) -> Callable[[httpx.Request], httpx.Response | None]:
    """The provider says of this task that it is at work, by either of its ids."""

    def answer(request: httpx.Request) -> httpx.Response | None:
        if request.method == "GET" and re.search(
            rf"/({task_id}|mc1-[a-z2-7]{{26}})\Z", request.url.path
        ):
            data = {"task_id": task_id, "task_status": "processing", "task_info": {}}
            return httpx.Response(
                200, json={"code": 0, "message": "ok", "request_id": "r", "data": data}
            )
        return None

    return answer


def test_a_bound_task_survives_the_state(project: World, sim: Simulator) -> None:
    """`import --for` binds a task whose id says nothing; the state is lost while it runs: it is not bought again.

    Its receipt proves nothing: to fetch it, somebody says once more whose it is.
    """
    project.write("dance.yaml")
    base = project.only().generation.external_task_id
    sim.set_speed(0)
    task_id = made_by_hand(project, "by-hand")
    assert give(project, Verb.IMPORT, f"{task_id}={base}").ok
    project.lose_state()
    assert project.only().action is Action.WAIT
    sim.set_speed(600)
    project.apply()
    assert (project.only().status, task_id in project.only().reason) == (Status.BLOCKED, True)
    assert give(project, Verb.IMPORT, f"{task_id}={base}").ok
    project.apply()
    assert project.only().status is Status.COMPLETE
    assert sim.billed() == {"by-hand": 1}
    (entry,) = json.loads((project.root / "specs" / "dance.receipt.json").read_text())[
        "generations"
    ]
    assert (entry["status"], entry["task_id"]) == ("complete", task_id)


def test_two_clones_that_both_try_again_buy_once(tmp_path: Path, sim: Simulator) -> None:
    """One folder failed and retried; a clone that has the receipt, and its own state, is told to retry too."""
    roots = [tmp_path / "mine", tmp_path / "theirs"]
    for root in roots:
        root.mkdir()
    with world(roots[0], sim) as mine, world(roots[1], sim) as theirs:
        mine.write("dance.yaml")
        fail_once(sim)
        mine.apply()
        base = latest(mine).base_id
        shutil.copytree(mine.root / "specs", theirs.root / "specs", dirs_exist_ok=True)
        give(mine, Verb.RETRY, base)
        mine.apply()
        give(theirs, Verb.RETRY, base)
        theirs.apply()
        assert theirs.only().status is Status.COMPLETE
        assert sim.billed() == {base: 1, f"{base}-r2": 1}  # accepted; the failed one is given back


def test_a_failure_that_was_a_slip_is_not_paid_again_by_a_retry(
    project: World, sim: Simulator
) -> None:
    """Two answers say `failed` of a task that goes on; `retry` asks first, and takes what is there."""
    project.write("dance.yaml")
    slip = Slip(r'"task_status":\s*"(submitted|processing|succeed)"', '"task_status":"failed"', 2)
    project.transport = slip
    project.apply()
    assert latest(project).status is Status.FAILED
    told = give(project, Verb.RETRY, latest(project).base_id)
    assert "nothing is paid for again" in " ".join(told.said)
    project.apply()
    assert project.only().status is Status.COMPLETE
    assert list(sim.billed().values()) == [1]


def test_a_failure_that_was_a_slip_is_not_paid_again_by_retries(
    project: World, sim: Simulator
) -> None:
    """`retries: 1` asks for the last attempt once more before it makes another."""
    path = project.write("dance.yaml")
    path.write_text(path.read_text() + "retries: 1\n")
    project.transport = Slip(
        r'"task_status":\s*"(submitted|processing|succeed)"', '"task_status":"failed"', 1
    )
    project.apply()
    assert project.only().status is Status.COMPLETE
    assert list(sim.billed().values()) == [1]


class Slip(httpx.AsyncBaseTransport):
    """The real wire, on which the first so many answers that show something say something else."""

    def __init__(self, shown: str, instead: str, times: int) -> None:
        self._shown, self._instead, self.left = re.compile(shown), instead, times
        self._wire = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._wire.handle_async_request(request)
        body = (await response.aread()).decode()
        if request.method == "GET" and self.left and self._shown.search(body):
            self.left -= 1
            body = self._shown.sub(self._instead, body)
        return httpx.Response(response.status_code, content=body.encode())

    async def aclose(self) -> None:
        await self._wire.aclose()


def test_success_and_then_failure_ends_as_failed_and_can_be_tried_again(
    project: World, sim: Simulator
) -> None:
    """The provider's last word counts once it has said it over the grace period; `retry` is the way out."""
    project.write("dance.yaml")
    project.transport = Slip(r'"task_status":\s*"failed"', '"task_status":"succeed"', 1)
    fail_once(sim)
    project.apply()
    assert latest(project).status is Status.FAILED
    assert "success" in latest(project).reason
    give(project, Verb.RETRY, latest(project).base_id)
    project.apply()
    assert project.only().status is Status.COMPLETE


def test_an_id_that_is_in_use_is_looked_for_and_never_given_up(tmp_path: Path) -> None:
    """A lost answer, an index behind by many graces, `already exists`: neither free, nor rejected, nor bought again."""
    root = tmp_path / "project"
    root.mkdir()
    with simulator(tmp_path / "simulator", query_lag_s=4.0) as sim, world(root, sim) as project:
        project.write("dance.yaml")
        sim.faults([{"endpoint": "create", "when": {"first": 1}, "effect": {"drop": "after"}}])
        project.apply()
        record = latest(project)
        if record.status is not Status.COMPLETE:
            assert record.status is Status.SUBMITTING
            told = give(project, Verb.RETRY, record.base_id)
            assert not told.touched
        for _ in range(20):
            project.apply()
            if project.only().status is Status.COMPLETE:
                break
        assert project.only().status is Status.COMPLETE
        assert list(sim.billed().values()) == [1]


@pytest.mark.parametrize("custom", [False, True], ids=["computed ids", "ids of one's own"])
def test_a_replayed_answer_is_nobodys_task(project: World, sim: Simulator, custom: bool) -> None:
    """A proxy answers creates with the answer to an earlier one: each generation is bought once, and gets its own."""
    for name in ("a", "b", "c"):
        path = project.write(f"{name}.yaml", prompt=f"wish {name}")
        own = f"external_task_id: {name}-of-my-own\n" if custom else ""
        path.write_text(path.read_text() + own + "retries: 1\n")
    project.transport = Replaying()
    project.apply(concurrency=1)
    project.apply(concurrency=1)
    assert {item.status for item in project.plan().assessments} == {Status.COMPLETE}
    assert sorted(sim.billed().values()) == [1, 1, 1]
    results = {r.results[0].sha256 for r in project.repository.records().values()}
    assert len(results) == 3


class Replaying(httpx.AsyncBaseTransport):
    """The real wire, where every other create is answered with what the one before it was answered."""

    def __init__(self) -> None:
        self._wire = httpx.AsyncHTTPTransport()
        self._last = b""
        self._count = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._wire.handle_async_request(request)
        body = await response.aread()
        if request.method == "POST":
            self._count += 1
            if self._count % 2 == 0:
                return httpx.Response(200, content=self._last)
            self._last = body
        return httpx.Response(response.status_code, content=body)

    async def aclose(self) -> None:
        await self._wire.aclose()


def test_a_task_that_got_another_id_at_the_provider_is_found_by_ours(
    project: World, sim: Simulator
) -> None:
    """The provider gives a task a new task_id: asked for by the old one it is unknown, by our id it is there."""
    project.write("dance.yaml")
    sim.set_speed(0)
    project.apply(until=in_flight)
    record = latest(project)
    assert record.status in LIVE
    old = str(record.task_id)
    broken = {
        "code": 1201,
        "message": f"Task not found by id/external id: {old}",
        "request_id": "r",
    }
    project.transport = Altered(
        lambda request: httpx.Response(400, json=broken) if request.url.path.endswith(old) else None
    )
    sim.set_speed(600)
    project.apply()
    assert project.only().status is Status.COMPLETE
    assert list(sim.billed().values()) == [1]


def test_an_id_of_ones_own_that_is_too_long_for_another_attempt_says_so(
    project: World, sim: Simulator
) -> None:
    """63 characters leave no room for `-r2`: the retry is refused with a sentence, and nothing is sent."""
    own = "a" * 63
    path = project.write("dance.yaml")
    path.write_text(path.read_text() + f"external_task_id: {own}\nretries: 1\n")
    fail_once(sim)
    project.apply()
    assert latest(project).status is Status.FAILED
    told = give(project, Verb.RETRY, own)
    assert "too long" in " ".join(told.said)
    assert not told.ok
    assert sim.requests()["create_attempts"] == 1


def _two_receipts_of(project: World, task_id: str) -> None:
    """Let every receipt name this task, as a program wrote that believed a replayed answer."""
    for receipt in (project.root / "specs").glob("*.receipt.json"):
        document = json.loads(receipt.read_text())
        for entry in document["generations"]:
            entry["task_id"] = task_id
        receipt.write_text(json.dumps(document))


def test_receipts_that_give_one_task_to_two_generations_stop_nobody(
    project: World, sim: Simulator
) -> None:
    """An older program believed a replayed answer and wrote it down twice; the state is lost: nothing is bought, all stands."""
    for name in ("a", "b"):
        project.write(f"{name}.yaml", prompt=f"wish {name}")
    project.apply()
    first = min(str(r.task_id) for r in project.repository.records().values())
    _two_receipts_of(project, first)
    project.lose_state()
    project.apply()
    assert {item.status for item in project.plan().assessments} == {Status.COMPLETE}
    assert list(sim.billed().values()) == [1, 1]


def test_a_task_that_is_bound_is_not_also_taken_by_who_has_its_id(
    project: World, sim: Simulator
) -> None:
    """A task made as `by-hand` is bound to one wish; a spec with that id for its own is held by itself, others go on."""
    project.write("a.yaml")
    base = project.only().generation.external_task_id
    sim.set_speed(0)
    task_id = made_by_hand(project, "by-hand-of-mine")
    assert give(project, Verb.IMPORT, f"{task_id}={base}").ok
    sim.set_speed(600)
    for name, extra in (("b", "external_task_id: by-hand-of-mine\n"), ("c", "")):
        path = project.write(f"{name}.yaml", prompt=f"wish {name}")
        path.write_text(path.read_text() + extra)
    project.apply()
    statuses = {item.generation.spec: item.status for item in project.plan().assessments}
    assert statuses == {
        "specs/a.yaml": Status.COMPLETE,
        "specs/b.yaml": Status.BLOCKED,
        "specs/c.yaml": Status.COMPLETE,
    }
    assert sorted(sim.billed().values()) == [1, 1]


def test_a_page_in_place_of_an_answer_about_a_task_is_no_absence(
    project: World, sim: Simulator
) -> None:
    """A bound task is known by its `task_id` alone: what a proxy says instead of it makes nothing expire, nor bought."""
    project.write("dance.yaml")
    base = project.only().generation.external_task_id
    task_id = made_by_hand(project, "by-hand")
    sim.advance(3600)
    wait_for_success(project, task_id)
    assert give(project, Verb.IMPORT, f"{task_id}={base}").ok
    page = httpx.Response(200, content=b"<html>Please log in</html>")
    project.transport = Altered(lambda r: page if r.url.path.endswith(task_id) else None)
    project.apply()
    project.apply()
    assert latest(project).status is Status.SUCCEEDED
    project.transport = None
    project.apply()
    assert project.only().status is Status.COMPLETE
    assert sim.billed() == {"by-hand": 1}


def test_one_task_under_every_id_is_not_looked_for_without_end(
    project: World, sim: Simulator
) -> None:
    """Whatever id is asked for, the answer is one failed task without a name: the run ends, and nothing is bought."""
    project.write("dance.yaml")
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response | None:
        if not re.search(r"/mc1-[a-z2-7]{26}(-r\d+)?\Z", request.url.path):
            return None
        asked.append(request.url.path)
        if len(asked) > 500:
            return httpx.Response(500)  # or it would go on for ever
        data = {"task_id": "77", "task_status": "failed", "task_status_msg": "no"}
        return httpx.Response(200, json={"code": 0, "message": "", "request_id": "r", "data": data})

    project.transport = Altered(answer)
    project.apply(timeout=60)
    assert len(asked) < 500
    assert sim.requests()["create_attempts"] == 0
    assert project.only().status in {Status.FAILED, Status.BLOCKED}


def test_a_bound_task_that_arrives_by_git_is_seen_by_a_store_that_was_about_to_buy(
    tmp_path: Path, sim: Simulator
) -> None:
    """Held back here; a colleague bound a running task: the pulled receipt says so, and nothing is bought beside it."""
    roots = [tmp_path / "mine", tmp_path / "theirs"]
    for root in roots:
        root.mkdir()
    with world(roots[0], sim) as mine, world(roots[1], sim) as theirs:
        mine.write("dance.yaml")
        theirs.write("dance.yaml")
        sim.faults([{"endpoint": "create", "effect": {"refuse": 1102}}])
        mine.apply()
        assert latest(mine).status is Status.PENDING
        sim.faults([])
        base = mine.only().generation.external_task_id
        sim.set_speed(0)
        task_id = made_by_hand(theirs, "by-hand")
        assert give(theirs, Verb.IMPORT, f"{task_id}={base}").ok
        shutil.copy(theirs.root / "specs/dance.receipt.json", mine.root / "specs")
        sim.set_speed(600)
        mine.apply()
        assert (mine.only().status, task_id in mine.only().reason) == (Status.BLOCKED, True)
        assert sim.billed() == {"by-hand": 1}
