"""An object is complete and true to its name, or it is not there."""

from __future__ import annotations

import hashlib
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.errors import StateError
from reconciler.store.objects import ObjectStore

from .builders import plain_user

_BYTES = b"a whole film " * 1000
_SHA256 = hashlib.sha256(_BYTES).hexdigest()

_INGEST_FOR_EVER = """
import sys
from pathlib import Path
from reconciler.store.objects import ObjectStore
store = ObjectStore(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    for source in sys.argv[2:]:
        store.ingest(Path(source))
"""


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path / "state" / "objects")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "film.mp4"
    source.write_bytes(_BYTES)
    return source


def _names(store: ObjectStore) -> set[Path]:
    folder = store.path(_SHA256).parents[1]
    return {path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir()}


def test_ingested_file_is_found_by_its_digest(store: ObjectStore, source: Path) -> None:
    """The copy lies under its digest, read-only and for its user alone, and nothing else is left behind."""
    assert store.ingest(source, _SHA256) == (_SHA256, len(_BYTES))
    path = store.path(_SHA256)
    assert path.read_bytes() == _BYTES
    assert path.parts[-2:] == (_SHA256[:2], _SHA256[2:])
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert _names(store) == {Path(_SHA256[:2], _SHA256[2:])}
    assert source.read_bytes() == _BYTES


def test_ingesting_again_changes_nothing(store: ObjectStore, source: Path) -> None:
    """The same file, or the same bytes elsewhere, are one object."""
    twin = source.with_name("twin.mp4")
    twin.write_bytes(_BYTES)
    assert store.ingest(source) == store.ingest(source) == store.ingest(twin)
    assert len(_names(store)) == 1


def test_looking_creates_nothing(store: ObjectStore) -> None:
    """A store that nobody wrote to has no folder."""
    store.partial("somebody").close()
    assert not store.has(_SHA256)
    assert not store.verify(_SHA256)
    assert not store.path(_SHA256).parents[1].exists()


def test_size_is_part_of_being_there(store: ObjectStore, source: Path) -> None:
    """`has` answers for the size that is asked for."""
    store.ingest(source)
    assert store.has(_SHA256)
    assert store.has(_SHA256, len(_BYTES))
    assert not store.has(_SHA256, len(_BYTES) - 1)


def test_other_bytes_than_expected_are_refused(store: ObjectStore, source: Path) -> None:
    """A file that is not what its receipt says does not become an object."""
    with pytest.raises(StateError, match=f"digest {_SHA256}, not {'0' * 64}"):
        store.ingest(source, "0" * 64)
    assert _names(store) == set()


@pytest.mark.parametrize("damage", [b"", _BYTES[:-1], b"A" + _BYTES[1:]])
def test_damaged_object_is_detected_and_mended(
    store: ObjectStore, source: Path, damage: bytes
) -> None:
    """An empty, truncated or altered object fails verification, and ingesting it again mends it."""
    store.ingest(source)
    path = store.path(_SHA256)
    path.chmod(0o644)
    path.write_bytes(damage)
    assert not store.verify(_SHA256)
    assert store.has(_SHA256, len(_BYTES)) == (len(damage) == len(_BYTES))
    store.ingest(source)
    assert store.verify(_SHA256)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "\n"])
def test_only_a_digest_names_an_object(store: ObjectStore, name: str) -> None:
    """A receipt is a file that anybody may write: what is no digest leads nowhere."""
    assert not store.has(name)
    assert not store.verify(name)
    with pytest.raises(StateError, match="not a SHA-256"):
        store.path(name)


def test_link_is_no_object(store: ObjectStore, source: Path) -> None:
    """A link in an object's place is not followed, and is replaced when the object is saved."""
    path = store.path(_SHA256)
    path.parent.mkdir(parents=True)
    path.symlink_to(source)
    assert not store.has(_SHA256)
    assert not store.verify(_SHA256)
    store.ingest(source)
    assert store.verify(_SHA256)
    assert not path.is_symlink()


def test_planted_folder_link_leads_nowhere(store: ObjectStore, source: Path) -> None:
    """A link in the place of one of our folders is refused: no byte is written outside."""
    outside = source.with_name("outside")
    outside.mkdir()
    folder = store.path(_SHA256).parents[1]
    folder.mkdir(parents=True)
    (folder / _SHA256[:2]).symlink_to(outside)
    with pytest.raises(StateError, match="is a link"):
        store.ingest(source)
    (folder / "partial").rmdir()
    (folder / "partial").symlink_to(outside)
    with pytest.raises(StateError, match="is a link"):
        store.partial("x").write(b"x")
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("plant", ["link", "fifo", "missing"])
def test_source_must_be_a_plain_file(store: ObjectStore, source: Path, plant: str) -> None:
    """A link, a FIFO or nothing at all is refused with a sentence, without hanging."""
    odd = source.with_name("odd")
    if plant == "link":
        odd.symlink_to(source)
    elif plant == "fifo":
        os.mkfifo(odd)
    with pytest.raises(StateError, match="odd"):
        store.ingest(odd)


def test_download_becomes_an_object(store: ObjectStore) -> None:
    """Adopting a finished download returns its digest and size and takes the download away."""
    partial = store.partial("mc1-a:video")
    partial.restart('"etag"')
    partial.write(_BYTES)
    assert store.adopt(partial) == (_SHA256, len(_BYTES))
    assert store.verify(_SHA256)
    assert _names(store) == {Path(_SHA256[:2], _SHA256[2:])}
    assert store.partial("mc1-a:video").offset == 0


def test_nothing_to_adopt_is_said(store: ObjectStore) -> None:
    """A download that has no file is an error, not an empty object."""
    with pytest.raises(StateError, match="cannot be saved"):
        store.adopt(store.partial("never"))


@given(name=st.text())
def test_no_name_chooses_a_path(name: str) -> None:
    """Whatever the provider sends, a download lies directly in the store's own folder."""
    path = ObjectStore(Path("objects")).partial(name).path
    assert path.parent == Path("objects/partial")
    assert path.name.removesuffix(".part").isalnum()


def test_full_or_read_only_disk_is_said(open_folder: Path) -> None:
    """A folder that cannot be written is a sentence with a hint."""
    open_folder.chmod(0o555)
    with (
        plain_user(open_folder),
        pytest.raises(StateError, match="cannot be saved: Permission denied") as caught,
    ):
        ObjectStore(open_folder / "objects").partial("x").write(b"x")
    assert caught.value.hint


def test_leftover_of_a_crash_before_the_rename_is_no_obstacle(open_folder: Path) -> None:
    """A download that was complete but not yet an object when we died can be adopted by the next start."""
    with plain_user(open_folder):
        store = ObjectStore(open_folder)
        first = store.partial("x")
        first.restart('"e"')
        first.write(_BYTES)
        first.close()
        second = store.partial("x")
        assert (second.offset, second.validator) == (len(_BYTES), '"e"')
        assert store.adopt(second) == (_SHA256, len(_BYTES))


def test_names_are_those_of_every_object_and_of_nothing_else(
    store: ObjectStore, tmp_path: Path
) -> None:
    """Every object is named once, in order; downloads under way and other people's files are not."""
    assert list(store.names()) == []
    wanted = []
    for number in range(40):
        source = tmp_path / "film.mp4"
        source.write_bytes(b"%d" % number)
        wanted.append(store.ingest(source)[0])
    store.partial("under way").write(b"x")
    folder = store.path(_SHA256).parents[1]
    (folder / "notes.txt").write_text("")
    (folder / wanted[0][:2] / "notes.txt").write_text("")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / ("0" * 62)).write_bytes(b"")
    shard = next(name for name in map("{:02x}".format, range(256)) if not (folder / name).exists())
    (folder / shard).symlink_to(outside)
    assert list(store.names()) == sorted(wanted)


@pytest.mark.parametrize("damage", ["bytes", "link", "folder"])
def test_what_stands_in_an_objects_place_is_named_and_not_sound(
    store: ObjectStore, source: Path, damage: str
) -> None:
    """Damage is found by going through the names and verifying each."""
    store.ingest(source)
    path = store.path(_SHA256)
    path.unlink()
    if damage == "bytes":
        path.write_bytes(b"damaged")
    elif damage == "link":
        path.symlink_to(source)
    else:
        path.mkdir()
    open_before = len(list(Path("/dev/fd").iterdir()))
    assert [store.verify(name) for name in store.names()] == [False]
    assert len(list(Path("/dev/fd").iterdir())) == open_before


def test_objects_that_cannot_be_listed_are_said(open_folder: Path) -> None:
    """A folder that may not be read is a sentence, not an empty store."""
    (open_folder / "ab").mkdir()
    (open_folder / "ab").chmod(0o000)
    with plain_user(open_folder), pytest.raises(StateError, match="ab` cannot be read") as caught:
        list(ObjectStore(open_folder).names())
    assert caught.value.hint


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.2])
def test_killed_in_the_middle_of_writing_leaves_only_whole_objects(
    store: ObjectStore, tmp_path: Path, delay: float
) -> None:
    """After SIGKILL every object that is there is whole, and the leftovers do not stop the next writer."""
    sources = [tmp_path / f"{number}.mp4" for number in range(3)]
    for number, source in enumerate(sources):
        source.write_bytes(os.urandom(1_000_000 * (number + 1)))
    folder = store.path(_SHA256).parents[1]
    command = [sys.executable, "-c", _INGEST_FOR_EVER, str(folder), *map(str, sources)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
    objects = [path for path in folder.glob("??/*") if path.is_file()]
    assert all(store.verify(path.parent.name + path.name) for path in objects)
    for source in sources:
        store.ingest(source)
    assert len(_names(store)) == len(sources)
