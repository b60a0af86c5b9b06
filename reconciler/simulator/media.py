"""Hosted media: files named by their digest, uploaded to the API's port and served from the other one."""

from __future__ import annotations

import hashlib
import re
import uuid
from pathlib import Path
from urllib.parse import urlsplit

NAME = re.compile(r"[0-9a-f]{64}\.(mp4|mov|png|jpg|jpeg)")


class MediaStore:
    """A folder of files whose names are the SHA-256 of their bytes and a suffix."""

    def __init__(self, folder: Path, origin: str) -> None:
        """`origin` is scheme, host and port of the server that serves the files."""
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._origin = origin

    def url(self, name: str) -> str:
        """Return the address of a file."""
        return f"{self._origin}/media/{name}"

    def path(self, name: str) -> Path | None:
        """Return where a file is, or None for one that is not there or cannot be."""
        path = self._folder / name
        return path if NAME.fullmatch(name) and path.is_file() else None

    def save(self, name: str, data: bytes) -> None:
        """Keep the bytes; raises ValueError for a name that is not their digest with a known suffix."""
        if not NAME.fullmatch(name):
            raise ValueError("the name must be <sha256>.mp4, .mov, .png, .jpg or .jpeg")
        if hashlib.sha256(data).hexdigest() != name.partition(".")[0]:
            raise ValueError("the bytes do not have this digest")
        self._put(name, data)

    def keep(self, data: bytes, suffix: str) -> str:
        """Keep bytes that came inside a request and return their name."""
        name = f"{hashlib.sha256(data).hexdigest()}.{suffix}"
        self._put(name, data)
        return name

    def hosted(self, url: str) -> tuple[bool, Path | None]:
        """Tell whether a URL is one of ours, and if so which file it means, None when that is missing.

        Another port of this host counts when the file is here: a simulator may come back on other ports.
        """
        parts = urlsplit(url)
        folder, _, name = parts.path.rpartition("/")
        if folder != "/media":
            return False, None
        path = self.path(name)
        ours = f"{parts.scheme}://{parts.netloc}" == self._origin
        near = parts.hostname in {"127.0.0.1", "localhost"} and path is not None
        return ours or near, path

    def _put(self, name: str, data: bytes) -> None:
        path = self._folder / name
        draft = path.with_suffix(f".{uuid.uuid4().hex}.part")
        draft.write_bytes(data)
        draft.replace(path)  # also where there is one: it may have been damaged
