"""Whatever becomes of the answer to a create, and whatever the provider makes of repeated ids: billed once."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.support.mishaps import CREATE_MISHAPS, on_create
from tests.support.money import assert_bought_once, assert_quiet, purchases
from tests.support.project import Project
from tests.support.simulator import Simulator, simulator

WORLDS = [
    ("refuse", "404", 0.0),
    ("refuse", "null", 0.5),
    ("first", "400", 0.5),
    ("first", "list", 0.0),
    ("bill_again", "404", 0.5),
    ("bill_again", "empty", 0.5),
    ("bill_again", "400", 0.0),
]
"""What a repeated id gets, what an unknown id gets, how long a new task is hidden from queries by id (s)."""


def ids(project: Project) -> dict[str, str]:
    """Return the id that each spec (by its name without suffix) asks for."""
    rows = project.run("plan", "--json").document["actions"]
    return {Path(row["spec"]).stem: row["external_task_id"] for row in rows}


@pytest.mark.parametrize(("duplicate", "unknown", "lag"), WORLDS)
def test_every_mishap_of_a_create_is_billed_once(
    tmp_path: Path, duplicate: Any, unknown: Any, lag: float
) -> None:
    """Fifteen creates whose answers go wrong in fifteen ways: all are saved in the end, each billed once."""
    world = {"duplicate_ids": duplicate, "unknown_ids": unknown, "query_lag_s": lag}
    with simulator(**world, concurrency=50) as sim:
        project = Project(tmp_path / "p", {**sim.env(), "RECONCILER_MAX_CONCURRENCY": "20"})
        for name in CREATE_MISHAPS:
            project.spec(f"{name}.yaml", prompt=name)
        named = ids(project)
        sim.faults([on_create(CREATE_MISHAPS[name], of=named[name]) for name in CREATE_MISHAPS])
        assert_bought_once(project, sim, project.apply())
        assert sim.fired() == [1] * len(CREATE_MISHAPS)
        assert_quiet(project, sim)


@pytest.mark.parametrize("duplicate", ["refuse", "first"])
def test_a_task_hidden_longer_than_the_grace_is_still_billed_once(
    tmp_path: Path, duplicate: Any
) -> None:
    """A provider that hides an accepted task past the grace, and refuses or repeats its id, bills once."""
    with simulator(duplicate_ids=duplicate, query_lag_s=1.6) as sim:
        sim.faults([on_create(CREATE_MISHAPS["lost"])])
        project = Project(tmp_path / "p", sim.env())
        project.spec()
        assert_bought_once(project, sim, project.apply())


def test_an_html_page_is_no_proof_of_absence(tmp_path: Path) -> None:
    """While a proxy answers every query with a page, nothing is created again, however long that takes."""
    with simulator(duplicate_ids="bill_again") as sim:
        page = {
            "endpoint": "query",
            "when": {"calls": [2, 3]},
            "effect": {"status": 404, "body": "<html>"},
        }
        sim.faults([on_create(CREATE_MISHAPS["lost"]), page])
        project = Project(tmp_path / "p", sim.env())
        project.spec()
        done = project.apply()
        assert sim.fired() == [1, 2]
        assert_bought_once(project, sim, done)
        assert sim.requests()["create_attempts"] == 1


@pytest.mark.parametrize("code", [1302, 1303, 5000, 5001, 5002])
def test_a_refusal_for_a_while_only_costs_time(project: Project, sim: Simulator, code: int) -> None:
    """Twice refused for a reason that passes, then accepted: complete, billed once."""
    project.spec()
    sim.faults([on_create({"refuse": code}, first=2)])
    assert_bought_once(project, sim, project.apply())
    assert sim.fired() == [2]


def test_slots_of_the_account_are_waited_for(tmp_path: Path) -> None:
    """More wishes than the account has slots: all are bought, each once, and none fails."""
    with simulator(concurrency=1) as sim:
        project = Project(tmp_path / "p", sim.env())
        project.spec(takes=4)
        assert_bought_once(project, sim, project.apply())


@pytest.mark.parametrize(
    ("effect", "status"),
    [({"refuse": 1301}, "policy"), ({"refuse": 1201}, "bad request"), ({"refuse": 1203}, "model")],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_refusal_for_good_is_rejected_and_costs_nothing(
    project: Project, sim: Simulator, effect: dict[str, int], status: str
) -> None:
    """Refused because of the request: `rejected`, exit 3, nothing billed, and not sent again by itself."""
    project.spec()
    sim.faults([{"endpoint": "create", "effect": effect}])
    done = project.apply()
    assert done.code == 3, done
    assert set(done.statuses.values()) == {"rejected"}
    assert str(effect["refuse"]) in done.document["generations"][0]["reason"]
    sent = sim.requests()["create_attempts"]
    again = project.apply()
    assert (again.code, again.statuses) == (3, done.statuses)
    assert sim.requests()["create_attempts"] == sent
    assert sim.billed() == {}


def test_a_failed_task_is_not_bought_again_by_itself(project: Project, sim: Simulator) -> None:
    """The task ends as failed: `failed` with the provider's reason, exit 3, and a second apply buys nothing."""
    project.spec(prompt="[[fail: the motion is too fast]] please")
    first = project.apply()
    second = project.apply()
    for done in (first, second):
        assert done.code == 3, done
        (row,) = done.document["generations"]
        assert (row["status"], "the motion is too fast" in row["reason"]) == ("failed", True)
    assert sim.requests()["create_attempts"] == 1
    assert Decimal(sim.ledger()["spent"]) == 0


def test_a_failed_task_is_tried_again_where_the_spec_says_so(
    project: Project, sim: Simulator
) -> None:
    """`retries: 1`: after the failure a second attempt is bought under the id with `-r2`, and completes."""
    project.spec(retries=1)
    sim.faults([on_create({"fail": "bad luck"})])
    done = project.apply()
    assert done.code == 0, done
    (row,) = done.document["generations"]
    base = row["external_task_id"].removesuffix("-r2")
    assert (row["status"], row["external_task_id"]) == ("complete", f"{base}-r2")
    assert sim.billed() == {base: 1, f"{base}-r2": 1}
    assert sim.ledger()["refunded"] == {base: 1}
    assert_quiet(project, sim)


def test_retries_end(project: Project, sim: Simulator) -> None:
    """`retries: 1` and two failures: failed, exit 3, and no third attempt, now or by a second apply."""
    project.spec(retries=1, prompt="[[fail: never]]")
    assert [project.apply().code, project.apply().code] == [3, 3]
    assert set(purchases(sim).values()) == {2}
    assert Decimal(sim.ledger()["spent"]) == 0


def test_account_trouble_blocks_what_is_not_sent_and_finishes_what_is(
    tmp_path: Path,
) -> None:
    """Out of units: `blocked`, exit 3, while what was in flight completes; after a top-up the rest is bought once."""
    with simulator(concurrency=10) as sim:
        project = Project(tmp_path / "p", {**sim.env(), "RECONCILER_MAX_CONCURRENCY": "1"})
        project.spec("a.yaml", prompt="a")
        project.spec("b.yaml", prompt="b")
        named = ids(project)
        sim.faults([{**on_create({"refuse": 1102}, of=named["b"]), "when": {}}])
        done = project.apply()
        assert done.code == 3, done
        assert done.statuses == {named["a"]: "complete", named["b"]: "blocked"}
        assert "1102" in done.err
        sim.faults([])
        assert_bought_once(project, sim, project.apply())


def test_an_empty_pack_blocks_and_says_so(tmp_path: Path) -> None:
    """The account's own pack runs out after two purchases: they complete, the third is blocked, exit 3."""
    with simulator(pack_units=5, concurrency=10) as sim:
        project = Project(tmp_path / "p", sim.env())
        project.spec(takes=3)
        done = project.apply()
        assert done.code == 3, done
        assert sorted(done.statuses.values()) == ["blocked", "complete", "complete"]
        assert sorted(sim.billed().values()) == [1, 1]


def test_troubled_queries_and_downloads_only_cost_time(tmp_path: Path) -> None:
    """Every fifth query fails, and downloads break in every way: all complete with the provider's bytes."""
    with simulator(concurrency=50) as sim:
        project = Project(tmp_path / "p", {**sim.env(), "RECONCILER_MAX_CONCURRENCY": "20"})
        project.spec(takes=8)
        effects: list[dict[str, Any]] = [
            {"cut": 3000},
            {"status": 403},
            {"wrong_length": 10},
            {"truncate": 2000},
            {"status": 503},
            {"stall": 100},
        ]
        broken = [
            {"endpoint": "result", "when": {"calls": [number]}, "effect": effect}
            for number, effect in enumerate(effects, start=1)
        ]
        sim.faults(
            [*broken, {"endpoint": "query", "when": {"every": 5}, "effect": {"status": 503}}]
        )
        assert_bought_once(project, sim, project.apply())


def test_a_query_that_fails_while_a_result_is_saved_only_costs_time(tmp_path: Path) -> None:
    """Every second question goes wrong, those before a download too: complete in the end."""
    with simulator(concurrency=50) as sim:
        project = Project(tmp_path / "p", sim.env())
        project.spec(takes=3)
        every: dict[str, Any] = {"endpoint": "query", "when": {"every": 2}}
        sim.faults([{**every, "effect": {"status": 503}}])
        assert_bought_once(project, sim, project.apply())
