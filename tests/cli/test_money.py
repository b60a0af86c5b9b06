"""What plan, apply and doctor say of money and of the balance, and that saying it holds nothing up."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli import provider, terminal
from tests.support.simulator import Simulator, simulator

from .shell import SPEC, Shell


@pytest.fixture
def priced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A price for a unit."""
    monkeypatch.setenv("RECONCILER_UNIT_PRICE", "0.14")


def answering(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    """Somebody sits there and answers."""
    monkeypatch.setattr(terminal, "is_interactive", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO(word + "\n"))


def account(shell_environment: pytest.MonkeyPatch, sim: Simulator) -> None:
    for name, value in sim.env().items():
        shell_environment.setenv(name, value)
    shell_environment.setenv("RECONCILER_POLL_INTERVAL", "0.05")


def test_without_a_price_no_document_has_a_key_more(shell: Shell) -> None:
    """The contract's keys, and no others."""
    shell.write("dance.yaml")
    document = shell.json("plan")[1]
    assert set(document) == {"actions", "summary", "estimated_units"}
    assert set(document["actions"][0]) == {
        "external_task_id",
        "spec",
        "label",
        "action",
        "reason",
        "estimated_units",
    }


def test_plan_says_money_beside_units_for_every_action(shell: Shell, priced: None) -> None:
    """Exact in the document; rounded, in a column of its own, for people."""
    shell.write("dance.yaml", SPEC + "matrix:\n  mode: [std, pro]\n")
    shell.write("bad.yaml", "mode: x\n")
    document = shell.json("plan")[1]
    costs = {row["label"]: row["estimated_cost"] for row in document["actions"]}
    assert costs == {"std": "0.7", "pro": "1.12", "": "0"}
    assert (document["estimated_cost"], document["currency"]) == ("1.82", "USD")
    said = shell("plan")[1]
    assert "USD" in said.splitlines()[0]
    assert "estimated 13 units (1.82 USD)." in said


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("UNIT_PRICE", "-1"),
        ("UNIT_PRICE", "NaN"),
        ("UNIT_PRICE", "Infinity"),
        ("UNIT_PRICE", "0,14"),
        ("CURRENCY", "dollars"),
    ],
)
def test_a_price_that_is_none_is_an_error(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, setting: str, value: str
) -> None:
    """Named, before anything is done."""
    monkeypatch.setenv(f"RECONCILER_{setting}", value)
    code, _, err = shell("plan")
    assert code == 1
    assert f"RECONCILER_{setting}" in err


def test_apply_asks_with_count_units_and_money(
    shell: Shell, sim: Simulator, priced: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is bought is what was said; no is no."""
    shell.write("dance.yaml", SPEC + "takes: 3\n")
    answering(monkeypatch, "n")
    code, _, err = shell("apply")
    assert (code, sim.billed()) == (1, {})
    assert "Buy 3 generations for about 15 units (2.10 USD)? [y/N]" in err
    answering(monkeypatch, "y")
    assert shell("apply")[0] == 0
    assert list(sim.billed().values()) == [1, 1, 1]


def test_apply_says_that_the_packs_will_not_do_before_it_asks(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, priced: None
) -> None:
    """A sentence, no error: packs may be postpaid. It comes before the question, and with --yes before the purchase."""
    shell.write("dance.yaml")
    with simulator(tmp_path / "poor", pack_units=3, costs_interval_s=0) as poor:
        account(monkeypatch, poor)
        answering(monkeypatch, "n")
        code, _, err = shell("apply")
        assert (code, poor.billed(), poor.requests()["costs"]) == (1, {}, 1)
        sentence = "packs hold 3 units, and this is expected to cost 5 units (0.70 USD)"
        assert -1 < err.index(sentence) < err.index("Buy 1 generation")
        monkeypatch.undo()
        account(monkeypatch, poor)
        code, _, err = shell("apply", "--yes")
        assert code == 0
        assert err.index("packs hold 3 units") < err.index("submitting")
        assert list(poor.billed().values()) == [1]
        assert poor.requests()["costs"] == 2
        shell("apply", "--yes")
        assert poor.requests()["costs"] == 2, "nothing to buy, nothing to ask"


@pytest.mark.parametrize(
    "effect",
    [{"status": 500}, {"refuse": 1302}, {"garbage": True}, {"delay_s": 30.0}, {"refuse": 1102}],
)
def test_a_balance_that_cannot_be_read_holds_nothing_up_and_is_not_said(
    shell: Shell, sim: Simulator, monkeypatch: pytest.MonkeyPatch, effect: dict[str, Any]
) -> None:
    """The purchase goes on; only `plan --refresh`, which asks for it, says that it is not known."""
    monkeypatch.setattr(provider, "_LONGEST", 0.3)
    monkeypatch.setattr(provider, "_BETWEEN", 0.01)
    shell.write("dance.yaml")
    sim.faults([{"endpoint": "costs", "effect": effect}])
    code, out, _ = shell("plan", "--refresh")
    assert code == 0
    assert "Balance: not known: " in out
    code, _, err = shell("apply", "--yes")
    assert (code, list(sim.billed().values())) == (0, [1])
    assert "alance" not in err
    assert "packs" not in err


def test_refreshed_plan_says_the_balance_and_when_packs_end(
    shell: Shell, sim: Simulator, priced: None
) -> None:
    """Units, money, the day; with --json on stderr, for the document is the contract's."""
    shell.write("dance.yaml")
    code, out, _ = shell("plan", "--refresh")
    assert code == 0
    assert "Balance: 1000 units (140.00 USD) in 1 pack; the next one expires on 20" in out
    assert "estimated_units" in shell.json("plan", "--refresh")[1]
    assert "Balance" not in shell("plan")[1]


def test_refreshed_plan_says_that_the_balance_cannot_pay_for_it(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is bought; also where no pack is left, and not where none is listed."""
    shell.write("dance.yaml")
    for config, said in (
        ({"pack_units": 3}, "The account's packs hold 3 units, and this is expected to cost 5"),
        ({"pack_units": 0}, "The account's packs hold no units"),
        ({"pack_days": -500.0}, "lists no packs (a postpaid account has none)"),
    ):
        with simulator(tmp_path / said[-6:], **config) as poor:
            account(monkeypatch, poor)
            code, out, _ = shell("plan", "--refresh")
        assert code == 0
        assert said in out
        assert ("will not be enough" in out) == ("pack_units" in config)


def test_doctor_warns_of_a_pack_that_ends_within_a_week(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a sentence with its day and what would be lost; a later one only has its day. The check is well."""
    for days, warned in ((6.0, True), (30.0, False)):
        with simulator(tmp_path / f"{days}", pack_days=days, speed=1) as sim:
            account(monkeypatch, sim)
            checks = {
                check["name"]: check for check in shell.json("doctor", "--quick")[1]["checks"]
            }
        assert checks["balance"]["ok"]
        assert (
            "1000 units in it will be lost unless they are used before then"
            in checks["balance"]["message"]
        ) is warned
        assert "until 20" in checks["balance"]["message"]
