"""How many of the account's slots are in use, and how many creates are refused, while the quota changes.

The whole engine applies a folder that never runs dry, against the simulator, in the virtual time of `tests.simulation`:
hours pass in minutes, and the same seed is the same run. For each quota the account begins with it, goes down to a half,
up to twice as much, and back; nobody tells the program. Slots above a lowered quota do not count as used. Creates are
refused with 1303, before anything is billed.

    .venv/bin/python -m benchmarks.quota --quotas 5 20 100 --task 120 --phase 3600
"""

from __future__ import annotations

import argparse
import asyncio
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from reconciler.engine.ports import Options
from reconciler.store.repository import Repository
from tests.simulation.lives import Ear, apply_all, ports_on
from tests.simulation.loop import run, running
from tests.simulation.wire import Wire
from tests.simulation.world import START, account

QUOTAS = (5, 20, 100)
CHANGES = (1.0, 0.5, 2.0, 1.0)  # of the quota, one after the other
SPEC = """\
image_url: https://example.com/girl.png
video_url: https://example.com/dance.mp4
prompt: number {number}
character_orientation: image
mode: std
"""
Phase = tuple[float, float, int]  # from when, until when (virtual s), and the quota


@dataclass
class Use:
    """What one stretch of time came to."""

    quota: int
    slots: float  # share in use
    creates: int  # sent
    refused: int

    @property
    def share(self) -> float:
        """The share of creates that were refused."""
        return self.refused / max(self.creates, 1)


@dataclass
class Gate(httpx.AsyncBaseTransport):
    """Notes every create that passes, and whether a slot was refused."""

    behind: httpx.AsyncBaseTransport
    sent: list[tuple[float, bool]] = field(default_factory=list)  # virtual s

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request on."""
        answer = await self.behind.handle_async_request(request)
        if request.method == "POST":
            self.sent.append((running().time(), answer.status_code == 429))
        return answer


def main() -> None:
    """Measure and print each quota."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quotas", type=int, nargs="+", default=list(QUOTAS))
    parser.add_argument("--task", type=float, default=120.0, help="s that a task takes")
    parser.add_argument("--phase", type=float, default=3600.0, help="s between two changes")
    parser.add_argument("--seed", default="1")
    chosen = parser.parse_args()
    print(f"{'quota':>12}{'slots in use':>14}{'creates':>10}{'refused':>9}{'of 100':>8}")
    for quota in chosen.quotas:
        phases = measure(quota, chosen.task, chosen.phase, chosen.seed)
        for one in (*phases, total(phases)):
            name = f"{quota}: {one.quota}" if one.quota else f"{quota}: all"
            counts = f"{one.creates:>10}{one.refused:>9}{100 * one.share:>8.1f}"
            print(f"{name:>12}{one.slots:>14.1%}{counts}", flush=True)


def total(phases: Sequence[Use]) -> Use:
    """Return what all phases, which are equally long, come to."""
    used = sum(one.slots * one.quota for one in phases) / sum(one.quota for one in phases)
    return Use(0, used, sum(one.creates for one in phases), sum(one.refused for one in phases))


def measure(quota: int, task_s: float, phase_s: float, seed: str = "1") -> list[Use]:
    """Return the use of each phase of one run."""
    with tempfile.TemporaryDirectory(prefix="quota-") as folder:
        return run(_story(Path(folder), quota, task_s, phase_s, seed), start=START)


async def _story(folder: Path, quota: int, task_s: float, phase_s: float, seed: str) -> list[Use]:
    quotas = [math.ceil(quota * change) for change in CHANGES]
    root, wire = folder / "project", Wire(seed=seed)
    _write_specs(root, 50 + int(1.3 * sum(quotas) * (phase_s / task_s + 1)))
    repository = Repository.open(root / "state" / "reconciler.db")
    plenty: Any = 10**9
    given = {"task_s": task_s, "concurrency": quota, "seed": seed, "pack_units": plenty}
    gate, stop = Gate(wire), asyncio.Event()
    async with (
        account(folder / "account", wire, **given) as provider,
        ports_on(gate, root, repository, Ear(), running().wall_ms) as ports,
    ):
        life = asyncio.create_task(apply_all(ports, Options("run"), stop, seconds=10**7))
        phases: list[Phase] = []
        for one in quotas:
            provider.config = replace(provider.config, concurrency=one)
            began = running().time()
            await asyncio.sleep(phase_s)
            phases.append((began, running().time(), one))
            assert not life.done(), "the folder ran dry"
        ahead = provider.clock.now() / 1000 - running().time()
        stop.set()
        await life
        bills: Any = provider.ledger.report()["entries"]
    repository.close()
    held = [(bill["at"] / 1000 - ahead, bill["taken_at"] / 1000 - ahead) for bill in bills]
    return list(_uses(phases, held, gate.sent))


def _uses(
    phases: Sequence[Phase], held: Sequence[tuple[float, float]], sent: Sequence[tuple[float, bool]]
) -> Iterator[Use]:
    for begin, end, quota in phases:
        seconds = range(int(begin), int(end))
        used = sum(
            min(quota, sum(1 for since, until in held if since <= second < until))
            for second in seconds
        )
        mine = [refused for at, refused in sent if begin <= at < end]
        yield Use(quota, used / (quota * len(seconds)), len(mine), sum(mine))


def _write_specs(root: Path, count: int) -> None:
    (root / "state").mkdir(parents=True)
    for number in range(count):
        spec = root / "specs" / f"{number // 100:03}" / f"s{number:05}.yaml"
        spec.parent.mkdir(parents=True, exist_ok=True)
        spec.write_text(SPEC.format(number=number))


if __name__ == "__main__":
    main()
