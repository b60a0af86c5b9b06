"""Two checkouts of this project beside each other, in one run: is what became different also no slower?

Each row is measured with every checkout in turn, round by round, so that a slow moment of the machine hits all of them
alike; medians are printed, and what the last checkout takes of the first. Folders and states are built by each
checkout's own `benchmarks.noop_plan`; the simulator is this checkout's, in this process.

    .venv/bin/python -m benchmarks.compare --root ../before --root . --specs 1000 10000 --generations 1000 --saves 50
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.save_to_create import BUILD, SPEC, measure
from reconciler.simulator.config import SimulatorConfig
from reconciler.simulator.server import start_in_thread

Measured = dict[str, float]  # what was measured, and its unit -> how much


def main() -> None:
    """Build, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, action="append", required=True)
    parser.add_argument("--specs", type=int, nargs="*", default=[1_000, 10_000])
    parser.add_argument("--generations", type=int, default=1_000)
    parser.add_argument("--saves", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    checkouts = [root.resolve() for root in chosen.root]
    with tempfile.TemporaryDirectory(prefix="compare-") as folder:
        place = Path(folder)
        report("a plan of an empty folder", chosen.rounds, checkouts, empty_plan(place))
        for count in chosen.specs:
            report(f"a plan of {count:,}", chosen.rounds, checkouts, noop_plan(place, count))
            title = f"the start of watch, {count:,}"
            report(title, min(chosen.rounds, 3), checkouts, start_of_watch(place, count))
        if chosen.generations:
            title = f"{chosen.generations:,} to complete"
            report(title, min(chosen.rounds, 3), checkouts, converge(place, chosen.generations))
        if chosen.saves:
            report("save to create", 1, checkouts, save(place, chosen.saves))


def report(
    title: str, rounds: int, checkouts: list[Path], measured: Callable[[Path], Measured]
) -> None:
    """Measure every checkout in each round, and print a line for each figure."""
    for checkout in checkouts:
        measured(checkout)  # builds, and warms what is cached
    found = [[measured(checkout) for checkout in checkouts] for _ in range(rounds)]
    for name in found[0][0]:
        medians = [
            statistics.median(one[name] for one in of_one) for of_one in zip(*found, strict=True)
        ]
        row = "".join(f"{median:>10.3f}" for median in medians)
        print(f"{f'{title}, {name}':<44}{row}{medians[-1] / medians[0]:>8.2f}×", flush=True)


def empty_plan(place: Path) -> Callable[[Path], Measured]:
    """Return what measures starting, importing, and finding nothing."""
    (place / "empty" / "specs").mkdir(parents=True)
    return lambda checkout: timed(checkout, place / "empty", "plan")


def noop_plan(place: Path, count: int) -> Callable[[Path], Measured]:
    """Return what measures a plan of so many complete specs: nothing to do."""
    return lambda checkout: timed(checkout, complete(place, count, checkout), "plan")


def start_of_watch(place: Path, count: int) -> Callable[[Path], Measured]:
    """Return what measures a `watch` of so many complete specs, from its start until it watches.

    The first one of a folder goes on until it is idle: what it finds out for the next start is known then.
    """
    known: set[Path] = set()

    def measured(checkout: Path) -> Measured:
        root, began = complete(place, count, checkout), time.perf_counter()
        keys = {"KLING_ACCESS_KEY": "a" * 32, "KLING_SECRET_KEY": "b" * 32}
        process = subprocess.Popen(
            [sys.executable, "-m", "reconciler", "--root", str(root), "watch", "--no-http"],
            cwd=checkout,
            env=environment(checkout) | keys | {"KLING_BASE_URL": "http://127.0.0.1:9"},
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            assert process.stderr is not None
            assert any("watching" in line for line in process.stderr), "it did not begin"
            ready, of_it = time.perf_counter() - began, Path("/proc", str(process.pid))
            took, pages = _cpu(of_it), int(of_it.joinpath("statm").read_text().split()[1])
            if root not in known:
                _let_it_become_idle(of_it)
            known.add(root)
            process.terminate()
        return {
            "ready s": ready,
            "cpu s": took,
            "MiB": pages * os.sysconf("SC_PAGE_SIZE") / 1024**2,
        }

    return measured


def _let_it_become_idle(process: Path) -> None:
    before = -1.0
    while (now := _cpu(process)) - before > 0.05:
        before = now
        time.sleep(1)


def _cpu(process: Path) -> float:
    """Return the seconds of CPU that a process has used, by its folder in /proc."""
    ticks = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def complete(place: Path, count: int, checkout: Path) -> Path:
    """Return a project of so many complete specs, built by the checkout that uses it."""
    root = place / f"complete-{count}-{slug(checkout)}"
    if not root.exists():
        command = [sys.executable, "-c", BUILD, str(root), str(count)]
        subprocess.run(command, check=True, cwd=checkout, env=environment(checkout))
        os.sync()
    return root


def converge(place: Path, count: int) -> Callable[[Path], Measured]:
    """Return what measures a first `apply`, with a provider that answers at once and slots enough for all."""

    def measured(checkout: Path) -> Measured:
        root = place / f"apply-{slug(checkout)}"
        shutil.rmtree(root, ignore_errors=True)
        for number in range(count):
            spec = root / "specs" / f"{number // 100:02}" / f"s{number:05}.yaml"
            spec.parent.mkdir(parents=True, exist_ok=True)
            spec.write_text(SPEC.format(number=number))
        config = SimulatorConfig(
            folder=root / ".simulator",
            task_s=0,
            queue_s=0,
            concurrency=count,
            render="stamp",
            pack_units=100 * count,  # type: ignore[arg-type]  # as good as a Decimal
        )
        simulator = start_in_thread(config)
        try:
            given = {
                "KLING_BASE_URL": simulator.base_url,
                "KLING_ACCESS_KEY": config.access_key,
                "KLING_SECRET_KEY": config.secret_key,
                "RECONCILER_POLL_INTERVAL": "0.5",
                "RECONCILER_MAX_CONCURRENCY": str(count),
            }
            found = timed(checkout, root, "apply", "--yes", **given)
        finally:
            simulator.stop()
        films = sum(1 for _ in (root / "specs").rglob("*.mp4"))
        assert films == count, f"{films} of {count} results"
        return {"generations/s": count / found["s"], "cpu s": found["cpu s"]}

    return measured


def save(place: Path, saves: int) -> Callable[[Path], Measured]:
    """Return what measures how long a create takes to leave once its spec is saved, beside 1,000 others."""

    def measured(checkout: Path) -> Measured:
        with tempfile.TemporaryDirectory(dir=place) as folder:
            found = measure(Path(folder), 1_000, saves, checkout)
        return {"p50 ms": found.p50, "p99 ms": found.p99, "ready s": found.start}

    return measured


def timed(checkout: Path, root: Path, *arguments: str, **given: str) -> Measured:
    """Return what a command of a checkout takes, as a whole process (s)."""
    before, began = os.times(), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "reconciler", "--root", str(root), *arguments],
        check=True,
        capture_output=True,
        cwd=checkout,
        env={**environment(checkout), **given},
    )
    seconds, after = time.perf_counter() - began, os.times()
    used = after.children_user + after.children_system
    return {"s": seconds, "cpu s": used - before.children_user - before.children_system}


def environment(checkout: Path) -> dict[str, str]:
    """Return an environment in which the modules of this checkout are found, and no settings."""
    ours = ("KLING_", "RECONCILER_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "PYTHONPATH": str(checkout)}


def slug(checkout: Path) -> str:
    """Return a name for what belongs to a checkout."""
    return str(checkout).strip("/").replace("/", "-")


if __name__ == "__main__":
    main()
