"""Thousands of random histories of the whole engine, in virtual time; after each, what must hold is looked at.

    python -m tests.simulation.histories --seeds 0:2000 --jobs 2
    python -m tests.simulation.histories --minutes 30
    python -m tests.simulation.histories --replay 17

A seed is a history: the folder, the provider's personality, faults, crashes, restarts, edits, losses, clock jumps and
full disks. The first forms print a table and every seed that broke; the last one prints a history in words.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.simulation.crash import MortalLoop
from tests.simulation.history import History, draw_history
from tests.simulation.invariants import Scene, judge, tree, unsettled
from tests.simulation.loop import run, running
from tests.simulation.player import Player
from tests.simulation.wire import Wire
from tests.simulation.witness import Sent
from tests.simulation.world import START, account

_MOST_FINISHES = 4
_PAUSE_S = 60.0


@dataclasses.dataclass(frozen=True)
class Past:
    """How one history went."""

    history: History
    wrong: tuple[str, ...]
    log: tuple[str, ...]
    requests: tuple[str, ...]
    counts: Counter[str]
    converged_s: float
    """Virtual seconds from the end of all trouble until everything was settled."""

    @property
    def digest(self) -> str:
        """A digest of all that passed the wire."""
        return hashlib.sha256("\n".join(self.requests).encode()).hexdigest()


def play(history: History, folder: Path) -> Past:
    """Play one history in a fresh folder."""
    return run(_story(history, folder), start=START, loop=MortalLoop)


async def _story(history: History, folder: Path) -> Past:
    wire = Wire(seed=str(history.seed))
    config = {**history.provider, "faults": history.faults}
    async with account(folder / "account", wire, **config) as provider:
        player = Player(history, folder, provider, wire)
        with player.attached():
            await player.play()
            await player.calm()
            began = running().time()
            finishes = await _finish(player)
            converged_s = running().time() - began
            wrong = [*player.wrong, *(f"the wire saw {error!r}" for error in wire.crashes)]
            scene = Scene(
                player.root,
                provider,
                player.witness.requests,
                player.lost,
                int(START * 1000),
            )
            wrong += judge(scene)
            wrong += await _further(player)
            wrong += player.ear.mistakes
    counts = player.counts
    counts["creates"] = provider.requests["create_attempts"]
    counts["billed"] = len(scene.jobs)
    counts["finishes"] = finishes
    counts["disk refused"] = player.disk.refused
    for rule in history.faults:
        counts[f"fault: {rule['endpoint']} {next(iter(rule['effect']))}"] += 1
    requests = tuple(player.witness.lines(_line))
    return Past(history, tuple(wrong), tuple(player.log), requests, counts, converged_s)


async def _finish(player: Player) -> int:
    """Let calm processes do what is left; return how many it took."""
    for number in range(1, _MOST_FINISHES + 1):
        await player.finish(player.history.finale)
        if not unsettled(player.root):
            return number
    return _MOST_FINISHES


async def _further(player: Player) -> list[str]:
    """(d): a further run changes no file and creates nothing."""
    before, creates = tree(player.root), player.provider.requests["create_attempts"]
    await player.finish("apply")
    after = tree(player.root)
    wrong = [
        f"a further run changed {name}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
    if player.provider.requests["create_attempts"] != creates:
        wrong.append("a further run created something")
    return wrong


def _line(sent: Sent) -> str:
    ended = "-" if sent.ended_at is None else f"{sent.ended_at:.3f}"
    return f"{sent.at:>9.3f} {ended} {sent.life} {sent.kind} {sent.name} {sent.told} {sent.detail}"


def replay(seed: int) -> Past:
    """Play the history of a seed in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="history-") as folder:
        return play(draw_history(seed), Path(folder))


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0:100")
    parser.add_argument("--replay", type=int)
    chosen = parser.parse_args()
    if chosen.replay is not None:
        past = replay(chosen.replay)
        _print(repr(past.history))
        for line in (*past.requests, *past.log):
            _print(line)
        for line in past.wrong:
            _print("WRONG " + line)
        return bool(past.wrong)
    first, _, last = chosen.seeds.partition(":")
    broken, total = 0, Counter[str]()
    for seed in range(int(first), int(last)):
        past = replay(seed)
        total += past.counts
        if past.wrong:
            broken += 1
            _print(f"{seed}: " + "; ".join(past.wrong[:3]))
    _print(str(dict(total)))
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
