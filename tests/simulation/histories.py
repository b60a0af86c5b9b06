"""Thousands of random histories of the whole engine, in virtual time; after each, what must hold is looked at.

    python -m tests.simulation.histories --seeds 0:2000 --jobs 2
    python -m tests.simulation.histories --minutes 30
    python -m tests.simulation.histories --replay 17
    python -m tests.simulation.histories --only lag,stray --seeds 0:100
    python -m tests.simulation.histories --without all

A seed is a history: the folder, the provider's personality, faults, crashes, restarts, edits, losses, clock jumps and
full disks, and now and then a hazard (`hazards.py`). `--only` draws one of the named ones in each history, `--without`
leaves some out, in a replay as well. A campaign prints a table and every seed that broke; a replay is in words.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import multiprocessing
import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field

from tests.simulation.hazards import HAZARDS, Choice, with_hazards
from tests.simulation.history import draw_history
from tests.simulation.past import Past, past_of
from tests.support import authority

_ENDLESS = 10**9


@dataclass
class Sum:
    """What came of many histories."""

    histories: int = 0
    totals: Counter[str] = field(default_factory=Counter)
    most: dict[str, tuple[float, int]] = field(default_factory=dict)
    """What -> the most of it in one history, and that one's seed."""
    broken: dict[int, tuple[str, ...]] = field(default_factory=dict)

    def add(self, past: Past) -> None:
        """Count one more."""
        self.histories += 1
        self.totals += past.counts
        measured: dict[str, float] = {**past.counts, "seconds until settled": past.converged_s}
        for what, much in measured.items():
            if much > self.most.get(what, (0, 0))[0]:
                self.most[what] = (much, past.history.seed)
        if past.wrong:
            self.broken[past.history.seed] = past.wrong

    def table(self) -> Iterator[str]:
        """Return the rows of the table."""
        yield f"{self.histories} histories, {len(self.broken)} broken"
        yield f"{'what':<40} {'in all':>8} {'most in one':>12} {'its seed':>9}"
        for what, (much, seed) in sorted(self.most.items()):
            total = self.totals.get(what, "-")
            yield f"{what:<40} {total:>8} {much:>12.0f} {seed:>9}"


def told(past: Past) -> Iterator[str]:
    """Return a history in words."""
    history = past.history
    about = f", about {', '.join(history.hazards)}" if history.hazards else ""
    yield f"seed {history.seed}{about}; the provider: {dict(history.provider)}"
    if history.machines > 1:
        kept = "committed" if history.carries_receipts else "not committed"
        yield f"{history.machines} machines; receipts are {kept}"
    if history.cap is not None:
        yield f"a cap of {history.cap} units per day"
    yield from (f"fault: {dict(rule)}" for rule in history.faults)
    yield from (f"between: {rule}" for rule in history.interferences)
    lines = [*past.requests, *past.log]
    yield from sorted(lines, key=lambda line: float(line.split(maxsplit=1)[0]))
    yield from (f"WRONG: {sentence}" for sentence in past.wrong)
    yield f"settled {past.converged_s:.0f} s after all trouble was over"


def _pasts(seeds: Iterable[int], chosen: Choice, jobs: int, until: float) -> Iterator[Past]:
    """Give how histories went, in order, until a time (real seconds, of the monotonic clock)."""
    waiting = itertools.takewhile(lambda _: time.monotonic() < until, seeds)
    if jobs == 1:
        yield from (past_of(seed, chosen) for seed in waiting)
        return
    # Fresh interpreters: a fork would copy whatever runs here.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=_lightly) as pool:
        begun = deque[Future[Past]]()
        for seed in waiting:
            begun.append(pool.submit(past_of, seed, chosen))
            if len(begun) > 16 * jobs:  # as many wait as keep everyone busy, however long one takes
                yield begun.popleft().result()
        yield from (one.result() for one in begun)


def _lightly() -> None:
    """Spend no time on what no history looks at: a list of authorities read for each client, small collections."""
    authority.trust_it_alone()
    gc.set_threshold(50_000, 20, 20)


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _campaign(seeds: Iterable[int], chosen: Choice, jobs: int, until: float) -> int:
    total = Sum()
    for past in _pasts(seeds, chosen, jobs, until):
        total.add(past)
        seed = past.history.seed
        for sentence in past.wrong:
            _print(f"seed {seed}: {sentence}")
        if past.wrong:
            only = f" --only {','.join(chosen.only)}" if chosen.only else ""
            left_out = f" --without {','.join(sorted(chosen.without))}" if chosen.without else ""
            _print(f"    python -m tests.simulation.histories --replay {seed}{only}{left_out}")
    for row in total.table():
        _print(row)
    return bool(total.broken)


def _hazards(text: str) -> tuple[str, ...]:
    names = tuple(HAZARDS) if text == "all" else tuple(text.split(","))
    if unknown := set(names) - HAZARDS.keys():
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: no hazard")
    return names


def main() -> int:
    """Run the command; return 1 when something broke."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seeds", default="0:200", metavar="FROM:TO", help="the second one excluded"
    )
    parser.add_argument("--minutes", type=float, help="go on from the first seed for this long")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--replay", type=int, metavar="SEED", help="print one history in words")
    parser.add_argument("--draw", type=int, metavar="SEED", help="print what a seed decides")
    names = f"some of {', '.join(HAZARDS)}"
    parser.add_argument("--only", type=_hazards, default=(), metavar="HAZARDS", help=names)
    parser.add_argument(
        "--without", type=_hazards, default=(), metavar="HAZARDS", help="the same, or `all`"
    )
    chosen = parser.parse_args()
    _lightly()
    hazards = Choice(chosen.only, frozenset(chosen.without))
    if chosen.draw is not None:
        _print(repr(with_hazards(draw_history(chosen.draw), hazards)))
        return 0
    if chosen.replay is not None:
        past = past_of(chosen.replay, hazards)
        for line in told(past):
            _print(line)
        return bool(past.wrong)
    first, _, last = chosen.seeds.partition(":")
    if chosen.minutes is None:
        return _campaign(range(int(first), int(last)), hazards, chosen.jobs, float("inf"))
    until = time.monotonic() + chosen.minutes * 60
    return _campaign(range(int(first), _ENDLESS), hazards, chosen.jobs, until)


if __name__ == "__main__":
    sys.exit(main())
