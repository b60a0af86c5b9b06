"""The content-addressed store of results: bytes under the name of their SHA-256, complete or not there at all.

An object is written under another name, synced, renamed into place and made read-only. Nothing here removes an
object, or knows its generation. The bytes of an unfinished download are a `Partial`: those of one ETag are never
continued with another's, even after a kill or a power cut in between.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from reconciler.core.errors import StateError, WorkspaceError
from reconciler.disk import NearlyFull, require_room, sync, sync_folder
from reconciler.store import private_files

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_SHARD = re.compile(r"[0-9a-f]{2}\Z")
_NOTES = "prepared"  # a folder beside the objects
_UNFINISHED = "partial"
_OF_A_DOWNLOAD = re.compile(r"[0-9a-f]{32}\.(part|etag|new)\Z")
_CHUNK = 1024 * 1024  # bytes
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_LONGEST_NOTE = 4096  # bytes
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class Partial:
    """The bytes of one download so far. Every verb raises StateError when the disk refuses, or would be full.

    Bytes count only when it is known which ETag they belong to and no power cut can have torn them; otherwise
    the download begins again at zero.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._note = path.with_suffix(".etag")
        self._descriptor: int | None = None
        self.offset = 0  # bytes there: where to continue
        validator = _trusted_validator(self._note)
        with suppress(OSError):
            found = path.lstat()
            self.offset = found.st_size if validator and stat.S_ISREG(found.st_mode) else 0
        self._validator = validator if self.offset else None  # None: not begun

    @property
    def validator(self) -> str:
        """The strong ETag that these bytes belong to; empty when it is not known."""
        return (self._validator or "") if self.offset else ""

    def fileno(self) -> int:
        """Return the descriptor that bytes are written through, and that holds the lock."""
        with private_files.disk(self.path):
            return self._open()

    def restart(self, validator: str) -> None:
        """Drop the bytes and begin those of another ETag (empty: none is known, never to be continued).

        Nothing is synced: after a power cut the note is of an earlier boot, and not believed.
        """
        with private_files.disk(self.path):
            descriptor = self._open()
            self.offset, self._validator = 0, None
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            fresh = self._note.with_suffix(".new")
            fresh.unlink(missing_ok=True)  # a leftover may be a link
            note = os.open(fresh, _WRITE | os.O_EXCL, private_files.PRIVATE)
            try:
                os.write(note, f"{_boot_id()}\n{validator}".encode("utf-8", "replace"))
            finally:
                os.close(note)
            fresh.replace(self._note)
            self._validator = validator

    def write(self, chunk: bytes) -> None:
        """Append bytes; without a `restart` before the first, they have no ETag."""
        if self._validator is None:
            self.restart("")
        with private_files.disk(self.path):
            descriptor = self._open()
            require_room(descriptor, len(chunk))
            rest = memoryview(chunk)
            while rest:
                written = os.write(descriptor, rest)
                self.offset += written
                rest = rest[written:]

    def close(self) -> None:
        """Close the file; its bytes stay and may be continued. Closing twice is harmless."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def discard(self) -> None:
        """Remove the bytes and their note."""
        self.close()
        self.offset, self._validator = 0, None
        with private_files.disk(self.path):
            self.path.unlink(missing_ok=True)
            self._note.unlink(missing_ok=True)

    def _open(self) -> int:
        if self._descriptor is None:
            private_files.make_folder(self.path.parent)
            descriptor = os.open(self.path, _WRITE, private_files.PRIVATE)
            try:
                private_files.require_regular(descriptor, self.path, own=True)
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(descriptor, self.offset)
                os.lseek(descriptor, self.offset, os.SEEK_SET)
            except BaseException:
                os.close(descriptor)
                raise
            self._descriptor = descriptor
        return self._descriptor


class ObjectStore:
    """The objects below one folder, which is created by the first write."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, sha256: str) -> Path:
        """Return where the object of this digest is, or would be. Raises StateError for what is no digest."""
        if not _SHA256.match(sha256):
            raise StateError(f"{sha256!r} is not a SHA-256 digest.")
        return self._folder / sha256[:2] / sha256[2:]

    def has(self, sha256: str, size: int | None = None) -> bool:
        """Whether the object is there as a regular file (of this size, in bytes); its bytes are not read."""
        try:
            found = self.path(sha256).lstat()
        except (OSError, StateError):
            return False
        return stat.S_ISREG(found.st_mode) and size in (None, found.st_size)

    def verify(self, sha256: str) -> bool:
        """Whether the object is there and its bytes, all read again, still have this digest."""
        try:
            with private_files.open_regular(self.path(sha256)) as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == sha256
        except (OSError, StateError):
            return False

    def names(self) -> Iterator[str]:
        """Give the digests in the names of all objects, in order; no bytes are read. Raises StateError."""
        for folder in _listed(self._folder):
            if not _SHARD.match(folder.name) or folder.is_symlink() or not folder.is_dir():
                continue
            for path in _listed(folder):
                if _SHA256.match(name := folder.name + path.name):
                    yield name

    def check_room(self) -> None:
        """Raise WorkspaceError where a new object could not be kept."""
        folder = self._folder
        while not folder.exists():
            folder = folder.parent
        if not os.access(folder, os.W_OK | os.X_OK):
            raise WorkspaceError(
                f"`{folder}` cannot be written, so what is bought could not be kept",
                hint="Give the user that runs the reconciler the right to write in it.",
            )
        try:
            require_room(folder)
        except NearlyFull as error:
            raise WorkspaceError(
                f"nothing is bought, because it could not be kept: {error.strerror}",
                hint=f"Free some space where `{folder}` is.",
            ) from None

    def ingest(self, source: Path, sha256: str | None = None) -> tuple[str, int]:
        """Copy a file in, over a damaged object too; return its SHA-256 and size in bytes. Raises StateError."""
        copy = self.partial(f"ingest:{source.absolute()}")
        copy.restart("")
        try:
            with (
                private_files.refused(f"`{source}` cannot be read"),
                private_files.open_regular(source) as file,
            ):
                while chunk := file.read(_CHUNK):
                    copy.write(chunk)
            return self.adopt(copy, sha256)
        except BaseException:
            copy.discard()
            raise

    def remember(self, name: str, sha256: str) -> None:
        """Note, under a name (64 hex digits), which object was made; losing it costs making it again."""
        if not _SHA256.match(name):
            raise StateError(f"{name!r} is not a SHA-256 digest.")
        note = self.note(name)
        fresh = note.with_suffix(".new")
        with private_files.disk(note):
            private_files.make_folder(note.parent)
            fresh.unlink(missing_ok=True)
            private_files.make_private(fresh)
            fresh.write_text(sha256, encoding="ascii")
            fresh.replace(note)

    def remembered(self, name: str) -> str:
        """Return the digest of the object that was noted under a name; empty when there is none."""
        try:
            with private_files.open_regular(self.note(name)) as file:
                noted = file.read(65).decode("ascii", "replace")
        except (OSError, StateError):
            return ""
        return noted if _SHA256.match(noted) else ""

    def note(self, name: str) -> Path:
        """Return the path of the note under a name, which may not exist."""
        return self._folder / _NOTES / name

    def notes(self) -> dict[str, str]:
        """Return every note: name -> digest, empty where it cannot be read. Raises StateError."""
        names = [path.name for path in _listed(self._folder / _NOTES) if _SHA256.match(path.name)]
        return {name: self.remembered(name) for name in names}

    def unfinished(self) -> list[Path]:
        """Return the files of downloads that are not whole. Raises StateError."""
        found = _listed(self._folder / _UNFINISHED)
        return [path for path in found if _OF_A_DOWNLOAD.match(path.name)]

    def partial(self, name: str) -> Partial:
        """Return the download of this name, to begin or to continue; the name never becomes a path."""
        safe = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        return Partial(self._folder / _UNFINISHED / f"{safe[:32]}.part")

    def adopt(self, partial: Partial, expected: str | None = None) -> tuple[str, int]:
        """Make a download an object; return its SHA-256 and size in bytes. Raises StateError, also for another digest."""
        partial.close()
        with private_files.disk(partial.path), private_files.open_regular(partial.path) as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
            if expected not in (None, sha256):
                raise StateError(f"The bytes have the digest {sha256}, not {expected}.")
            target = self.path(sha256)
            private_files.make_folder(target.parent)
            sync(file.fileno())
            partial.path.replace(target)
            os.fchmod(file.fileno(), 0o400)
            sync_folder(target.parent)
        partial.discard()
        return sha256, size


def _listed(folder: Path) -> list[Path]:
    if folder.is_symlink():
        return []
    hint = "Make the folder of the objects readable for the user that runs this."
    with private_files.refused(f"`{folder}` cannot be read", hint), suppress(FileNotFoundError):
        return sorted(folder.iterdir())
    return []


def _trusted_validator(note: Path) -> str:
    """Return the noted ETag; empty when the machine was started again since: bytes may be lost in the middle."""
    try:
        with private_files.open_regular(note) as file:
            boot, _, validator = file.read(_LONGEST_NOTE).decode("utf-8").partition("\n")
    except (OSError, UnicodeDecodeError, StateError):
        return ""
    return validator if boot and boot == _boot_id() else ""


def _boot_id() -> str:
    """Return an id that changes with every start of the machine; empty where the system has none."""
    try:
        return _BOOT_ID.read_bytes().decode("ascii", "replace").strip()
    except OSError:
        return ""
