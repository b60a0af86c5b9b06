"""Random histories of the whole engine in virtual time: what must hold holds, and what would break it is seen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.crash import Death
from tests.simulation.history import Act, Chapter, History
from tests.simulation.past import play

WORST: Mapping[str, Any] = {
    "seed": "worst",
    "duplicate_ids": "bill_again",
    "query_lag_s": 20.0,
    "task_s": 20.0,
}
"""A provider that bills a repeated id and hides new tasks, but for less than the grace period."""


def chapter(*acts: Act, seconds: float = 600.0, death: Death | None = None) -> Chapter:
    """Return an `apply` that ends by itself or dies; the acts come before it."""
    return Chapter(acts, "apply", seconds, death, "asked", ())


def test_a_clock_set_forward_between_two_processes_does_not_shorten_a_doubt(tmp_path: Path) -> None:
    """A create is in doubt, the process ends, the clock is set forward: the next one waits the whole grace period.

    Found by seed 145: the beginning of the doubt was on disk by the old clock, and three looks of a new process ended it.
    """
    lost = {"endpoint": "create", "when": {"first": 1}, "effect": {"drop": "after"}}
    history = History(
        seed=145,
        provider=WORST,
        faults=(lost,),
        specs=(Act("add", "plain:1"),),
        chapters=(chapter(seconds=3.0), chapter(Act("jump", 7200.0))),
        finale="apply",
    )
    past = play(history, tmp_path)
    assert past.wrong == ()
    assert past.counts["billed"] == 1


@pytest.mark.parametrize("seconds", [42.0, 78.0, 103.0])
def test_a_create_that_arrives_after_an_outage_is_looked_for_over_a_whole_grace_period(
    tmp_path: Path, seconds: float
) -> None:
    """Sent, stuck on its way, given up; the network is back, the request arrives, and the new task is hidden at first.

    The doubt began long ago then, and three looks within seconds must not end it.
    """
    history = History(
        seed=1,
        provider=WORST,
        faults=(),
        specs=(Act("add", "plain:1"),),
        chapters=(chapter(Act("strand", seconds)),),
        finale="apply",
    )
    past = play(history, tmp_path)
    assert past.wrong == ()
    assert past.counts["billed"] == 1
