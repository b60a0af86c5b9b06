"""Faults do what they say, on real connections, and the ledger tells what the caller could not see."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.simulator.errors import TABLE
from reconciler.simulator.faults import Call, FaultPlan
from reconciler.simulator.plans import PlanError, parse_plan
from tests.simulator.caller import TASKS, Caller, calling, order
from tests.support.simulator import Simulator, simulator


def fired(plan: FaultPlan, calls: int, call: Call) -> list[int]:
    """Return the numbers of the calls that were hit."""
    hit = []
    for number in range(1, calls + 1):
        effect, plan = plan.on(call)
        if effect is not None:
            hit.append(number)
    return hit


@pytest.mark.parametrize(
    ("reason", "when", "hit"),
    [
        ("no condition hits all", {}, [1, 2, 3, 4, 5, 6]),
        ("numbered calls", {"calls": [1, 3]}, [1, 3]),
        ("every second", {"every": 2}, [2, 4, 6]),
        ("the first two", {"first": 2}, [1, 2]),
        ("never", {"probability": 0}, []),
        ("always", {"probability": 1}, [1, 2, 3, 4, 5, 6]),
    ],
)
def test_a_rule_hits_the_calls_it_names(reason: str, when: dict[str, Any], hit: list[int]) -> None:
    """Calls are counted from 1, for each rule on its own."""
    plan = parse_plan([{"endpoint": "create", "when": when, "effect": {"status": 500}}])
    assert fired(plan, 6, Call("create", "x")) == hit, reason
    assert fired(plan, 6, Call("query", "x")) == []


@pytest.mark.parametrize(
    ("reason", "when", "hit"),
    [
        ("until a time, which is out already", {"until_s": 30}, [0, 29]),
        ("from a time on", {"from_s": 30}, [30, 60]),
        ("for a while", {"from_s": 29, "until_s": 60}, [29, 30]),
        ("only calls in time are counted", {"from_s": 30, "calls": [1]}, [30]),
    ],
)
def test_a_rule_holds_for_a_while(reason: str, when: dict[str, Any], hit: list[int]) -> None:
    """Seconds count from when the plan was put in place."""
    plan = parse_plan([{"when": when, "effect": {"status": 500}}])
    went = []
    for age in (0, 29, 30, 60):
        effect, plan = plan.on(Call("query", "x", age_s=age))
        went += [age] if effect else []
    assert went == hit, reason


@pytest.mark.parametrize(
    ("reason", "when", "hit"),
    [
        ("one state", {"state": "processing"}, ["processing", "processing"]),
        ("one of several", {"state": ["none", "failed"]}, ["none", "failed"]),
        ("counted in that state alone", {"state": "processing", "calls": [2]}, ["processing"]),
    ],
)
def test_a_rule_can_ask_for_the_state_of_a_task(
    reason: str, when: dict[str, Any], hit: list[str]
) -> None:
    """Calls about a task in another state, or about no single task, are neither hit nor counted."""
    plan = parse_plan([{"when": when, "effect": {"status": 500}}])
    went = []
    for state in ("", "none", "submitted", "processing", "processing", "succeed", "failed"):
        effect, plan = plan.on(Call("query", "x", state))
        went += [state] if effect else []
    assert went == hit, reason


@settings(deadline=None, max_examples=50)
@given(st.floats(0, 1), st.text(max_size=5))
def test_chance_is_repeatable(probability: float, seed: str) -> None:
    """The same seed hits the same calls, whatever else goes on between them."""
    when = {"probability": probability, "seed": seed}
    plan = parse_plan([{"endpoint": "query", "when": when, "effect": {"status": 500}}])
    alone = fired(plan, 20, Call("query", "x"))
    _, disturbed = plan.on(Call("create", "y"))
    assert fired(disturbed, 20, Call("query", "z")) == alone


def test_the_first_rule_that_fires_decides() -> None:
    """Later rules count the call all the same; a match is for one id."""
    plan = parse_plan(
        [
            {"endpoint": "*", "match": {"external_task_id": "a"}, "effect": {"refuse": 1100}},
            {"endpoint": "create", "when": {"calls": [2]}, "effect": {"refuse": 1101}},
        ]
    )
    codes = []
    for name in ("a", "b", "b"):
        effect, plan = plan.on(Call("create", name))
        codes.append(effect.value if effect else None)
    assert codes == [1100, 1101, None]
    assert [(rule.matched, rule.fired) for rule in plan.rules] == [(1, 1), (3, 1)]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("x", "a rule must be an object"),
        ({"endpoint": "delete", "effect": {"status": 500}}, "endpoint must be one of"),
        ({"effect": {}}, "effect must hold"),
        ({"effect": {"status": 500, "drop": "after"}}, "effect must hold"),
        ({"effect": {"explode": True}}, "does not know explode"),
        ({"effect": {"drop": "during"}}, "before or after"),
        ({"effect": {"status": "500"}}, "effect.status must be int"),
        ({"effect": {"cut": True}}, "effect.cut must be int"),
        ({"effect": {"garbage": False}}, "leave it out"),
        ({"effect": {"delay_s": -1}}, "not negative"),
        ({"effect": {"status": 500, "acted": 1}}, "effect.acted"),
        ({"effect": {"cut": 5, "acted": False}}, "effect.acted"),
        ({"effect": {"status": 500}, "when": {"calls": 1}}, "when.calls"),
        ({"effect": {"status": 500}, "when": {"every": 0}}, "when.every"),
        ({"effect": {"status": 500}, "when": {"every": 1, "first": 1}}, "when must hold one"),
        ({"effect": {"status": 500}, "match": {"external_task_id": 1}}, "match.external_task_id"),
        ({"effect": {"cut": 1.5}}, "a share from 0.0 to 1.0"),
        ({"effect": {"stall": -1}}, "effect.stall must not be negative"),
        ({"effect": {"drip": 0}}, "stall sends none"),
        ({"effect": {"status": 99}}, "an HTTP status from 200 to 599"),
        ({"effect": {"status": 500}, "when": {"probability": 1.5}}, "when.probability"),
        ({"effect": {"status": 500}, "when": {"state": "finished"}}, "when.state must be one of"),
        ({"effect": {"status": 500}, "when": {"from_s": 9, "until_s": 9}}, "later than"),
        (
            {"endpoint": "list", "effect": {"status": 500}, "when": {"state": "failed"}},
            "when.state goes with",
        ),
    ],
)
def test_a_wrong_plan_is_explained(rule: object, said: str) -> None:
    """The number of the rule and what is wrong with it."""
    with pytest.raises(PlanError, match=r"rule 0: ") as caught:
        parse_plan([rule])
    assert said in str(caught.value)


def test_a_plan_is_replaced_shown_and_forgotten(sim: Simulator) -> None:
    """A wrong plan leaves the old one in place."""
    sim.faults([{"endpoint": "list", "effect": {"status": 500}}])
    assert sim.control.get(TASKS).status_code == 500
    assert sim.control.post("/simulator/faults", json={}).status_code == 400
    assert sim.control.post("/simulator/faults", content=b"{").status_code == 400
    assert sim.fired() == [1]
    assert sim.control.delete("/simulator/faults").status_code == 200
    assert sim.control.get(TASKS).status_code == 401


def test_states_and_times_are_those_of_the_running_account() -> None:
    """A create of a used id, a query of a task that ended, and a new plan whose time begins anew."""
    with simulator(speed=0, duplicate_ids="first") as sim, calling(sim) as api:
        sim.faults(
            [
                {"endpoint": "create", "when": {"state": "submitted"}, "effect": {"status": 418}},
                {"endpoint": "query", "when": {"state": "succeed"}, "effect": {"status": 418}},
                {"endpoint": "list", "when": {"until_s": 0.2}, "effect": {"status": 418}},
            ]
        )
        assert api.http.get(TASKS).status_code == 418
        created = [api.create(order("one")) for _ in range(2)]
        assert [answer.status_code for answer in created] == [200, 418]
        assert api.query("one").status_code == 200
        sim.advance(200)
        task_id = created[0].json()["data"]["task_id"]
        deadline = time.monotonic() + 10
        while api.query(task_id).status_code == 200:  # its film is being made
            assert time.monotonic() < deadline
        assert api.query("one").status_code == 418
        while api.http.get(TASKS).status_code == 418:
            assert time.monotonic() < deadline
        sim.faults([{"endpoint": "list", "when": {"until_s": 5}, "effect": {"status": 418}}])
        assert api.http.get(TASKS).status_code == 418


def test_an_answer_can_drip(sim: Simulator, api: Caller) -> None:
    """So many bytes a second, of an envelope or of a film; in the end it is whole."""
    sim.faults([{"endpoint": "create", "effect": {"drip": 1000}}])
    began = time.monotonic()
    answer = api.create(order("one"))
    assert 0.9 * (len(answer.content) - 250) / 1000 <= time.monotonic() - began <= 5
    assert answer.json()["code"] == 0
    sim.faults([])
    url = api.film_url("one")
    whole = sim.control.get(url).content
    sim.faults([{"endpoint": "result", "effect": {"drip": 2 * len(whole)}}])
    began = time.monotonic()
    assert sim.control.get(url).content == whole
    assert time.monotonic() - began >= 0.2


def test_half_a_body_can_be_had(sim: Simulator, api: Caller) -> None:
    """A share instead of a number of bytes: half of an envelope, and of a film whose length nobody knows."""
    sim.faults([{"endpoint": "create", "effect": {"truncate": 0.5}}])
    with pytest.raises(json.JSONDecodeError):
        api.create(order("one")).json()
    sim.faults([])
    url = api.film_url("one")
    whole = sim.control.get(url).content
    sim.faults([{"endpoint": "result", "effect": {"cut": 0.5}}])
    assert received(sim, url) == (whole[: len(whole) // 2], httpx.RemoteProtocolError)


@pytest.mark.parametrize(("when", "billed"), [("before", {}), ("after", {"one": 1})])
def test_a_dropped_create_may_have_acted(
    sim: Simulator, api: Caller, when: str, billed: dict[str, int]
) -> None:
    """The connection closes without an answer; whether the task exists is for the caller to find out."""
    sim.faults([{"endpoint": "create", "when": {"first": 1}, "effect": {"drop": when}}])
    with pytest.raises(httpx.RemoteProtocolError):
        api.create(order("one"))
    assert sim.billed() == billed
    assert api.query("one").status_code == (200 if billed else 400)
    assert api.create(order("one")).status_code == (400 if billed else 200)


def test_a_late_answer_has_acted(sim: Simulator) -> None:
    """The task exists although its caller gave up; with patience the answer comes."""
    sim.faults([{"endpoint": "create", "effect": {"delay_s": 0.6}}])
    with (
        calling(sim, timeout=httpx.Timeout(10, read=0.3)) as hasty,
        pytest.raises(httpx.ReadTimeout),
    ):
        hasty.create(order("one"))
    assert sim.billed() == {"one": 1}
    began = time.monotonic()
    with calling(sim) as patient:
        assert patient.create(order("two")).status_code == 200
    assert time.monotonic() - began >= 0.6


@pytest.mark.parametrize("acted", [False, True])
@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [(500, "json", 5000), (502, "html", None), (503, "json", 5001), (504, "json", 5002)],
)
def test_a_server_error_may_have_acted(
    sim: Simulator, api: Caller, status: int, kind: str, code: int | None, acted: bool
) -> None:
    """5xx as the provider's envelope, or as the page of a proxy in front of it."""
    sim.faults([{"endpoint": "create", "effect": {"status": status, "acted": acted}}])
    answer = api.create(order("one"))
    assert answer.status_code == status
    assert kind in answer.headers["content-type"]
    if code is not None:
        assert answer.json()["code"] == code
    assert sim.billed() == ({"one": 1} if acted else {})


def test_every_documented_code_can_be_had(sim: Simulator, api: Caller) -> None:
    """With its documented HTTP status, and nothing done."""
    documented = {401: 5, 429: 6, 403: 1, 400: 4, 404: 2, 500: 1, 503: 1, 504: 1}
    assert Counter(status for status, _ in TABLE.values()) == documented | {200: 1}
    for code in TABLE.keys() - {0}:
        sim.faults([{"endpoint": "create", "effect": {"refuse": code, "message": "so it is"}}])
        answer = api.create(order("one"))
        assert (answer.status_code, answer.json()["code"]) == (TABLE[code][0], code)
        assert answer.json()["message"] == "so it is"
    assert sim.billed() == {}


def test_answers_can_be_unreadable(sim: Simulator, api: Caller) -> None:
    """Garbage, an error inside a 200, a body of the plan's own, half an envelope."""
    sim.faults(
        [
            {"endpoint": "create", "when": {"calls": [1]}, "effect": {"garbage": True}},
            {"endpoint": "create", "when": {"calls": [2]}, "effect": {"error_in_200": 5000}},
            {
                "endpoint": "create",
                "when": {"calls": [3]},
                "effect": {"status": 200, "body": "<p>hello</p>"},
            },
            {"endpoint": "create", "when": {"calls": [4]}, "effect": {"cut": 20}},
            {"endpoint": "create", "when": {"calls": [5]}, "effect": {"truncate": 20}},
        ]
    )
    with pytest.raises(ValueError, match="codec"):
        api.create(order("garbage")).json()
    inside = api.create(order("inside"))
    assert (inside.status_code, inside.json()["code"]) == (200, 5000)
    page = api.create(order("page"))
    assert (page.text, page.headers["content-type"]) == ("<p>hello</p>", "text/html")
    with pytest.raises(httpx.RemoteProtocolError):
        api.create(order("cut"))
    with pytest.raises(json.JSONDecodeError):
        api.create(order("short")).json()
    assert sim.billed() == {"garbage": 1, "cut": 1, "short": 1}


def test_a_fault_can_be_meant_for_one_id(sim: Simulator, api: Caller) -> None:
    """In creates, in queries by either id, and for its results."""
    match = {"external_task_id": "one"}
    sim.faults(
        [
            {"endpoint": endpoint, "match": match, "effect": {"status": 418}}
            for endpoint in ("query", "result")
        ]
    )
    ids = {name: api.create(order(name)).json()["data"]["task_id"] for name in ("one", "two")}
    assert [api.query(name).status_code for name in ("one", ids["one"], ids["two"])] == [
        418,
        418,
        200,
    ]
    path = f"{sim.results_url}/results/"
    assert [sim.control.get(f"{path}{ids[name]}.mp4").status_code for name in ("one", "two")] == [
        418,
        403,
    ]


def test_a_task_can_be_made_to_fail(sim: Simulator, api: Caller) -> None:
    """The create is accepted; the task ends as failed with the plan's reason."""
    sim.faults([{"endpoint": "create", "effect": {"fail": "the model stumbled"}}])
    assert api.create(order("one")).status_code == 200
    assert api.until_over("one")["task_status_msg"] == "the model stumbled"


def test_the_api_can_redirect(sim: Simulator, api: Caller) -> None:
    """To the other origin, where a token that follows is counted as a leak."""
    sim.faults([{"endpoint": "query", "effect": {"redirect": True}}])
    answer = api.query("one")
    assert (answer.status_code, answer.headers["location"]) == (
        302,
        f"{sim.results_url}{TASKS}/one",
    )
    api.http.get(answer.headers["location"])
    assert sim.requests()["authorization_leaks"] == 1


def test_balance_and_uploads_can_fail_too(sim: Simulator, api: Caller) -> None:
    """Every endpoint of a plan is reachable."""
    sim.faults([{"endpoint": name, "effect": {"status": 503}} for name in ("costs", "upload")])
    assert api.http.get("/account/costs").status_code == 503
    assert api.http.put(f"/simulator/media/{'0' * 64}.png").status_code == 503
    assert sim.fired() == [1, 1]


@pytest.fixture
def film(api: Caller) -> str:
    api.create(order("one"))
    return api.film_url("one")


def received(sim: Simulator, url: str) -> tuple[bytes, type[Exception] | None]:
    """Return the bytes that came, and how the download broke off."""
    came = b""
    try:
        with sim.control.stream("GET", url, timeout=httpx.Timeout(10, read=0.3)) as answer:
            for chunk in answer.iter_raw():
                came += chunk
    except httpx.TransportError as error:
        return came, type(error)
    return came, None


def test_downloads_can_break_off(sim: Simulator, film: str) -> None:
    """Cut, announced longer than it is, or shortened with a length that agrees: three ways to lose the end."""
    whole = sim.control.get(film).content
    sim.faults([{"endpoint": "result", "effect": {"cut": 100}}])
    assert received(sim, film) == (whole[:100], httpx.RemoteProtocolError)
    sim.faults([{"endpoint": "result", "effect": {"wrong_length": 7}}])
    with pytest.raises(httpx.RemoteProtocolError):
        sim.control.get(film)
    sim.faults([{"endpoint": "result", "effect": {"truncate": 100}}])
    assert sim.control.get(film).content == whole[:100]


def test_downloads_can_lie(sim: Simulator, film: str) -> None:
    """Other bytes under the same ETag, and a range that is ignored."""
    whole = sim.control.get(film)
    sim.faults([{"endpoint": "result", "effect": {"wrong_bytes": True}}])
    wrong = sim.control.get(film)
    assert len(wrong.content) == len(whole.content)
    assert wrong.content != whole.content
    assert wrong.headers["etag"] == whole.headers["etag"]
    sim.faults([{"endpoint": "result", "effect": {"ignore_range": True}}])
    answer = sim.control.get(film, headers={"range": "bytes=10-"})
    assert (answer.status_code, answer.content) == (200, whole.content)


def test_downloads_can_be_refused_or_sent_elsewhere(sim: Simulator, film: str) -> None:
    """403 and 500 as a storage says them, and a redirect that leads to the film."""
    for status in (403, 500):
        sim.faults([{"endpoint": "result", "effect": {"status": status}}])
        answer = sim.control.get(film)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/xml")
    sim.faults([{"endpoint": "result", "when": {"first": 1}, "effect": {"redirect": True}}])
    answer = sim.control.get(film, follow_redirects=True)
    assert (answer.status_code, len(answer.history)) == (200, 1)


def test_downloads_can_stall(sim: Simulator, film: str) -> None:
    """Some bytes come, then nothing, and the connection stays."""
    sim.faults([{"endpoint": "result", "effect": {"stall": 50}}])
    came, error = received(sim, film)
    assert (len(came), error) == (50, httpx.ReadTimeout)


def test_a_redirect_can_lead_anywhere(sim: Simulator, film: str) -> None:
    """To an address of the plan's own, also of another host."""
    elsewhere = "http://127.0.0.1:9/film.mp4"
    sim.faults([{"endpoint": "result", "effect": {"redirect": elsewhere}}])
    answer = sim.control.get(film)
    assert (answer.status_code, answer.headers["location"]) == (302, elsewhere)


def test_a_plan_can_be_there_from_the_start() -> None:
    """Faults in the configuration hold for the first request."""
    with simulator(faults=({"endpoint": "list", "effect": {"status": 500}},)) as sim:
        assert sim.control.get(TASKS).status_code == 500
