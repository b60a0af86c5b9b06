"""How long `reconciler plan` takes when there is nothing to do, as a whole process, beside `git status`.

A tree of N complete specs is built through the project's own store and receipts (nothing is bought, no server
runs). Then every command runs once per round, so that a slow moment of the machine hits all of them alike; the
medians are printed, with the processor time beside them: on a machine that others use too, that is the steadier
figure. Only ratios of one run can be compared.

    .venv/bin/python benchmarks/noop_plan.py --specs 10000 --runs 7
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from pathlib import Path

from PIL import Image

from reconciler.core.generations import Generation
from reconciler.core.motion_control import UNITS_PER_SECOND
from reconciler.core.naming import receipt_path
from reconciler.core.receipt_entries import entry
from reconciler.core.states import Record, Result, Role, Status
from reconciler.store.repository import Repository
from reconciler.store.values import Change, HistoryEntry, Publication
from reconciler.workspace.files.outputs import signature
from reconciler.workspace.read.loader import load
from reconciler.workspace.receipts.receipt_files import render_receipt

PER_FOLDER = 100
LONG_AGO = 1_700_000_000  # seconds; a file that changed this second is read again, which is not measured here
SPEC = """\
image_url: ../assets/girl.png
video_url: https://example.com/dance.mp4
prompt: The girl dances, number {number}
character_orientation: image
mode: std
"""


@dataclass(frozen=True)
class Cost:
    """What a process took."""

    seconds: float
    cpu: float  # seconds, user and system


def main() -> None:
    """Build, measure, print."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="noop-plan-") as folder:
        root = options.keep or Path(folder) / "project"
        started = time.perf_counter()
        build(root, options.specs)
        print(f"{options.specs:,} complete specs built in {time.perf_counter() - started:.0f} s")
        measure(root, Path(folder) / "empty", options.specs, options.runs)


def build(root: Path, count: int) -> None:
    """Make a committed project whose every spec is complete: state, outputs and receipts agree."""
    _write_specs(root, count)
    wishes = load(root, "specs", prices=UNITS_PER_SECOND).generations
    assert len(wishes) == count, "a spec of the benchmark is invalid"
    repository = Repository.open(root / "state" / "reconciler.db")
    bought = [(wish, _record(wish)) for wish in wishes]
    repository.save([_change(record) for _, record in bought])
    repository.publish([_publish(root, wish, record) for wish, record in bought])
    repository.close()
    for file in (root / "specs").rglob("*.receipt.json"):
        os.utime(file, (LONG_AGO, LONG_AGO))
    _git(root, "init", "--quiet")
    _git(
        root, "config", "gc.auto", "0"
    )  # it would go on in the background, beside what is measured
    _git(root, "add", "--all")
    _git(root, "commit", "--quiet", "--message", "everything is bought")


def measure(root: Path, empty: Path, count: int, runs: int) -> None:
    """Run every command once per round and print the medians."""
    (empty / "specs").mkdir(parents=True)
    done = f"Nothing to do: {count:,} generations are complete."
    commands: dict[str, Callable[[], Cost]] = {
        "python -c pass": lambda: _timed([sys.executable, "-c", "pass"]),
        "git status": lambda: _timed(["git", "-C", str(root), "status", "--porcelain"], ""),
        "plan of an empty folder": lambda: _timed(_plan(empty), "No specs yet"),
        "plan, nothing to do": lambda: _timed(_plan(root), done),
        "plan, cold (no cache)": lambda: _cold(root, done),
    }
    for command in commands.values():  # once to warm the page cache and to write the file cache
        command()
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            costs[name].append(command())
    _print(costs, count)


def _print(costs: dict[str, list[Cost]], count: int) -> None:
    wall = {
        name: statistics.median(cost.seconds for cost in found) for name, found in costs.items()
    }
    cpu = {name: statistics.median(cost.cpu for cost in found) for name, found in costs.items()}
    print(f"\n{'whole process, seconds':<26}{'median':>9}{'best':>9}{'cpu':>9}{'best cpu':>10}")
    for name, found in costs.items():
        best, least = min(cost.seconds for cost in found), min(cost.cpu for cost in found)
        print(f"{name:<26}{wall[name]:>9.3f}{best:>9.3f}{cpu[name]:>9.3f}{least:>10.3f}")
    alone = cpu["plan, nothing to do"] - cpu["plan of an empty folder"]
    print(f"\nthe specs alone (cpu, less the plan of an empty folder): {alone:.3f} s,", end=" ")
    print(f"{alone / count * 1e6:.0f} µs each; git status: {cpu['git status'] / count * 1e6:.0f}")


def _write_specs(root: Path, count: int) -> None:
    (root / "specs" / "assets").mkdir(parents=True)
    Image.new("RGB", (400, 400), "#7a8899").save(root / "specs" / "assets" / "girl.png")
    (root / ".gitignore").write_text("state/\n")
    for number in range(count):
        folder = root / "specs" / f"{number // PER_FOLDER:04d}"
        folder.mkdir(exist_ok=True)
        (folder / f"spec{number:06d}.yaml").write_text(SPEC.format(number=number))
    for file in (root / "specs").rglob("*"):
        os.utime(file, (LONG_AGO, LONG_AGO))


def _video(wish: Generation) -> bytes:
    """Stand in for a result: plan never looks inside one."""
    return f"a result of {wish.external_task_id}\n".encode() * 8


def _record(wish: Generation) -> Record:
    data = _video(wish)
    return Record(
        external_task_id=wish.external_task_id,
        base_id=wish.external_task_id,
        status=Status.COMPLETE,
        request=wish.canonical,
        spec=wish.spec,
        label=wish.label,
        task_id=str(int(sha256(data).hexdigest(), 16))[:18],
        estimated_units=wish.estimated_units,
        units=Decimal(5),
        intent_at=LONG_AGO * 1000,
        creates=1,
        created_at=LONG_AGO * 1000,
        finished_at=LONG_AGO * 1000 + 120_000,
        results=(Result(Role.VIDEO, sha256(data).hexdigest(), len(data), 5.0),),
    )


def _change(record: Record) -> Change:
    name, at = record.external_task_id, LONG_AGO * 1000
    kinds = ("intent", "seen", "observed", "observed", "saved")
    return Change(record, None, tuple(HistoryEntry(name, at, kind, "benchmark") for kind in kinds))


def _publish(root: Path, wish: Generation, record: Record) -> Publication:
    target = root / wish.output()
    target.write_bytes(_video(wish))
    os.utime(target, (LONG_AGO, LONG_AGO))
    (root / receipt_path(wish.spec)).write_bytes(
        render_receipt([entry(record, wish.spec, wish.label)])
    )
    found = signature(target)
    assert found is not None
    (result,) = record.results
    return Publication(
        wish.output(),
        record.external_task_id,
        result.role,
        result.sha256,
        found.size,
        found.mtime_ns,
        found.inode,
    )


def _plan(root: Path) -> list[str]:
    return [sys.executable, "-m", "reconciler", "--root", str(root), "plan"]


def _cold(root: Path, said: str) -> Cost:
    for file in _caches(root):
        file.unlink()
    return _timed(_plan(root), said)


def _caches(root: Path) -> Iterator[Path]:
    yield from (root / "state").glob("cache.db*")


def _timed(command: list[str], said: str = "") -> Cost:
    """Return what a process took; it must succeed and say what is expected."""
    before, started = _children(), time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=_environment())
    cost = Cost(time.perf_counter() - started, _children() - before)
    if said not in done.stdout or (not said and done.stdout.strip()):
        sys.exit(f"{' '.join(command)} said: {done.stdout[:400]}")
    return cost


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _environment() -> dict[str, str]:
    ours = ("KLING", "RECONCILER_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def _git(root: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost"]
    git = shutil.which("git") or sys.exit("git is needed to compare with")
    subprocess.run([git, "-C", str(root), *identity, *arguments], check=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--specs", type=int, default=10_000, help="how many specs (default 10,000)")
    parser.add_argument("--runs", type=int, default=7, help="rounds (default 7)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="build here, and leave it")
    return parser.parse_args()


if __name__ == "__main__":
    main()
