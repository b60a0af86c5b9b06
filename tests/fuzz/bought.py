"""Projects in which something was bought, as copies that a case may damage; and what must never happen to them."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from tests.fuzz.commands import said
from tests.support.project import picture, spec_text
from tests.support.simulator import Simulator, simulator

QUICK = {
    "RECONCILER_ABSENCE_GRACE": "0.2",
    "RECONCILER_POLL_INTERVAL": "0.05",
    "RECONCILER_POSTERS": "false",
    "RECONCILER_REQUEST_TIMEOUT": "5",
}
COUNT = 4


@dataclass(frozen=True)
class Bought:
    """A provider that bills a repeated id again, and a project folder as it was at some moment."""

    sim: Simulator
    pattern: Path

    @contextmanager
    def copy(self) -> Iterator[Path]:
        """Give a copy of the project; mtimes are kept, inodes are not."""
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            root = Path(folder, "project")
            shutil.copytree(self.pattern, root)
            yield root

    def assert_bought_once(self) -> None:
        """Ask the ledger: every id was billed once, and nothing else was."""
        billed = self.sim.billed()
        assert len(billed) == COUNT, billed
        assert set(billed.values()) == {1}, billed


@contextmanager
def bought(folder: Path, *, settled: bool) -> Iterator[Bought]:
    """Buy a few generations, and keep the folder as it is when they are complete, or (not `settled`) in flight."""
    pattern = folder / "pattern"
    picture(pattern / "specs/girl.png")
    for number in range(COUNT):
        fields = {"image_url": "girl.png"} if number % 2 else {}
        (pattern / f"specs/dance{number}.yaml").write_text(
            spec_text(prompt=f"dance {number}", **fields)
        )
    for path in (pattern / "specs").iterdir():
        os.utime(
            path, (1_700_000_000, 1_700_000_000)
        )  # what is older than a moment is believed to stand still
    with (
        simulator(
            folder / "simulator", duplicate_ids="bill_again", speed=600.0 if settled else 0.0
        ) as sim,
        mock.patch.dict(os.environ, {**QUICK, **sim.env()}),
    ):
        done = said(pattern, "apply", "--yes", "--json", "--timeout", "20" if settled else "6")
        assert done.code == (0 if settled else 4), done
        with closing(sqlite3.connect(pattern / "state/reconciler.db")) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        made = Bought(sim, pattern)
        made.assert_bought_once()
        yield made
        made.assert_bought_once()
