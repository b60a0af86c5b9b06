"""`prune`: outputs that no spec asks for any more leave the folder; their bytes stay in the object store (rule 8).

A file goes only while it is, byte for byte, what this state published there, and no spec reads it: what a receipt lists
may be anybody's word. It is never reached
through a symbolic link in the specs folder; that folder itself may be one.
"""

from __future__ import annotations

from reconciler.core.errors import StateError
from reconciler.engine.outcome import Ground, Outcome
from reconciler.workspace.flaws import file_sha256
from reconciler.workspace.outputs import is_behind_a_link, remove, signature


def prune(ground: Ground, path: str) -> Outcome:
    """Remove one orphan, named relative to the root, and forget that it was published.

    Raises:
        WorkspaceError: the file cannot be read or removed.
    """
    root, objects = ground.ports.root, ground.ports.objects
    target = root / path
    if why := ground.survey.needed.get(path):
        return Outcome.refused(f"`{path}` stays: {why}")
    if path not in ground.survey.orphans:
        return Outcome.left(f"`{path}` is not an orphan, or not any more: it stays")
    found = signature(target)
    if found is None or not found.is_file:
        return Outcome.refused(
            f"`{path}` is no longer there as it was published: nothing is removed"
        )
    specs = root / ground.survey.desired.folder
    if is_behind_a_link(specs if specs in target.parents else root, target):
        return Outcome.refused(
            f"`{path}` stays: a folder of its path is a link, so it is somewhere else now"
        )
    sha256 = file_sha256(target)
    if not ground.survey.whereabouts.was_published(path, sha256):
        return Outcome.refused(f"`{path}` was changed: it stays")
    if not objects.verify(sha256):
        try:
            objects.ingest(target, sha256)
        except StateError as error:
            return Outcome.refused(f"`{path}` stays: its bytes cannot be kept: {error.message}")
    if not remove(target, found):
        return Outcome.refused(f"`{path}` was changed at the last moment: it stays")
    ground.ports.repository.unpublish([path])
    return Outcome.done(f"`{path}` is removed; its bytes are kept as {objects.path(sha256)}")
