"""The full campaign: kill the program, start it again, and count what was billed.

    python -m tests.acceptance.campaign                      # `apply` before every single step, nothing else wrong
    python -m tests.acceptance.campaign --every 5            # before every fifth step
    python -m tests.acceptance.campaign --mishap lost        # the answer to the create goes wrong too
    python -m tests.acceptance.campaign --mishap all         # every mishap in turn (hours)
    python -m tests.acceptance.campaign --kills 3 --seed 7   # three kills in a row per scenario

    python -m tests.acceptance.campaign --mode syscalls --command watch --count 100 --seed 1
    python -m tests.acceptance.campaign --mode all --command both --count 25

The first form is the sweep (`tests/support/sweep.py`): a fresh project, one wish, and a kill before its N-th step, a
call into C that changes something outside the process (`tests/support/killer.py`). Its N is printed when it breaks,
and `--only N` repeats it. The number of steps varies with how often a task is asked for, so the last ones may not be
reached: such scenarios are counted apart, never as held.

With `--mode`, scenarios are drawn (`tests/support/havoc.py`): several deaths in a row, specs edited in between, and
the most hostile provider that is inside the promise. The program dies before a step (`steps`), at any time
(`random`), before the N-th system call of some kinds (`syscalls`), or so that of the disk only what was synced is left
(`power`). A scenario is its mode, its command and its seed; they are printed when it breaks.

Exit 1 when a scenario breaks. CI runs a sample: `test_kill.py`, `test_deaths.py`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from statistics import median

from tests.support.havoc import Played, Scenario
from tests.support.lives import ARGUMENTS, MODES
from tests.support.mishaps import CREATE_MISHAPS
from tests.support.sweep import Sweep, sweeps

_ROW = "{:<9} {:<6} {:>9} {:>6} {:>7} {:>7} {:>6} {:>7} {:>9} {:>10}\n"
_HEADINGS = (
    "mode",
    "of",
    "scenarios",
    "kills",
    "ended",
    "twice",
    "lost",
    "broken",
    "median s",
    "slowest s",
)


def main(arguments: Sequence[str]) -> int:
    """Run the campaign; returns the exit code."""
    parser = argparse.ArgumentParser(description="Kill the program, and count what was billed.")
    parser.add_argument("--mode", default="sweep", choices=["sweep", *MODES, "all"])
    parser.add_argument("--command", default="apply", choices=[*ARGUMENTS, "both"])
    parser.add_argument("--count", type=int, default=20, help="scenarios of each mode and command")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")
    parser.add_argument("--jobs", type=int, default=2, help="scenarios at a time")
    sweep = parser.add_argument_group("sweep")
    sweep.add_argument("--every", type=int, default=1, help="only every K-th step")
    sweep.add_argument("--only", type=int, default=0, help="only this step")
    sweep.add_argument("--kills", type=int, default=1, help="kills in a row")
    sweep.add_argument("--mishap", default="", choices=["", "all", *CREATE_MISHAPS])
    chosen = parser.parse_args(arguments)
    return _sweep(chosen) if chosen.mode == "sweep" else _havoc(chosen)


def _sweep(chosen: argparse.Namespace) -> int:
    """Kill `apply` at every step that was chosen."""
    began = time.monotonic()
    steps, planned = sweeps(
        every=chosen.every,
        only=chosen.only,
        kills=chosen.kills,
        mishap=chosen.mishap,
        seed=chosen.seed,
    )
    sys.stdout.write(f"{steps} steps in a clean run, {len(planned)} scenarios\n")
    broken = missed = 0
    with ThreadPoolExecutor(chosen.jobs) as pool:
        for scenario, (reached, trouble) in zip(
            planned, pool.map(Sweep.play, planned), strict=True
        ):
            if trouble:
                broken += 1
                sys.stdout.write(f"BROKEN {scenario}\n{trouble}\n")
            elif not reached:
                missed += 1
    took = time.monotonic() - began
    sys.stdout.write(
        f"{len(planned) - broken - missed} held, {broken} broken, {missed} not reached, {took:.0f} s\n"
    )
    return 1 if broken else 0


def _havoc(chosen: argparse.Namespace) -> int:
    """Play drawn scenarios and print what came of them."""
    began = time.monotonic()
    modes = MODES if chosen.mode == "all" else (chosen.mode,)
    commands = tuple(ARGUMENTS) if chosen.command == "both" else (chosen.command,)
    seeds = range(chosen.seed, chosen.seed + chosen.count)
    planned = [
        Scenario(mode, command, seed) for mode in modes for command in commands for seed in seeds
    ]
    came: dict[tuple[str, str], list[Played]] = {}
    with ProcessPoolExecutor(chosen.jobs, mp_context=get_context("spawn")) as pool:
        for scenario, played in zip(planned, pool.map(Scenario.play, planned), strict=True):
            came.setdefault((scenario.mode, scenario.command), []).append(played)
            if played.trouble:
                sys.stdout.write(f"BROKEN {scenario}\n{played.trouble}\n")
                sys.stdout.flush()
    _print_table(came)
    sys.stdout.write(f"{time.monotonic() - began:.0f} s in all\n")
    return 1 if any(one.trouble for several in came.values() for one in several) else 0


def _print_table(came: dict[tuple[str, str], list[Played]]) -> None:
    sys.stdout.write(_ROW.format(*_HEADINGS))
    for (mode, command), several in came.items():
        sys.stdout.write(_ROW.format(mode, command, *_numbers(several)))
    everything = [one for several in came.values() for one in several]
    sys.stdout.write(_ROW.format("all", "", *_numbers(everything)))
    states: Counter[str] = sum((one.states for one in everything), Counter())
    found = ", ".join(f"{status} {times}" for status, times in states.most_common())
    sys.stdout.write(f"on record at a kill: {found}\n")


def _numbers(several: Iterable[Played]) -> list[int | str]:
    played = list(several)
    calm = [one.calm_s for one in played if not one.trouble] or [0.0]
    return [
        len(played),
        sum(one.kills for one in played),
        sum(one.ended for one in played),
        sum(one.twice for one in played),
        sum(one.lost for one in played),
        sum(bool(one.trouble) for one in played),
        f"{median(calm):.1f}",
        f"{max(calm):.1f}",
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
