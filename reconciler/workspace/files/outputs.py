"""Publishing results beside their specs, removing them, and telling changed files by their signatures."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from reconciler.core.errors import WorkspaceError
from reconciler.disk import NearlyFull, give_name, require_room, sync_folder
from reconciler.workspace.files import plain

_CHUNK = 1024 * 1024  # bytes
RACY_NS = 2_000_000_000
"""A file changed this recently could change again within one tick of its times; FAT's are 2 s apart."""


class OutputTaken(WorkspaceError):
    """Something stands where an output belongs."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What tells a changed file from an unchanged one without reading it.

    The ctime also tells a file that was overwritten in place and given its old mtime; after a chmod, a hard link or a
    new name, a file is read once more.
    """

    size: int  # bytes; -1 for what is no plain file, and so never one of our outputs
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Signature:
        """Return the signature that a stat result stands for."""
        size = status.st_size if stat.S_ISREG(status.st_mode) else -1
        return cls(size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)

    @property
    def is_file(self) -> bool:
        """Whether a plain file stands there."""
        return self.size >= 0

    def is_racy(self, at_ns: int) -> bool:
        """Whether a file that was read at this time could have changed since and kept this signature."""
        return min(abs(at_ns - self.mtime_ns), abs(at_ns - self.ctime_ns)) < RACY_NS


def signature(path: Path) -> Signature | None:
    """Return the signature of what stands at a path, links not followed; None for nothing. Raises `WorkspaceError`."""
    with plain.described(path), contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return Signature.of(path.lstat())
    return None


def followed(entry: os.DirEntry[str] | Path) -> Signature | None:
    """Return the signature of an entry or, for a link, of what it leads to; None when it is gone. Raises OSError."""
    try:
        return Signature.of(entry.stat())
    except OSError as error:
        # A link may lead to nothing, to itself, or into a closed folder: its own folder is fine all the same.
        if error.errno not in {errno.ENOENT, errno.ELOOP, errno.ENOTDIR} and not entry.is_symlink():
            raise
    try:
        return Signature.of(entry.stat(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return None


def check_room(root: Path, folder: str) -> None:
    """Raise `WorkspaceError` where a result could not be put into a folder of the root."""
    cannot = f"`{folder}` cannot be written, so what is bought could not be put there"
    with plain.described(folder):
        try:
            if os.access(root / folder, os.W_OK | os.X_OK):
                require_room(root / folder)
                return
            is_read_only = bool(os.statvfs(root / folder).f_flag & os.ST_RDONLY)
        except NearlyFull as error:
            sentence = f"nothing is bought for `{folder}`, because it could not be put there"
            raise WorkspaceError(f"{sentence}: {error.strerror}", hint="Free some space.") from None
    if is_read_only:
        raise WorkspaceError(f"{cannot}: its file system is read-only", hint="Mount it writable.")
    hint = "Give the user that runs the reconciler permission to write in it."
    raise WorkspaceError(cannot, hint=hint)


def publish(source: Path, target: Path, *, replace: bool) -> Signature:
    """Copy an object to its place, durably and in one step, and return the signature of the bytes written.

    Raises `OutputTaken` where anything stands at the target; with `replace`, only where that is no plain file. Raises
    `WorkspaceError` otherwise.
    """
    try:
        with contextlib.ExitStack() as stack:
            with plain.written_beside(target, lambda file: _copy(source, file)) as temporary:
                file = stack.enter_context(temporary.open("rb"))
                written = Signature.of(os.fstat(file.fileno()))
                if not replace:
                    _link(temporary, target)
                elif (standing := signature(target)) is None or standing.is_file:
                    temporary.replace(target)
                else:
                    raise not_replaced(target)
            named = Signature.of(os.fstat(file.fileno()))
        sync_folder(target.parent)
    except OSError as error:
        # The path for the user to look at, never a temporary one.
        is_gone = error.errno in (errno.ENOENT, errno.ENOTDIR)
        culprit = source if error.filename == str(source) else target.parent if is_gone else target
        raise plain.describe_os_error(error, culprit) from error
    # Its new name gave it another ctime. Where more than that differs, another process wrote to it already.
    is_ours = named == Signature(written.size, written.mtime_ns, named.ctime_ns, written.inode)
    return named if is_ours else written


def _copy(source: Path, file: BinaryIO) -> None:
    with plain.open_plain(source) as original:
        require_room(file.fileno(), os.fstat(original.fileno()).st_size)
        shutil.copyfileobj(original, file, _CHUNK)


def _link(temporary: Path, target: Path) -> None:
    try:
        give_name(temporary, target)
    except FileExistsError as error:
        sentence = f"`{target}` holds a file that is not ours: it is not overwritten"
        raise OutputTaken(sentence, hint="Move it away, or rename the spec.") from error


def not_replaced(target: Path) -> OutputTaken:
    """Return the error for a folder or a link where an output or a receipt belongs."""
    sentence = f"`{target}` is a folder or a link: it is not replaced"
    return OutputTaken(sentence, hint="Move it out of the way.")


def is_behind_a_link(above: Path, target: Path) -> bool:
    """Whether a folder between `above` and `target` is a symbolic link, so that the path leads elsewhere."""
    return target.parent.resolve() != above.resolve() / target.parent.relative_to(above)


def remove(target: Path, found: Signature) -> bool:
    """Remove a plain file durably; False, and not removed, where it is not as `found`. Raises `WorkspaceError`."""
    if not found.is_file or signature(target) != found:
        return False
    with plain.described(target):
        target.unlink()
        sync_folder(target.parent)
    return True
