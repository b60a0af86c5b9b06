"""One history from its seed to the verdict: played, brought to rest, judged, and run once more."""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reconciler.simulator.provider import Provider
from tests.simulation.books import Scene, tree
from tests.simulation.crash import MortalLoop
from tests.simulation.hazards import EVERY, Choice, with_hazards
from tests.simulation.history import LOSES_STATE, History, draw_history
from tests.simulation.invariants import judge, over_cap, wrong_report
from tests.simulation.loop import run, running
from tests.simulation.machine import Machine
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


def past_of(seed: int, chosen: Choice = EVERY) -> Past:
    """Play the history of a seed, in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="history-") as folder:
        return play(with_hazards(draw_history(seed), chosen), Path(folder))


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
            if history.is_retried:
                await player.orders.retry_all(player.machines[0])
                player.counts["calm processes"] += await _finish(player)
            converged_s = running().time() - calm_at
            wrong = _verdict(player, provider)
            for machine in player.machines:
                wrong += await _further(player, machine)
            wrong += player.supervisor.wrong + player.supervisor.ear.mistakes
            wrong += [f"asyncio complains: {sentence}" for sentence in complaints]
            wrong += [f"the provider broke: {error!r}" for error in wire.crashes]
            billed = len(provider.ledger.report()["tasks"])  # type: ignore[arg-type]
    player.counts.update(_tally(player, provider, billed))
    requests = tuple(_line(sent) for sent in player.witness.requests)
    return Past(history, tuple(wrong), tuple(player.log), requests, player.counts, converged_s)


def _lost_its_state(player: Player) -> bool:
    """Whether what was spent was lost: then only receipts of today's wishes count for the cap (docs/guarantees.md)."""
    acts = {act.what for chapter in player.history.chapters for act in chapter.before}
    acts |= {act.what for chapter in player.history.chapters for _, act in chapter.meanwhile}
    return not LOSES_STATE.isdisjoint(acts)


def _verdict(player: Player, provider: Provider) -> list[str]:
    scenes = [
        Scene(
            machine.root,
            provider,
            player.witness.requests,
            machine.lost,
            int(START * 1000),
            player.orders.retried,
            player.middlebox.is_silent_about,
            "numbers" in player.history.hazards,
        )
        for machine in player.machines
    ]
    cap = player.history.cap
    return [
        *judge(scenes),
        *(over_cap(scenes[0], cap, player.calm_at) if cap and not _lost_its_state(player) else ()),
        *(wrong_report(scenes[0]) if "numbers" in player.history.hazards else ()),
        *(f"an order left behind was carried out: {one}" for one in player.orders.carried_out()),
    ]


async def _finish(player: Player) -> int:
    """Let calm processes do what is left; return how many it took on the machine that took most."""
    processes = 0
    while processes < MOST_FINISHES:
        processes += 1
        for machine in player.machines:
            player.sync(machine)
            await player.finish(machine, player.history.finale)
        left = [sentence for machine in player.machines for sentence in player.unsettled(machine)]
        # What the last one bought is pulled by the first. A run that begins without a state looks once for what it may
        # not buy: a task that was hidden then is found by the run after it.
        if not left and processes >= len(player.machines) + player.lost_in_doubt:
            break
    return processes


async def _further(player: Player, machine: Machine) -> Iterator[str]:
    """(d): a further run changes no file and creates nothing."""
    before, creates = tree(machine.root), player.provider.requests["create_attempts"]
    await player.finish(machine, "apply")
    after = tree(machine.root)
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
    for rule, done in player.middlebox.done.items():
        tally[f"between: {rule.what}"] += done
    for hazard in player.history.hazards:
        tally[f"hazard: {hazard}"] = 1
    return tally


def _line(sent: Sent) -> str:
    ended = "-" if sent.ended_at is None else f"{sent.ended_at:.3f}"
    return (
        f"{sent.at:>9.3f} {ended:>9} {sent.life} {sent.kind} {sent.name}: {sent.told} {sent.detail}"
    )
