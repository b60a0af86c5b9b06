"""How long from the save of a spec until its create is at the provider, with 100, 10,000 and 50,000 other specs.

A real `watch` process over a real folder, with `RECONCILER_SETTLE_SECONDS=0`, against the simulator on loopback in
this process. Each of 100 new specs is written under another name and renamed into place, one after the other; what
is measured ends when the simulator has accepted the create, which comes after a query and a commit to disk. All
sizes are measured in one run: only their ratios count.

    .venv/bin/python -m benchmarks.save_to_create --specs 100 10000 50000 --saves 100
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from reconciler.core.motion_control import UNITS_PER_SECOND
from reconciler.simulator.config import SimulatorConfig
from reconciler.simulator.server import RunningSimulator, start_in_thread
from reconciler.workspace.read.loader import load

SPEC = """\
image_url: https://example.com/girl.png
video_url: https://example.com/dance.mp4
prompt: saved as number {number}
character_orientation: image
mode: std
"""
HERE = Path(__file__).resolve().parents[1]
BUILD = "import sys, pathlib; from benchmarks.noop_plan import build; build(pathlib.Path(sys.argv[1]), int(sys.argv[2]))"
PAUSE = 0.15  # seconds between two saves
LONGEST = 30.0  # seconds until the last create


@dataclass(frozen=True)
class Waits:
    """From saves to creates, in ms; and what the daemon needed."""

    p50: float
    p99: float
    worst: float
    start: float  # s, until it watches
    memory: int  # MiB


def main() -> None:
    """Build, measure and print each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--specs", type=int, nargs="+", default=[100, 10_000, 50_000])
    parser.add_argument("--saves", type=int, default=100)
    chosen = parser.parse_args()
    print("other specs   p50 ms   p99 ms   worst ms   start s   memory MiB")
    for count in chosen.specs:
        with tempfile.TemporaryDirectory(prefix="save-to-create-") as folder:
            one = measure(Path(folder), count, chosen.saves)
            waits = f"{one.p50:>6.1f}   {one.p99:>6.1f}   {one.worst:>8.1f}"
            print(f"{count:>11,}   {waits}   {one.start:>7.1f}   {one.memory:>10}")


def measure(folder: Path, count: int, saves: int, checkout: Path = HERE) -> Waits:
    """Return what one size takes with the program of a checkout."""
    root = folder / "project"
    # In another process: what the build leaves in this one's memory has the simulator here stand still for seconds.
    found = {**os.environ, "PYTHONPATH": str(checkout)}
    command = [sys.executable, "-c", BUILD, str(root), str(count)]
    subprocess.run(command, check=True, cwd=checkout, env=found)
    os.sync()  # a commit must not wait for the files of the build
    config = SimulatorConfig(
        folder=folder / "simulator", speed=1.0, task_s=3600, concurrency=10_000, render="draft"
    )
    simulator = start_in_thread(config)
    try:
        began = time.monotonic()
        watch = _watch(root, simulator, config, checkout)
        try:
            assert watch.stderr is not None
            said = watch.stderr.readline()
            assert "watching" in said, said
            start = time.monotonic() - began
            saved = _save(root, saves)
            waits = sorted(_arrived(simulator, config, root, saved))
            memory = _memory(watch.pid)
        finally:
            watch.terminate()
            watch.wait(10)
    finally:
        simulator.stop()
    p99 = waits[min(len(waits) - 1, round(len(waits) * 0.99) - 1)]
    return Waits(statistics.median(waits), p99, waits[-1], start, memory)


def _watch(
    root: Path, simulator: RunningSimulator, config: SimulatorConfig, checkout: Path
) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(checkout),
        "KLING_BASE_URL": simulator.base_url,
        "KLING_ACCESS_KEY": config.access_key,
        "KLING_SECRET_KEY": config.secret_key,
        "RECONCILER_SETTLE_SECONDS": "0",
        "RECONCILER_MAX_CONCURRENCY": "1000",
    }
    command = [sys.executable, "-m", "reconciler", "--root", str(root), "watch", "--no-http"]
    return subprocess.Popen(
        command, cwd=checkout, env=environment, stderr=subprocess.PIPE, text=True
    )


def _save(root: Path, saves: int) -> dict[str, float]:
    """Save specs one after the other; return when each was there, in ms since the epoch, by path."""
    place, saved = root / "specs" / "new", {}
    place.mkdir()
    time.sleep(1)  # the new folder is noticed
    for number in range(saves):
        draft, spec = place / f".{number}.draft", place / f"s{number:03}.yaml"
        draft.write_text(SPEC.format(number=number))
        saved[f"specs/new/{spec.name}"] = time.time() * 1000
        draft.rename(spec)
        time.sleep(PAUSE)
    return saved


def _arrived(
    simulator: RunningSimulator, config: SimulatorConfig, root: Path, saved: dict[str, float]
) -> list[float]:
    """Return how long each create took, in ms."""
    wishes = load(root, "specs/new", prices=UNITS_PER_SECOND).generations
    deadline = time.monotonic() + LONGEST
    created = _created(simulator, config)
    while any(wish.external_task_id not in created for wish in wishes):
        assert time.monotonic() < deadline, "a save was not acted on"
        time.sleep(0.2)
        created = _created(simulator, config)
    return [created[wish.external_task_id] - saved[wish.spec] for wish in wishes]


def _created(simulator: RunningSimulator, config: SimulatorConfig) -> dict[str, int]:
    """Return when the simulator accepted each create, in ms since the epoch, by external id."""
    answer = httpx.get(
        f"{simulator.base_url}/v1/videos/motion-control",
        params={"pageSize": 500},
        headers={"Authorization": f"Bearer {config.api_key}"},
        trust_env=False,
    )
    tasks: list[dict[str, Any]] = answer.json()["data"]
    return {task["task_info"]["external_task_id"]: task["created_at"] for task in tasks}


def _memory(pid: int) -> int:
    """Return a process's resident memory in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


if __name__ == "__main__":
    main()
