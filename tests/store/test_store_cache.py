"""The cache of what was read: useful when it is there, silent when it is not."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.store.file_cache import FileCache

from .builders import plain_user

_ENTRY = {"specs/a.yaml": ("12:34:56", b"\x00packed\xff")}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "cache.db"


@pytest.fixture
def cache(path: Path) -> Iterator[FileCache]:
    with closing(FileCache(path)) as cache:
        yield cache


def _load(path: Path) -> dict[str, tuple[str, bytes]]:
    with closing(FileCache(path)) as cache:
        return cache.load()


def test_what_was_saved_is_loaded(cache: FileCache, path: Path) -> None:
    """Entries are kept, replaced and forgotten, across openings."""
    cache.save({"a": ("1", b"x"), "b": ("2", b"y")}, [])
    cache.save({"a": ("3", b"z")}, iter(["b", "never"]))
    assert cache.load() == _load(path) == {"a": ("3", b"z")}


def test_some_of_it_is_loaded_by_name_or_by_how_names_begin(cache: FileCache) -> None:
    """What is asked for and no more; what is not there is left out."""
    rows = {name: ("1", name.encode()) for name in ("a", "b/c", "/x/", "/x/y", "/xy", "/w")}
    cache.save(rows, [])
    assert cache.load() == rows
    assert set(cache.load(["a", "never", "/xy"])) == {"a", "/xy"}
    assert set(cache.load(under="/x/")) == {"/x/", "/x/y"}
    assert set(cache.load(["b/c"], under="/x/")) == {"b/c", "/x/", "/x/y"}
    assert cache.load([]) == {}


def test_loading_creates_nothing(cache: FileCache, path: Path) -> None:
    """Without a cache nothing is known, and nothing is made until there is something to save."""
    assert cache.load() == {}
    cache.save({}, [])
    assert not path.parent.exists()


@pytest.mark.parametrize(
    "content", [b"", b"garbage " * 1000, b"SQLite format 3\x00" + b"\xa5" * 9000]
)
def test_damaged_cache_is_empty_and_made_anew(path: Path, content: bytes) -> None:
    """Whatever stands in the file, it loads as empty and the next save works."""
    path.parent.mkdir()
    path.write_bytes(content)
    assert _load(path) == {}
    with closing(FileCache(path)) as cache:
        cache.save(_ENTRY, ["x"])
    assert _load(path) == _ENTRY


def test_truncated_cache_is_empty_and_made_anew(cache: FileCache, path: Path) -> None:
    """Half a file is as good as none."""
    cache.save({f"{number}": ("s", b"x" * 500) for number in range(200)}, [])
    cache.close()
    os.truncate(path, path.stat().st_size // 2)
    assert _load(path) == {}
    cache.save(_ENTRY, [str(number) for number in range(200)])
    assert _load(path) == _ENTRY


def test_cache_whose_schema_is_no_text_is_empty_and_made_anew(cache: FileCache, path: Path) -> None:
    """SQLite quotes the damaged name in its error, which then is no text itself."""
    cache.save(_ENTRY, [])
    cache.close()
    content = path.read_bytes()
    at = content.index(b"CREATE TABLE entry") - 8  # within its name, twice
    path.write_bytes(content[:at] + b"\xff\xfe\xfd\xfc" + content[at + 4 :])
    assert _load(path) == {}
    assert cache.get("specs/a.yaml") is None
    cache.save(_ENTRY, [])
    assert _load(path) == _ENTRY


def test_other_format_starts_empty(cache: FileCache, path: Path) -> None:
    """A cache of another version of the program is not interpreted."""
    cache.save({"old": ("1", b"x")}, [])
    cache.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    assert _load(path) == {}
    cache.save(_ENTRY, [])
    assert _load(path) == _ENTRY


def test_read_only_folder_can_be_read_but_not_saved_to(open_folder: Path) -> None:
    """Without the right to write, what is there is used and a save is silently nothing."""
    path = open_folder / "cache.db"
    with closing(FileCache(path)) as cache:
        cache.save(_ENTRY, [])
    path.chmod(0o444)
    open_folder.chmod(0o555)
    with plain_user(open_folder), closing(FileCache(path)) as cache:
        cache.save({"b": ("2", b"y")}, ["specs/a.yaml"])
        assert cache.load() == _ENTRY
        with closing(FileCache(open_folder / "deep" / "cache.db")) as other:
            other.save(_ENTRY, [])
            assert other.load() == {}


def test_held_cache_is_not_waited_for_nor_thrown_away(cache: FileCache, path: Path) -> None:
    """While another process writes, a save is dropped and the file stays."""
    cache.save(_ENTRY, [])
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        cache.save({"b": ("2", b"y")}, [])
        assert _load(path) == {}
    assert _load(path) == _ENTRY


def test_planted_link_is_left_alone(cache: FileCache, path: Path, tmp_path: Path) -> None:
    """A link in the cache's place, dangling or not, is neither followed nor replaced."""
    path.parent.mkdir()
    outside = tmp_path / "outside.db"
    path.symlink_to(outside)
    cache.save(_ENTRY, [])
    assert not outside.exists()
    outside.write_bytes(b"precious")
    cache.save(_ENTRY, [])
    assert cache.load() == {}
    assert outside.read_bytes() == b"precious"


def test_text_that_is_no_text_is_not_saved(cache: FileCache) -> None:
    """A file name outside Unicode costs its entry, not the program."""
    cache.save({"\udcff": ("1", b"x")}, [])
    assert cache.load() == {}
