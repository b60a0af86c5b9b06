"""What is billed, how often, and what the account allows."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from tests.simulator.caller import Caller, calling, order
from tests.simulator.made import clip
from tests.support.simulator import Simulator, simulator
from tests.workspace.spoiled import announcing, edited

ALWAYS = "/account/costs?start_time=0&end_time=4102444800000"


@pytest.mark.parametrize(
    ("model", "mode", "units"),
    [
        ("kling-v2-6", "std", "1.5"),
        ("kling-v2-6", "pro", "2.4"),
        ("kling-v3", "std", "2.7"),
        ("kling-v3", "pro", "3.6"),
    ],
)
def test_units_are_seconds_times_the_price(
    tmp_path: Path, model: str, mode: str, units: str
) -> None:
    """The seconds of the real reference, times the price of model and mode, in ledger and answer alike."""
    with simulator() as sim, calling(sim) as api:
        url = sim.upload(clip(tmp_path / "three.mp4"))
        api.create(order("one", video_url=url, model_name=model, mode=mode))
        assert sim.ledger()["entries"][0]["units"] == units
        assert api.until_over("one")["final_unit_deduction"] == units


def test_a_film_is_billed_by_what_it_holds(tmp_path: Path) -> None:
    """A header that says less, and an edit list that shows less, make nothing cheaper: the dearest reading counts."""
    film = clip(tmp_path / "eight.mp4", 8).read_bytes()
    with simulator() as sim, calling(sim) as api:
        for name, data in (("said", announcing(film, 3)), ("shown", edited(film, (3000, 0)))):
            (tmp_path / f"{name}.mp4").write_bytes(data)
            api.create(order(name, video_url=sim.upload(tmp_path / f"{name}.mp4")))
        assert [entry["units"] for entry in sim.ledger()["entries"]] == ["4", "4"]


def test_an_id_is_unique_by_default(sim: Simulator, api: Caller) -> None:
    """A second create with a used id is 1201 and bills nothing, before concurrency is looked at."""
    assert api.create(order("one")).status_code == 200
    for number in range(4):
        api.create(order(f"filler{number}"))
    answer = api.create(order("one"))
    assert (answer.status_code, answer.json()["code"]) == (400, 1201)
    assert answer.json()["message"] == "External_task_id one already exists"
    assert sim.billed()["one"] == 1
    assert api.create(order("one", mode="wrong")).json()["message"].startswith("mode")


def test_a_used_id_can_give_the_first_task() -> None:
    """The first task comes back and nothing more is billed."""
    with simulator(duplicate_ids="first") as sim, calling(sim) as api:
        ids = {api.create(order("one")).json()["data"]["task_id"] for _ in range(2)}
        assert len(ids) == 1
        assert sim.billed() == {"one": 1}


def test_a_used_id_can_be_billed_again() -> None:
    """A careless provider makes a second task, and the ledger tells."""
    with simulator(duplicate_ids="bill_again") as sim, calling(sim) as api:
        ids = [api.create(order("one")).json()["data"]["task_id"] for _ in range(2)]
        assert len(set(ids)) == 2
        assert sim.billed() == {"one": 2}
        assert api.query("one").json()["data"]["task_id"] == ids[1]


def test_tasks_without_an_id_of_their_own_are_told_apart(sim: Simulator, api: Caller) -> None:
    """No external id is no duplicate; the ledger counts such a task under its task id."""
    ids = [api.create(order()).json()["data"]["task_id"] for _ in range(2)]
    assert sim.billed() == dict.fromkeys(ids, 1)


def test_slots_are_held_until_the_end() -> None:
    """Over the account's concurrency is 429 with 1303 and creates nothing, until a task has ended."""
    with simulator(speed=0, concurrency=2) as sim, calling(sim) as api:
        for name in ("a", "b"):
            assert api.create(order(name)).status_code == 200
        answer = api.create(order("c"))
        assert (answer.status_code, answer.json()["code"]) == (429, 1303)
        assert answer.json()["message"] == "parallel task over resource pack limit"
        assert api.query("c").status_code == 400
        sim.advance(200)
        assert api.create(order("c")).status_code == 200
        assert sim.billed() == {"a": 1, "b": 1, "c": 1}
        assert (sim.requests()["create"], sim.requests()["create_attempts"]) == (3, 4)


def test_an_empty_pack_is_1102() -> None:
    """A create that the rest of the pack does not cover is 429 with 1102; a failure gives its units back."""
    with simulator(speed=0, pack_units=3, costs_interval_s=0) as sim, calling(sim) as api:
        api.create(order("a", prompt="[[fail: nothing moves]]"))
        answer = api.create(order("b"))
        assert (answer.status_code, answer.json()["code"]) == (429, 1102)
        assert sim.billed() == {"a": 1}
        sim.advance(200)
        assert api.create(order("b")).status_code == 200
        assert api.create(order("c")).json()["code"] == 1102, "what is under way is bound"
        sim.advance(200)
        pack = api.http.get(ALWAYS).json()["data"]["resource_pack_subscribe_infos"][0]
        assert (pack["total_quantity"], pack["remaining_quantity"], pack["status"]) == (
            3.0,
            0.5,
            "online",
        )


def test_a_pack_expires() -> None:
    """After its last day nothing is left of it."""
    with simulator(pack_days=1) as sim, calling(sim) as api:
        sim.advance(24 * 3600)
        assert api.create(order("a")).json()["code"] == 1102
        pack = api.http.get(ALWAYS).json()["data"]["resource_pack_subscribe_infos"][0]
        assert (pack["remaining_quantity"], pack["status"]) == (0.0, "expired")


def test_the_balance_is_asked_once_a_second(api: Caller) -> None:
    """A second question at once is 429 with 1302."""
    assert api.http.get(ALWAYS).json()["data"]["code"] == 0
    answer = api.http.get(ALWAYS)
    assert (answer.status_code, answer.json()["code"]) == (429, 1302)


def test_the_balance_is_asked_for_a_time_and_a_name() -> None:
    """Both times are required, in order; a pack of another name or time is not listed."""
    with simulator(costs_interval_s=0) as sim, calling(sim) as api:
        answer = api.http.get("/account/costs").json()
        assert (answer["code"], answer["message"]) == (1200, "Missing Request Parameter")
        for query in ("start_time=1", "start_time=2&end_time=1", "start_time=a&end_time=b"):
            assert api.http.get(f"/account/costs?{query}").json()["code"] == 1201
        for query in (
            "start_time=0&end_time=1",
            ALWAYS.partition("?")[2] + "&resource_pack_name=other",
        ):
            listed = api.http.get(f"/account/costs?{query}").json()["data"]
            assert listed["resource_pack_subscribe_infos"] == []
        named = api.http.get(f"{ALWAYS}&resource_pack_name=Simulated motion control").json()["data"]
        assert len(named["resource_pack_subscribe_infos"]) == 1


def test_everything_survives_a_restart(tmp_path: Path) -> None:
    """Tasks, money and films are there again, ids are not given twice, and time has not gone back."""
    with simulator(tmp_path) as sim, calling(sim) as api:
        first = api.create(order("one")).json()["data"]["task_id"]
        film = sim.control.get(api.film_url("one")).content
        time_there = sim.advance(3600)
    with simulator(tmp_path, speed=1) as sim, calling(sim) as api:
        assert sim.advance(0) >= time_there
        assert sim.billed() == {"one": 1}
        assert api.create(order("one")).json()["code"] == 1201
        assert sim.control.get(api.film_url("one")).content == film
        assert api.create(order("two")).json()["data"]["task_id"] != first
        assert (sim.requests()["create"], sim.requests()["query"]) == (1, 1)


def test_no_two_simulators_give_the_same_ids(tmp_path: Path) -> None:
    """Unless a seed asks for it."""

    def first_id(folder: str, **config: str) -> str:
        with simulator(tmp_path / folder, **config) as sim, calling(sim) as api:
            return str(api.create(order()).json()["data"]["task_id"])

    assert first_id("a") != first_id("b")
    assert first_id("c", seed="s") == first_id("d", seed="s")


def remaining(api: Caller) -> float:
    """Return what the balance shows as left."""
    pack = api.http.get(ALWAYS).json()["data"]["resource_pack_subscribe_infos"][0]
    return float(pack["remaining_quantity"])


def test_units_are_taken_at_the_end_of_a_task_or_later() -> None:
    """The balance shows them when the task has ended (observed), and up to 12 hours late (documented)."""
    with (
        simulator(speed=0, costs_interval_s=0, balance_lag_s=12 * 3600) as sim,
        calling(sim) as api,
    ):
        api.create(order("a"))
        assert remaining(api) == 1000.0
        sim.advance(200)
        assert remaining(api) == 1000.0
        sim.advance(12 * 3600)
        assert remaining(api) == 997.5


@pytest.mark.parametrize(
    ("seconds", "units"), [(3.0, "1.5"), (3.4, "1.5"), (3.5, "2.0"), (9.1, "4.5"), (9.9, "5.0")]
)
def test_whole_seconds_are_billed(
    sim: Simulator, api: Caller, tmp_path: Path, seconds: float, units: str
) -> None:
    """The seconds are rounded to the nearest whole one before they are priced (documented)."""
    url = sim.upload(clip(tmp_path / "film.mp4", seconds))
    api.create(order("a", video_url=url))
    assert Decimal(sim.ledger()["spent"]) == Decimal(units)


@pytest.mark.parametrize(("billed_by", "units"), [("reference", "2.5"), ("result", "1.5")])
def test_the_length_of_the_reference_or_of_the_result_is_billed(billed_by: str, units: str) -> None:
    """Newer pages bill the result's."""
    with simulator(speed=0, billed_by=billed_by) as sim, calling(sim) as api:
        api.create(order("a", prompt="[[short: 3.2]]"))
        assert sim.ledger()["spent"] == units


@pytest.mark.parametrize(("slots", "status"), [("by_model", 200), ("by_account", 429)])
def test_each_model_has_slots_of_its_own_or_all_share_them(slots: str, status: int) -> None:
    """Documented: per model version."""
    with simulator(speed=0, concurrency=1, slots=slots) as sim, calling(sim) as api:
        assert api.create(order("a")).status_code == 200
        assert api.create(order("b")).status_code == 429
        assert api.create(order("c", model_name="kling-v3")).status_code == status


@pytest.mark.parametrize(
    ("until", "failed", "cleared"),
    [("for_ever", 400, 400), ("until_failed", 200, 400), ("until_cleared", 400, 200)],
)
def test_an_external_id_is_used_for_ever_or_as_long_as_there_is_something_under_it(
    until: str, failed: int, cleared: int
) -> None:
    """What another create with the id of a task that failed, or was cleared, gets is not known."""
    with simulator(speed=0, used_ids=until) as sim, calling(sim) as api:
        api.create(order("failed", prompt="[[fail: nothing moves]]"))
        api.create(order("cleared"))
        sim.advance(200)
        assert api.create(order("cleared")).status_code == 400
        assert api.create(order("failed")).status_code == failed
        sim.advance(31 * 86400)
        assert api.create(order("cleared")).status_code == cleared
