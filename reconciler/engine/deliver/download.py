"""Saving what was paid for: fresh URLs, a resumable download, verification, the object store, previews (rule 7)."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from reconciler.core.errors import ReconcilerError, StateError, mistake
from reconciler.core.media_rules import length_remark
from reconciler.core.schedule import RATE_WINDOW, RETENTION, URGENT_AGE
from reconciler.core.states import PREVIEWS, Record, Result, Role, Status, Task, TaskState
from reconciler.core.transitions import Gone, Kept, Saved, Step
from reconciler.engine.ask.answers import Answers, event_of
from reconciler.engine.observe.locations import Locations
from reconciler.engine.ports import Options, Ports
from reconciler.engine.records import Records
from reconciler.kling import errors as kling
from reconciler.store.values import KEPT_BESIDE, HistoryEntry
from reconciler.workspace.media.flaws import MediaError
from reconciler.workspace.media.result_media import ResultFacts, examine_result, make_preview

_CLEARED = "the provider cleared the result before it was saved"
_PREVIEWS_AT_ONCE = 2  # each decodes for a good part of a second
_LONGEST_WINDOW = RATE_WINDOW * 2**7  # longer than any fetch may take
_MD5_ETAG = re.compile(r'"[0-9A-Fa-f]{32}"')


class CannotKeep(ReconcilerError):
    """The result cannot be written to this disk."""


class Saver:
    """Downloads what was paid for, a few at a time."""

    def __init__(self, ports: Ports, options: Options, records: Records, files: Locations) -> None:
        self._ports = ports
        self._options = options
        self._records = records
        self._files = files
        self._answers = Answers(ports.client, ports.repository)
        self._turn = asyncio.Semaphore(options.downloads)
        self._preview_turn = asyncio.Semaphore(_PREVIEWS_AT_ONCE)
        self._ready = 0  # results that are fetched, or wait for their turn
        self._beside: set[str] = set()  # attempts whose further videos were saved or reported
        # Partial file -> MD5 that disagreed with its ETag.
        self._arrived_before: dict[str, str] = {}

    async def save(self, record: Record, reference: Decimal | None = None) -> Step:
        """Fetch, verify and keep every result of a succeeded task; return what became of its record.

        `reference` is the length of the motion video in s, where it is known: a result that is notably shorter is
        said, once. URLs are asked for anew each time: they expire, and a query costs nothing.

        Raises:
            ProviderError: the provider or the result's host did not give the bytes; what arrived is kept for a resume.
            MediaError: what arrived is whole by its announced length, and still no video.
            CannotKeep: the bytes cannot be written here; the provider still has them.
        """
        window = RATE_WINDOW
        while True:
            try:
                return await self._save(record, reference, window)
            except kling.ResultSlow:  # the next result goes first; this one is continued afterwards
                record = self._records.get(record.base_id) or record
                window = min(window * 2, _LONGEST_WINDOW)  # twice as long, so that it ends

    async def _save(self, record: Record, reference: Decimal | None, window: float) -> Step:
        decided, task = await self._ask(record)
        record = decided.record
        if task is None:
            return decided
        if self._age(record) > URGENT_AGE:
            self._ports.report.say(
                f"urgent: the result of {record.external_task_id} will be cleared 30 days after it was made, which is soon"
            )
        self._ready += 1
        try:
            async with self._turn:
                for role, url in _files(task, record.asked):
                    record = await self._keep(record, role, url, window)
                await self._keep_beside(record, task, window)
        except kling.ResultRefused as error:
            return self._cleared(record, _CLEARED, error)
        finally:
            self._ready -= 1
        return await self._complete(record, reference)

    async def _ask(self, record: Record) -> tuple[Step, Task | None]:
        """Return what the provider's answer makes of the record, and the task where it lists what can be fetched."""
        reply = await self._answers.about(record)
        task = reply.task
        done = task if task is not None and task.state is TaskState.SUCCEEDED else None
        if done is not None and not _files(done, record.asked):
            lists_none = kling.ResultInterrupted("the provider lists no video for it at the moment")
            return self._cleared(record, _CLEARED, lists_none), None
        decided = self._records.apply(
            record, event_of(reply), request_id=reply.request_id, durable=False
        )
        if task and not done and decided.record.status is Status.SUCCEEDED:
            told = f"the provider says `{task.said[:40]}` of a task that had succeeded"
            raise kling.ResultInterrupted(told)
        return decided, done

    def _cleared(self, record: Record, told: str, otherwise: kling.ProviderError) -> Step:
        """End an attempt whose result the provider has cleared; raise `otherwise` where it may still have it."""
        if self._age(record) <= RETENTION:
            raise otherwise
        return self._records.apply(record, Gone(told))

    async def _complete(self, record: Record, reference: Decimal | None) -> Step:
        if record.lacking:
            missing = ", ".join(record.lacking)
            told = f"the provider cleared the {missing} before it was saved"
            lists_none = kling.ResultInterrupted(f"the provider lists no {missing} at the moment")
            return self._cleared(record, told, lists_none)
        video = next((one for one in record.results if one.role is Role.VIDEO), None)
        previews = await self._previews(record, video) if video else ()
        remark = length_remark(video.duration if video else None, reference)
        decided = self._records.apply(record, Saved(record.results, previews), detail=remark)
        if remark:
            self._ports.report.say(f"{record.spec}: {remark}")
        return decided

    async def _keep_beside(self, record: Record, task: Task, window: float) -> None:
        """Store the videos that a task lists beyond its first: paid for too, reported once, and published nowhere."""
        further = task.videos[1:]
        if not further or record.external_task_id in self._beside:
            return
        told = []
        for number, video in enumerate(further, 2):
            which = f"video {number}"
            try:
                kept, _ = await self._fetch(record, Role.VIDEO, video.url, window, which)
                told.append(f"{which} is kept as the object {kept.sha256}")
            except kling.ResultSlow:
                raise
            except (kling.ProviderError, MediaError, CannotKeep) as error:
                told.append(f"{which} could not be saved ({error.message})")
        name, all_of_it = record.external_task_id, "; ".join(told)
        self._ports.report.say(
            f"the provider lists {len(task.videos)} videos for task {task.task_id} of {name}; "
            f"the first is published, {all_of_it}"
        )
        entry = HistoryEntry(name, self._ports.now(), KEPT_BESIDE, all_of_it)
        self._ports.repository.note([entry])
        self._beside.add(name)

    async def _keep(self, record: Record, role: Role, url: str, window: float) -> Record:
        """Save one result in the object store, unless it is there already."""
        kept = {result.role: result for result in record.results}.get(role)
        if kept is not None and await asyncio.to_thread(self._ports.objects.verify, kept.sha256):
            return record
        fetched, facts = await self._fetch(record, role, url, window)
        if kept is not None and kept.sha256 != fetched.sha256:
            self._ports.report.say(
                f"the {role} of {record.external_task_id} is not the one that was saved before: look at it"
            )
        if not facts.decodes:
            self._ports.report.say(f"{record.spec}: the {role} is saved: {facts}")
        told = f"{role}: {facts}"
        return self._records.apply(record, Kept(fetched), detail=told, durable=False).record

    async def _fetch(
        self, record: Record, role: Role, url: str, window: float, name: str = ""
    ) -> tuple[Result, ResultFacts]:
        objects, at_once = self._ports.objects, self._options.downloads
        partial = objects.partial(f"{record.external_task_id}.{name or role}")
        try:
            arrived = await self._ports.downloader.fetch(
                url, partial, window=window, is_awaited=lambda: self._ready > at_once
            )
            facts = await asyncio.to_thread(examine_result, partial.path)
            await asyncio.to_thread(self._check_etag, partial.path, arrived)
            sha256, size = await asyncio.to_thread(objects.adopt, partial)
        except (MediaError, kling.ResultTooLarge):
            partial.discard()
            raise
        except (OSError, StateError) as error:
            said = error.message if isinstance(error, StateError) else error.strerror
            reason = said or "the disk refuses it"
            told = f"bought, but its result cannot be written to disk: {reason}"
            raise CannotKeep(told) from error
        finally:
            partial.close()
        return Result(role, sha256, size, facts.seconds, facts.width, facts.height), facts

    def _check_etag(self, path: Path, etag: str) -> None:
        """Compare the bytes with an ETag that looks like an MD5; the same bytes twice are right: it need not be one."""
        if not _MD5_ETAG.fullmatch(etag):
            return
        with path.open("rb") as file:
            md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
        digest, before = md5.hexdigest(), self._arrived_before.get(path.name)
        if digest not in {etag.strip('"').lower(), before}:
            self._arrived_before[path.name] = digest
            raise MediaError("the result does not have the digest that its host announced")

    def _age(self, record: Record) -> int:
        """Return how old (ms) a result is at the provider; 0 where that is not known."""
        made = record.finished_at or record.created_at
        return 0 if made is None else self._ports.now() - made

    async def _previews(self, record: Record, video: Result) -> tuple[Result, ...]:
        """Make the wanted previews of a saved video that are not on this disk; one that fails is reported, no more.

        Those on disk stay: another machine may have made them, with other bytes.
        """
        has = {one.role for one in record.previews if self._files.find_preview(one) is not None}
        roles = [role for role in PREVIEWS if role in self._options.previews and role not in has]
        made = [await self._preview(record, video, role) for role in roles]
        return tuple(filter(None, made))

    async def _preview(self, record: Record, video: Result, role: Role) -> Result | None:
        objects = self._ports.objects
        try:
            async with self._preview_turn:
                preview = await asyncio.to_thread(make_preview, objects.path(video.sha256), role)
            # Not in a thread: a thread that a stop left behind would block the next run.
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


def _files(task: Task, asked: Sequence[Role]) -> list[tuple[Role, str]]:
    """Return the roles and URLs that were asked for and can be fetched now, the video first."""
    if not task.videos:
        return []
    video = task.videos[0]
    urls = {Role.VIDEO: video.url, Role.WATERMARK: video.watermark_url}
    return [(role, urls[role]) for role in asked if urls[role]]
