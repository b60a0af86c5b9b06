"""Bringing a paid result home: fresh URLs, a resumable download, verification, the object store (rule 7)."""

from __future__ import annotations

import asyncio
import hashlib
import re
from decimal import Decimal
from pathlib import Path

from reconciler.core.errors import ReconcilerError, StateError
from reconciler.core.motion_control import length_remark
from reconciler.core.schedule import RETENTION, URGENT_AGE
from reconciler.core.states import Record, Result, Role, Status, Task, TaskState
from reconciler.core.transitions import Absent, Gone, Kept, Saved, Seen, step
from reconciler.engine.answers import Answers
from reconciler.engine.journal import Journal
from reconciler.engine.ports import Options, Ports
from reconciler.engine.previewing import Previewer
from reconciler.kling.errors import ResultInterrupted, ResultRefused
from reconciler.workspace.media import MediaError, ResultFacts, examine_result

_CLEARED = "the provider cleared the result before it was saved"
_MD5_ETAG = re.compile(r'"[0-9A-Fa-f]{32}"')


class CannotKeep(ReconcilerError):
    """The result cannot be written to this disk."""


class Saver:
    """Downloads what was paid for, a few at a time."""

    def __init__(
        self, ports: Ports, options: Options, journal: Journal, previewer: Previewer
    ) -> None:
        self._ports = ports
        self._options = options
        self._journal = journal
        self._previewer = previewer
        self._answers = Answers(ports.client, ports.repository)
        self._turn = asyncio.Semaphore(options.downloads)
        self._arrived_before: dict[
            str, str
        ] = {}  # partial file -> MD5 of what disagreed with its ETag

    async def save(
        self, record: Record, reference: Decimal | None = None
    ) -> tuple[Record, int | None]:
        """Fetch, verify and keep every result of a succeeded task; return the record and when to try again (ms).

        `reference` is the length of the motion video in s, where it is known: a result that is notably shorter is
        said, once. URLs are asked for anew each time: they expire, and a query costs nothing.

        Raises:
            ProviderError: the provider or the result's host did not give the bytes; what arrived is kept for a resume.
            MediaError: what arrived is whole by its announced length, and still no video.
            CannotKeep: the bytes cannot be written here; the provider still has them.
        """
        reply = await self._answers.about(record)
        if reply.task is not None and reply.task.state is not TaskState.SUCCEEDED:
            record, again_at = self._decide(record, Seen(reply.task), reply.request_id)
            if record.status is not Status.SUCCEEDED:
                return record, again_at
            raise ResultInterrupted(
                f"the provider says `{reply.task.said[:40]}` of a task that had succeeded"
            )
        if reply.task is None:
            return self._decide(record, Absent(), reply.request_id)
        if not _files(reply.task):
            if self._overdue(record):
                return self._decide(record, Gone(_CLEARED), reply.request_id)
            raise ResultInterrupted("the provider lists no video of it at the moment")
        record, _ = self._decide(record, Seen(reply.task), reply.request_id)
        self._warn_when_old(record)
        async with self._turn:
            for role, url in _files(reply.task):
                try:
                    record = await self._keep(record, role, url)
                except ResultRefused:
                    if self._overdue(record):
                        return self._decide(record, Gone(_CLEARED))
                    raise
        if record.lacking:
            missing = ", ".join(record.lacking)
            if self._overdue(record):
                return self._decide(
                    record, Gone(f"the provider cleared the {missing} before it was saved")
                )
            raise ResultInterrupted(f"the provider lists no {missing} at the moment")
        return await self._complete(record, reference)

    async def _complete(
        self, record: Record, reference: Decimal | None
    ) -> tuple[Record, int | None]:
        previews = await self._previewer.previews_of(record)
        video = next((one for one in record.results if one.role is Role.VIDEO), None)
        remark = length_remark(video.duration if video else None, reference)
        decided = self._decide(record, Saved(record.results, previews), detail=remark)
        if remark:
            self._ports.report.say(f"{record.spec}: {remark}")
        return decided

    async def _keep(self, record: Record, role: Role, url: str) -> Record:
        """Bring one result into the store, unless it is there already."""
        kept = {result.role: result for result in record.results}.get(role)
        if kept is not None and await asyncio.to_thread(self._ports.objects.verify, kept.sha256):
            return record
        fetched, facts = await self._fetch(record, role, url)
        if kept is not None and kept.sha256 != fetched.sha256:
            self._ports.report.say(
                f"the {role} of {record.external_task_id} is not the one that was saved before: look at it"
            )
        if not facts.decodes:
            self._ports.report.say(f"{record.spec}: the {role} is saved: {facts}")
        record, _ = self._decide(record, Kept(fetched), detail=f"{role}: {facts}")
        return record

    async def _fetch(self, record: Record, role: Role, url: str) -> tuple[Result, ResultFacts]:
        objects = self._ports.objects
        partial = objects.partial(f"{record.external_task_id}.{role}")
        try:
            arrived = await self._ports.downloader.fetch(url, partial)
            facts = await asyncio.to_thread(examine_result, partial.path)
            await asyncio.to_thread(self._check_etag, partial.path, arrived.validator)
            sha256, size = await asyncio.to_thread(objects.adopt, partial)
        except MediaError:
            partial.discard()
            raise
        except (OSError, StateError) as error:
            reason = (
                error.message
                if isinstance(error, StateError)
                else (error.strerror or "the disk refuses it")
            )
            raise CannotKeep(
                f"bought, and its result cannot be written to disk: {reason}"
            ) from error
        finally:
            partial.close()
        return Result(role, sha256, size, facts.seconds, facts.width, facts.height), facts

    def _check_etag(self, path: Path, etag: str) -> None:
        """Compare the bytes with an ETag that looks like their MD5, which is what object stores give.

        An ETag need not be a digest: bytes that arrive a second time just as they were are what the host has.
        """
        if not _MD5_ETAG.fullmatch(etag):
            return
        with path.open("rb") as file:
            digest = hashlib.file_digest(
                file, lambda: hashlib.md5(usedforsecurity=False)
            ).hexdigest()
        if (
            digest != etag.strip('"').lower()
            and self._arrived_before.setdefault(path.name, "") != digest
        ):
            self._arrived_before[path.name] = digest
            raise MediaError("the result does not have the digest that its host announced")

    def _decide(
        self,
        record: Record,
        event: Absent | Seen | Kept | Saved | Gone,
        request_id: str = "",
        *,
        detail: str = "",
    ) -> tuple[Record, int | None]:
        decision = step(record, event, rules=self._options.rules, now=self._ports.now())
        kind = type(event).__name__.lower()
        self._journal.commit(decision.record, kind=kind, detail=detail, request_id=request_id)
        return decision.record, decision.again_at

    def _overdue(self, record: Record) -> bool:
        made = record.finished_at or record.created_at
        return made is not None and self._ports.now() - made > RETENTION

    def _warn_when_old(self, record: Record) -> None:
        made = record.finished_at or record.created_at
        if made is not None and self._ports.now() - made > URGENT_AGE:
            self._ports.report.say(
                f"urgent: the result of {record.external_task_id} is cleared 30 days after it was made, which is soon"
            )


def _files(task: Task) -> list[tuple[Role, str]]:
    """The files that can be fetched now: the video first, then its watermarked copy where there is one."""
    if not task.videos:
        return []
    video = task.videos[0]
    return [
        (role, url)
        for role, url in ((Role.VIDEO, video.url), (Role.WATERMARK, video.watermark_url))
        if url
    ]
