"""Making previews of a video that was saved: a poster, and a contact sheet, into the object store.

The video is on disk and on record by then. Nothing that happens here, and nothing that fails, changes what becomes of
it: there is a sentence, and no preview.
"""

from __future__ import annotations

import asyncio

from reconciler.core.errors import StateError, mistake
from reconciler.core.states import PREVIEWS, Record, Result, Role
from reconciler.engine.ports import Ports
from reconciler.engine.whereabouts import Whereabouts
from reconciler.workspace.flaws import MediaError
from reconciler.workspace.result_media import make_preview

_AT_ONCE = 2  # each decodes for a good part of a second


class Previewer:
    """Makes what is wanted and is not there."""

    def __init__(self, ports: Ports, wanted: frozenset[Role], whereabouts: Whereabouts) -> None:
        self._ports = ports
        self._wanted = wanted
        self._whereabouts = whereabouts
        self._turn = asyncio.Semaphore(_AT_ONCE)

    async def previews_of(self, record: Record) -> tuple[Result, ...]:
        """Return the previews that were made of a record's video; those it has, and that can be had, stay.

        Another machine may have made them, with other bytes: they are not replaced.
        """
        there = {
            preview.role
            for preview in record.previews
            if self._whereabouts.find_preview(preview) is not None
        }
        videos = [result for result in record.results if result.role is Role.VIDEO]
        roles = [role for role in PREVIEWS if role in self._wanted and role not in there]
        made = [await self._make(record, video, role) for video in videos for role in roles]
        return tuple(preview for preview in made if preview is not None)

    async def _make(self, record: Record, video: Result, role: Role) -> Result | None:
        objects = self._ports.objects
        try:
            async with self._turn:
                preview = await asyncio.to_thread(make_preview, objects.path(video.sha256), role)
            # Not in a thread: one that was left behind by a stop would be in the way of the next.
            file = objects.partial(f"{record.external_task_id}.{role}")
            try:
                file.restart("")
                file.write(preview.data)
                sha256, size = objects.adopt(file)
            finally:
                file.discard()
        except (MediaError, StateError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error.message
        except Exception as error:  # noqa: BLE001 - a mistake of ours in a picture costs the picture, no more
            reason = mistake(error)
        else:
            return Result(role, sha256, size, width=preview.width, height=preview.height)
        self._ports.report.say(
            f"{record.spec}: the video is saved, but there is no {role} of it: {reason}"
        )
        return None
