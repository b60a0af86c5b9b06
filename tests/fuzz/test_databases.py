"""A state database that is damaged, foreign, nonsense or from the future: said, and never a second purchase."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import strategies as st

from tests.fuzz.bought import Bought, bought
from tests.fuzz.commands import said
from tests.fuzz.damage import damaged
from tests.fuzz.profile import fuzz

NOISE = st.sampled_from(
    [b"\0" * 64, b"\xff" * 64, b"SQLite format 3\0", b"mc1-", b"complete", b"-r2"]
)
COLUMNS = {
    "task": (
        "external_task_id", "base_id", "attempt", "status", "request", "spec", "label", "task_id", "reason",
        "estimated_units", "units", "intent_at", "created_at", "finished_at", "run_id", "creates", "doubtful", "gave_up_at", "absent_looks", "refusal",
    ),
    "result": ("external_task_id", "role", "sha256", "size", "duration"),
    "publication": ("path", "external_task_id", "role", "sha256", "size", "mtime_ns", "inode"),
    "event": ("external_task_id", "at", "kind", "detail", "request_id"),
    "memory": ("key", "value"),
    "hold": ("base_id", "reason"),
}  # fmt: skip
VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=12),
    st.binary(max_size=12),
    st.sampled_from(
        ["pending", "submitting", "submitted", "processing", "succeeded", "complete", "failed", "rejected", "expired",
         "blocked", "../../../x", "/etc/passwd", "NaN", "1e999999999", "sNaN", "-1", "[", "{}", "null", "x" * 5000]
    ),
)  # fmt: skip


@pytest.fixture(scope="module", params=["complete", "in flight"])
def project(request: pytest.FixtureRequest) -> Iterator[Bought]:
    """A project whose generations are complete, and one where all are in flight."""
    with (
        tempfile.TemporaryDirectory(prefix="fuzz-databases-") as folder,
        bought(Path(folder), settled=request.param == "complete") as made,
    ):
        yield made


def lived_with(project: Bought, root: Path) -> None:
    """Run the commands over a damaged state, then without it: nothing is bought by any."""
    for command in (("status",), ("plan",), ("validate",), ("show", "specs/dance1.yaml")):
        said(root, *command, "--json")
    applied = said(root, "apply", "--yes", "--json", "--timeout", "0.5")
    project.assert_bought_once()
    if "error" in applied.document:
        for path in (root / "state").glob("reconciler.db*"):
            path.unlink()
        again = said(root, "apply", "--yes", "--json", "--timeout", "0.5")
        assert "error" not in again.document, again
        project.assert_bought_once()


@fuzz("databases", 8, data=st.data())
def test_a_damaged_file_buys_nothing_twice(project: Bought, data: st.DataObject) -> None:
    """Bytes flipped, cut, zeroed and overwritten anywhere in the file."""
    with project.copy() as root:
        path = root / "state/reconciler.db"
        path.write_bytes(data.draw(damaged(st.just(path.read_bytes()), NOISE)))
        lived_with(project, root)


@fuzz("databases", 8, journal=st.binary(max_size=6000), header=st.booleans())
def test_a_foreign_journal_buys_nothing_twice(
    project: Bought, journal: bytes, header: bool
) -> None:
    """A `-wal` file that belongs to nothing, beside a sound database."""
    with project.copy() as root:
        magic = bytes.fromhex("377f0682002de218") if header else b""
        (root / "state/reconciler.db-wal").write_bytes(magic + journal)
        lived_with(project, root)


@fuzz("databases", 9, data=st.data())
def test_nonsense_values_buy_nothing_twice(project: Bought, data: st.DataObject) -> None:
    """A sound file in which some value is one that no version of the program writes."""
    with project.copy() as root:
        with closing(sqlite3.connect(root / "state/reconciler.db")) as database, database:
            for _ in range(data.draw(st.integers(1, 3))):
                _overwrite(database, data)
        lived_with(project, root)


def _overwrite(database: sqlite3.Connection, data: st.DataObject) -> None:
    table = data.draw(st.sampled_from(sorted(COLUMNS)))
    there = {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
    column = data.draw(st.sampled_from([name for name in COLUMNS[table] if name in there]))
    where = data.draw(st.sampled_from(["", f" WHERE rowid = (SELECT min(rowid) FROM {table})"]))
    with suppress(
        sqlite3.Error, UnicodeEncodeError
    ):  # the schema itself, or the driver, refuses it
        database.execute(f"UPDATE {table} SET {column} = ?{where}", (data.draw(VALUES),))


@fuzz(
    "databases",
    6,
    kind=st.sampled_from(["foreign", "empty", "newer", "older", "text", "folder", "no tables"]),
)
def test_another_database_buys_nothing_twice(project: Bought, kind: str) -> None:
    """Somebody else's SQLite file, an empty one, one of a newer program, no database at all."""
    with project.copy() as root:
        path = root / "state/reconciler.db"
        if kind in {"newer", "older", "no tables"}:
            with closing(sqlite3.connect(path)) as database, database:
                database.execute(
                    {
                        "newer": "UPDATE alembic_version SET version_num = '9999'",
                        "older": "UPDATE alembic_version SET version_num = '0000'",
                        "no tables": "DROP TABLE alembic_version",
                    }[kind]
                )
        else:
            path.unlink()
        if kind == "foreign":
            with closing(sqlite3.connect(path)) as database, database:
                database.execute("CREATE TABLE task (name TEXT)")
        elif kind == "folder":
            path.mkdir()
        elif kind in {"empty", "text"}:
            path.write_text("" if kind == "empty" else "not a database at all\n" * 500)
        if kind == "folder":
            said(root, "apply", "--yes", "--json", "--timeout", "0.5")
            path.rmdir()
        lived_with(project, root)


def test_a_result_that_the_state_lost_is_fetched_again(project: Bought) -> None:
    """A record that is complete and lists no result: the bytes are fetched, or known from the receipt, and not bought."""
    with project.copy() as root:
        with closing(sqlite3.connect(root / "state/reconciler.db")) as database, database:
            database.execute("DELETE FROM result")
        lived_with(project, root)
