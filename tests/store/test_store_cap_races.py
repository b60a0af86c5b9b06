"""Fifty runs against one cap, in a row, in threads and in processes: together they never pass it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal
from pathlib import Path

from reconciler.core.errors import CapReached
from reconciler.core.states import Record
from reconciler.store.repository import Repository
from reconciler.store.state import State
from reconciler.store.values import Caps

from .builders import fresh, record

_TEN = Decimal(10)


def _intend(repository: Repository, wanted: Record, caps: Caps, *, run_id: str = "run") -> None:
    repository.record_intent(fresh(wanted), caps=caps, run_id=run_id)


def test_racing_writers_never_pass_the_cap(database: Path) -> None:
    """Several writers at once, each with its own connection, spend exactly what the cap allows."""
    Repository.open(database).close()

    def buy(worker: int) -> int:
        bought = 0
        with closing(Repository.open(database)) as repository:
            for number in range(8):
                try:
                    _intend(repository, record(f"{worker}-{number}"), Caps(per_day=_TEN))
                except CapReached:
                    continue
                bought += 1
        return bought

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(buy, range(4))) == 4
    with closing(State.open(database)) as reader:
        assert sum(each.estimated_units for each in reader.records().values()) == _TEN


def test_fifty_runs_in_a_row_never_pass_the_cap(repository: Repository) -> None:
    """Each run has an id of its own; together they spend what the day allows and not a unit more."""
    bought = 0
    for number in range(50):
        with contextlib.suppress(CapReached):
            _intend(repository, record(f"mc1-{number}"), Caps(per_day=_TEN), run_id=f"run-{number}")
            bought += 1
    assert bought == 4
    assert len(repository.records()) == 4


def test_fifty_runs_racing_in_one_process_never_pass_the_cap(database: Path) -> None:
    """Fifty writers at once, each with its own connection and run: the day's cap is met exactly, and never passed."""
    Repository.open(database).close()
    start = threading.Barrier(50)

    def buy(number: int) -> int:
        with closing(Repository.open(database, busy_timeout=60)) as repository:
            start.wait()
            try:
                _intend(
                    repository, record(f"mc1-{number}"), Caps(per_day=_TEN), run_id=f"run-{number}"
                )
            except CapReached:
                return 0
        return 1

    with ThreadPoolExecutor(50) as pool:
        assert sum(pool.map(buy, range(50))) == 4
    with closing(State.open(database)) as reader:
        assert sum(each.estimated_units for each in reader.records().values()) == _TEN


def test_fifty_racers_of_one_run_never_pass_its_cap(database: Path) -> None:
    """The same for the cap of one run."""
    Repository.open(database).close()

    def buy(number: int) -> int:
        with closing(Repository.open(database, busy_timeout=60)) as repository:
            try:
                _intend(repository, record(f"mc1-{number}"), Caps(per_run=_TEN))
            except CapReached:
                return 0
        return 1

    with ThreadPoolExecutor(50) as pool:
        assert sum(pool.map(buy, range(50))) == 4


_RACERS = """
import os, sys
from contextlib import closing, suppress
from decimal import Decimal
from reconciler.core.errors import CapReached
from reconciler.store.repository import Repository
from reconciler.store.values import Caps
from tests.store.builders import DAY, fresh, record

def race(racer):
    bought = 0
    with closing(Repository.open(sys.argv[1], busy_timeout=60)) as repository:
        os.write(ready[1], b".")
        os.read(go[0], 1)
        for number in range(10):
            with suppress(CapReached):
                name = f"{racer}-{number}"
                repository.record_intent(fresh(record(name)), caps=Caps(per_day=Decimal(10)), run_id=name)
                bought += 1
    return bought

ready, go = os.pipe(), os.pipe()
racers = []
for racer in range(5):
    if not (pid := os.fork()):
        os._exit(race(racer))
    racers.append(pid)
for _ in racers:
    os.read(ready[0], 1)
os.write(go[1], b"." * len(racers))
print(*(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in racers))
"""


def test_fifty_runs_in_racing_processes_never_pass_the_cap(database: Path) -> None:
    """Five processes, ten runs each, let go at the same moment: SQLite's write lock serves processes as it does threads."""
    Repository.open(database).close()
    done = subprocess.run(
        [sys.executable, "-c", _RACERS, str(database)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert (sum(map(int, done.stdout.split())), done.stderr) == (4, "")
