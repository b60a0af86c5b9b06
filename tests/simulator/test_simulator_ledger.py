"""The ledger says what would have been billed, whatever becomes of the tasks."""

from __future__ import annotations

import json
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from reconciler.simulator.ledger import Ledger
from tests.simulator.caller import calling, order
from tests.support.simulator import simulator

TAMPERING = {
    "deleted": "DELETE FROM task",
    "cheaper": "UPDATE task SET units = '0'",
    "failed after all": "UPDATE task SET failure = 'made up', ended_at = created_at",
    "succeeded after all": "UPDATE task SET failure = ''",
    "renamed": "UPDATE task SET external_task_id = 'x' || number, task_id = '8' || (10000000000000000 + number)",
}


@pytest.mark.parametrize(("how", "sql"), TAMPERING.items(), ids=TAMPERING)
def test_no_change_of_the_tasks_changes_the_bill(tmp_path: Path, how: str, sql: str) -> None:
    """Neither while it runs nor after a restart, for tasks that go well and for tasks that fail."""
    with simulator(tmp_path, speed=0) as sim, calling(sim) as api:
        api.create(order("good"))
        api.create(order("bad", prompt="[[fail: nothing moves]]"))
        tamper(tmp_path, sql)
        sim.advance(200)
        said = sim.ledger()
    assert (said["billed"], said["refunded"]) == ({"good": 1, "bad": 1}, {"bad": 1}), how
    assert said["spent"] == "2.5"
    with simulator(tmp_path, speed=0) as sim:
        assert sim.ledger() == said


def tamper(folder: Path, sql: str) -> None:
    """Change the table of tasks behind the simulator's back."""
    with sqlite3.connect(folder / "tasks.db") as database:
        database.execute(sql)
    database.close()


def test_a_failed_task_is_not_charged_once_it_has_failed() -> None:
    """While it runs its units are gone; from its end on they are back, and nobody has to ask for that."""
    with simulator(speed=0) as sim, calling(sim) as api:
        api.create(order("bad", prompt="[[fail: nothing moves]]"))
        account = {"billed": 1, "refunded": 0, "charged": 1, "units": "2.5"}
        assert sim.ledger()["ids"] == {"bad": account}
        sim.advance(200)
        account = {"billed": 1, "refunded": 1, "charged": 0, "units": "0.0"}
        assert sim.ledger()["ids"] == {"bad": account}
        assert [entry["kind"] for entry in sim.ledger()["entries"]] == ["billed", "refunded"]


def test_a_provider_may_charge_for_failures() -> None:
    """The other way in which it may turn out: nothing comes back, and the task says what it cost."""
    with simulator(speed=0, failed_tasks="charged") as sim, calling(sim) as api:
        api.create(order("bad", prompt="[[fail: nothing moves]]"))
        sim.advance(200)
        assert sim.ledger()["ids"]["bad"]["charged"] == 1
        assert api.until_over("bad")["final_unit_deduction"] == "2.5"


def test_ids_bases_and_tasks_are_told_apart() -> None:
    """A second attempt is another id of the same base, a repeated id is two tasks, and no id is a task of its own."""
    with simulator(speed=0, concurrency=10, duplicate_ids="bill_again") as sim, calling(sim) as api:
        names = ["a", "a-r2", "a-r10", "b", "b", "b-r1", "", ""]
        tasks = [api.create(order(name)).json()["data"]["task_id"] for name in names]
        said = sim.ledger()
    assert charged(said["bases"]) == {"a": 3, "b": 2, "b-r1": 1, tasks[6]: 1, tasks[7]: 1}
    by_id = {"a": 1, "a-r2": 1, "a-r10": 1, "b": 2, "b-r1": 1, tasks[6]: 1, tasks[7]: 1}
    assert charged(said["ids"]) == said["billed"] == by_id
    assert charged(said["tasks"]) == dict.fromkeys(tasks, 1)


def charged(accounts: dict[str, Any]) -> dict[str, int]:
    """Return for how many tasks each name is charged."""
    return {name: account["charged"] for name, account in accounts.items()}


def test_the_file_is_only_added_to(tmp_path: Path) -> None:
    """What was written stays as it was; a reader of the file alone finds every entry."""
    path, now = tmp_path / "ledger.jsonl", [0]
    ledger = Ledger(path, lambda: now[0])
    written = ""
    for number in range(3):
        ledger.bill(number, f"n{number}", f"t{number}", Decimal("0.5"), refunded_at=10 + number)
        assert path.read_text().startswith(written)
        written = path.read_text()
    assert [json.loads(line)["at"] for line in written.splitlines()] == [0, 10, 1, 11, 2, 12]
    now[0] = 11
    assert (ledger.spent(), Ledger(path, lambda: 12).spent()) == (Decimal("0.5"), Decimal(0))
