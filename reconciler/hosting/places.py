"""Where media are kept: reading `RECONCILER_MEDIA_STORE`, and what a provider can reach. Text only, nothing is opened."""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple
from urllib.parse import unquote, urlsplit

Scheme = Literal["s3", "gs", "az", "file"]

VARIABLES: Final[dict[Scheme, tuple[str, ...]]] = {
    "s3": (
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION"),
        *("AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"),
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
    ),
    "gs": (
        *("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT"),
        "GOOGLE_SERVICE_ACCOUNT_KEY",
    ),
    "az": (
        *("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ENDPOINT"),
        *("AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_TENANT_ID"),
    ),
    "file": (),
}
"""The clouds' own variables that are read from `.env`, too."""

_EXAMPLE = "it must look like s3://bucket/folder, gs://bucket/folder, az://container/folder or file:///folder"


class MediaPlace(NamedTuple):
    """A bucket, or a folder of this machine, and the path below which this program keeps files."""

    scheme: Scheme
    bucket: str  # empty for a folder
    prefix: str  # without slashes at its ends; of a folder the whole path

    def __str__(self) -> str:
        if self.scheme == "file":
            return f"file://{self.prefix}"
        return f"{self.scheme}://{self.bucket}{'/' * bool(self.prefix)}{self.prefix}"


class StoredFile(NamedTuple):
    """An object as its shelf describes it, without its bytes."""

    size: int  # bytes
    version: str  # changes whenever the bytes may have changed; empty where the shelf cannot tell
    md5: str = ""  # hex digits that may be the digest of the bytes, according to the store


def place_of(text: str) -> MediaPlace:
    """Read a place; raises ValueError with a sentence that shows no secret."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(_EXAMPLE) from None
    if "@" in parts.netloc or port is not None or parts.query or parts.fragment:
        told = "it names a place and nothing else: keys belong into the cloud's own variables"
        raise ValueError(told)
    match parts.scheme:
        case "file":
            if host or not parts.path.startswith("/"):
                raise ValueError("a folder is written with its whole path: file:///srv/media")
            return MediaPlace("file", "", unquote(parts.path).rstrip("/") or "/")
        case "s3" | "gs" | "az" as scheme if parts.netloc:
            return MediaPlace(scheme, parts.netloc, unquote(parts.path).strip("/"))
        case _:
            raise ValueError(_EXAMPLE)


def public_base(text: str) -> str:
    """Return a base URL with a slash at its end; raises ValueError with a sentence."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("it must be an http(s) URL") from None
    if not host or not re.match(r"https?://[^\s/]+[^\s]*$", text):
        raise ValueError("it must be an http(s) URL")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("it holds a host and a path, nothing else")
    return text.rstrip("/") + "/"
