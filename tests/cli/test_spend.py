"""spend: what was bought is counted once, whoever remembers it, and every form of the answer says the same."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.simulator import Simulator

from .shell import SPEC, Shell

LONG = SPEC.replace("mode: std", "mode: pro")


def rows(shell: Shell, *arguments: str) -> dict[str, dict[str, Any]]:
    """Return the rows of `spend --json`, by their names."""
    code, document = shell.json("spend", *arguments)
    assert code == 0
    return {row.pop(document["by"]): row for row in document["rows"]}


def total(shell: Shell, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = shell.json("spend", *arguments)[1]["total"]
    return found


def test_estimate_deduction_and_difference_are_added_up(shell: Shell, sim: Simulator) -> None:
    """What the provider deducted, by spec and by folder; the groups agree with the total."""
    shell.write("dance.yaml", SPEC)
    (shell.root / "specs/ads").mkdir()
    shell.write("ads/walk.yaml", LONG)
    shell("apply", "--yes")
    spent = sim.config.pack_units - _remaining(shell)
    by_spec = rows(shell, "--by", "spec")
    assert {name: row["estimated_units"] for name, row in by_spec.items()} == {
        "specs/ads/walk.yaml": "8",
        "specs/dance.yaml": "5",
    }
    assert list(rows(shell, "--by", "folder")) == ["specs", "specs/ads"]
    assert list(rows(shell, "--by", "model")) == ["kling-v2-6"]
    assert len(rows(shell, "--by", "attempt")) == 2
    whole = total(shell)
    assert (whole["attempts"], whole["estimated_units"]) == (2, "13")
    assert whole["deducted_units"] == whole["spent_units"] == f"{spent.normalize():f}"
    assert (whole["undetermined_units"], whole["wasted_units"]) == ("0", "0")
    assert total(shell, "--by", "folder") == whole


def _remaining(shell: Shell) -> Any:
    from decimal import Decimal

    said = next(
        check["message"]
        for check in shell.json("doctor")[1]["checks"]
        if check["name"] == "balance"
    )
    return Decimal(said.partition(": ")[2].partition(" ")[0])


def test_what_is_under_way_counts_by_estimate_and_says_so(shell: Shell, sim: Simulator) -> None:
    """No deduction is known yet."""
    shell.write("dance.yaml")
    sim.set_speed(0)
    shell("apply", "--yes", "--timeout", "0.5")
    whole = total(shell)
    assert (whole["deducted_units"], whole["undetermined_units"]) == ("0", "5")
    assert "5 of them by estimate" in shell("spend")[1]


def test_a_failure_is_free_and_an_expired_result_is_wasted(shell: Shell, sim: Simulator) -> None:
    """Only what was paid is spent; what was paid and cannot be had any more is wasted."""
    shell.write("bad.yaml", SPEC + 'prompt: "[[fail: too dark]]"\n')
    shell.write("late.yaml")
    sim.faults([{"endpoint": "result", "effect": {"redirect": "http://192.0.2.1/x.mp4"}}])
    shell("apply", "--yes")
    sim.advance(31 * 24 * 3600)
    sim.faults([])
    shell("apply", "--yes")
    whole = total(shell)
    assert whole["attempts"] == 1
    assert whole["wasted_units"] == whole["spent_units"] == "2.5"
    assert "2.5 wasted" in shell("spend")[1]


def test_a_prompt_that_changed_leaves_what_is_not_wanted_and_not_wasted(
    shell: Shell, sim: Simulator
) -> None:
    """The first video stays in the store; it is wanted again when the prompt comes back."""
    shell.write("dance.yaml")
    shell("apply", "--yes")
    assert total(shell)["unwanted_units"] == "0"
    shell.write("dance.yaml", SPEC + "prompt: another\n")
    whole = total(shell, "specs/dance.yaml")
    assert (whole["unwanted_units"], whole["wasted_units"]) == ("2.5", "0")
    (shell.root / "specs/dance.yaml").unlink()
    assert total(shell, "specs/dance.yaml") == whole


def test_a_lost_state_and_a_forgotten_purchase_are_counted_once(
    shell: Shell, sim: Simulator
) -> None:
    """Receipts remember what the state does not, the state what was forgotten."""
    shell.write("dance.yaml")
    shell("apply", "--yes")
    known = total(shell)
    shutil.rmtree(shell.root / "state")
    recalled = total(shell)
    assert (recalled["attempts"], recalled["spent_units"]) == (1, known["spent_units"])
    shell("apply", "--yes")
    assert total(shell)["spent_units"] == known["spent_units"]
    shell("forget", shell.only()["external_task_id"], "--yes")
    forgotten = total(shell)
    assert (forgotten["attempts"], forgotten["spent_units"]) == (1, known["spent_units"])
    assert list(rows(shell, "--by", "model")) == ["(not known)"]


def test_money_appears_with_a_price_and_only_then(
    shell: Shell, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In every form, exact in the documents."""
    shell.write("dance.yaml")
    shell("apply", "--yes")
    assert "cost" not in json.dumps(shell.json("spend")[1])
    monkeypatch.setenv("RECONCILER_UNIT_PRICE", "0.1412")
    monkeypatch.setenv("RECONCILER_CURRENCY", "EUR")
    document = shell.json("spend")[1]
    assert (document["currency"], document["total"]["spent_cost"]) == ("EUR", "0.353")
    assert "2.5 units spent, 0.35 EUR" in shell("spend")[1]


def test_csv_has_the_rows_of_the_table(shell: Shell, sim: Simulator) -> None:
    """On stdout and in a file, the same; a file that is no CSV file is not overwritten."""
    shell.write("dance.yaml")
    shell("apply", "--yes")
    _, out, _ = shell("spend", "--by", "spec", "--csv", "-")
    (row,) = csv.DictReader(io.StringIO(out))
    assert (row["spec"], row["spent_units"], row["attempts"]) == ("specs/dance.yaml", "2.5", "1")
    for _ in range(2):
        assert shell("spend", "--by", "spec", "--csv", str(shell.root / "s.csv"))[0] == 0
    assert (shell.root / "s.csv").read_text() == out
    video = shell.root / "specs/dance.mp4"
    before = video.read_bytes()
    assert shell("spend", "--csv", str(video))[0] == 1
    assert video.read_bytes() == before


@pytest.mark.parametrize("place", ["s.csv", "gone.csv", "pipe.csv", "out/s.csv"])
def test_no_csv_is_written_through_a_link(shell: Shell, tmp_path: Path, place: str) -> None:
    """A commit can hold a link under the name that is always given: what it leads to keeps its bytes, and nothing hangs."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "s.csv").write_text("somebody else's\n")
    (shell.root / "s.csv").symlink_to(outside / "s.csv")
    (shell.root / "gone.csv").symlink_to(outside / "new.csv")
    (shell.root / "out").symlink_to(outside)
    os.mkfifo(shell.root / "pipe.csv")
    reader = os.open(shell.root / "pipe.csv", os.O_RDONLY | os.O_NONBLOCK)
    code, _, err = shell("spend", "--csv", str(shell.root / place))
    os.close(reader)
    assert code == 1
    assert place in err
    assert [path.name for path in outside.iterdir()] == ["s.csv"]
    assert (outside / "s.csv").read_text() == "somebody else's\n"


def test_a_csv_file_with_a_second_name_is_replaced_and_not_written_into(
    shell: Shell, tmp_path: Path
) -> None:
    """The other name keeps the old bytes."""
    (tmp_path / "kept").write_text("old\n")
    os.link(tmp_path / "kept", shell.root / "s.csv")
    assert shell("spend", "--csv", str(shell.root / "s.csv"))[0] == 0
    assert (tmp_path / "kept").read_text() == "old\n"
    assert (shell.root / "s.csv").read_text().startswith("day,")


def test_no_name_becomes_a_formula_in_a_spreadsheet(shell: Shell, sim: Simulator) -> None:
    """A receipt comes from anybody, and names the model."""
    shell.write("dance.yaml")
    shell("apply", "--yes")
    place = shell.root / "specs/dance.receipt.json"
    receipt = json.loads(place.read_text())
    receipt["generations"][0]["request"]["model_name"] = "=1+1"
    place.write_text(json.dumps(receipt))
    shutil.rmtree(shell.root / "state")
    assert "\n'=1+1," in shell("spend", "--by", "model", "--csv", "-")[1]


def test_a_period_and_a_path_that_holds_nothing(shell: Shell, sim: Simulator) -> None:
    """A day before the first purchase has none; a path that never was is an error; a wrong date is wrong usage."""
    shell.write("dance.yaml")
    shell("apply", "--yes")
    (day,) = rows(shell)
    assert total(shell, "--since", day, "--until", day)["attempts"] == 1
    assert total(shell, "--until", "2001-01-01")["attempts"] == 0
    assert shell("spend", "--until", "2001-01-01")[1] == "Nothing was bought here.\n"
    assert shell("spend", "nowhere.yaml")[0] == 1
    assert shell("spend", "--since", "yesterday")[0] == 64
    assert shell("spend", "--json", "--csv", "-")[0] == 64


def test_a_receipt_that_cannot_be_read_is_named(shell: Shell, sim: Simulator) -> None:
    """What it lists is not counted, and that is said."""
    shell.write("dance.yaml")
    (shell.root / "specs/dance.receipt.json").write_text("<<<<<<<")
    code, _, err = shell("spend")
    assert code == 0
    assert "not counted specs/dance.receipt.json" in err


_NUMBERS = [0, -1, 1_700_000_000, 1_700_000_000_000_000, 2**62, -(2**62)]


@pytest.mark.parametrize("number", _NUMBERS)
def test_numbers_that_cannot_be_break_no_report(shell: Shell, sim: Simulator, number: int) -> None:
    """Whatever an older program stored: spend in every form, status, show and plan say what they can."""
    shell.write("dance.yaml")
    shell("apply", "--yes")
    with closing(sqlite3.connect(shell.root / "state/reconciler.db")) as connection, connection:
        connection.execute(
            "UPDATE task SET created_at = :n, finished_at = :n, intent_at = :n, calendar_at = :n, "
            "units = '999999999999'",
            {"n": number},
        )
        connection.execute("UPDATE result SET duration = 1e300")
    for arguments in (
        ("spend",),
        ("spend", "--csv", "-"),
        ("spend", "--until", "2030-01-01"),
        ("status",),
        ("show", "specs/dance.yaml"),
        ("plan",),
        ("doctor", "--quick"),
    ):
        assert shell(*arguments)[0] == 0, arguments
    code, document = shell.json("spend", "--by", "attempt")
    assert code == 0
    assert document["total"]["spent_units"] == "5"
    assert [row["said_units"] for row in document["not_believed"]] == ["999999999999"]
    assert "999999999999" in shell("spend")[2]
    day = next(iter(rows(shell, "--by", "day")))
    assert day == "(not known)" or re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", day)


@pytest.mark.parametrize(
    "time", ["9999-12-31T23:59:59.999Z", "1970-01-01T00:00:00.000Z", "2019-01-01T00:00:00Z"]
)
def test_a_receipt_of_no_believable_time_is_counted_and_counts_on_one_day(
    shell: Shell, sim: Simulator, monkeypatch: pytest.MonkeyPatch, time: str
) -> None:
    """A receipt comes from anybody: taken over into a new state, it counts on the day when it was."""
    shell.write("dance.yaml")
    shell("apply", "--yes")
    place = shell.root / "specs/dance.receipt.json"
    receipt = json.loads(place.read_text())
    receipt["generations"][0] |= {"created_at": time, "finished_at": time}
    place.write_text(json.dumps(receipt))
    shutil.rmtree(shell.root / "state")
    assert total(shell)["attempts"] == 1
    shell.write("walk.yaml", LONG)
    monkeypatch.setenv("RECONCILER_MAX_UNITS_PER_DAY", "9")  # 2.5 were deducted, 8 are wanted
    assert shell("apply", "--yes")[0] == 3
    assert len(sim.billed()) == 1
    assert total(shell)["attempts"] == 1
    assert "(not known)" not in rows(shell, "--by", "day")
