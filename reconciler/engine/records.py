"""The progress of generations, in one map, and the only code that writes their records to disk.

Every change of a record leaves a line of history. Memory agrees with the disk, because only this process writes it: what
is not in memory is read when it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from itertools import starmap

from reconciler.core.moments import bought_at, day_of
from reconciler.core.progress import Progress, Topic, Work
from reconciler.core.receipt_entries import LISTED
from reconciler.core.spending import believed, charged, disbelief
from reconciler.core.states import Record, Status
from reconciler.core.transitions import Event, Step, step, without_task
from reconciler.engine.ports import Options, Ports
from reconciler.store.values import Change, HistoryEntry, Spent

INTENT = "intent"  # the line of the history that says that a create may leave now
_NEAR = Decimal("0.8")  # of a cap


class Records:
    """The progress of generations, each with its latest attempt; `of` and what asks by it raise StateError."""

    def __init__(self, ports: Ports, options: Options, records: Mapping[str, Record]) -> None:
        """Begin with these records, those of all attempts that are not complete among them."""
        self._ports = ports
        self._options = options
        self._known: dict[
            str, Progress
        ] = {}  # by base id; those that nothing was asked about are not here
        self._warned: set[str] = set()  # periods whose cap is near
        self.holds_changed = False  # since the daemon wrote them last
        for base_id, record in records.items():
            in_doubt = record.status is Status.SUBMITTING
            self._known[base_id] = Progress(base_id=base_id, record=record, inherited=in_doubt)

    def of(self, base_id: str) -> Progress:
        """Return a generation's progress; a fresh one where nothing was ever sent."""
        if base_id not in self._known:
            self.learn([base_id])
        return self._known[base_id]

    def has(self, base_id: str) -> bool:
        """Whether a generation's progress is in memory."""
        return base_id in self._known

    def learn(self, base_ids: Iterable[str]) -> None:
        """Read what the state says of these generations at once; `of` would do it one by one."""
        if unknown := [base_id for base_id in base_ids if base_id not in self._known]:
            stored = self._ports.repository.records_of(unknown)
            for base_id in unknown:
                self._known[base_id] = Progress(base_id=base_id, record=stored.get(base_id))

    def put(self, progress: Progress) -> None:
        """Remember a generation's progress; its record is written by `apply` and `commit`, not here."""
        self.holds_changed |= self.of(progress.base_id).hold != progress.hold
        self._known[progress.base_id] = progress

    def want(self, base_id: str, work: Work | None) -> None:
        """Remember what the specs want of a generation."""
        self.put(replace(self.of(base_id), work=work))

    def all(self) -> Iterator[Progress]:
        """Return the progress of every generation in memory, unaffected by later changes."""
        return iter(tuple(self._known.values()))

    def holds(self) -> dict[str, str]:
        """Return why generations are held back, by base id."""
        return {one.base_id: one.hold.reason for one in self.all() if one.hold}

    def get(self, base_id: str) -> Record | None:
        """Return the latest attempt at a generation, or None when nothing was ever sent."""
        return self.of(base_id).record

    def first_asked_by(self, spec: str) -> frozenset[str]:
        """Return the base ids of the generations that this spec was the first to ask for."""
        return self._ports.repository.asked_by(spec)

    def decide(self, record: Record, event: Event, *, wanted: bool = True) -> Step:
        """Return the step that an event leads to now; nothing is written."""
        return step(record, event, rules=self._options.rules, now=self._ports.now(), wanted=wanted)

    def apply(
        self,
        record: Record,
        event: Event,
        kind: str = "",
        *,
        detail: str = "",
        request_id: str = "",
        durable: bool = True,
    ) -> Step:
        """Write and return the step that an event leads to; `kind` defaults to the event's name. See `commit_all`."""
        decided, kind = self.decide(record, event), kind or type(event).__name__.lower()
        self.commit_all([(decided.record, kind, detail, request_id)], durable=durable)
        return decided

    def commit(self, record: Record, kind: str, *, detail: str = "", request_id: str = "") -> None:
        """Write one changed record; see `commit_all`."""
        self.commit_all([(record, kind, detail, request_id)])

    def commit_all(
        self, changes: Iterable[tuple[Record, str, str, str]], *, durable: bool = True
    ) -> None:
        """Write changed records in one transaction; those that did not change are left alone.

        What the provider would tell again need not be `durable`: the next intent makes it so before anything is sent. What
        receipts list always is: a receipt must not know more than the state. Raises StaleRecord: something else wrote it.
        """
        changed = [change for change in changes if self.get(change[0].base_id) != change[0]]
        if changed:
            self._take_from_claims(record for record, *_ in changed)
            is_listed = any(record.status in LISTED for record, *_ in changed)
            found = list(starmap(self._change, changed))
            self._ports.repository.save(found, durable=durable or is_listed)
        for record, *_ in changed:
            self._remember(record)

    def take_over(self, records: Iterable[Record]) -> None:
        """Write what a survey learnt from receipts and files; nothing happened just now, so nothing is reported."""
        now = self._ports.now()
        known = self._each_its_own(
            _dated(record, now) for record in records if self.get(record.base_id) != record
        )
        if known:
            said = "recalled", "by a receipt or a file", ""
            self._ports.repository.save([self._change(record, *said) for record in known])
        for record in known:
            self._keep(record)

    def read_again(self, base_id: str) -> None:
        """Read the record from disk again, after a change that may or may not have been written."""
        record = self._ports.repository.record(base_id)
        if record is not None:
            self._keep(record)

    def forget(self, base_id: str) -> tuple[Record, ...]:
        """Remove all attempts at a generation from the state and return them; the history stays."""
        forgotten = self._ports.repository.forget(base_id, now=self._ports.now())
        self.put(replace(self.of(base_id), record=None))
        return forgotten

    def intend(self, record: Record) -> Record:
        """Write the intent to create, checking the caps in the same transaction (rules 2 and 9); return the record.

        Raises CapReached: a cap would be passed; nothing was written.
        """
        record = record.evolve(intent_at=self._ports.now(), calendar_at=self._ports.calendar())
        change = self._change(record, INTENT, f"create number {record.creates}", "")
        caps, run_id = self._options.caps, self._options.run_id
        spent = self._ports.repository.record_intent(change, caps=caps, run_id=run_id)
        self._remember(record)
        self._warn_of_caps(spent, day_of(record.calendar_at))
        return record

    def _warn_of_caps(self, spent: Spent, today: str) -> None:
        """Say once for each day, and once for the run, that most of what may be spent is spent."""
        caps = self._options.caps
        periods = (today, spent.day, caps.per_day), ("this run", spent.run, caps.per_run)
        for period, used, cap in periods:
            if used is None or cap is None or used < cap * _NEAR or period in self._warned:
                continue
            self._warned.add(period)
            share = f"{used.normalize():f} of the {cap.normalize():f} units"
            self._ports.report.say(f"{share} for {period} are spent", Topic.CAP)

    def _each_its_own(self, records: Iterable[Record]) -> list[Record]:
        """Leave a task that receipts give to two attempts to the one that has it on record, or comes first.

        The other attempt is asked for by its own id.
        """
        owners: dict[str, str] = {}
        kept = []
        for record in records:
            task_id, name = record.task_id, record.external_task_id
            if task_id is not None and task_id not in owners:
                owner = self._ports.repository.find(task_id)
                owners[task_id] = name if owner is None else owner.external_task_id
            is_anothers = task_id is not None and owners[task_id] != name
            kept.append(without_task(record) if is_anothers else record)
        return kept

    def _take_from_claims(self, records: Iterable[Record]) -> None:
        """Take a task that the provider shows to be these records' from an attempt that has it by a receipt only."""
        for record in records:
            known = self.get(record.base_id)
            if record.task_id is None or (known is not None and known.task_id == record.task_id):
                continue
            owner = self._ports.repository.find(record.task_id)
            if owner is not None and owner.claimed and owner.base_id != record.base_id:
                self._take_task_from(owner)

    def _take_task_from(self, owner: Record) -> None:
        left, said = without_task(owner), "its task is another one's"
        entry = HistoryEntry(left.external_task_id, self._ports.now(), "recalled", said)
        self._ports.repository.save([Change(left, owner.status, (entry,))])
        if self.get(owner.base_id) == owner:
            self._keep(left)

    def _change(self, record: Record, kind: str, detail: str, request_id: str) -> Change:
        said = f"{record.status}: {detail or record.reason}".removesuffix(": ")
        entry = HistoryEntry(record.external_task_id, self._ports.now(), kind, said, request_id)
        latest = self.get(record.base_id)
        if latest is None or latest.external_task_id == record.external_task_id:
            return Change(record, None if latest is None else latest.status, (entry,))
        # Another attempt replaces the latest: it may be on disk already. A latest that never began is withdrawn.
        attempts = self._ports.repository.attempts(record.base_id)
        on_disk = {one.external_task_id: one.status for one in attempts}
        withdraws = (latest,) if latest.status in {Status.PENDING, Status.SUBMITTING} else ()
        return Change(record, on_disk.get(record.external_task_id), (entry,), withdraws)

    def _remember(self, record: Record) -> None:
        before = self.get(record.base_id)
        self._keep(record)
        said = record.units if before is None or before.units != record.units else None
        if said is not None and believed(said, record.estimated_units) is None:
            counted = charged(record.status, record.estimated_units, said)
            self._ports.report.say(disbelief(record.external_task_id, said, counted), Topic.CAP)
        if before is None or (before.status, before.reason) != (record.status, record.reason):
            self._ports.report.changed(record)

    def _keep(self, record: Record) -> None:
        self.put(replace(self.of(record.base_id), record=record))


def _dated(record: Record, now: int) -> Record:
    """Give a purchase from a receipt a day for the caps: its own where that makes sense, else today."""
    bought = bought_at(record.intent_at, now)
    is_dated = record.intent_at == bought
    return record if is_dated else record.evolve(intent_at=bought, calendar_at=bought)
