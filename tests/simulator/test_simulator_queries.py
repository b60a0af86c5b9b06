"""Queries show a task as the documents say, and where the documents say nothing, as the simulator was told."""

from __future__ import annotations

import time

import pytest

from tests.simulator.caller import TASKS, Caller, calling, order
from tests.support.simulator import simulator


def test_a_task_goes_through_its_states() -> None:
    """Submitted, processing, succeed, each at its virtual time, found by either id."""
    with simulator(speed=0) as sim, calling(sim) as api:
        created = api.create(order("one", watermark_info={"enabled": True})).json()["data"]
        seen = api.query("one").json()["data"]
        assert seen["task_status"] == "submitted"
        assert (seen["task_status_msg"], seen["watermark_info"]) == ("", {"enabled": True})
        assert "task_result" not in seen
        sim.advance(10)
        seen = api.query("one").json()["data"]
        assert (seen["task_status"], seen["updated_at"]) == (
            "processing",
            created["created_at"] + 5000,
        )
        sim.advance(95)
        assert api.query("one").json()["data"]["task_status"] == "processing"
        sim.advance(30)
        over = api.until_over("one")
        assert over["task_status"] == "succeed"
        assert 108_000 <= over["updated_at"] - over["created_at"] <= 132_000
        assert (over["final_unit_deduction"], over["task_info"]) == (
            "2.5",
            {"external_task_id": "one"},
        )
        video = over["task_result"]["videos"][0]
        assert set(video) == {"id", "url", "watermark_url", "duration"}
        assert video["duration"] == "5"
        assert api.query(created["task_id"]).json()["data"]["task_id"] == created["task_id"]


def test_a_task_can_fail_and_is_refunded() -> None:
    """The marker in the prompt becomes the reason, the units come back once, the slot is free."""
    with simulator(concurrency=1) as sim, calling(sim) as api:
        api.create(order("bad", prompt="a jump [[fail: no person found]] please"))
        over = api.until_over("bad")
        assert (over["task_status"], over["task_status_msg"]) == ("failed", "no person found")
        assert over["final_unit_deduction"] == "0"
        assert "task_result" not in over
        for _ in range(2):
            ledger = sim.ledger()
            assert [entry["kind"] for entry in ledger["entries"]] == ["billed", "refunded"]
            assert (ledger["billed"], ledger["refunded"]) == ({"bad": 1}, {"bad": 1})
            assert float(ledger["spent"]) == 0
        assert api.create(order("next")).status_code == 200


@pytest.mark.parametrize(
    ("unknown_ids", "status", "code"),
    [("404", 404, 1203), ("400", 400, 1201), ("empty", 200, 0), ("null", 200, 0), ("list", 200, 0)],
)
def test_unknown_ids_answer_as_told(unknown_ids: str, status: int, code: int) -> None:
    """Each of the ways in which the provider might say that it does not know an id."""
    with simulator(unknown_ids=unknown_ids) as sim, calling(sim) as api:
        answer = api.query("nobody")
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert not answer.json().get("data")


def test_an_alien_status_passes_by() -> None:
    """A status in no list is shown for a while, and the task ends all the same."""
    with simulator(speed=0, alien_status="reviewing") as sim, calling(sim) as api:
        api.create(order("odd"))
        sim.advance(60)
        assert api.query("odd").json()["data"]["task_status"] == "reviewing"
        sim.advance(40)
        assert api.query("odd").json()["data"]["task_status"] == "processing"
        sim.advance(100)
        assert api.until_over("odd")["task_status"] == "succeed"


def test_queries_by_external_id_can_lag() -> None:
    """For some real seconds only the task's own id finds it; then both do."""
    with simulator(query_lag_s=1.0) as sim, calling(sim) as api:
        began = time.monotonic()
        task_id = api.create(order("late")).json()["data"]["task_id"]
        assert api.query("late").status_code == 400
        assert api.query(task_id).status_code == 200
        while api.query("late").status_code == 400:
            assert time.monotonic() - began < 10
        assert time.monotonic() - began >= 0.95


def test_the_list_is_paged() -> None:
    """Newest first, pages from 1, thirty by default, an empty page beyond the end."""
    with simulator(concurrency=100) as sim, calling(sim) as api:
        for number in range(32):
            api.create(order(f"n{number}"))

        def names(query: str) -> list[str]:
            data = api.http.get(TASKS + query).json()["data"]
            return [task["task_info"]["external_task_id"] for task in data]

        assert names("") == [f"n{number}" for number in range(31, 1, -1)]
        assert names("?pageNum=2") == ["n1", "n0"]
        assert names("?pageNum=2&pageSize=3") == ["n28", "n27", "n26"]
        assert names("?pageNum=1000&pageSize=500") == []


@pytest.mark.parametrize(
    "query", ["pageNum=0", "pageNum=1001", "pageSize=0", "pageSize=501", "pageNum=x"]
)
def test_pages_have_limits(api: Caller, query: str) -> None:
    """A page or a size outside the documented limits is 1201 that names it."""
    answer = api.http.get(f"{TASKS}?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, 1201)
    assert answer.json()["message"].startswith(query.partition("=")[0])


def test_the_list_can_be_oldest_first() -> None:
    """Nobody promised an order."""
    with simulator(list_order="oldest") as sim, calling(sim) as api:
        for name in ("a", "b"):
            api.create(order(name))
        data = api.http.get(TASKS).json()["data"]
        assert [task["task_info"]["external_task_id"] for task in data] == ["a", "b"]


def test_ids_rise_with_time_and_a_video_lies_a_little_above_its_task() -> None:
    """Decimal strings of 18 digits (observed)."""
    with simulator(speed=0, concurrency=100, render="stamp") as sim, calling(sim) as api:
        tasks = [api.create(order(f"n{number}")).json()["data"]["task_id"] for number in range(40)]
        assert tasks == sorted(set(tasks))
        assert {len(task) for task in tasks} == {18}
        sim.advance(200)
        for task in tasks:
            (video,) = api.until_over(task)["task_result"]["videos"]
            assert 0 < int(video["id"]) - int(task) < 1000
            assert video["id"] not in tasks


def test_without_an_id_of_the_callers_there_is_no_word_about_it() -> None:
    """`task_info` is `{}` in every answer (observed)."""
    with simulator(speed=0) as sim, calling(sim) as api:
        created = api.create(order()).json()["data"]
        assert created["task_info"] == {}
        assert api.query(created["task_id"]).json()["data"]["task_info"] == {}


def test_what_a_cash_account_paid_can_stand_beside_the_units() -> None:
    """`final_balance_deduction` holds `quota` and `list_price` (documented)."""
    with simulator(balance_deduction="shown") as sim, calling(sim) as api:
        api.create(order("a"))
        paid = api.until_over("a")["final_balance_deduction"]
        assert paid == {"quota": "0.35", "list_price": "0.35"}
