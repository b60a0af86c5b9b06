"""What is known of one generation at this moment: its record, its outputs, and what stands in its way. Reads only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from reconciler.core.diff import IN_PLACE, Known, Output, Standing
from reconciler.core.errors import WorkspaceError, told
from reconciler.core.generations import Generation
from reconciler.core.naming import receipt_path
from reconciler.core.schedule import Rules
from reconciler.core.states import BOUGHT, Record, Role, Status
from reconciler.core.transitions import Saved, step
from reconciler.engine.whereabouts import Whereabouts
from reconciler.workspace.outputs import check_room

Uncommitted = Callable[[Generation], str]
"""Says why a wish does not count as committed; an empty string where it does."""


def all_committed(_: Generation) -> str:
    """Where nobody asks for commits, nothing waits for one."""
    return ""


def nothing_held_back(_: str) -> str:
    """Where no name tells anything, nothing is held back."""
    return ""


def waiting_for_commit(name: str) -> str:
    """Return the sentence about the first file of a wish that is not committed; nothing where there is none."""
    return f"waiting for a commit: `{name}` is not committed as it stands" if name else ""


@dataclass(frozen=True, slots=True)
class Outlook:
    """The facts about the world that the knowledge of every generation draws on."""

    whereabouts: Whereabouts
    holds: Mapping[str, str]  # base id -> why the last run held it back
    unreadable: Mapping[str, str] = field(default_factory=dict)  # receipt -> why
    doubted: Mapping[str, str] = field(default_factory=dict)
    """Base ids that some receipt names, without telling what was bought -> why."""
    can_host: bool = False  # a local video can be made readable for the provider
    uncommitted: Uncommitted = all_committed
    previews: frozenset[Role] = frozenset()  # those that are put back where they are missing
    held_back: Callable[[str], str] = (
        nothing_held_back  # why nothing is bought for a spec, by its name
    )

    def known(self, wish: Generation, record: Record | None) -> Known:
        """Return what is known of a generation, given the latest attempt at it."""
        outputs = self.whereabouts.outputs(wish, record)
        obtainable = self.whereabouts.obtainable(record, outputs)
        if record is not None and _is_found_again(record) and obtainable:
            # The provider cleared the result, and somebody put the file back.
            record = step(record, Saved(record.results), rules=Rules(), now=0).record
        previews = self.whereabouts.previews(wish, record)
        return Known(
            record=record,
            outputs=outputs,
            obtainable=obtainable,
            previews=previews,
            unshown=any(self._is_unshown(record, preview) for preview in previews),
            hold=self.holds.get(wish.external_task_id, ""),
            obstacle="" if record and record.status in BOUGHT else self._obstacle(wish),
        )

    def _is_unshown(self, record: Record | None, preview: Output) -> bool:
        """Whether a preview that is wanted is missing, or another one stands in its place, and it can be put there."""
        is_settled = preview.standing in IN_PLACE or preview.standing is Standing.TAKEN
        if preview.role not in self.previews or is_settled:
            return False
        made = {one.role: one for one in record.previews} if record else {}
        return self.whereabouts.find_preview(made[preview.role]) is not None

    def _obstacle(self, wish: Generation) -> str:
        if sentence := self.held_back(wish.spec):
            return sentence
        # By its id wherever the receipt lies: the spec may have been copied, renamed or moved.
        problem = self.unreadable.get(receipt_path(wish.spec)) or self.doubted.get(
            wish.external_task_id
        )
        if problem:
            return f"a receipt cannot be read, so this may already have been bought: {problem}"
        for one in () if self.can_host else wish.kind.INPUTS:
            if one.medium.by_url_only and (path := wish.inputs[one.name].path):
                return (
                    f"`{path}` is a local file, and the provider reads {one.medium.name}s from a URL only; "
                    f"set RECONCILER_MEDIA_STORE to a media store that hosts it, or give `{one.name}` as an "
                    "http(s) URL"
                )
        return self.uncommitted(wish) or self._without_room(wish)

    def _without_room(self, wish: Generation) -> str:
        try:
            check_room(self.whereabouts.root, str(PurePosixPath(wish.spec).parent))
        except WorkspaceError as error:
            return told(error)
        return ""


def _is_found_again(record: Record) -> bool:
    return record.status is Status.EXPIRED and not record.lacking
