"""What a command costs before it does anything: the help, a wrong option, `plan` and `status` of an empty folder.

Each round starts `python -c pass` and then every command of every checkout, in turn, so that a slow moment of the
machine hits all of them alike. Medians are printed, and how many times the CPU of `python -c pass` that is.

    .venv/bin/python -m benchmarks.start                    # this checkout
    .venv/bin/python -m benchmarks.start --root ../before   # and another one beside it
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.compare import environment

HERE = Path(__file__).resolve().parents[1]
COMMANDS = (["--help"], ["plan", "--unknown"], ["plan"], ["status"])
Cost = tuple[float, float]  # ms of CPU, ms on the clock


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, action="append", default=[])
    parser.add_argument("--rounds", type=int, default=15)
    chosen = parser.parse_args()
    checkouts = [HERE, *(root.resolve() for root in chosen.root)]
    rows = {"python -c pass": (HERE, ["-c", "pass"])}
    for arguments in COMMANDS:
        for checkout in checkouts:
            beside = f" ({checkout.name})" if len(checkouts) > 1 else ""
            rows[" ".join(arguments) + beside] = (checkout, ["-m", "reconciler", *arguments])
    with tempfile.TemporaryDirectory(prefix="start-") as folder:
        (Path(folder) / "specs").mkdir()
        for row in rows.values():
            cost(Path(folder), *row)  # compiles
        found = [
            {name: cost(Path(folder), *row) for name, row in rows.items()}
            for _ in range(chosen.rounds)
        ]
    print(f"{'median of a whole process':<40}{'cpu ms':>10}{'wall ms':>10}{'of pass':>10}")
    medians = {
        name: [statistics.median(one) for one in zip(*(of[name] for of in found), strict=True)]
        for name in rows
    }
    least = medians["python -c pass"][0]
    for name, (cpu, wall) in medians.items():
        print(f"{name:<40}{cpu:>10.1f}{wall:>10.1f}{cpu / least:>9.1f}×")


def cost(folder: Path, checkout: Path, arguments: list[str]) -> Cost:
    """Return what an interpreter with these arguments takes in a folder."""
    given = environment(checkout)
    given.pop("PYTHONDONTWRITEBYTECODE", None)  # who compiles everything each time measures that
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=given, capture_output=True, check=False
    )
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return 1000 * cpu, 1000 * wall


if __name__ == "__main__":
    main()
