"""A bucket: a real S3 server takes the files, and every way in which it does not is a sentence without a secret."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from reconciler.core.errors import HostingError, WorkspaceError
from reconciler.hosting.cloud import CloudShelf
from reconciler.hosting.media_store import MediaStore
from reconciler.hosting.places import VARIABLES, place_of
from tests.kling.server import Asked, serving
from tests.support.bucket import ACCESS_KEY, SECRET_KEY, Bucket, bucket

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def nobodys_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment knows of clouds does not count here, and nobody is asked for credentials."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture(scope="module")
def server() -> Iterator[Bucket]:
    with bucket() as running:
        yield running


@pytest.fixture
def videos(server: Bucket) -> Bucket:
    """The bucket, emptied."""
    httpx.post(f"{server.url}/moto-api/reset", trust_env=False)
    httpx.put(f"{server.url}/{server.name}", trust_env=False)
    server.asked.clear()
    server.delay, server.refusal = 0.0, None
    return server


def film(path: Path, data: bytes = b"film" * 1000) -> tuple[Path, str]:
    path.write_bytes(data)
    return path, hashlib.sha256(data).hexdigest()


def store_of(
    env: dict[str, str], *, public_url: str = "", near: bool = True, valid: timedelta = DAY
) -> MediaStore:
    place = place_of(env["RECONCILER_MEDIA_STORE"])
    variables = {name: value for name, value in env.items() if name.startswith("AWS_")}
    return MediaStore(lambda: CloudShelf(place, variables, valid), public_url=public_url, near=near)


def test_a_video_is_uploaded_once_and_read_without_a_key(tmp_path: Path, videos: Bucket) -> None:
    """The signed URL gives the bytes to anybody, with their type; the bucket gives them to nobody else."""
    path, digest = film(tmp_path / "a.MP4", b"f" * 7_000_000)
    store = store_of(videos.env())
    url = asyncio.run(store.publish(digest, path, ".mp4"))
    answer = httpx.get(url, trust_env=False)
    assert (answer.status_code, answer.content) == (200, path.read_bytes())
    assert answer.headers["content-type"] == "video/mp4"
    assert httpx.get(url.partition("?")[0], trust_env=False).status_code == 403
    assert SECRET_KEY not in url
    again = asyncio.run(store.publish(digest, path, ".mp4"))
    assert httpx.get(again, trust_env=False).content == path.read_bytes()
    assert videos.uploads() == {f"in/{digest}.mp4": 1}
    assert videos.objects().keys() == {f"in/{digest}.mp4"}


def test_a_signature_holds_as_long_as_the_setting_says(tmp_path: Path, videos: Bucket) -> None:
    """Every URL is signed anew, for the whole time."""
    path, digest = film(tmp_path / "a.mp4")
    url = asyncio.run(store_of(videos.env(), valid=timedelta(days=7)).publish(digest, path, ".mp4"))
    assert parse_qs(urlsplit(url).query)["X-Amz-Expires"] == [str(7 * 86_400)]


def test_a_public_bucket_needs_no_signature(tmp_path: Path, videos: Bucket) -> None:
    """With a public URL, that is what the provider gets."""
    path, digest = film(tmp_path / "a.mov")
    store = store_of(videos.env(), public_url="https://cdn.example.com/in", near=False)
    url = asyncio.run(store.publish(digest, path, ".mov"))
    assert url == f"https://cdn.example.com/in/{digest}.mov"
    assert videos.objects() == {f"in/{digest}.mov": path.read_bytes()}


def test_an_object_that_was_cleared_or_is_not_whole_is_uploaded_again(
    tmp_path: Path, videos: Bucket
) -> None:
    """A rule of the bucket may have removed it since; nothing is believed from memory."""
    path, digest = film(tmp_path / "a.mp4")
    store = store_of(videos.env())
    asyncio.run(store.publish(digest, path, ".mp4"))
    httpx.post(f"{videos.url}/moto-api/reset", trust_env=False)
    httpx.put(f"{videos.url}/{videos.name}", trust_env=False)
    asyncio.run(store.publish(digest, path, ".mp4"))
    assert videos.objects() == {f"in/{digest}.mp4": path.read_bytes()}


def test_one_video_of_many_wishes_is_uploaded_once(tmp_path: Path, videos: Bucket) -> None:
    """Ten at the same moment: one upload, ten URLs that work."""
    path, digest = film(tmp_path / "a.mp4")
    videos.delay = 0.1

    async def run() -> list[str]:
        store = store_of(videos.env())
        return await asyncio.gather(*(store.publish(digest, path, ".mp4") for _ in range(10)))

    urls = asyncio.run(run())
    assert all(httpx.get(url, trust_env=False).content == path.read_bytes() for url in urls)
    assert videos.uploads() == {f"in/{digest}.mp4": 1}


def test_two_files_at_a_time_are_uploaded(tmp_path: Path, videos: Bucket) -> None:
    """Each is in memory as a whole, so there are never many."""
    films = [film(tmp_path / f"{number}.mp4", bytes([number])) for number in range(6)]
    videos.delay, videos.most = 0.2, 0

    async def run() -> None:
        store = store_of(videos.env())
        await asyncio.gather(*(store.publish(digest, path, ".mp4") for path, digest in films))

    asyncio.run(run())
    assert (len(videos.objects()), videos.most) == (6, 2)


def test_a_file_that_changed_is_not_uploaded(tmp_path: Path, videos: Bucket) -> None:
    """Other bytes than the digest says never land under its key."""
    path, _ = film(tmp_path / "a.mp4")
    with pytest.raises(WorkspaceError, match="changed"):
        asyncio.run(store_of(videos.env()).publish("0" * 64, path, ".mp4"))
    assert videos.objects() == {}


def test_the_probe_leaves_nothing(videos: Bucket) -> None:
    """What doctor writes is removed again."""
    assert asyncio.run(store_of(videos.env()).probe())
    assert videos.objects() == {}
    assert videos.uploads() == {"in/reconciler-probe.txt": 1}


def test_an_upload_that_is_cancelled_ends_at_once(tmp_path: Path, videos: Bucket) -> None:
    """A stop does not wait for a slow store."""
    path, digest = film(tmp_path / "a.mp4")
    videos.delay = 1.0

    async def run() -> float:
        task = asyncio.create_task(store_of(videos.env()).publish(digest, path, ".mp4"))
        while not videos.uploads():
            await asyncio.sleep(0.01)
        began = time.monotonic()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return time.monotonic() - began

    assert asyncio.run(run()) < 0.5


REFUSALS = [
    (403, "AccessDenied", r"refuses access", "no rights, or a wrong key"),
    (403, "SignatureDoesNotMatch", r"refuses access", "a wrong secret"),
    (401, "InvalidAccessKeyId", r"refuses access", "a key that nobody knows"),
    (301, "PermanentRedirect", r"is in another region", "another region"),
    (400, "AuthorizationHeaderMalformed", r"answers", "another region, as some say it"),
    (503, "SlowDown", r"answers", "too much at once"),
    (507, "XMinioStorageFull", r"answers", "its disk is full"),
]


@pytest.mark.parametrize(("status", "code", "sentence", "reason"), REFUSALS)
def test_a_refusal_is_a_sentence_without_a_secret(
    tmp_path: Path, videos: Bucket, status: int, code: str, sentence: str, reason: str
) -> None:
    """What the storage has against us is said in a line; no key and no signature is in it."""
    path, digest = film(tmp_path / "a.mp4")
    videos.refusal = (status, code)
    with pytest.raises(HostingError, match=sentence) as caught:
        asyncio.run(store_of(videos.env()).publish(digest, path, ".mp4"))
    said = f"{caught.value.message} {caught.value.hint}"
    assert "s3://videos/in" in said, reason
    assert not any(secret in said for secret in (SECRET_KEY, ACCESS_KEY, "Signature=", "\n"))
    assert len(said) < 300


def test_a_bucket_that_is_not_there_is_named(tmp_path: Path, videos: Bucket) -> None:
    """It is not made for you: a mistyped name would be somebody's bucket."""
    path, digest = film(tmp_path / "a.mp4")
    env = {**videos.env(), "RECONCILER_MEDIA_STORE": "s3://vidoes/in"}
    with pytest.raises(HostingError, match="s3://vidoes/in is not there"):
        asyncio.run(store_of(env).publish(digest, path, ".mp4"))


UNUSABLE = [
    ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "cannot be reached", "nobody listens"),
    ({"AWS_ENDPOINT_URL": "http://s3.example.com"}, "unprotected", "plain http on the internet"),
    ({"AWS_ENDPOINT_URL": "ftp://127.0.0.1"}, "not a URL", "not http at all"),
    ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "no credentials", "no key is set"),
]


@pytest.mark.parametrize(("change", "sentence", "reason"), UNUSABLE)
def test_a_store_that_cannot_be_used_says_why(
    tmp_path: Path, videos: Bucket, change: dict[str, str], sentence: str, reason: str
) -> None:
    """Nothing is uploaded, and the sentence names the cause."""
    path, digest = film(tmp_path / "a.mp4")
    env = {name: value for name, value in {**videos.env(), **change}.items() if value}
    with pytest.raises(HostingError, match=sentence):
        asyncio.run(store_of(env).publish(digest, path, ".mp4"))
    assert videos.objects() == {}, reason


def test_a_store_that_is_silent_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that takes the request and says nothing holds one upload for a bounded time."""
    path, digest = film(tmp_path / "a.mp4")
    monkeypatch.setattr("reconciler.hosting.media_store.PATIENCE", 0.3)

    async def silent(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async def run() -> None:
        async with serving(silent) as server:
            env = {**Bucket("videos", server.url).env()}
            with pytest.raises(HostingError, match=r"within 0 s|does not answer"):
                await store_of(env).publish(digest, path, ".mp4")

    began = time.monotonic()
    asyncio.run(run())
    assert time.monotonic() - began < 5


def test_the_provider_never_gets_a_url_that_it_cannot_reach(tmp_path: Path, videos: Bucket) -> None:
    """An endpoint on this machine is refused before anything is uploaded, when the provider is not here too."""
    path, digest = film(tmp_path / "a.mp4")
    with pytest.raises(HostingError, match="cannot reach 127"):
        asyncio.run(store_of(videos.env(), near=False).publish(digest, path, ".mp4"))
    assert videos.objects() == {}


def test_azure_signs_urls_with_the_accounts_key() -> None:
    """Without a request: the URL leads to the container, below the folder, and holds for the time that was set."""
    key = base64.b64encode(b"k" * 32).decode()
    variables = {"AZURE_STORAGE_ACCOUNT_NAME": "acc", "AZURE_STORAGE_ACCOUNT_KEY": key}
    shelf = CloudShelf(place_of("az://videos/in"), variables, DAY)
    url = urlsplit(asyncio.run(shelf.sign("a.mp4")))
    assert (url.hostname, url.path) == ("acc.blob.core.windows.net", "/videos/in/a.mp4")
    assert {"sig", "se"} <= parse_qs(url.query).keys()
    assert key not in url.query


def test_google_signs_urls_with_a_service_account() -> None:
    """Without a request too."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    account = {
        "type": "service_account",
        "private_key": pem.decode(),
        "private_key_id": "1",
        "client_email": "me@project.iam.gserviceaccount.com",
        "gcs_base_url": "https://storage.googleapis.com",
        "disable_oauth": False,
    }
    variables = {"GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(account)}
    shelf = CloudShelf(place_of("gs://videos/in"), variables, DAY)
    url = urlsplit(asyncio.run(shelf.sign("a.mp4")))
    assert (url.hostname, url.path) == ("storage.googleapis.com", "/videos/in/a.mp4")
    assert parse_qs(url.query)["X-Goog-Expires"] == ["86400"]


@pytest.mark.parametrize(("place", "named"), [("az://videos", "AZURE_STORAGE_ACCOUNT_NAME")])
def test_a_cloud_without_keys_names_its_variables(
    place: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each cloud has names of its own."""
    for name in VARIABLES["az"]:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(HostingError, match="no credentials") as caught:
        CloudShelf(place_of(place), {}, DAY)
    assert named in caught.value.hint


ENDING = """
import asyncio, sys
from datetime import timedelta
from reconciler.core.errors import HostingError
from reconciler.hosting.cloud import CloudShelf
from reconciler.hosting.places import place_of
keys = dict(zip(("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), sys.argv[1:]))
try:
    asyncio.run(CloudShelf(place_of("s3://nobodys"), keys, timedelta(days=1)).put("a", b"a"))
except HostingError:
    sys.exit(1)
"""


def test_a_program_that_ends_right_after_an_answer_is_not_aborted(videos: Bucket) -> None:
    """Its exit code is its own, every time: the library's threads have no part in its end."""
    command = [sys.executable, "-c", ENDING, videos.url, ACCESS_KEY, SECRET_KEY]
    with ThreadPoolExecutor(4) as pool:
        codes = pool.map(lambda _: subprocess.run(command, check=False).returncode, range(40))
        assert set(codes) == {1}
