"""Every unknown can turn out each way, the documented one by default, and a knob that cannot be turned is explained."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import MISSING, fields
from decimal import Decimal
from typing import Any, Literal, get_args, get_origin

import pytest

from reconciler.simulator.config import SimulatorConfig
from reconciler.simulator.knobs import KINDS, KnobError, parse_knobs
from reconciler.simulator.unknowns import Unknowns
from tests.simulator.caller import TASKS, Caller, calling, order
from tests.support.simulator import simulator


def _named(value: object) -> str:
    """Name a row by its knob: a function's own name changes with every process."""
    items = value.items() if isinstance(value, dict) else ()
    return " ".join(f"{name}={chosen}" for name, chosen in items)


def test_knobs_are_read_by_their_type() -> None:
    """Words, whole numbers, numbers and decimals; the last one of a name counts, white space does not."""
    read = parse_knobs(
        [
            "query_lag_s=5",
            "stale_every=3",
            "list_shift=-2",
            "pack_units=2.5",
            "unknown_ids = null",
            "query_lag_s=1e1",
        ]
    )
    assert read == {
        "query_lag_s": 10.0,
        "stale_every": 3,
        "list_shift": -2,
        "pack_units": Decimal("2.5"),
        "unknown_ids": "null",
    }


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("query_lag_s", "`query_lag_s` is not KNOB=VALUE, such as query_lag_s=5"),
        ("query_lag=5", "`query_lag` is not a knob of the simulator; did you mean `query_lag_s`?"),
        ("folder=/", "`folder` is not a knob of the simulator"),
        ("duplicate_ids=twice", "must be one of refuse, first, bill_again, and is `twice`"),
        ("query_lag_s=soon", "query_lag_s must be a number, and is `soon`"),
        ("query_lag_s=inf", "query_lag_s must be a number below"),
        ("pack_units=nan", "pack_units must be a number, and is `nan`"),
        ("callback_late_s=nan", "callback_late_s must be a number below"),
        ("stale_every=1.5", "stale_every must be a whole number, and is `1.5`"),
        ("hidden_s=-1", "hidden_s must not be negative, and is -1"),
        ("duplicate_code=0", "must be an error code of the provider's table, and is 0"),
        ("callback_lost=2", "callback_lost is a share from 0 to 1, and is 2"),
        ("external_id_pattern=(", "external_id_pattern is not a regular expression"),
    ],
)
def test_a_wrong_knob_is_explained(setting: str, said: str) -> None:
    """What is wrong, what is allowed, and the knob that was probably meant."""
    with pytest.raises(KnobError) as caught:
        parse_knobs([setting])
    assert said in str(caught.value)


def test_every_unknown_is_a_knob_with_a_default() -> None:
    """Whatever nobody can say can be decided by name, and is decided when nobody does: as documented or observed."""
    for field in fields(Unknowns):
        assert field.name in KINDS
        assert field.default is not MISSING
        kind = KINDS[field.name]
        if get_origin(kind) is Literal:
            values = get_args(kind)
            assert field.default == values[0], "the documented value comes first"
            assert [parse_knobs([f"{field.name}={value}"]) for value in values] == [
                {field.name: value} for value in values
            ]
        else:
            assert parse_knobs([f"{field.name}={field.default}"]) == {field.name: field.default}


def test_the_defaults_are_what_an_account_gets_without_knobs() -> None:
    """No knob is turned by a simulator that nobody told to misbehave."""
    with simulator(cleared=SimulatorConfig.cleared) as sim:  # the tests' own choice is another
        for field in fields(Unknowns):
            assert getattr(sim.config, field.name) == getattr(SimulatorConfig, field.name)


def ended(api: Caller, name: str = "one", **fields: Any) -> dict[str, Any]:
    """Create a task and return how the query shows its end."""
    api.create(order(name, **fields))
    api.http.post("/simulator/clock", json={"advance_s": 140})
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        data = api.query(name).json()["data"]
        task: dict[str, Any] = data[0] if isinstance(data, list) else data
        if task["task_status"].lower() in {"succeed", "succeeded", "failed"}:
            return task
    raise AssertionError(f"{name} did not end")


Look = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("knob", "look", "seen"),
    [
        ({"status_form": "capital"}, lambda task: task["task_status"], "Succeed"),
        ({"status_form": "upper"}, lambda task: task["task_status"], "SUCCEED"),
        ({"status_form": "succeeded"}, lambda task: task["task_status"], "succeeded"),
        ({"id_form": "number"}, lambda task: type(task["task_id"]), int),
        ({"id_form": "renamed"}, lambda task: (len(task["id"]), "task_id" in task), (18, False)),
        ({"external_ids": "missing"}, lambda task: "task_info" in task, False),
        ({"duration_form": "empty"}, lambda task: video(task)["duration"], ""),
        ({"duration_form": "missing"}, lambda task: "duration" in video(task), False),
        ({"duration_form": "wrong"}, lambda task: video(task)["duration"], "about five"),
        ({"number_form": "number"}, lambda task: video(task)["duration"], 5.0),
        ({"number_form": "number"}, lambda task: task["final_unit_deduction"], 2.5),
        ({"deduction": "missing"}, lambda task: "final_unit_deduction" in task, False),
        ({"deduction": "late"}, lambda task: "final_unit_deduction" in task, False),
        ({"deduction": "late", "deduction_s": 0}, lambda task: task["final_unit_deduction"], "2.5"),
        ({"deduction": "changed"}, lambda task: task["final_unit_deduction"], "3.5"),
        ({"result_share": 0.5, "render": "draft"}, lambda task: video(task)["duration"], "2.5"),
        ({"result_share": 0.5}, lambda task: task["final_unit_deduction"], "2.5"),
        ({"videos_late_s": 60}, lambda task: task["task_result"], {"videos": []}),
    ],
    ids=_named,
)
def test_an_ended_task_can_look_otherwise(knob: dict[str, Any], look: Look, seen: object) -> None:
    """Spelling, ids, numbers, and what is not there."""
    with simulator(speed=0, **knob) as sim, calling(sim) as api:
        assert look(ended(api)) == seen


def video(task: dict[str, Any]) -> dict[str, Any]:
    """Return the only video of a task."""
    (shown,) = task["task_result"]["videos"]
    assert isinstance(shown, dict)
    return shown


def test_what_comes_late_comes() -> None:
    """A deduction that was not there or another, and videos that were not listed, are right after their time."""
    late: dict[str, Any] = {"deduction": "changed", "deduction_s": 100, "videos_late_s": 100}
    with simulator(speed=0, **late) as sim, calling(sim) as api:
        assert ended(api)["final_unit_deduction"] == "3.5"
        sim.advance(120)
        task = api.query("one").json()["data"]
        assert (task["final_unit_deduction"], len(task["task_result"]["videos"])) == ("2.5", 1)


def test_data_can_be_a_list() -> None:
    """Of one task, in the answers to creates and queries alike."""
    with simulator(data_form="list") as sim, calling(sim) as api:
        (created,) = api.create(order("one")).json()["data"]
        (asked,) = api.query("one").json()["data"]
        assert created["task_id"] == asked["task_id"]


def test_a_duplicate_can_be_refused_with_another_code() -> None:
    """Nobody knows which; nothing is billed in any case."""
    with simulator(duplicate_code=1200) as sim, calling(sim) as api:
        assert [api.create(order("one")).json()["code"] for _ in range(2)] == [0, 1200]
        assert sim.billed() == {"one": 1}


def test_long_ids_can_be_cut() -> None:
    """The task is known by what is left of its id, to queries and to the ledger."""
    with simulator(external_id_cut=3) as sim, calling(sim) as api:
        created = api.create(order("a-long-one")).json()["data"]
        assert created["task_info"] == {"external_task_id": "a-l"}
        assert [api.query(name).status_code for name in ("a-long-one", "a-l")] == [400, 200]
        assert sim.billed() == {"a-l": 1}


def test_a_query_can_show_an_older_status() -> None:
    """Every second look at a task shows what it was before; at one that was just created there is nothing before."""
    with simulator(speed=0, stale_every=2) as sim, calling(sim) as api:

        def looks() -> list[str]:
            return [api.query("one").json()["data"]["task_status"] for _ in range(2)]

        api.create(order("one"))
        assert looks() == ["submitted", "submitted"]
        sim.advance(60)
        assert looks() == ["processing", "submitted"]
        ended(api, "two")
        until_made(looks)
        assert looks() == ["succeed", "processing"]


def until_made(looks: Callable[[], list[str]]) -> None:
    """Wait for the film."""
    deadline = time.monotonic() + 20
    while "succeed" not in looks():
        assert time.monotonic() < deadline


def test_a_task_can_vanish_for_a_while() -> None:
    """From queries by either id and from the list; then it is back, and it was never to be had for nothing."""
    with simulator(hidden_from_s=0.5, hidden_s=0.5) as sim, calling(sim) as api:
        began = time.monotonic()
        names = ["one", api.create(order("one")).json()["data"]["task_id"]]
        seen: list[set[int]] = []
        while time.monotonic() - began < 1.5:
            answers = {api.query(name).status_code for name in names}
            answers.add(200 if api.http.get(TASKS).json()["data"] else 400)
            if len(answers) == 1 and (not seen or seen[-1] != answers):
                seen.append(answers)
        assert seen == [{200}, {400}, {200}]
        assert sim.billed() == {"one": 1}


def test_the_list_can_lag() -> None:
    """A new task is not in it yet, though a query shows it."""
    with simulator(list_lag_s=0.5) as sim, calling(sim) as api:
        api.create(order("one"))
        assert api.http.get(TASKS).json()["data"] == []
        assert api.query("one").status_code == 200
        deadline = time.monotonic() + 10
        while not api.http.get(TASKS).json()["data"]:
            assert time.monotonic() < deadline


def test_the_list_can_be_older_than_queries() -> None:
    """It shows the status of a minute ago."""
    with simulator(speed=0, list_stale_s=60) as sim, calling(sim) as api:

        def listed() -> str:
            return str(api.http.get(TASKS).json()["data"][0]["task_status"])

        api.create(order("one"))
        sim.advance(30)
        assert (api.query("one").json()["data"]["task_status"], listed()) == (
            "processing",
            "submitted",
        )
        ended(api, "two")
        api.until_over("one")
        assert listed() == "processing"
        sim.advance(60)
        assert listed() == "succeed"


@pytest.mark.parametrize(
    ("shift", "pages"),
    [
        (0, [["5", "4"], ["3", "2"], ["1", "0"]]),
        (1, [["5", "4"], ["4", "3"], ["3", "2"]]),
        (-1, [["5", "4"], ["2", "1"], []]),
    ],
)
def test_pages_can_shift_while_they_are_read(shift: int, pages: list[list[str]]) -> None:
    """What comes between two pages lists tasks twice, what goes leaves some out."""
    with simulator(concurrency=9, list_shift=shift) as sim, calling(sim) as api:
        for number in range(6):
            api.create(order(str(number)))
        for number, names in enumerate(pages, 1):
            data = api.http.get(f"{TASKS}?pageNum={number}&pageSize=2").json()["data"]
            assert [task["task_info"]["external_task_id"] for task in data] == names


def test_the_list_can_be_in_no_order() -> None:
    """Neither way round, and the same on every page."""
    with simulator(concurrency=30, list_order="shuffled", seed="any") as sim, calling(sim) as api:
        for number in range(20):
            api.create(order(f"{number:02}"))
        names = [
            task["task_info"]["external_task_id"]
            for page in (1, 2)
            for task in api.http.get(f"{TASKS}?pageNum={page}&pageSize=10").json()["data"]
        ]
        assert len(set(names)) == 20
        assert names not in (sorted(names), sorted(names, reverse=True))
