"""Random histories of the whole engine in virtual time: what must hold holds, and what would break it is seen."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.crash import Death
from tests.simulation.hazards import EVERY, HAZARDS, NONE, Choice, with_hazards
from tests.simulation.history import Act, Chapter, History, draw_history
from tests.simulation.past import past_of, play

WORST: Mapping[str, Any] = {
    "seed": "worst",
    "duplicate_ids": "bill_again",
    "query_lag_s": 20.0,
    "task_s": 20.0,
}
"""A provider that bills a repeated id and hides new tasks, but for less than the grace period."""


CI = 24
"""Everyday histories that the suite plays, in groups; the command plays thousands."""
GROUP = 6
OF_EACH = 1
"""Histories about each hazard."""


def broken(seeds: range, chosen: Choice) -> dict[int, tuple[str, ...]]:
    """Return what does not hold in which history."""
    return {seed: past.wrong for seed in seeds if (past := past_of(seed, chosen)).wrong}


@pytest.mark.parametrize("first", range(0, CI, GROUP))
def test_in_random_histories_everything_holds_in_the_end(first: int) -> None:
    """Whatever breaks and whoever dies: nothing is paid twice, nothing paid for is lost, and a further run is quiet."""
    wrong = broken(range(first, first + GROUP), NONE)
    assert wrong == {}, "python -m tests.simulation.histories --without all --replay SEED"


@pytest.mark.parametrize("hazard", HAZARDS)
def test_in_histories_about_a_hazard_everything_holds_in_the_end(hazard: str) -> None:
    """The same where orders, clones, clocks or what stands in between go wrong as well."""
    wrong = broken(range(OF_EACH), Choice(only=(hazard,)))
    assert wrong == {}, f"python -m tests.simulation.histories --only {hazard} --replay SEED"


def test_the_same_seed_is_the_same_history() -> None:
    """Twice the same requests with their answers and times, the same log, and the same counts; hazards or none."""
    once, again, other = past_of(16, NONE), past_of(16, NONE), past_of(15, NONE)
    assert draw_history(16) == draw_history(16)
    assert once.digest == again.digest != other.digest
    assert (once.log, once.counts) == (again.log, again.counts)
    hazards = Choice(only=tuple(HAZARDS))
    assert past_of(7, hazards).digest == past_of(7, hazards).digest != past_of(7, NONE).digest


def test_each_seed_draws_few_hazards_and_each_hazard_is_drawn() -> None:
    """About half of the histories are the everyday's alone; `only` draws one of the named, `without` none of them."""
    drawn = [with_hazards(draw_history(seed), EVERY).hazards for seed in range(400)]
    assert {name for names in drawn for name in names} == set(HAZARDS)
    assert 0.4 < sum(not names for names in drawn) / len(drawn) < 0.7
    assert with_hazards(draw_history(3), NONE) == draw_history(3)
    assert with_hazards(draw_history(3), Choice(only=("lag", "stray"))).hazards == ("stray",)


def test_the_command_plays_histories_in_two_processes() -> None:
    """It ends with the table, and with 0 when nothing broke."""
    words = [sys.executable, "-m", "tests.simulation.histories", "--seeds", "0:2", "--jobs", "2"]
    words += ["--without", "all"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("2 histories, 0 broken\n")


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
