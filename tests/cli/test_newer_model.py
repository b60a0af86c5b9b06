"""A model that is newer than this program: bought where the operator said what it costs, and not otherwise."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from reconciler.simulator.config import PRICES
from tests.support.simulator import simulator

from .shell import SPEC, Shell

PRICED = 'RECONCILER_PRICES={"kling-v4": {"std": 2}}\n'


def test_a_newer_model_is_bought_where_it_has_a_price(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without a price it is an error; with one it is said, estimated, kept to the cap, and bought once."""
    config = shell.root / ".env"
    shell.write("dance.yaml", SPEC + "model_name: kling-v4\n")
    prices = {**PRICES, ("kling-v4", "std"): Decimal(2)}
    with simulator(tmp_path / "simulator", prices=prices, concurrency=1) as sim:
        for name, value in sim.env().items():
            monkeypatch.setenv(name, value)
        code, _, said = shell("validate")
        assert code == 1
        assert "specs/dance.yaml:5:13" in said
        assert "[prices.NAME]" in said
        config.write_text(PRICED)
        for command in ("validate", "plan"):
            code, _, said = shell(command)
            assert (code, said.count("`kling-v4` is newer")) == (0, 1), command
        assert shell.json("plan")[1]["estimated_units"] == "20"
        config.write_text(f"RECONCILER_MAX_UNITS_PER_DAY=19\n{PRICED}")
        assert shell("apply", "--yes")[0] == 3
        assert sim.billed() == {}
        config.write_text(PRICED)
        assert shell("apply", "--yes")[0] == 0
        assert list(sim.billed().values()) == [1]
        config.write_text("")
        assert shell("validate")[0] == 1, "what was read before does not outlive its price"


def test_known_models_are_nothing_to_speak_of(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A price for a model that no spec asks for gives no note."""
    monkeypatch.setenv("RECONCILER_PRICES", '{"kling-v4": {"std": 2}, "kling-v3": {"pro": 1.3}}')
    shell.write("dance.yaml")
    assert "newer" not in shell("validate")[2]
