"""A sample of the campaign: drawn deaths, several in a row, edits in between, a hostile provider; billed once."""

from __future__ import annotations

import pytest

from tests.support.havoc import Scenario

SAMPLE = [
    Scenario("syscalls", "apply", 1),
    Scenario("syscalls", "watch", 2),
    Scenario("random", "apply", 3),
    Scenario("power", "apply", 4),
]


@pytest.mark.parametrize("scenario", SAMPLE, ids=lambda one: f"{one.mode} {one.command} {one.seed}")
def test_dying_again_and_again_costs_nothing(scenario: Scenario) -> None:
    """One calm run brings everything home: billed once, the provider's bytes, receipts as the ledger says, then quiet."""
    played = scenario.play()
    assert not played.trouble, played.trouble
    assert (played.twice, played.lost) == (0, 0)
    assert played.kills, "nothing died, so this shows nothing"
