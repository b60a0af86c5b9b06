"""The fuzzing of CI, for as long as wanted and never the same cases twice.

    python -m tests.fuzz.campaign --minutes 10

prints how many inputs were tried in each area, and fails with the first case that does not hold, made small.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    """Run the modules one after the other, again and again, until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument(
        "--times", type=int, default=20, help="cases of a test in a round, as a multiple of CI's"
    )
    parser.add_argument("--only", default="", help="a part of a module's name")
    chosen = parser.parse_args()
    modules = sorted(path for path in HERE.glob("test_*.py") if chosen.only in path.name)
    ends, tried = time.monotonic() + chosen.minutes * 60, Counter[str]()
    failed = False
    while modules and not failed and time.monotonic() < ends:
        for module in modules:
            if time.monotonic() < ends and not failed:
                failed = not _round(module, chosen.times, tried)
    for area, count in sorted(tried.items()):
        sys.stdout.write(f"{area:<12} {count:>10,}\n")
    return int(failed)


def _round(module: Path, times: int, tried: Counter[str]) -> bool:
    """Run one module with a fresh seed; return whether everything held."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(module)]
    command.append(f"--hypothesis-seed={random.SystemRandom().randrange(2**32)}")
    env = {**os.environ, "HYPOTHESIS_PROFILE": "campaign", "FUZZ_TIMES": str(times)}
    done = subprocess.run(
        command, env=env, cwd=HERE.parents[1], capture_output=True, text=True, check=False
    )
    for area, count in re.findall(r"^cases (\w+) ([0-9]+)$", done.stdout, re.MULTILINE):
        tried[area] += int(count)
    if done.returncode:
        sys.stdout.write(done.stdout[-20_000:] + done.stderr[-2000:])
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
