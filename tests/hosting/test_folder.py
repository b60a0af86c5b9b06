"""A folder that a web server publishes: whole files, readable, and never anything else."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from reconciler.core.errors import HostingError, WorkspaceError
from reconciler.hosting.local_folder import CHUNK, FolderShelf
from reconciler.hosting.media_store import MediaStore


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "public"
    place.mkdir()
    return place


@pytest.fixture
def web(folder: Path) -> Iterator[str]:
    """A web server over the folder; its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def film(path: Path, data: bytes = b"film" * 1000) -> tuple[Path, str]:
    path.write_bytes(data)
    return path, hashlib.sha256(data).hexdigest()


def test_a_published_file_is_read_through_the_web_server(
    tmp_path: Path, folder: Path, web: str
) -> None:
    """The URL gives the bytes; a second time nothing is written; no other file is there."""
    path, digest = film(tmp_path / "a.MP4")
    store = MediaStore(lambda: FolderShelf(folder), public_url=web, near=True)
    url = asyncio.run(store.publish(digest, path, ".mp4"))
    assert httpx.get(url, trust_env=False).content == path.read_bytes()
    (made,) = folder.iterdir()
    assert made.name == f"{digest}.mp4"
    before = made.stat().st_mtime_ns, made.stat().st_ino
    assert asyncio.run(store.publish(digest, path, ".mp4")) == url
    assert (made.stat().st_mtime_ns, made.stat().st_ino) == before


def test_a_file_that_is_not_whole_is_replaced(tmp_path: Path, folder: Path) -> None:
    """A file of the wrong size under our name, and what a kill left behind, end as the right bytes."""
    path, digest = film(tmp_path / "a.mp4")
    (folder / f"{digest}.mp4").write_bytes(b"half")
    (folder / f".{digest}.mp4.part").write_bytes(b"rubbish that is longer" * 1000)
    store = MediaStore(lambda: FolderShelf(folder), public_url="https://cdn.example.com/m")
    assert (
        asyncio.run(store.publish(digest, path, ".mp4"))
        == f"https://cdn.example.com/m/{digest}.mp4"
    )
    assert {item.name: item.read_bytes() for item in folder.iterdir()} == {
        f"{digest}.mp4": path.read_bytes()
    }


def test_two_that_publish_the_same_at_once_leave_one_whole_file(
    tmp_path: Path, folder: Path
) -> None:
    """Two programs share the folder and the file: at any time it is whole or not there."""
    path, digest = film(tmp_path / "a.mp4", os.urandom(5 * CHUNK))

    async def run() -> None:
        stores = [
            MediaStore(lambda: FolderShelf(folder), public_url="https://cdn.example.com/")
            for _ in range(4)
        ]
        await asyncio.gather(*(store.publish(digest, path, ".mp4") for store in stores))

    asyncio.run(run())
    assert {item.name: item.read_bytes() for item in folder.iterdir()} == {
        f"{digest}.mp4": path.read_bytes()
    }


def test_a_file_that_changed_lands_under_no_name(tmp_path: Path, folder: Path) -> None:
    """The digest is of other bytes: nothing is written."""
    path, _ = film(tmp_path / "a.mp4")
    store = MediaStore(lambda: FolderShelf(folder), public_url="https://cdn.example.com/")
    with pytest.raises(WorkspaceError, match="changed"):
        asyncio.run(store.publish("0" * 64, path, ".mp4"))
    with pytest.raises(WorkspaceError, match="cannot be read"):
        asyncio.run(store.publish("0" * 64, tmp_path / "gone.mp4", ".mp4"))
    assert list(folder.iterdir()) == []


def test_a_folder_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    """It is not made: a mistyped one would publish to nobody."""
    path, digest = film(tmp_path / "a.mp4")
    store = MediaStore(
        lambda: FolderShelf(tmp_path / "none"), public_url="https://cdn.example.com/"
    )
    with pytest.raises(HostingError, match="it is not there"):
        asyncio.run(store.publish(digest, path, ".mp4"))
    assert not (tmp_path / "none").exists()


def test_a_full_disk_is_a_sentence_and_leaves_nothing(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason names the disk, and what was begun gives its room back; with room it goes through."""
    path, digest = film(tmp_path / "a.mp4")
    store = MediaStore(lambda: FolderShelf(folder), public_url="https://cdn.example.com/")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(HostingError, match="its disk is full"):
            asyncio.run(store.publish(digest, path, ".mp4"))
    assert list(folder.iterdir()) == []
    asyncio.run(store.publish(digest, path, ".mp4"))
    assert [item.name for item in folder.iterdir()] == [f"{digest}.mp4"]


def test_a_write_that_is_cancelled_ends_within_a_piece(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop does not wait for a slow disk, and no file appears under its name afterwards."""
    path, digest = film(tmp_path / "a.mp4", bytes(50 * CHUNK))
    begun = threading.Event()
    real_open = os.open

    def opened(*arguments: Any, **options: Any) -> int:
        begun.set()
        time.sleep(0.2)
        return real_open(*arguments, **options)

    async def run() -> None:
        store = MediaStore(lambda: FolderShelf(folder), public_url="https://cdn.example.com/")
        task = asyncio.create_task(store.publish(digest, path, ".mp4"))
        await asyncio.to_thread(begun.wait)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    monkeypatch.setattr("reconciler.hosting.local_folder.os.open", opened)
    asyncio.run(run())  # returns when the thread has ended
    assert not (folder / f"{digest}.mp4").exists()


def test_a_place_that_the_provider_cannot_reach_gets_no_file(
    tmp_path: Path, folder: Path, web: str
) -> None:
    """A URL of this machine is refused before a byte is written, unless the provider is here too."""
    path, digest = film(tmp_path / "a.mp4")
    store = MediaStore(lambda: FolderShelf(folder), public_url=web)
    with pytest.raises(HostingError, match=r"the provider cannot reach 127\.0\.0\.1"):
        asyncio.run(store.publish(digest, path, ".mp4"))
    assert list(folder.iterdir()) == []
