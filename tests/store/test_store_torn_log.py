"""The database's write-ahead log, cut off or torn anywhere after the last commit: what was committed is there."""

from __future__ import annotations

import random
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.core.states import Status
from reconciler.store.repository import Repository
from reconciler.store.values import Change

from .builders import fresh, record

FRAME = 24 + 4096  # bytes: a header and a page
CUTS = (
    0,
    1,
    8,
    23,
    24,
    25,
    2000,
    4096,
    FRAME - 1,
)  # in every frame: in, at and around each of its parts


def _copy(database: Path, folder: Path, log: bytes) -> Path:
    """Return the database as it is found after a power cut: the main file, and this log."""
    copy = folder / "cut.db"
    for leftover in folder.glob("cut.db*"):
        leftover.unlink()
    shutil.copy(database, copy)
    copy.with_name("cut.db-wal").write_bytes(log)
    return copy


@pytest.mark.parametrize("garbage", [False, True], ids=["cut", "zeros"])
def test_a_log_that_ends_anywhere_keeps_what_was_committed(
    database: Path, tmp_path: Path, garbage: bool
) -> None:
    """Cut at any byte of the next transaction, or with zeros from there on: the last one is whole, the next is not there."""
    intent, submitted = (
        record("mc1-a", status=Status.SUBMITTING),
        record("mc1-a", status=Status.SUBMITTED, task_id="1"),
    )
    log = database.with_name(f"{database.name}-wal")
    with closing(Repository.open(database)) as repository:
        repository.save([fresh(intent)])
        synced = log.read_bytes()
        repository.save([Change(submitted, Status.SUBMITTING)])
        written = log.read_bytes()
        main = tmp_path / "main.db"
        shutil.copy(database, main)
    assert written.startswith(synced)
    frames = range(len(synced), len(written), FRAME)
    assert len(frames) > 3
    cuts = [frame + cut for frame in frames for cut in CUTS]
    for cut in cuts:
        torn = written[:cut] + (bytes(len(written) - cut) if garbage else b"")
        with closing(Repository.open(_copy(main, tmp_path, torn))) as repository:
            found = repository.record("mc1-a")
            assert found is not None
            assert found.status is Status.SUBMITTING, cut
            repository.save([Change(submitted, Status.SUBMITTING)])
    with closing(Repository.open(_copy(main, tmp_path, written))) as repository:
        assert repository.record("mc1-a") == submitted


def test_a_log_whose_next_transaction_is_a_mixture_keeps_what_was_committed(
    database: Path, tmp_path: Path
) -> None:
    """Sectors of the next transaction that did not arrive, drawn fifty times: it is there as a whole or not at all."""
    draw = random.Random(1)
    intent = record("mc1-a", status=Status.SUBMITTING)
    submitted = record("mc1-a", status=Status.SUBMITTED, task_id="1")
    log = database.with_name(f"{database.name}-wal")
    with closing(Repository.open(database)) as repository:
        repository.save([fresh(intent)])
        synced = len(log.read_bytes())
        repository.save([Change(submitted, Status.SUBMITTING)])
        written = log.read_bytes()
        main = tmp_path / "main.db"
        shutil.copy(database, main)
    for _ in range(50):
        torn = bytearray(written)
        for at in range(synced, len(torn), 512):
            if draw.random() < 0.2:
                torn[at : at + 512] = bytes(len(torn[at : at + 512]))
        with closing(Repository.open(_copy(main, tmp_path, bytes(torn)))) as repository:
            found = repository.record("mc1-a")
            assert found is not None
            assert found.status in {Status.SUBMITTING, Status.SUBMITTED}
