"""What must hold once a history is over: sentences about what does not. Reads, and changes nothing.

(a) nobody paid twice, (b) each video is the one of its own task, (c) receipts say what the ledger says, (d) a further
run does nothing, (e) nothing paid for is lost, (f) no create went out but after a readable *unknown*, and none while
an earlier one was in doubt.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from reconciler.core.diff import Action
from reconciler.core.identity import split_attempt
from reconciler.core.schedule import SECOND, Rules
from reconciler.core.states import Role, Status
from reconciler.workspace.previews import make_preview
from tests.simulation.author import RETRIES
from tests.simulation.books import Job, Scene, still_to_do
from tests.simulation.witness import Sent

GRACE_S = Rules().absence_grace / SECOND


def judge(scene: Scene) -> list[str]:
    """Return what is wrong, in sentences."""
    return [
        *paid_twice(scene),
        *wrong_bytes(scene),
        *wrong_receipts(scene),
        *lost(scene),
        *hasty(scene.requests),
        *(f"not settled: {sentence}" for sentence in still_to_do(scene.plan, bool(scene.lost))),
    ]


def paid_twice(scene: Scene) -> Iterator[str]:
    """(a): one billed task for an id, and a further attempt only after one that failed."""
    by_name: dict[str, list[Job]] = defaultdict(list)
    for job in scene.jobs:
        by_name[job.name].append(job)
    for name, jobs in by_name.items():
        if len(jobs) > 1:
            yield f"{name} was billed {len(jobs)} times: {', '.join(job.task_id for job in jobs)}"
        base, attempt = split_attempt(name)
        if attempt > 1 + RETRIES:
            yield f"{name} is an attempt that no spec allowed"
        if attempt > 1:
            former = by_name.get(base if attempt == 2 else f"{base}-r{attempt - 1}", [])
            if not former or not all(job.failure for job in former):
                yield f"{name} was billed though the attempt before it has not failed"


def wrong_bytes(scene: Scene) -> Iterator[str]:
    """(b): what stands beside a spec, and in the store, is the film of the generation's own task."""
    films = {job.task_id: job.film for job in scene.jobs}
    for item in scene.plan.assessments:
        record = item.record
        if item.action is not Action.KEEP or record is None:
            continue
        film = films.get(record.task_id or "")
        for path, result in item.published:
            data = (scene.root / path).read_bytes()
            if (record.task_id or "?").encode() not in data:
                yield f"{path} is not the film of task {record.task_id}"
            if result.role is Role.VIDEO and data != film:
                yield f"{path} is not byte for byte what the provider made"
            if hashlib.sha256(data).hexdigest() != result.sha256:
                yield f"{path} has not the digest on record"
        for path, preview in item.shown:
            picture = make_preview(scene.root / item.published[0][0], preview.role)
            if (scene.root / path).read_bytes() != picture.data:
                yield f"{path} is not made of {item.published[0][0]}"
        if not item.published:
            yield f"{item.external_task_id} is kept without an output"


def wrong_receipts(scene: Scene) -> Iterator[str]:
    """(c): a receipt lists what was billed, as it was billed, and all of it that its spec wants."""
    jobs = {job.task_id: job for job in scene.jobs}
    listed: dict[str, set[str]] = defaultdict(set)
    for path in sorted((scene.root / "specs").rglob("*.receipt.json")):
        name = str(path.relative_to(scene.root))
        for entry in json.loads(path.read_text())["generations"]:
            listed[name].add(entry["external_task_id"])
            yield from (f"{name}: {fault}" for fault in _entry_faults(scene, path, entry, jobs))
    for item in scene.plan.assessments:
        record = item.record
        if record is None or record.task_id not in jobs:
            continue
        name = item.generation.spec.rpartition(".")[0] + ".receipt.json"
        if record.external_task_id not in listed[name]:
            yield f"{name} does not list {record.external_task_id} ({record.status})"


def _entry_faults(
    scene: Scene, path: Path, entry: dict[str, Any], jobs: Mapping[str, Job]
) -> Iterator[str]:
    name, job = entry["external_task_id"], jobs.get(entry["task_id"])
    if job is None or job.name != name:
        yield f"{name} is listed with task {entry['task_id']}, which is not billed for it"
        return
    charged = Decimal(0) if job.failure else job.units
    if entry["units"] is None or Decimal(entry["units"]) != charged:
        yield f"{name} cost {charged} units, and {entry['units']} are listed"
    if (entry["status"] == "failed") != bool(job.failure):
        yield f"{name} is listed as {entry['status']}; the provider says {job.failure or 'succeed'}"
    if entry["status"] == "complete" and not entry["outputs"]:
        yield f"{name} is listed as complete without an output"


def lost(scene: Scene) -> Iterator[str]:
    """(e): every film that was paid for is in the store, but where nobody could know of it any more."""
    wanted = scene.wanted()
    for job in scene.jobs:
        if job.failure:
            continue
        record = scene.attempts.get(job.name)
        if record is not None and record.status is Status.COMPLETE:
            videos = [result for result in record.results if result.role is Role.VIDEO]
            kept = [r for r in videos if scene.objects.verify(r.sha256)]
            if not kept and not _may_be_gone(scene, job, wanted):
                yield f"{job.name} is complete, and its film is not in the store"
        elif not _may_be_gone(scene, job, wanted):
            status = record.status if record else "not on record"
            yield f"{job.name} (task {job.task_id}) was paid for and is {status}"


def _may_be_gone(scene: Scene, job: Job, wanted: set[str]) -> bool:
    """Whether its state was lost after it was bought and no spec wants it any more, or its object was."""
    billed_at = (job.at - scene.started_ms) / 1000
    # It may have been bought by a state that was lost while its create was under way.
    sent = [one.at for one in scene.requests if one.kind == "create" and one.name == job.name]
    bought_at = max((at for at in sent if at <= billed_at), default=billed_at)
    lost_after = any(at >= bought_at for at in scene.lost)
    base = split_attempt(job.name)[0]
    record = scene.records.get(base)
    # A published copy serves as well: the object is not copied back as long as the output stands.
    stands = record is not None and record.status is Status.COMPLETE
    return lost_after and (base not in wanted or stands or base.startswith("own-"))


def hasty(requests: list[Sent]) -> Iterator[str]:
    """(f): a create follows a readable *unknown*, and an earlier create in doubt was waited for."""
    by_name: dict[str, list[Sent]] = defaultdict(list)
    for sent in requests:
        if sent.kind in {"create", "query"}:
            by_name[sent.name].append(sent)
    for name, all_sent in by_name.items():
        earlier: Sent | None = None
        unknown_at: float | None = None
        for sent in all_sent:
            if sent.kind == "query":
                if sent.told == "unknown":
                    unknown_at = sent.at
                continue
            signed_again = earlier is not None and earlier.detail in SIGNED_AGAIN
            if not signed_again and (
                unknown_at is None or (earlier is not None and unknown_at < earlier.at)
            ):
                yield f"{name} was created at {sent.at:.1f} without a readable look before"
            if earlier is not None and earlier.told == "nothing" and earlier.epoch == sent.epoch:
                waited = sent.at - (earlier.ended_at or earlier.at)
                if waited < GRACE_S and earlier.detail not in NEVER_LEFT:
                    yield (
                        f"{name} was created again at {sent.at:.1f}, {waited:.1f} s after a create in doubt"
                    )
            earlier = sent


SIGNED_AGAIN = frozenset({"401/1003", "401/1004"})
"""A token that was refused before the request was read: the same create goes out with another."""
NEVER_LEFT = frozenset({"ConnectError", "ConnectTimeout"})
