"""What must hold once a history is over: sentences about what does not. Reads, and changes nothing.

(a) nobody paid twice, (b) each video is the one of its own task, (c) receipts say what the ledger says, (d) a further
run does nothing, (e) nothing paid for is lost, (f) no create went out but after a readable *unknown*, and none while
an earlier one was in doubt.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from reconciler.core.diff import Action
from reconciler.core.identity import split_attempt
from reconciler.core.motion_control import UNITS_PER_SECOND
from reconciler.core.purchases import By, group
from reconciler.core.schedule import DAY, SECOND, Rules
from reconciler.core.states import Role, Status
from reconciler.engine.observe.purchases import everything_bought
from reconciler.workspace.media.result_media import make_preview
from tests.simulation.author import RETRIES
from tests.simulation.books import Job, Scene
from tests.simulation.witness import Sent

GRACE_S = Rules().absence_grace / SECOND


def judge(scenes: Sequence[Scene]) -> list[str]:
    """Return what is wrong, in sentences; each scene is a working copy, and all have one account."""
    here = [
        sentence
        for scene in scenes
        for sentence in (
            *wrong_bytes(scene),
            *wrong_receipts(scene),
            *(f"not settled: {left}" for left in scene.left_to_do()),
        )
    ]
    return [*paid_twice(scenes), *lost(scenes), *hasty(scenes[0].requests), *here]


def paid_twice(scenes: Sequence[Scene]) -> Iterator[str]:
    """(a): a generation is billed again only after all that was billed for it failed, and where somebody asked for it.

    By base ids: under which id a further attempt is made is the product's own affair.
    """
    by_base: dict[str, list[Job]] = defaultdict(list)
    for job in sorted(scenes[0].jobs, key=lambda job: job.at):
        by_base[split_attempt(job.name)[0]].append(job)
    for base, jobs in by_base.items():
        called = ", ".join(f"{job.name} ({job.task_id})" for job in jobs)
        again = [
            job
            for number, job in enumerate(jobs)
            if any(not one.failure or one.ended_at > job.at for one in jobs[:number])
        ]
        if again:
            yield f"{base} was billed {1 + len(again)} times: {called}"
        elif len(jobs) > (most := _most_attempts(scenes, base)):
            yield f"{base} was attempted {len(jobs)} times, and {most} were asked for: {called}"
        names = Counter(job.name for job in jobs)
        yield from (f"{name} names {count} tasks" for name, count in names.items() if count > 1)


def _most_attempts(scenes: Sequence[Scene], base: str) -> int:
    """Return how many attempts were asked for: by specs, as far as they still want it, and by orders."""
    wishes = [
        wish.retries
        for scene in scenes
        for wish in scene.survey.valid_wishes()
        if wish.external_task_id == base
    ]
    return 1 + max(wishes, default=RETRIES) + scenes[0].retried.get(base, 0)


def over_cap(scene: Scene, cap: Decimal, until: float) -> Iterator[str]:
    """What was bought on a day, by the wall of the machine, is no more than the cap; it asks nobody else for the day."""
    spent: dict[str, Decimal] = defaultdict(Decimal)
    for job in scene.jobs:
        sent = _create_of(scene, job)
        if job.failure or sent is None or sent.at >= until:
            continue
        spent[f"{datetime.fromtimestamp(sent.wall, UTC):%Y-%m-%d}"] += job.units
    for day, units in spent.items():
        if units > cap:
            yield f"{units} units were bought on {day} by this machine's calendar; the cap is {cap}"


def wrong_report(scene: Scene) -> Iterator[str]:
    """What `spend` would report can be grouped by every word, and dates and prices purchases as the books do."""
    jobs = {job.name: job for job in scene.jobs}
    try:
        bought = everything_bought(scene.root, scene.ledger, scene.survey.desired, UNITS_PER_SECOND)
        for by in By:
            group(bought.purchases, by)
    except Exception as error:  # noqa: BLE001 - whatever it is, a report was asked for
        yield f"`spend` ends in a mistake: {error!r}"
        return
    for purchase in bought.purchases:
        job = jobs.get(purchase.external_task_id)
        if job is None:
            continue
        if purchase.at is not None and abs(purchase.at - job.at) > 2 * DAY:
            yield f"{job.name} counts for {purchase.at} ms, and was billed at {job.at}"
        if purchase.spent > 2 * job.units + 10:
            yield f"{job.name} cost {job.units} units, and counts as {purchase.spent}"


def _create_of(scene: Scene, job: Job) -> Sent | None:
    """Return the create that a task came of."""
    at = (job.at - scene.started_ms) / 1000
    sent = [s for s in scene.requests if s.kind == "create" and s.name == job.name and s.at <= at]
    return max(sent, key=lambda one: one.at, default=None)


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
    # A receipt repeats what the provider said of its bill; what is made of it is the caps' and the report's business.
    told_oddly = scene.has_odd_numbers and (
        entry["units"] is None or Decimal(entry["units"]) > 1000 * charged
    )
    if not told_oddly and (entry["units"] is None or Decimal(entry["units"]) != charged):
        yield f"{name} cost {charged} units, and {entry['units']} are listed"
    # What a task was said to have come to when its spec went away stays written.
    is_kept = path.with_name(path.name.replace(".receipt.json", ".yaml")).exists()
    if is_kept and (entry["status"] == "failed") != bool(job.failure):
        yield f"{name} is listed as {entry['status']}; the provider says {job.failure or 'succeed'}"
    if entry["status"] == "complete" and not entry["outputs"]:
        yield f"{name} is listed as complete without an output"


def lost(scenes: Sequence[Scene]) -> Iterator[str]:
    """(e): every film that was paid for is in some store, but where nobody could know of it any more."""
    for job in scenes[0].jobs:
        told = [why for scene in scenes if (why := _lost(scene, job))]
        if not job.failure and len(told) == len(scenes):
            yield told[0]


def _lost(scene: Scene, job: Job) -> str:
    """Return why a film is not in the store of a working copy; empty where it is, or may be gone."""
    if _may_be_gone(scene, job, scene.wanted()):
        return ""
    record = scene.attempts.get(job.name)
    if record is None or record.status is not Status.COMPLETE:
        status = record.status if record else "not on record"
        return f"{job.name} (task {job.task_id}) was paid for and is {status}"
    videos = [result for result in record.results if result.role is Role.VIDEO]
    kept = any(scene.objects.verify(result.sha256) for result in videos)
    return "" if kept else f"{job.name} is complete, and its film is not in the store"


def _may_be_gone(scene: Scene, job: Job, wanted: set[str]) -> bool:
    """Whether its state was lost after it was bought and no spec wants it any more, or its object was."""
    billed_at = (job.at - scene.started_ms) / 1000
    # It may have been bought by a state that was lost while its create was under way.
    sent = _create_of(scene, job)
    bought_at = sent.at if sent else billed_at
    lost_after = any(at >= bought_at for at in scene.lost)
    base = split_attempt(job.name)[0]
    record = scene.records.get(base)
    # A published copy serves as well: the object is not copied back as long as the output stands.
    stands = record is not None and record.status is Status.COMPLETE
    return lost_after and (base not in wanted or stands or base.startswith("own-"))


def hasty(requests: list[Sent]) -> Iterator[str]:
    """(f): a create follows a readable *unknown*, and an earlier create in doubt was waited for."""
    by_name: dict[tuple[str, int], list[Sent]] = defaultdict(list)
    for sent in requests:
        if sent.kind in {"create", "query"}:
            by_name[sent.name, sent.epoch].append(sent)
    for (name, _), all_sent in by_name.items():
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
            if earlier is not None and earlier.told == "nothing":
                waited = sent.at - (earlier.ended_at or earlier.at)
                if waited < GRACE_S and earlier.detail not in NEVER_LEFT:
                    yield (
                        f"{name} was created again at {sent.at:.1f}, {waited:.1f} s after a create in doubt"
                    )
            earlier = sent


SIGNED_AGAIN = frozenset({"401/1003", "401/1004"})
"""A token that was refused before the request was read: the same create goes out with another."""
NEVER_LEFT = frozenset({"ConnectError", "ConnectTimeout"})
