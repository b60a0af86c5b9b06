"""Removing a file that is ours: never through a link, and never one that changed since it was looked at."""

from __future__ import annotations

from pathlib import Path

from reconciler.disk import sync_folder
from reconciler.workspace.files import describe_os_error
from reconciler.workspace.outputs import Signature, signature


def is_behind_a_link(above: Path, target: Path) -> bool:
    """Whether a folder between this folder and this path is a symbolic link, so that the path leads elsewhere."""
    return target.parent.resolve() != above.resolve() / target.parent.relative_to(above)


def remove(target: Path, found: Signature) -> bool:
    """Remove a plain file durably; return False, with nothing touched, when it is not as it was found.

    Raises `WorkspaceError`.
    """
    try:
        if not found.is_file or signature(target) != found:
            return False
        target.unlink()
        sync_folder(target.parent)
    except OSError as error:
        raise describe_os_error(error, target) from error
    return True
