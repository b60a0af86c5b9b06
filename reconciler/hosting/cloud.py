"""Buckets of S3 and all that speaks like it, of Google Cloud and of Azure, through obstore, and what is said when one refuses."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from urllib.parse import urlsplit

from reconciler.core.errors import HostingError
from reconciler.core.hosts import is_loopback
from reconciler.hosting.places import MediaPlace, StoredFile

if TYPE_CHECKING:
    from obstore.store import AzureConfig, AzureStore, GCSConfig, GCSStore, S3Config, S3Store

_ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AZURE_STORAGE_ENDPOINT")
_TYPES: Final = {
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
}
_MD5_ETAG: Final = re.compile(r'"?[0-9A-Fa-f]{32}"?')
# The library rides out a hiccup; an outage is the engine's, which holds the generation and comes back.
_RETRIES: Final = {"max_retries": 2, "retry_timeout": timedelta(seconds=15)}
_LONGEST: Final = timedelta(minutes=15)  # the time limits of the media store are shorter

_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_STATUS = re.compile(r"status code: (\d{3})")
_STATUS_OF_ANOTHER_REGION = re.compile(r"status code: (30\d|400)")
_NO_KEYS: Final = (
    *("169.254.169.254", "latest/api/token", "metadata.google", "computeMetadata"),
    *("metadata/identity", "Account must be specified", "MissingAccount", "MissingCredentials"),
    "Missing credentials",
)
_KEYS: Final = {
    "s3": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_REGION, or AWS_ENDPOINT_URL) in the environment or in .env.",
    "gs": "Set GOOGLE_APPLICATION_CREDENTIALS in the environment or in .env.",
    "az": "Set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY in the environment or in .env.",
}
_RIGHTS: Final = "Check its keys; they must be allowed to list, to read and to write there."
_LATER: Final = "It will be tried again."

T = TypeVar("T")


class CloudShelf:
    """Keeps files in a bucket. Every method raises HostingError, with a sentence and without a secret."""

    def __init__(self, place: MediaPlace, variables: Mapping[str, str], valid: timedelta) -> None:
        """`variables` are the cloud's own, `valid` is how long a signed URL holds."""
        self._place = place
        self._valid = valid
        self._bucket = _open(place, variables)

    async def look(self, key: str) -> StoredFile | None:
        """Return what the store says of an object, None where there is none."""
        import obstore

        with self._sentences():
            try:
                said = await _apart(partial(obstore.head, self._bucket, key))
            except FileNotFoundError:
                return None
        tag = said["e_tag"] or ""
        # An ETag that looks like an MD5 is one with most stores, and something else with keys of one's own.
        digest = tag.strip('"').lower() if _MD5_ETAG.fullmatch(tag) else ""
        version = f"{tag} {said['version'] or ''} {said['last_modified']}" if tag else ""
        return StoredFile(said["size"], version, digest)

    async def read(self, key: str) -> bytes:
        """Return an object's bytes."""
        import obstore

        with self._sentences():
            return await _apart(lambda: bytes(obstore.get(self._bucket, key).bytes()))

    async def put(self, key: str, data: bytes) -> None:
        """Upload an object in one request: it is there as a whole or not at all, and leaves no parts behind."""
        import obstore

        kind = _TYPES.get(key[key.rfind(".") :], "application/octet-stream")
        with self._sentences():
            await _apart(
                partial(
                    obstore.put,
                    self._bucket,
                    key,
                    data,
                    use_multipart=False,
                    attributes={"Content-Type": kind},
                )
            )

    async def remove(self, key: str) -> None:
        """Remove an object."""
        import obstore

        with self._sentences():
            await _apart(partial(obstore.delete, self._bucket, key))

    async def sign(self, key: str) -> str:
        """Return a URL by which anybody can read the object for a while: a secret."""
        import obstore

        with self._sentences():
            return str(await _apart(partial(obstore.sign, self._bucket, "GET", key, self._valid)))

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            raise _refusal(self._place, error) from None  # the library's own words may hold a key


def _open(place: MediaPlace, variables: Mapping[str, str]) -> S3Store | GCSStore | AzureStore:
    from obstore.exceptions import BaseError
    from obstore.store import AzureStore, GCSStore, S3Store

    plain = _speaks_plainly(variables)
    config: dict[str, Any] = {name.lower(): value for name, value in variables.items()}
    options: dict[str, Any] = {
        "prefix": place.prefix or None,
        "client_options": {
            "allow_http": plain,
            "connect_timeout": timedelta(seconds=10),
            "timeout": _LONGEST,
        },
        "retry_config": _RETRIES,
    }
    try:
        match place.scheme:
            case "s3":  # one object is deleted by a plain DELETE, which every imitation of S3 knows
                config["disable_bulk_delete"] = True
                return S3Store(place.bucket, config=cast("S3Config", config), **options)
            case "gs":
                return GCSStore(place.bucket, config=cast("GCSConfig", config), **options)
            case _:
                return AzureStore(place.bucket, config=cast("AzureConfig", config), **options)
    except (BaseError, OSError, ValueError) as error:
        raise _refusal(place, error) from None


def _speaks_plainly(variables: Mapping[str, str]) -> bool:
    """Whether the endpoint is plain http; raises HostingError for one that is not on this machine."""
    for name in _ENDPOINTS:
        if not (endpoint := variables.get(name)):
            continue
        parts = urlsplit(endpoint)
        if parts.scheme == "https":
            return False
        if parts.scheme == "http" and is_loopback(parts.hostname or ""):
            return True
        raise HostingError(
            f"{name} would send your files unprotected, or is not a URL",
            hint="Use https; plain http is for this machine only.",
        )
    return False


async def _apart(work: Callable[[], T]) -> T:
    """Return what a blocking call returns, or raise what it raises; when cancelled, wait for it no longer.

    Not the library's own coroutines: threads of its own bring their answers, and one that still does when the program
    ends aborts it. Not the loop's threads either: the program waits for those at its end, however long an upload takes.
    """
    answer: Future[T] = Future()
    answer.set_running_or_notify_cancel()  # who is cancelled stops waiting; the call goes on

    def run() -> None:
        try:
            answer.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
            answer.set_exception(error)

    threading.Thread(target=run, name="media store", daemon=True).start()
    return await asyncio.wrap_future(answer)


def _refusal(place: MediaPlace, error: Exception) -> HostingError:
    """Return the error to show for one of the library's, without a key or a signature: what is harmless is taken over."""
    text = str(error)
    code = _CODE.search(text)
    status = _STATUS.search(text)
    said = code[1] if code else f"HTTP {status[1]}" if status else ""
    told, hint = _told(place, error, text, said)
    return HostingError(f"the media store {place} {told}", hint=hint)


def _told(place: MediaPlace, error: Exception, text: str, said: str) -> tuple[str, str]:
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

    if any(mark in text for mark in _NO_KEYS):
        return "has no credentials", _KEYS[place.scheme]
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)):
        return f"refuses access{f' ({said})' if said else ''}", _RIGHTS
    if isinstance(error, FileNotFoundError):
        return f"is not there{f' ({said})' if said else ''}", (
            "Check the name in RECONCILER_MEDIA_STORE, and the region or endpoint; make the bucket if it is new."
        )
    if said:
        elsewhere = place.scheme == "s3" and _STATUS_OF_ANOTHER_REGION.search(text)
        return f"answers {said}", (
            "The region may be another: see AWS_REGION." if elsewhere else _LATER
        )
    if "redirect without LOCATION" in text:
        return "is in another region", "Set AWS_REGION to the bucket's."
    if "kind: Timeout" in text or "timed out" in text:
        return "does not answer", _LATER
    if "error sending request" in text or "kind: Connect" in text:
        return "cannot be reached", f"Check the network and the endpoint. {_LATER}"
    return f"cannot be used: {_first_line(text)}", _KEYS[place.scheme]


def _first_line(text: str) -> str:
    """Return how the library begins, without what follows a question mark: signatures stand there."""
    line = text.partition("\n")[0][:200]
    return re.sub(r"\?\S*", "?…", line).rstrip(".")
