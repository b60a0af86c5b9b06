"""Buckets of S3 (and services with its API), Google Cloud and Azure, through obstore; its errors become sentences."""

from __future__ import annotations

import asyncio
import mimetypes
import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import timedelta
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import AzureStore, GCSStore, S3Store

from reconciler.core.errors import HostingError
from reconciler.core.hosts import is_loopback
from reconciler.hosting.places import MediaPlace, StoredFile

_STORES: Final[Mapping[str, Any]] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}
_ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AZURE_STORAGE_ENDPOINT")
_MD5_ETAG: Final = re.compile(r'"?[0-9A-Fa-f]{32}"?')
# The library retries briefly; after that the engine holds the generation and tries again.
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
_NAME: Final = "Check the name in RECONCILER_MEDIA_STORE, and the region or endpoint; make the bucket if it is new."
_LATER: Final = "It will be tried again."

_FAILURES: Final = (BaseError, OSError, ValueError)

_T = TypeVar("_T")


class CloudShelf:
    """Keeps files in a bucket. Every method raises HostingError, with a sentence and without a secret."""

    def __init__(self, place: MediaPlace, variables: Mapping[str, str], valid: timedelta) -> None:
        """`variables` are the cloud's own, `valid` is how long a signed URL holds."""
        self._place = place
        self._valid = valid
        client = {
            "allow_http": _speaks_plainly(variables),
            "connect_timeout": timedelta(seconds=10),
            "timeout": _LONGEST,
        }
        config: dict[str, Any] = {name.lower(): value for name, value in variables.items()}
        if place.scheme == "s3":
            # one object is deleted by a plain DELETE, which every imitation of S3 knows
            config["disable_bulk_delete"] = True
        try:
            self._bucket = _STORES[place.scheme](
                place.bucket,
                config=config,
                prefix=place.prefix or None,
                client_options=client,
                retry_config=_RETRIES,
            )
        except _FAILURES as error:
            raise _refusal(place, error) from None

    async def look(self, key: str) -> StoredFile | None:
        """Return what the store says of an object, None where there is none."""
        said = await self._call(_head, key)
        if said is None:
            return None
        tag = said["e_tag"] or ""
        # An ETag that looks like an MD5 is one with most stores; not where the user's own keys encrypt.
        digest = tag.strip('"').lower() if _MD5_ETAG.fullmatch(tag) else ""
        version = f"{tag} {said['version'] or ''} {said['last_modified']}" if tag else ""
        return StoredFile(said["size"], version, digest)

    async def read(self, key: str) -> bytes:
        """Return an object's bytes."""
        return await self._call(lambda bucket: bytes(obstore.get(bucket, key).bytes()))

    async def put(self, key: str, data: bytes) -> None:
        """Upload an object in one request: as a whole or not at all, without parts left behind."""
        kind = mimetypes.guess_type(key)[0] or "application/octet-stream"
        attributes = {"Content-Type": kind}
        await self._call(obstore.put, key, data, use_multipart=False, attributes=attributes)

    async def remove(self, key: str) -> None:
        """Remove an object."""
        await self._call(obstore.delete, key)

    async def sign(self, key: str) -> str:
        """Return a URL that reads the object, without any key, for a while: a secret."""
        return await self._call(obstore.sign, "GET", key, self._valid)

    async def _call(self, function: Callable[..., _T], *given: object, **options: object) -> _T:
        """Return what a function of the library returns for the bucket; when cancelled, wait for it no longer.

        A daemon thread: the library's own coroutines can abort the program at its end, and the loop's threads hold up
        that end for as long as an upload takes.
        """
        answer: Future[_T] = Future()
        answer.set_running_or_notify_cancel()  # a cancelled caller stops waiting; the call goes on

        def run() -> None:
            try:
                answer.set_result(function(self._bucket, *given, **options))
            except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
                answer.set_exception(error)

        threading.Thread(target=run, name="media store", daemon=True).start()
        try:
            return await asyncio.wrap_future(answer)
        except _FAILURES as error:
            raise _refusal(self._place, error) from None  # the library's own words may hold a key


def _head(bucket: Any, key: str) -> obstore.ObjectMeta | None:
    try:
        return obstore.head(bucket, key)
    except FileNotFoundError:
        return None


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
        hint = "Use https; plain http is for this machine only."
        raise HostingError(f"{name} would send your files unprotected, or is not a URL", hint=hint)
    return False


def _refusal(place: MediaPlace, error: Exception) -> HostingError:
    """Return the error to show for one of the library's, without a key or a signature."""
    text = str(error)
    code, status = _CODE.search(text), _STATUS.search(text)
    said = code[1] if code else f"HTTP {status[1]}" if status else ""
    told, hint = _told(place, error, text, said)
    return HostingError(f"the media store {place} {told}", hint=hint)


def _told(place: MediaPlace, error: Exception, text: str, said: str) -> tuple[str, str]:
    aside = f" ({said})" if said else ""
    if any(mark in text for mark in _NO_KEYS):
        return "has no credentials", _KEYS[place.scheme]
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)):
        return f"refuses access{aside}", _RIGHTS
    if isinstance(error, FileNotFoundError):
        return f"is not there{aside}", _NAME
    if said:
        elsewhere = place.scheme == "s3" and _STATUS_OF_ANOTHER_REGION.search(text)
        hint = "The region may be another: see AWS_REGION." if elsewhere else _LATER
        return f"answers {said}", hint
    if "redirect without LOCATION" in text:
        return "is in another region", "Set AWS_REGION to the bucket's."
    if "kind: Timeout" in text or "timed out" in text:
        return "does not answer", _LATER
    if "error sending request" in text or "kind: Connect" in text:
        return "cannot be reached", f"Check the network and the endpoint. {_LATER}"
    line = text.partition("\n")[0][:200]
    unsigned = re.sub(r"\?\S*", "?…", line)  # signatures stand behind a question mark
    return f"cannot be used: {unsigned.rstrip('.')}", _KEYS[place.scheme]
