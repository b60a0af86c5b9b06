"""Receipts and the cache, damaged: what was bought is not bought again, and a wish never turns into another one."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example
from hypothesis import strategies as st

from tests.fuzz.bought import COUNT, Bought, bought
from tests.fuzz.commands import said
from tests.fuzz.damage import bytes_of, damaged
from tests.fuzz.profile import fuzz

FOREIGN = bytes_of(
    b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"\\ud800", b"[" * 50_000, b'{"a":' * 900, b"9" * 5000, b"1e999999999", b"NaN",
    b"-1", b"null", b'"schema": 2', b'"schema": true', b'"../x.mp4"', b'"/etc/x.mp4"', b'"a/b.mp4"', b'".hid.mp4"',
    b"<<<<<<< HEAD\n", b"=======\n", b">>>>>>> theirs\n", b'"current": false,', b'"status": "failed",', b"-r2", b"-r99999999999999999999",
    b'"0001-01-01T00:00:00.000Z"', b'"9999-99-99T00:00:00Z"', b'"units": "1e5"', b'"generations": [],', b"[bold]", b"\x1b[2J",
)  # fmt: skip
WEIRD: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def project() -> Iterator[Bought]:
    """A project whose generations are complete."""
    with (
        tempfile.TemporaryDirectory(prefix="fuzz-receipts-") as folder,
        bought(Path(folder), settled=True) as made,
    ):
        yield made


def lived_with(project: Bought, root: Path) -> None:
    """Run the commands with the state and without it: nothing is bought by any, and every file stays in the folder."""
    for command in (("status",), ("plan",), ("validate",)):
        said(root, *command, "--json")
    said(root, "apply", "--yes", "--json", "--timeout", "3")
    project.assert_bought_once()
    shutil.rmtree(root / "state")
    said(root, "plan", "--json")
    said(root, "apply", "--yes", "--json", "--timeout", "3")
    project.assert_bought_once()
    assert {path.name for path in root.parent.iterdir()} == {"project"}


@fuzz("receipts", 8, data=st.data())
def test_a_damaged_receipt_buys_nothing_twice(project: Bought, data: st.DataObject) -> None:
    """Bytes of a receipt cut, repeated, overwritten, and foreign ones put in between."""
    with project.copy() as root:
        path = root / "specs/dance0.receipt.json"
        path.write_bytes(data.draw(damaged(st.just(path.read_bytes()), FOREIGN)))
        lived_with(project, root)


@fuzz("receipts", 8, data=st.data())
def test_a_receipt_of_nonsense_buys_nothing_twice(project: Bought, data: st.DataObject) -> None:
    """A receipt that is JSON, and in which some value is of another kind, or another receipt's."""
    with project.copy() as root:
        path = root / f"specs/dance{data.draw(st.integers(0, COUNT - 1))}.receipt.json"
        document = json.loads(path.read_text())
        row = document["generations"][0]
        other = json.loads((root / "specs/dance3.receipt.json").read_text())["generations"][0]
        for _ in range(data.draw(st.integers(1, 3))):
            target = data.draw(
                st.sampled_from([row, row["outputs"][0] if row.get("outputs") else row])
            )
            key = data.draw(st.sampled_from(sorted(target)))
            theirs = [other[key]] if key in other else []
            target[key] = data.draw(WEIRD | st.sampled_from([None, "", *theirs]))
            if not isinstance(row.get("outputs"), list) or not all(
                isinstance(o, dict) for o in row["outputs"]
            ):
                break
        path.write_text(json.dumps(document))
        lived_with(project, root)


@fuzz("cache", 25, data=st.data())
@example(data=None)
def test_a_damaged_cache_changes_no_plan(project: Bought, data: st.DataObject | None) -> None:
    """Whatever `cache.db` holds, every spec wants what it wants without a cache."""
    with project.copy() as root:
        path = root / "state/cache.db"
        path.unlink(missing_ok=True)
        truth = said(root, "plan", "--json").document
        assert said(root, "plan", "--json").document == truth
        whole = path.read_bytes()
        noise = st.sampled_from(
            [b"\0" * 32, b"\xff" * 8, b"mc1-", b'"', b"[", b"9", b"boy", b"girl.png"]
        )
        path.write_bytes(
            data.draw(damaged(st.just(whole), noise, 3)) if data else whole[: len(whole) // 2]
        )
        assert said(root, "plan", "--json").document == truth
        assert said(root, "plan", "--json").document == truth


@fuzz("cache", 25, data=st.data())
def test_a_cache_of_nonsense_changes_no_plan(project: Bought, data: st.DataObject) -> None:
    """The same where the file is sound, and an entry in it is not."""
    with project.copy() as root:
        path = root / "state/cache.db"
        path.unlink(missing_ok=True)
        truth = said(root, "plan", "--json").document
        with closing(sqlite3.connect(path)) as database, database:
            rows = database.execute("SELECT key, packed FROM entry").fetchall()
            key, packed = data.draw(st.sampled_from(rows))
            noise = st.sampled_from(
                [b"null", b"true", b"[]", b"{}", b"-1", b"1e400", b'"x"', b"0", b"\xff"]
            )
            odd = data.draw(damaged(st.just(packed), noise, 3) | st.binary(max_size=20) | noise)
            column = data.draw(st.sampled_from(["packed", "packed", "packed", "stamp", "key"]))
            value = (
                data.draw(st.sampled_from([odd, None, 7, "text"])) if column != "packed" else odd
            )
            with suppress(sqlite3.Error):
                database.execute(f"UPDATE entry SET {column} = ? WHERE key = ?", (value, key))
        assert said(root, "plan", "--json").document == truth
        assert said(root, "plan", "--json").document == truth
