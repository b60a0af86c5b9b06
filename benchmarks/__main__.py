"""All measures of speed in one run and one table: what was measured, what stands beside it, the ratio, what is wanted.

Only ratios count; both sides of one are measured in this run. Each script has more to say, and options of its own.

    .venv/bin/python -m benchmarks --quick   # small folders, few rounds: a look at whether it runs
    .venv/bin/python -m benchmarks           # the sizes that the wanted ratios are about
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import compare, downloads, quota, save_to_create, scale, start

ROOT = start.HERE


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    measure: str
    now: float
    beside: float
    against: str  # what stands beside it
    wanted: str  # of the ratio


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    specs: int
    rounds: int
    saves: int
    phase: float  # s of virtual time between two changes of the quota
    megabytes: int
    generations: int  # in the store


FULL = Sizes(100_000, 5, 100, 3600.0, 1000, 1_000_000)
QUICK = Sizes(2_000, 1, 10, 600.0, 100, 10_000)


def main() -> None:
    """Measure, and print each line as soon as it is known."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    chosen = parser.parse_args()
    sizes = QUICK if chosen.quick else FULL
    print(f"{'measure':<44}{'now':>10}{'beside':>10}{'ratio':>8}  wanted, and beside what")
    for part in chosen.only:
        with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
            for row in PARTS[part](Path(folder), sizes):
                ratio = f"{row.now:>10.2f}{row.beside:>10.2f}{row.now / row.beside:>8.2f}"
                print(f"{row.measure:<44}{ratio}  {row.wanted}: {row.against}", flush=True)


def starting(place: Path, sizes: Sizes) -> Iterator[Row]:
    """Yield what commands take before they do anything, ms of CPU."""
    (place / "specs").mkdir()
    least = _least(place, ["-c", "pass"], sizes)
    for command, wanted in (("--help", "≤ 8"), ("plan", "≤ 20"), ("status", "≤ 20")):
        took = _least(place, ["-m", "reconciler", command], sizes)
        yield Row(f"`{command}`, empty folder, cpu ms", took, least, wanted, "python -c pass")


def _least(place: Path, arguments: list[str], sizes: Sizes) -> float:
    found = [start.cost(place, ROOT, arguments)[0] for _ in range(sizes.rounds + 1)]
    return statistics.median(found[1:])  # the first compiles


def plans(place: Path, sizes: Sizes) -> Iterator[Row]:
    """Yield plans with nothing to do, and the start of `watch` on the same folder."""
    empty = _median(compare.empty_plan(place), sizes)["s"]
    few, many = max(sizes.specs // 100, 100), sizes.specs
    small = _median(compare.noop_plan(place, few), sizes)["s"]
    tenth = _median(compare.noop_plan(place, many // 10), sizes)["s"]
    large = _median(compare.noop_plan(place, many), sizes)["s"]
    yield Row(f"plan of {few:,} complete, s", small, empty, "≤ 1.2", "plan of an empty folder")
    yield Row(f"plan of {many:,} complete, s", large, tenth, "≤ 11", "plan of a tenth")
    watch = _median(compare.start_of_watch(place, many), sizes)
    yield Row(f"`watch` of {many:,}, ready, s", watch["ready s"], large, "≤ 3", "the plan")
    yield Row(f"`watch` of {many:,}, MiB", watch["MiB"], 150.0, "≤ 1", "150 MiB")


def _median(measured: Callable[[Path], compare.Measured], sizes: Sizes) -> compare.Measured:
    found = [measured(ROOT) for _ in range(sizes.rounds + 1)][1:]
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


def saving(place: Path, sizes: Sizes) -> Iterator[Row]:
    """Yield from save to create, ms, beside many specs and beside few."""
    found = []
    for count in (100, sizes.specs // 2):
        (place / str(count)).mkdir()
        found.append(save_to_create.measure(place / str(count), count, sizes.saves))
    few, many = found
    against = "beside 100 specs"
    yield Row(f"save to create, p50 ms, {sizes.specs // 2:,}", many.p50, few.p50, "≤ 1.3", against)


def slots(_: Path, sizes: Sizes) -> Iterator[Row]:
    """Yield the use of the account's slots while the quota changes."""
    for one in quota.QUOTAS:
        used = quota.total(quota.measure(one, 120.0, sizes.phase))
        yield Row(f"quota of {one}, slots in use", used.slots, 1.0, "≥ 0.9", "all of them")
        yield Row(f"quota of {one}, creates refused", used.refused, used.creates, "< 0.05", "all")


def downloading(_: Path, sizes: Sizes) -> Iterator[Row]:
    """Yield the processor's time for saving large results."""
    for count in (1, 4):
        found = downloads.measure(sizes.megabytes, count, sizes.rounds)
        ours = found.pop(downloads.OURS)
        for way, cost in found.items():
            name = f"{count} × {sizes.megabytes:,} MB, MB/s"
            yield Row(name, ours.rate, cost.rate, "1", way)
        yield Row(f"{count} × {sizes.megabytes:,} MB, peak MB", ours.memory, 100.0, "≤ 1", "100 MB")


def years(place: Path, sizes: Sizes) -> Iterator[Row]:
    """Yield what the daemon asks of a full store, ms, beside a store of 1,000."""
    found = []
    for count in (1_000, sizes.generations):
        root = place / str(count)
        scale.build(root, count)
        found.append(scale.measure_verbs(root, count))
    few, many = found
    for name in (
        "history(id)",
        "find(task_id)",
        "record_intent, save",
        "trim_history(), 1,000 lines",
    ):
        against = "1,000 generations"
        measure = f"{name}, {sizes.generations:,}, ms"
        yield Row(measure, many[name][0], few[name][0], "≤ 2", against)


PARTS: dict[str, Callable[[Path, Sizes], Iterator[Row]]] = {
    "starting": starting,
    "plans": plans,
    "saving": saving,
    "slots": slots,
    "downloading": downloading,
    "years": years,
}

if __name__ == "__main__":
    main()
