"""A file of the right name and the right size in a media store, and other bytes in it: never what the provider gets."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import httpx
import obstore
import pytest
from obstore.store import S3Store

from reconciler.core.errors import HostingError
from reconciler.hosting.cloud import CloudShelf
from reconciler.hosting.local_folder import FolderShelf
from reconciler.hosting.media_store import MediaStore
from reconciler.hosting.places import place_of
from tests.support.bucket import ACCESS_KEY, SECRET_KEY, Bucket, bucket

FILM = b"film" * 2_000_000  # 8 MB: two parts of a multipart upload


class Kept(Protocol):
    """A media store of a kind, seen from behind."""

    def open(self) -> MediaStore: ...
    def lay(self, key: str, data: bytes) -> None: ...
    def bytes_of(self, key: str) -> bytes: ...


@dataclass
class Folder:
    """A folder that a web server publishes."""

    place: Path

    def open(self) -> MediaStore:
        return MediaStore(lambda: FolderShelf(self.place), public_url="https://cdn.example.com/")

    def lay(self, key: str, data: bytes) -> None:
        """Overwrite in place, as a disk or a careless tool would: the file keeps its times."""
        path = self.place / key
        path.write_bytes(data)
        os.utime(path, (1_000_000_000, 1_000_000_000))

    def bytes_of(self, key: str) -> bytes:
        return (self.place / key).read_bytes()


@dataclass
class Cloud:
    """A bucket; `multipart`: as another tool uploads to it, so that its ETags are no digests."""

    server: Bucket
    multipart: bool = False
    store: S3Store = field(init=False)

    def __post_init__(self) -> None:
        self.store = S3Store(
            self.server.name,
            prefix="in",
            config={"access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY,
                    "endpoint": self.server.url, "region": "us-east-1"},
            client_options={"allow_http": True},
        )  # fmt: skip

    def open(self) -> MediaStore:
        env = self.server.env()
        place = place_of(env["RECONCILER_MEDIA_STORE"])
        variables = {name: value for name, value in env.items() if name.startswith("AWS_")}
        return MediaStore(lambda: CloudShelf(place, variables, timedelta(days=1)), near=True)

    def lay(self, key: str, data: bytes) -> None:
        obstore.put(self.store, key, data, use_multipart=self.multipart)

    def bytes_of(self, key: str) -> bytes:
        return bytes(obstore.get(self.store, key).bytes())

    @property
    def asked(self) -> Counter[str]:
        """How often each kind of request was made."""
        return Counter(method for method, _ in self.server.asked)


@pytest.fixture(scope="module")
def server() -> Iterator[Bucket]:
    with bucket() as running:
        yield running


@pytest.fixture
def cloud(server: Bucket, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    monkeypatch.setenv("NO_PROXY", "*")
    httpx.post(f"{server.url}/moto-api/reset", trust_env=False)
    httpx.put(f"{server.url}/{server.name}", trust_env=False)
    server.asked.clear()
    server.spoil = False
    return Cloud(server)


@pytest.fixture(params=["folder", "bucket", "bucket, multipart"])
def kept(request: pytest.FixtureRequest, cloud: Cloud, tmp_path: Path) -> Kept:
    if request.param == "folder":
        (tmp_path / "public").mkdir()
        return Folder(tmp_path / "public")
    cloud.multipart = "multipart" in request.param
    return cloud


@pytest.fixture
def film(tmp_path: Path) -> tuple[Path, str]:
    path = tmp_path / "a.mp4"
    path.write_bytes(FILM)
    return path, hashlib.sha256(FILM).hexdigest()


DAMAGES = [
    (bytes(len(FILM)), "zeros, as a torn disk has them"),
    (FILM[:-1] + b"\0", "one byte at its end"),
    (FILM[:5_000_000], "an upload that was cut off"),
    (FILM + b"!", "another tool's"),
]


@pytest.mark.parametrize(("damage", "reason"), DAMAGES)
def test_what_is_damaged_is_replaced(
    kept: Kept, film: tuple[Path, str], damage: bytes, reason: str
) -> None:
    """Found before the first use, whoever put it there; and the next publishing finds the right bytes."""
    path, digest = film
    kept.lay(f"{digest}.mp4", damage)
    asyncio.run(kept.open().publish(digest, path, ".mp4"))
    assert kept.bytes_of(f"{digest}.mp4") == FILM, reason


def test_what_is_damaged_after_it_was_used_is_replaced(kept: Kept, film: tuple[Path, str]) -> None:
    """A program that runs for weeks notices, too: it believes an object only as long as the store shows the same one."""
    path, digest = film
    store = kept.open()

    async def run() -> None:
        await store.publish(digest, path, ".mp4")
        kept.lay(f"{digest}.mp4", DAMAGES[1][0])
        await store.publish(digest, path, ".mp4")

    asyncio.run(run())
    assert kept.bytes_of(f"{digest}.mp4") == FILM


def test_an_etag_that_is_the_digest_is_believed(cloud: Cloud, film: tuple[Path, str]) -> None:
    """Nothing is fetched from a bucket that says what it holds: one question for each create."""
    path, digest = film
    cloud.lay(f"{digest}.mp4", FILM)
    cloud.server.asked.clear()
    asyncio.run(cloud.open().publish(digest, path, ".mp4"))
    assert cloud.asked == {"HEAD": 1}


def test_an_object_without_a_digest_is_read_back_once(cloud: Cloud, film: tuple[Path, str]) -> None:
    """Three takes of one film in one run cost reading it once; the right one is not uploaded again."""
    path, digest = film
    cloud.multipart = True
    cloud.lay(f"{digest}.mp4", FILM)
    cloud.server.asked.clear()

    async def run() -> None:
        store = cloud.open()
        for _ in range(3):
            await store.publish(digest, path, ".mp4")

    asyncio.run(run())
    assert cloud.asked == {"HEAD": 3, "GET": 1}


def test_a_store_that_spoils_what_it_is_given_is_not_used(
    cloud: Cloud, film: tuple[Path, str]
) -> None:
    """What was uploaded is compared as well: there is no URL of it, and so no purchase."""
    path, digest = film
    cloud.server.spoil = True
    with pytest.raises(HostingError, match="does not hold the bytes"):
        asyncio.run(cloud.open().publish(digest, path, ".mp4"))
    cloud.server.spoil = False
    asyncio.run(cloud.open().publish(digest, path, ".mp4"))
    assert cloud.bytes_of(f"{digest}.mp4") == FILM
