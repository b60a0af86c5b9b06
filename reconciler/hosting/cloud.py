"""Buckets of S3 and all that speaks like it, of Google Cloud and of Azure, through obstore."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

from reconciler.core.errors import HostingError
from reconciler.core.hosts import is_loopback
from reconciler.hosting.abandoning import apart
from reconciler.hosting.media_store import Kept
from reconciler.hosting.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from obstore.store import AzureConfig, AzureStore, GCSConfig, GCSStore, S3Config, S3Store

    from reconciler.hosting.places import Place

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


class CloudShelf:
    """Keeps files in a bucket. Every method raises HostingError, with a sentence and without a secret."""

    def __init__(self, place: Place, variables: Mapping[str, str], valid: timedelta) -> None:
        """`variables` are the cloud's own, `valid` is how long a signed URL holds."""
        self._place = place
        self._valid = valid
        self._bucket = _open(place, variables)

    async def look(self, key: str) -> Kept | None:
        """Return what the store says of an object, None where there is none."""
        import obstore

        with self._sentences():
            try:
                said = await apart(partial(obstore.head, self._bucket, key))
            except FileNotFoundError:
                return None
        tag = said["e_tag"] or ""
        # An ETag that looks like an MD5 is one with most stores, and something else with keys of one's own.
        digest = tag.strip('"').lower() if _MD5_ETAG.fullmatch(tag) else ""
        version = f"{tag} {said['version'] or ''} {said['last_modified']}" if tag else ""
        return Kept(said["size"], version, digest)

    async def read(self, key: str) -> bytes:
        """Return an object's bytes."""
        import obstore

        with self._sentences():
            return await apart(lambda: bytes(obstore.get(self._bucket, key).bytes()))

    async def put(self, key: str, data: bytes) -> None:
        """Upload an object in one request: it is there as a whole or not at all, and leaves no parts behind."""
        import obstore

        kind = _TYPES.get(key[key.rfind(".") :], "application/octet-stream")
        with self._sentences():
            await apart(
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
            await apart(partial(obstore.delete, self._bucket, key))

    async def sign(self, key: str) -> str:
        """Return a URL by which anybody can read the object for a while: a secret."""
        import obstore

        with self._sentences():
            return str(await apart(partial(obstore.sign, self._bucket, "GET", key, self._valid)))

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            raise refusal(self._place, error) from None  # the library's own words may hold a key


def _open(place: Place, variables: Mapping[str, str]) -> S3Store | GCSStore | AzureStore:
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
        raise refusal(place, error) from None


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
