"""One history from its seed to the verdict: played, brought to rest, judged, and run once more."""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reconciler.simulator.provider import Provider
from tests.simulation.books import Scene, tree, unsettled
from tests.simulation.crash import MortalLoop
from tests.simulation.history import History, draw_history
from tests.simulation.invariants import judge
from tests.simulation.loop import run, running
from tests.simulation.player import Player
from tests.simulation.wire import Wire
from tests.simulation.witness import Sent
from tests.simulation.world import START, account

MOST_FINISHES = 4
"""Calm processes, one after the other, that may be needed until nothing is left to do."""


@dataclass(frozen=True)
class Past:
    """How one history went."""

    history: History
    wrong: tuple[str, ...]
    log: tuple[str, ...]
    """What happened, in words, with virtual seconds."""
    requests: tuple[str, ...]
    """What passed the wire, in the same way."""
    counts: Counter[str]
    converged_s: float
    """Virtual seconds from the end of all trouble until nothing was left to do."""

    @property
    def digest(self) -> str:
        """A digest of all that passed the wire, with its times."""
        return hashlib.sha256("\n".join(self.requests).encode()).hexdigest()


def past_of(seed: int) -> Past:
    """Play the history of a seed, in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="history-") as folder:
        return play(draw_history(seed), Path(folder))


def play(history: History, folder: Path) -> Past:
    """Play one history in a fresh folder."""
    return run(_story(history, folder), start=START, loop=MortalLoop)


async def _story(history: History, folder: Path) -> Past:
    wire, complaints = Wire(seed=str(history.seed)), list[str]()
    running().set_exception_handler(lambda _, told: complaints.append(f"{told}"))
    config = {**history.provider, "faults": history.faults}
    async with account(folder / "account", wire, **config) as provider:
        player = Player(history, folder, provider, wire)
        with player.attached():
            await player.play()
            await player.calm()
            calm_at = running().time()
            player.counts["calm processes"] = await _finish(player)
            converged_s = running().time() - calm_at
            scene = Scene(
                player.root, provider, player.witness.requests, player.lost, int(START * 1000)
            )
            wrong = [*judge(scene), *await _further(player)]
            wrong += player.wrong + player.ear.mistakes
            wrong += [f"asyncio complains: {sentence}" for sentence in complaints]
            wrong += [f"the provider broke: {error!r}" for error in wire.crashes]
    player.counts.update(_tally(player, provider, len(scene.jobs)))
    requests = tuple(_line(sent) for sent in player.witness.requests)
    return Past(history, tuple(wrong), tuple(player.log), requests, player.counts, converged_s)


async def _finish(player: Player) -> int:
    """Let calm processes do what is left; return how many it took."""
    processes = 0
    while processes < MOST_FINISHES:
        processes += 1
        await player.finish(player.history.finale)
        if not unsettled(player.root, bool(player.lost)):
            break
    return processes


async def _further(player: Player) -> Iterator[str]:
    """(d): a further run changes no file and creates nothing."""
    before, creates = tree(player.root), player.provider.requests["create_attempts"]
    await player.finish("apply")
    after = tree(player.root)
    changed = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    wrong = [f"a further run changed {name}" for name in sorted(changed)]
    if player.provider.requests["create_attempts"] != creates:
        wrong.append("a further run created something")
    return iter(wrong)


def _tally(player: Player, provider: Provider, billed: int) -> Counter[str]:
    """Count what happened beside what the player counted itself; faults as they fired."""
    tally = Counter(
        {
            "creates": provider.requests["create_attempts"],
            "billed": billed,
            "writes that a full disk refused": player.disk.refused,
        }
    )
    for kind, fired in player.fired.items():
        tally[f"fault: {kind}"] = fired
    return tally


def _line(sent: Sent) -> str:
    ended = "-" if sent.ended_at is None else f"{sent.ended_at:.3f}"
    return (
        f"{sent.at:>9.3f} {ended:>9} {sent.life} {sent.kind} {sent.name}: {sent.told} {sent.detail}"
    )
