"""Orders against the simulator: what they change, what they leave alone, and that none of them buys anything."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.diff import Action
from reconciler.core.kinds import DEFAULT
from reconciler.core.orders import Order, OrderError, Outcome, Verb
from reconciler.core.progress import Ended
from reconciler.core.schedule import Rules
from reconciler.core.states import LIVE, Record, Status, TaskState
from reconciler.engine.orders.context import sightings
from reconciler.engine.orders.take import carry_out
from reconciler.engine.ports import Options, Ports
from reconciler.engine.records import Records
from reconciler.store.values import Change
from tests.engine.world import World, now_ms, world
from tests.support.project import wait_until
from tests.support.simulator import Simulator, simulator

DAY = 24 * 3600.0
_IDS = st.from_regex(r"[A-Za-z0-9._-]{1,128}", fullmatch=True)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def give(project: World, verb: Verb, *names: str) -> Outcome:
    """Carry an order out as a process does that has the lock."""
    outcome: Outcome = asyncio.run(
        _with_client(project, lambda ports: _carry_out(project, ports, verb, names))
    )
    return outcome


async def _carry_out(project: World, ports: Ports, verb: Verb, names: tuple[str, ...]) -> Outcome:
    return await _obey(project, ports, Order(verb, names))


async def _obey(project: World, ports: Ports, order: Order) -> Outcome:
    options = Options(run_id="order", rules=Rules(absence_grace=600, poll_interval=50))
    survey = project.survey()
    journal = Records(ports, options, survey.stored)
    return await carry_out(order, ports, options, journal, survey)


async def _with_client(project: World, use: Callable[[Ports], Awaitable[Any]]) -> Any:
    async with project.ports(timeout=30.0) as ports:
        return await use(ports)


def a_minute_passes(project: World) -> None:
    """From now on the clock is a minute ahead."""
    project.clock = lambda: now_ms() + 60_000


def made_by_hand(project: World, external: str = "") -> str:
    """Create a task as somebody would who calls the API; return its task id."""
    body = {
        "image_url": "https://example.com/hand.png",
        "video_url": "https://example.com/dance.mp4",
        "character_orientation": "image",
        "mode": "std",
        **({"external_task_id": external} if external else {}),
    }

    async def create(ports: Ports) -> str:
        task = (await ports.client.create(body, endpoint=DEFAULT.ENDPOINT)).task
        assert task is not None
        return task.task_id

    task_id: str = asyncio.run(_with_client(project, create))
    return task_id


def wait_for_success(project: World, task_id: str) -> None:
    """Wait until the provider shows a task as succeeded, which takes until its film is made."""

    async def state(ports: Ports) -> TaskState | None:
        task = (await ports.client.query(task_id, endpoint=DEFAULT.ENDPOINT)).task
        return task.state if task else None

    def is_over() -> bool:
        return asyncio.run(_with_client(project, state)) is TaskState.SUCCEEDED

    wait_until(is_over, "the task's end")


def latest(project: World) -> Record:
    """Return the only generation's latest attempt."""
    (record,) = project.repository.records().values()
    return record


def in_flight(project: World) -> bool:
    return any(r.status in LIVE and r.task_id for r in project.repository.records().values())


def expire(project: World, sim: Simulator) -> None:
    """Buy the project's wishes, and have the provider clear the results before they are saved."""
    sim.faults([{"endpoint": "result", "effect": {"redirect": "http://192.0.2.1/x.mp4"}}])
    project.apply()
    sim.advance(31 * DAY)
    sim.faults([])
    project.apply()
    assert latest(project).status is Status.EXPIRED


def fail_once(sim: Simulator) -> None:
    sim.faults([{"endpoint": "create", "when": {"first": 1}, "effect": {"fail": "too dark"}}])


# orders as documents


@given(verb=st.sampled_from([Verb.RETRY, Verb.REFRESH]), names=st.lists(_IDS, min_size=1))
def test_an_order_survives_its_journey(verb: Verb, names: list[str]) -> None:
    """What the inbox hands out is what was put in, each name once."""
    order = Order(verb, tuple(dict.fromkeys(names)))
    assert Order.read(json.loads(json.dumps(order.document()))) == order


@given(document=st.dictionaries(st.sampled_from(["verb", "names", "x"]), _JSON))
def test_nonsense_in_the_inbox_is_an_order_error(document: dict[str, object]) -> None:
    """Any program of this user can write a row: it is understood, or refused as nonsense, and nothing else happens."""
    try:
        order = Order.read(document)
    except OrderError:
        return
    assert order.document()["verb"] == document["verb"]


@pytest.mark.parametrize(
    ("verb", "names", "reason"),
    [
        ("buy", ["x"], "no such verb"),
        ("retry", [], "about nothing"),
        ("retry", ["../x"], "no id"),
        ("retry", ["x!"], "the mark belongs to forget"),
        ("retry", ["x=r2"], "an attempt is a number"),
        ("forget", ["x!!"], "twice"),
        ("import", ["a=b=c"], "two targets"),
        ("import", ["=b"], "no task"),
        ("prune", ["/etc/passwd"], "absolute"),
        ("prune", ["specs/../../x.mp4"], "climbs out"),
        ("prune", ["a\nb"], "a control character"),
        ("retry", ["x"] * 2 + [7], "a number"),
        ("refresh", "abc", "a text is no list"),
    ],
)
def test_what_is_no_order_is_refused(verb: str, names: object, reason: str) -> None:
    """Each verb takes only the names that it can be about."""
    with pytest.raises(OrderError):
        Order.read({"verb": verb, "names": names})
    assert reason


def test_an_outcome_survives_its_journey() -> None:
    """The daemon's answer says the same to whoever asked; a broken one is not taken for success."""
    outcome = Outcome.of([Outcome.done("a", "x", "y"), Outcome.left("b"), Outcome.refused("c")])
    assert Outcome.read(json.loads(json.dumps(outcome.document()))) == outcome
    assert not Outcome.read({"said": 7, "ok": "yes"}).ok


@pytest.mark.parametrize(
    ("given", "until", "now", "word"),
    [
        (1000, 76_000, 1000, ""),
        (1000, 76_000, 76_000, ""),
        (1000, 76_000, 76_001, "too late"),
        (1000, 76_000, 7 * 86_400_000, "too late"),
        (86_400_000, 86_475_000, 1000, "set back"),
        (86_400_000, 86_475_000, 86_399_000, ""),
        (None, None, 1000, "until when"),
    ],
)
def test_an_order_has_its_time(given: int | None, until: int | None, now: int, word: str) -> None:
    """Before it was given and after nobody waits for it any more it is not carried out, whoever set a clock."""
    said = Order(Verb.RETRY, ("x",), (), given, until).untimely(now)
    assert (word in said, bool(said)) == (True, bool(word))


@pytest.mark.parametrize(
    "document",
    [
        {"verb": "retry", "names": ["x"], "seen": []},
        {"verb": "retry", "names": ["x"], "seen": ["failed (attempt 1)"], "given": 1, "until": 2},
    ],
)
def test_what_was_seen_travels_along(document: dict[str, object]) -> None:
    """The daemon gets what the command showed, and until when it is meant."""
    order = Order.read(document)
    assert Order.read(json.loads(json.dumps(order.document()))) == order


@pytest.mark.parametrize(
    "extra",
    [{"seen": ["a", "b"]}, {"seen": "a"}, {"given": "now"}, {"until": True}, {"given": 1.5}],
)
def test_what_cannot_have_been_seen_is_refused(extra: dict[str, object]) -> None:
    """Nonsense is no order."""
    with pytest.raises(OrderError):
        Order.read({"verb": "retry", "names": ["x"], **extra})


def as_seen(project: World, verb: Verb, *names: str) -> Order:
    """The order that a command gives which shows how things are now."""
    return Order(verb, names, sightings(verb, names, project.survey()))


def obey(project: World, order: Order) -> Outcome:
    outcome: Outcome = asyncio.run(
        _with_client(project, lambda ports: _obey(project, ports, order))
    )
    return outcome


def test_a_forget_of_what_failed_does_not_strike_what_was_bought_since(
    project: World, sim: Simulator
) -> None:
    """Somebody tried again meanwhile: the purchase stays, and is said to be one."""
    project.write("dance.yaml")
    fail_once(sim)
    project.apply()
    base = latest(project).base_id
    order = as_seen(project, Verb.FORGET, base)
    give(project, Verb.RETRY, base)
    project.apply()
    outcome = obey(project, order)
    assert (outcome.ok, outcome.touched) == (False, frozenset())
    assert "was failed (attempt 1) when this was ordered and is now complete" in outcome.said[0]
    assert latest(project).status is Status.COMPLETE
    assert "complete" in (project.root / "specs/dance.receipt.json").read_text()


def test_a_forget_of_what_is_under_way_fits_until_it_is_paid(
    project: World, sim: Simulator
) -> None:
    """From submitted to processing is no news; that its result is there is."""
    project.write("dance.yaml")
    sim.set_speed(0)
    project.apply(until=in_flight)
    base = latest(project).base_id
    order = as_seen(project, Verb.FORGET, f"{base}!")
    sim.set_speed(600)
    project.apply()
    assert not obey(project, order).ok
    assert latest(project).status is Status.COMPLETE


def test_a_retry_of_what_was_refused_is_not_one_of_what_expired(
    project: World, sim: Simulator
) -> None:
    """The same attempt, and it has come to be something else: who agreed to try again did not agree to pay twice."""
    project.write("dance.yaml")
    expire(project, sim)
    base = latest(project).base_id
    order = Order(Verb.RETRY, (f"{base}=2",), ("rejected (attempt 1)",))
    assert not obey(project, order).ok
    assert len(project.repository.attempts(base)) == 1


def test_an_order_carried_out_before_its_answer_is_no_misfit(
    project: World, sim: Simulator
) -> None:
    """The daemon died in between: the next one finds it done, and says so."""
    project.write("dance.yaml")
    fail_once(sim)
    project.apply()
    base = latest(project).base_id
    order = as_seen(project, Verb.RETRY, f"{base}=2")
    assert obey(project, order).touched == {base}
    again = obey(project, order)
    assert (again.ok, again.touched) == (True, frozenset())
    a_minute_passes(project)
    gone = as_seen(project, Verb.FORGET, base)
    assert obey(project, gone).ok
    assert obey(project, gone).ok
    assert len(project.repository.attempts(base)) == 0


def test_a_prune_of_one_video_does_not_remove_another(project: World, orphan: Path) -> None:
    """What stands there when it is carried out has to be what was shown."""
    order = as_seen(project, Verb.PRUNE, "specs/dance.mp4")
    project.write("dance.yaml", prompt="jumps")
    project.apply()
    second = orphan.read_bytes()
    (project.root / "specs/dance.yaml").unlink()
    assert not obey(project, order).ok
    assert orphan.read_bytes() == second
    assert obey(project, as_seen(project, Verb.PRUNE, "specs/dance.mp4")).ok


def test_an_import_for_what_was_bought_since_binds_nothing(project: World, sim: Simulator) -> None:
    """`--for` was meant for a wish that nothing had been sent for."""
    project.write("dance.yaml")
    base = project.only().external_task_id
    task = made_by_hand(project)
    order = as_seen(project, Verb.IMPORT, f"{task}={base}")
    project.apply()
    assert not obey(project, order).ok
    assert latest(project).task_id != task


# retry


def test_retry_puts_one_more_attempt_on_record_and_buys_nothing_itself(
    project: World, sim: Simulator
) -> None:
    """A failed generation gets its second attempt; the next run sends it, once, under its own id."""
    project.write("dance.yaml")
    fail_once(sim)
    project.apply()
    base = latest(project).base_id
    before = sim.requests()["create_attempts"]
    outcome = give(project, Verb.RETRY, base)
    assert (outcome.ok, outcome.touched) == (True, frozenset({base}))
    assert sim.requests()["create_attempts"] == before
    assert (latest(project).attempt, latest(project).status) == (2, Status.PENDING)
    assert "too dark" in project.only().reason
    assert [entry.kind for entry in project.repository.history(base)][-1] == "retry"
    assert project.apply() is Ended.SETTLED
    assert project.only().action is Action.KEEP
    assert f"{base}-r2" in sim.billed()
    assert sim.requests()["create_attempts"] == before + 1


def test_a_second_retry_before_the_first_was_sent_adds_nothing(
    project: World, sim: Simulator
) -> None:
    """Two people order the same: there is one attempt."""
    project.write("dance.yaml")
    fail_once(sim)
    project.apply()
    base = latest(project).base_id
    give(project, Verb.RETRY, base)
    outcome = give(project, Verb.RETRY, base)
    assert (outcome.ok, outcome.touched) == (True, frozenset())
    assert "is waiting to be sent again" in outcome.said[0]
    assert len(project.repository.attempts(base)) == 2


def test_an_order_that_is_given_twice_is_carried_out_once(project: World, sim: Simulator) -> None:
    """It names the attempt that somebody agreed to: when that one has failed too, no third one follows."""
    project.write("dance.yaml", None, prompt='"[[fail: too dark]]"')
    project.apply()
    base = latest(project).base_id
    assert give(project, Verb.RETRY, f"{base}=2").touched == {base}
    project.apply()
    outcome = give(project, Verb.RETRY, f"{base}=2")
    assert (outcome.ok, outcome.touched) == (True, frozenset())
    assert "attempt 2 has ended in the meantime" in outcome.said[0]
    assert len(project.repository.attempts(base)) == 2


def test_retry_and_retries_do_not_double(project: World, sim: Simulator) -> None:
    """The spec's `retries` count attempts, whoever asked for them: after an order it grants no further one."""
    project.write("dance.yaml", None, prompt='"[[fail: too dark]]"')
    project.apply()
    base = latest(project).base_id
    spec = project.root / "specs/dance.yaml"
    spec.write_text(spec.read_text() + "retries: 1\n")
    give(project, Verb.RETRY, base)
    project.apply()
    project.apply()
    assert [r.status for r in project.repository.attempts(base)] == [Status.FAILED] * 2
    give(project, Verb.RETRY, base)
    project.apply()
    project.apply()
    assert len(project.repository.attempts(base)) == 3
    assert sim.requests()["create"] == 3


def test_what_is_not_over_is_not_tried_again(project: World, sim: Simulator) -> None:
    """Not sent, under way, bought, complete: each is said, and nothing is changed."""
    project.write("dance.yaml")
    base = project.only().external_task_id
    assert "has not been sent yet" in give(project, Verb.RETRY, base).said[0]
    sim.set_speed(0)
    project.apply(until=in_flight)
    assert "is under way" in give(project, Verb.RETRY, base).said[0]
    sim.set_speed(600)
    project.apply()
    outcome = give(project, Verb.RETRY, base)
    assert "raise `takes`" in outcome.said[0]
    assert outcome.ok
    assert len(project.repository.attempts(base)) == 1
    assert sim.requests()["create"] == 1


def test_a_create_in_doubt_is_not_tried_again(project: World, sim: Simulator) -> None:
    """A task may exist, and a second attempt beside it would be paid twice (rule 1)."""
    project.write("dance.yaml")
    hidden = {"endpoint": "query", "effect": {"refuse": 1203}}
    sim.faults([{"endpoint": "create", "effect": {"drop": "after"}}, hidden])
    project.apply(until=lambda w: any(r.doubtful for r in w.repository.records().values()))
    base = latest(project).base_id
    assert latest(project).status is Status.SUBMITTING
    outcome = give(project, Verb.RETRY, base)
    assert "could be paid for twice" in outcome.said[0]
    assert len(project.repository.attempts(base)) == 1


def test_a_rejected_generation_is_sent_again_as_a_new_attempt(
    project: World, sim: Simulator
) -> None:
    """A policy may change its mind; the second attempt is bought once."""
    project.write("dance.yaml")
    sim.faults([{"endpoint": "create", "when": {"first": 1}, "effect": {"refuse": 1301}}])
    project.apply()
    assert latest(project).status is Status.REJECTED
    give(project, Verb.RETRY, latest(project).base_id)
    project.apply()
    assert latest(project).status is Status.COMPLETE
    assert sum(sim.billed().values()) == 1


def test_an_expired_result_is_bought_again_only_when_the_provider_has_it_no_more(
    project: World, sim: Simulator
) -> None:
    """It was paid for once; asked again and unknown, a retry pays again."""
    project.write("dance.yaml")
    expire(project, sim)
    base = latest(project).base_id
    outcome = give(project, Verb.RETRY, base)
    assert outcome.touched == {base}
    assert (latest(project).attempt, latest(project).status) == (2, Status.PENDING)
    project.apply()
    assert sim.billed() == {base: 1, f"{base}-r2": 1}


def test_an_expired_result_that_is_there_after_all_is_not_paid_again(
    project: World, sim: Simulator
) -> None:
    """The provider had lost sight of the task: a retry finds it, and the next run saves it."""
    project.write("dance.yaml")
    sim.set_speed(0)
    project.apply(until=in_flight)
    sim.set_speed(600)
    sim.faults([{"endpoint": "result", "effect": {"redirect": "http://192.0.2.1/x.mp4"}}])
    project.apply()
    sim.faults([{"endpoint": "query", "effect": {"refuse": 1203}}])
    project.apply()
    assert latest(project).status is Status.EXPIRED
    sim.faults([])
    base = latest(project).base_id
    outcome = give(project, Verb.RETRY, base)
    assert "nothing is paid for again" in outcome.said[0]
    project.apply()
    assert latest(project).status is Status.COMPLETE
    assert sim.billed() == {base: 1}


def test_a_retry_of_what_nobody_wants_is_refused(project: World, sim: Simulator) -> None:
    """One bad name stops no other."""
    project.write("dance.yaml")
    fail_once(sim)
    project.apply()
    base = latest(project).base_id
    outcome = give(project, Verb.RETRY, "mc1-nobody", base)
    assert (outcome.ok, outcome.touched) == (False, frozenset({base}))
    assert "no valid spec wants it" in outcome.said[0]


# import


def test_a_task_of_a_lost_state_is_taken_over_and_fetched_without_buying(
    project: World, sim: Simulator
) -> None:
    """Its id is that of a generation which a spec wants: by either of its ids it becomes the record."""
    project.write("dance.yaml")
    sim.set_speed(0)
    project.apply(until=in_flight)
    task_id, base = latest(project).task_id, latest(project).base_id
    assert task_id is not None
    project.lose_state()
    outcome = give(project, Verb.IMPORT, task_id)
    assert (outcome.ok, outcome.touched) == (True, frozenset({base}))
    assert (latest(project).task_id, latest(project).external_task_id) == (task_id, base)
    assert "is already known" in give(project, Verb.IMPORT, base).said[0]
    sim.set_speed(600)
    project.apply()
    assert latest(project).status is Status.COMPLETE
    assert sim.requests()["create_attempts"] == 1


def test_an_attempt_is_taken_over_as_that_attempt(project: World, sim: Simulator) -> None:
    """`-r2` is the second attempt; the first one is not further on than it."""
    project.write("dance.yaml")
    base = project.only().external_task_id
    task_id = made_by_hand(project, f"{base}-r2")
    give(project, Verb.IMPORT, task_id)
    assert (latest(project).attempt, latest(project).external_task_id) == (2, f"{base}-r2")
    made_by_hand(project, base)
    outcome = give(project, Verb.IMPORT, base)
    assert "is further on" in outcome.said[0]
    assert latest(project).attempt == 2
    project.apply()
    assert latest(project).status is Status.COMPLETE
    assert sim.requests()["create_attempts"] == 2


def test_a_generation_with_another_task_keeps_it(project: World, sim: Simulator) -> None:
    """Where the provider billed an id twice, the second task is told and left alone."""
    project.write("dance.yaml")
    sim.set_speed(0)
    project.apply(until=in_flight)
    record = latest(project)
    impostor = record.evolve(task_id="111111111111111111")
    project.repository.save([Change(impostor, record.status)])
    outcome = give(project, Verb.IMPORT, record.base_id)
    assert "already has another task" in outcome.said[0]
    assert latest(project) == impostor


def test_a_task_that_nobody_wants_names_the_way_out(project: World, sim: Simulator) -> None:
    """Without an id of ours nothing says what it is for; without a task there is nothing at all."""
    project.write("dance.yaml")
    outcome = give(project, Verb.IMPORT, made_by_hand(project, "my-own"), "unknown-id")
    assert not outcome.ok
    assert "--for" in outcome.said[0]
    assert "knows no task `unknown-id`" in outcome.said[1]
    assert project.repository.records() == {}


@pytest.mark.parametrize("external", ["", "my-own"])
def test_a_foreign_task_is_bound_where_somebody_says_so(
    project: World, sim: Simulator, external: str
) -> None:
    """It stands for the generation from then on, loudly, under our id; its result is fetched and nothing is bought."""
    project.write("dance.yaml")
    base = project.only().external_task_id
    task_id = made_by_hand(project, external)
    outcome = give(project, Verb.IMPORT, f"{task_id}={base}")
    assert outcome.touched == {base}
    assert "NOTHING PROVES" in outcome.said[0]
    assert (latest(project).task_id, latest(project).external_task_id) == (task_id, base)
    project.apply()
    assert project.only().action is Action.KEEP
    assert sim.requests()["create_attempts"] == 1
    assert give(project, Verb.IMPORT, f"{task_id}={base}").touched == frozenset()


def test_a_task_is_bound_to_one_generation_only(project: World, sim: Simulator) -> None:
    """One task is one result: a second generation does not get it."""
    project.write("a.yaml")
    project.write("b.yaml", prompt="jumps")
    one, other = (item.external_task_id for item in project.plan().assessments)
    task_id = made_by_hand(project)
    give(project, Verb.IMPORT, f"{task_id}={one}")
    outcome = give(project, Verb.IMPORT, f"{task_id}={other}")
    assert "belongs to specs/a.yaml" in outcome.said[0]
    assert project.repository.record(other) is None


def test_a_task_of_another_content_is_not_bound(project: World, sim: Simulator) -> None:
    """An id of ours proves what a task was made from: here, something else."""
    project.write("a.yaml")
    project.write("b.yaml", prompt="jumps")
    one, other = (item.external_task_id for item in project.plan().assessments)
    task_id = made_by_hand(project, one)
    outcome = give(project, Verb.IMPORT, f"{task_id}={other}")
    assert "was made for another generation" in outcome.said[0]
    assert project.repository.records() == {}


def test_nothing_is_bound_to_what_was_sent(project: World, sim: Simulator) -> None:
    """By this state, or by one that was lost: the provider is asked."""
    project.write("dance.yaml")
    base = project.only().external_task_id
    foreign = made_by_hand(project)
    made_by_hand(project, base)
    outcome = give(project, Verb.IMPORT, f"{foreign}={base}")
    assert f"`import {base}`" in outcome.said[0]
    assert project.repository.records() == {}


def test_a_provider_that_cannot_be_asked_is_not_asked_for_every_name(
    project: World, sim: Simulator
) -> None:
    """A key that is refused is refused for all: it is said once, and how many were not tried."""
    project.write("dance.yaml")
    sim.faults([{"endpoint": "query", "effect": {"refuse": 1002}}])
    outcome = give(project, Verb.IMPORT, *(f"task-{number}" for number in range(9)))
    assert not outcome.ok
    assert len(outcome.said) == 2
    assert "8 more were not tried" in outcome.said[1]
    assert sim.requests()["query"] == 1


# refresh


def test_refresh_writes_down_what_changed_and_buys_nothing(project: World, sim: Simulator) -> None:
    """A task that ended meanwhile is on record, its result is not fetched; a second time nothing changed."""
    project.write("dance.yaml")
    sim.set_speed(0)
    project.apply(until=in_flight)
    sim.set_speed(600)
    sim.advance(300)
    before = sim.requests()
    outcome = give(project, Verb.REFRESH)
    (told,) = [said for said in outcome.said if "succeeded" in said]
    assert "specs/dance.yaml" in told
    after = sim.requests()
    assert (after["create_attempts"], after["result"]) == (
        before["create_attempts"],
        before["result"],
    )
    assert "nothing changed" in give(project, Verb.REFRESH).said[0]


def test_refresh_finds_what_a_lost_state_had_bought(project: World, sim: Simulator) -> None:
    """What is wanted and not on record is asked for by its id."""
    project.write("dance.yaml")
    made_by_hand(project, project.only().external_task_id)
    give(project, Verb.REFRESH)
    assert latest(project).task_id is not None
    project.apply()
    assert sim.requests()["create_attempts"] == 1


def test_refresh_of_many_reads_pages(tmp_path: Path) -> None:
    """Requests grow with the tasks in flight divided by the length of a page."""
    (tmp_path / "project").mkdir()
    with (
        simulator(tmp_path / "simulator", concurrency=20, speed=0) as sim,
        world(tmp_path / "project", sim) as project,
    ):
        project.write("dance.yaml", None, prompt="waves\ntakes: 12")
        project.apply(until=lambda w: sum(map(is_sent, w.repository.records().values())) == 12)
        sim.advance(300)
        before = sim.requests()
        assert len(give(project, Verb.REFRESH).touched) == 12
        after = sim.requests()
    assert (after["list"] - before["list"], after["query"] - before["query"]) == (1, 0)


def is_sent(record: Record) -> bool:
    return record.task_id is not None


def test_refresh_of_what_is_settled_asks_nothing(project: World, sim: Simulator) -> None:
    """Everything is complete: not one request."""
    project.write("dance.yaml")
    project.apply()
    before = sim.requests()
    assert "settled" in give(project, Verb.REFRESH).said[0]
    assert sim.requests() == before


def test_refresh_without_an_answer_changes_nothing_and_says_so(
    project: World, sim: Simulator
) -> None:
    """A provider that is unwell has not said that anything is gone."""
    project.write("dance.yaml")
    sim.set_speed(0)
    project.apply(until=in_flight)
    record = latest(project)
    sim.faults([{"endpoint": "*", "effect": {"status": 500}}])
    outcome = give(project, Verb.REFRESH)
    assert not outcome.ok
    assert "not everything was answered" in outcome.said[0]
    assert latest(project) == record


# forget


def test_what_is_forgotten_leaves_the_state_and_the_receipt_and_its_files_stay(
    project: World, sim: Simulator
) -> None:
    """The entry of the other generation stays as it was, byte for byte."""
    project.write("dance.yaml", None, prompt="waves\ntakes: 2")
    project.apply()
    one, other = sorted(project.repository.records())
    receipt = project.root / "specs/dance.receipt.json"
    kept = [e for e in entries(receipt) if e["external_task_id"] == other]
    videos = {path: path.read_bytes() for path in (project.root / "specs").glob("*.mp4")}
    a_minute_passes(project)
    outcome = give(project, Verb.FORGET, one)
    assert outcome.touched == {one}
    assert list(project.repository.records()) == [other]
    assert entries(receipt) == kept
    assert {path: path.read_bytes() for path in videos} == videos
    assert project.repository.history(one)
    assert len(project.repository.publications()) == 1


def entries(receipt: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(receipt.read_text())["generations"]
    return found


def test_what_is_forgotten_is_found_again_before_it_is_bought_again(
    project: World, sim: Simulator
) -> None:
    """With the file out of its way, the next run asks by id, and adopts what the provider still has."""
    project.write("dance.yaml")
    project.apply()
    base = latest(project).base_id
    a_minute_passes(project)
    give(project, Verb.FORGET, base)
    assert not (project.root / "specs/dance.receipt.json").exists()
    assert project.only().action is Action.BLOCKED
    (project.root / "specs/dance.mp4").unlink()
    project.apply()
    assert project.only().action is Action.KEEP
    assert sim.billed() == {base: 1}


def test_a_task_in_flight_is_forgotten_only_when_that_was_meant(
    project: World, sim: Simulator
) -> None:
    """It may be billed; forgotten all the same, it is found again by its id."""
    project.write("dance.yaml")
    sim.set_speed(0)
    project.apply(until=in_flight)
    base = latest(project).base_id
    outcome = give(project, Verb.FORGET, base)
    assert (outcome.ok, outcome.touched) == (False, frozenset())
    assert latest(project).task_id is not None
    a_minute_passes(project)
    assert give(project, Verb.FORGET, f"{base}!").ok
    assert project.repository.records() == {}
    sim.set_speed(600)
    project.apply()
    assert sim.requests()["create_attempts"] == 1


def test_nothing_is_forgotten_while_the_provider_may_not_show_it(tmp_path: Path) -> None:
    """It bills an id twice and shows a task late: what was just sent stays, and a grace later it is found again."""
    with (
        simulator(duplicate_ids="bill_again", query_lag_s=0.5) as sim,
        world(tmp_path, sim) as project,
    ):
        project.write("dance.yaml")
        sim.set_speed(0)
        project.apply(until=in_flight)
        base = latest(project).base_id
        sent = latest(project).intent_at or 0
        project.clock = lambda: sent + 100
        refused = give(project, Verb.FORGET, f"{base}!")
        assert (refused.ok, latest(project).task_id is None) == (False, False)
        assert "may not show it yet" in refused.said[0]
        project.clock = now_ms
        wait_until(lambda: give(project, Verb.FORGET, f"{base}!").ok, "the end of the grace")
        assert project.repository.records() == {}
        sim.set_speed(600)
        project.apply()
        assert sim.billed() == {base: 1}


def test_what_only_a_receipt_knows_is_forgotten_too(project: World, sim: Simulator) -> None:
    """After the loss of the state the entry goes, and nothing recalls it."""
    project.write("dance.yaml")
    project.apply()
    base = latest(project).base_id
    project.lose_state()
    assert give(project, Verb.FORGET, base).ok
    assert not (project.root / "specs/dance.receipt.json").exists()
    assert project.repository.records() == {}
    assert "not known" in give(project, Verb.FORGET, base).said[0]


def test_nothing_is_forgotten_while_a_receipt_cannot_be_read(
    project: World, sim: Simulator
) -> None:
    """It names the generation, and would bring it back; one that does not is in nobody's way."""
    project.write("dance.yaml")
    project.apply()
    base = latest(project).base_id
    (project.root / "specs/unlike.receipt.json").write_text("{")
    (project.root / "specs/other.receipt.json").write_text(f'{{"{base}"')
    outcome = give(project, Verb.FORGET, base)
    assert not outcome.ok
    assert "specs/other.receipt.json" in outcome.said[0]
    assert latest(project).base_id == base


# prune


@pytest.fixture
def orphan(project: World, sim: Simulator) -> Path:
    """A video that was bought, and whose spec is gone."""
    project.write("dance.yaml")
    project.apply()
    (project.root / "specs/dance.yaml").unlink()
    return project.root / "specs/dance.mp4"


def test_an_orphan_is_removed_and_its_bytes_and_receipt_stay(project: World, orphan: Path) -> None:
    """The object store keeps what was paid for: with the spec back, the video is back, free."""
    bytes_of = orphan.read_bytes()
    assert project.plan().orphans == ("specs/dance.mp4",)
    outcome = give(project, Verb.PRUNE, "specs/dance.mp4")
    assert outcome.ok
    assert not orphan.exists()
    assert (project.root / "specs/dance.receipt.json").exists()
    assert project.plan().orphans == ()
    assert project.repository.publications() == {}
    project.write("dance.yaml")
    project.apply()
    assert orphan.read_bytes() == bytes_of


def test_an_orphan_whose_object_is_gone_is_kept_before_it_is_removed(
    project: World, orphan: Path
) -> None:
    """The last copy is never removed."""
    bytes_of = orphan.read_bytes()
    shutil.rmtree(project.root / "state/objects")
    give(project, Verb.PRUNE, "specs/dance.mp4")
    assert not orphan.exists()
    (kept,) = [path for path in (project.root / "state/objects").rglob("*") if path.is_file()]
    assert kept.read_bytes() == bytes_of


def test_what_is_not_ours_any_more_stays(project: World, orphan: Path) -> None:
    """Edited, swapped for a link, wanted again, or never ours: it stays, whatever the order says."""
    good = orphan.read_bytes()
    orphan.write_bytes(good + b"edited")
    assert give(project, Verb.PRUNE, "specs/dance.mp4").touched == frozenset()
    assert orphan.read_bytes() == good + b"edited"
    other = project.root / "elsewhere.mp4"
    other.write_bytes(good)
    orphan.unlink()
    orphan.symlink_to(other)
    give(project, Verb.PRUNE, "specs/dance.mp4", "elsewhere.mp4")
    assert other.read_bytes() == good
    orphan.unlink()
    orphan.write_bytes(good)
    project.write("dance.yaml")
    give(project, Verb.PRUNE, "specs/dance.mp4")
    assert orphan.read_bytes() == good


def test_an_edit_that_keeps_size_and_time_is_seen_before_a_file_is_removed(
    project: World, orphan: Path
) -> None:
    """A ctime tells; and what is removed is read again."""
    before = orphan.stat()
    data = bytearray(orphan.read_bytes())
    data[-1] ^= 1
    with orphan.open("r+b") as file:
        file.write(data)
    os.utime(orphan, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert project.plan().orphans == ()
    outcome = give(project, Verb.PRUNE, "specs/dance.mp4")
    assert "it stays" in outcome.said[0]
    assert orphan.read_bytes() == bytes(data)


def test_an_orphan_is_not_reached_through_a_linked_folder(project: World, sim: Simulator) -> None:
    """A folder that became a link leads to somebody else's files."""
    project.write("sub/dance.yaml")
    project.apply()
    (project.root / "specs/sub/dance.yaml").unlink()
    elsewhere = project.root / "elsewhere"
    (project.root / "specs/sub").rename(elsewhere)
    (project.root / "specs/sub").symlink_to(elsewhere)
    assert project.plan().orphans == ("specs/sub/dance.mp4",)
    assert not give(project, Verb.PRUNE, "specs/sub/dance.mp4").ok
    assert (elsewhere / "dance.mp4").exists()


READS = """\
image_url: https://example.com/girl.png
video_url: {video}
character_orientation: image
mode: std
"""


def read_as_its_motion(project: World) -> None:
    project.write("chain.yaml", READS.format(video="dance.mp4"))


def read_by_a_suspended_spec(project: World) -> None:
    project.write("chain.yaml", READS.format(video="dance.mp4") + "suspend: true\n")


def read_from_another_folder(project: World) -> None:
    project.write("deep/er/chain.yaml", READS.format(video="../../dance.mp4"))


def read_by_an_invalid_spec(project: World) -> None:
    project.write("chain.yaml", READS.format(video="dance.mp4") + "nonsense: true\n")


def read_in_a_matrix_that_is_wrong(project: World) -> None:
    matrix = "matrix:\n  video_url: [dance.mp4, missing.mp4]\n"
    project.write("chain.yaml", READS.replace("video_url: {video}\n", "") + matrix)


def named_by_defaults(project: World) -> None:
    project.write("_defaults.yaml", "video_url: dance.mp4\n")


def named_by_broken_defaults(project: World) -> None:
    project.write("_defaults.yaml", "video_url: dance.mp4\nnonsense: 1\n")


def named_in_what_is_no_document(project: World) -> None:
    project.write("chain.yaml", "<<<<<<< ours\nvideo_url: dance.mp4\n=======\n>>>>>>> theirs\n")


def read_through_a_link(project: World) -> None:
    (project.root / "specs/linked.mp4").symlink_to("dance.mp4")
    project.write("chain.yaml", READS.format(video="linked.mp4"))


def read_by_an_invalid_spec_through_a_link(project: World) -> None:
    (project.root / "specs/linked.mp4").symlink_to("dance.mp4")
    project.write("chain.yaml", READS.format(video="linked.mp4") + "nonsense: true\n")


def read_through_a_linked_folder(project: World) -> None:
    (project.root / "films").symlink_to("specs")
    project.write("chain.yaml", READS.format(video="../films/dance.mp4"))


@pytest.mark.parametrize(
    "reading",
    [
        read_as_its_motion,
        read_by_a_suspended_spec,
        read_from_another_folder,
        read_by_an_invalid_spec,
        read_in_a_matrix_that_is_wrong,
        named_by_defaults,
        named_by_broken_defaults,
        named_in_what_is_no_document,
        read_through_a_link,
        read_by_an_invalid_spec_through_a_link,
        read_through_a_linked_folder,
    ],
)
def test_what_a_spec_reads_is_no_orphan(
    project: World, orphan: Path, reading: Callable[[World], None]
) -> None:
    """However it is named, by whatever spec or defaults: it is not listed, an order leaves it, and it is said why."""
    reading(project)
    survey = project.survey()
    assert survey.orphans == ()
    assert "specs/" in survey.needed["specs/dance.mp4"]
    outcome = give(project, Verb.PRUNE, "specs/dance.mp4")
    assert not outcome.ok
    assert "`specs/dance.mp4` stays: " in outcome.said[0]
    assert orphan.exists()


def test_what_no_spec_reads_goes_whatever_else_is_wrong(project: World, orphan: Path) -> None:
    """Another file's name, a hard link and a link to nothing keep nothing."""
    project.write("bad.yaml", "video_url: other.mp4\n<<<<<<< ours\n")
    (project.root / "specs/copy.mp4").hardlink_to(orphan)
    (project.root / "specs/gone.yaml").symlink_to("nowhere.yaml")
    project.write("chain.yaml", READS.format(video="copy.mp4"))
    assert project.plan().orphans == ("specs/dance.mp4",)
    assert give(project, Verb.PRUNE, "specs/dance.mp4").ok
    assert not orphan.exists()
    assert (project.root / "specs/copy.mp4").exists()


def test_one_file_under_two_names_is_wanted_under_both(project: World, sim: Simulator) -> None:
    """A folder was moved and a link left in its place: what a spec wants there is not removed by its old name."""
    project.write("old/dance.yaml")
    project.apply()
    (project.root / "specs/old").rename(project.root / "specs/new")
    (project.root / "specs/old").symlink_to("new")
    project.apply()
    assert project.plan().orphans == ()
    assert not give(project, Verb.PRUNE, "specs/old/dance.mp4").ok
    assert (project.root / "specs/new/dance.mp4").exists()


def test_a_specs_folder_that_is_a_link_can_be_pruned(project: World, orphan: Path) -> None:
    """Everything else follows that link, so this does too: the orphan goes, and nothing beside it."""
    (project.root / "specs").rename(project.root / "data")
    (project.root / "specs").symlink_to("data")
    mine = project.root / "data/mine.mp4"
    mine.write_bytes(orphan.read_bytes())
    assert project.plan().orphans == ("specs/dance.mp4",)
    assert give(project, Verb.PRUNE, "specs/dance.mp4").ok
    assert not orphan.exists()
    assert mine.exists()
