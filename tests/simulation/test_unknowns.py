"""Whichever way each unknown of the provider turns out: bought once, saved with its own bytes, settled.

The whole engine meets one value of one knob (`reconciler/simulator/unknowns.py`) or one fault in each row, in virtual
time. In every row the answers to two creates are lost after they have acted: an unknown matters most in doubt.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest

from reconciler.core.progress import Ended
from reconciler.core.states import Record, Status
from reconciler.simulator.knobs import KINDS
from reconciler.simulator.unknowns import Unknowns
from reconciler.store.repository import Repository
from tests.simulation.loop import run
from tests.simulation.test_run import apply, project
from tests.simulation.wire import Wire
from tests.simulation.world import START, account

Rule = Mapping[str, Any]

LOST: Rule = {"endpoint": "create", "when": {"calls": [1, 3]}, "effect": {"drop": "after"}}
FEW, MANY = 3, 9
"""Generations: so few that each task is asked for by itself, so many that pages of the list are read."""

LATER_S = 3600
"""Virtual seconds between two runs."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What the provider is like, and how the runs must end."""

    reason: str
    knobs: Mapping[str, Any] = field(default_factory=dict)
    faults: tuple[Rule, ...] = (LOST,)
    generations: int = FEW
    at_first: Status = Status.COMPLETE
    """What the first run leaves; where that is not the end, one of two runs in the hours after it leaves `complete`."""
    cured: bool = False
    """Whether the later runs meet a provider without the knobs and faults."""
    failed: int = 0
    """Tasks that the provider lets fail; they are not wanted again by themselves."""


def fault(endpoint: str, when: Rule, **effect: Any) -> tuple[Rule, ...]:
    """Return a plan of one more rule than `LOST`."""
    return (LOST, {"endpoint": endpoint, "when": when, "effect": effect})


def knob(name: str, *values: Any, reason: str, **row: Any) -> list[Row]:
    """Return a row for each value of a knob."""
    return [Row(reason=reason, knobs={name: value}, **row) for value in values]


CREATES = [
    Row(reason="as documented"),
    *knob("duplicate_ids", "first", "bill_again", reason="a used id is accepted"),
    *knob("duplicate_code", 1200, 1203, 1301, 5000, reason="a used id is refused otherwise"),
    *knob("unknown_ids", "404", "empty", "null", "list", reason="an unknown id"),
    *knob("query_lag_s", 8, 25, reason="a create is seen late, within the grace"),
    *knob("query_lag_s", 140, reason="later than the grace, a used id is refused", at_first=Status.SUBMITTING),
    Row(
        reason="later than the grace, a used id gives the first task",
        knobs={"query_lag_s": 90, "duplicate_ids": "first"},
    ),
    Row(
        reason="late within the grace at a provider that bills again",
        knobs={"query_lag_s": 25, "duplicate_ids": "bill_again"},
    ),
    *knob("used_ids", "until_failed", "until_cleared", reason="until when an id is used"),
    *knob("billed_by", "result", reason="the result's length is billed"),
    *knob("element_ids", "any", reason="ids of elements as strings"),
    *knob("slots", "by_account", reason="models share the slots"),
    *knob("external_id_cut", 24, reason="ids are cut, no answer is lost", faults=()),
    *knob("external_id_pattern", r"[a-z0-9-]{1,40}", reason="ids of few letters"),
    *knob(
        "failed_tasks",
        *("free", "charged"),
        reason="a failed task",
        faults=fault("create", {"calls": [2]}, fail="it stumbled"),
        failed=1,
    ),
]  # fmt: skip
QUERIES = [
    *knob("stale_every", 2, 3, reason="a replica that lags"),
    *knob("alien_status", "reviewing", "", reason="a status in no list"),
    *knob("data_form", "list", reason="data is a list of one"),
    *knob("status_form", "capital", "upper", "succeeded", reason="another spelling"),
    *knob("id_form", "number", "renamed", reason="ids in another form"),
    *knob("external_ids", "missing", reason="our id is in no answer"),
    Row(reason="vanishes while it runs", knobs={"hidden_from_s": 20, "hidden_s": 60}),
    Row(reason="vanishes after it ended", knobs={"hidden_from_s": 100, "hidden_s": 45}),
    Row(
        reason="vanishes for longer than the grace, after it ended or before it is seen",
        knobs={"hidden_from_s": 100, "hidden_s": 120},
    ),
]
LISTS = [
    Row(reason="as documented", generations=MANY),
    *knob("list_order", "oldest", "shuffled", reason="another order", generations=MANY),
    *knob("list_lag_s", 30, 300, reason="new tasks are listed late", generations=MANY),
    *knob("list_stale_s", 60, 600, reason="listed as they were", generations=MANY),
    *knob("list_shift", 2, -2, reason="pages shift while they are read", generations=MANY),
    *knob("data_form", "list", reason="only single answers are lists of one", generations=MANY),
    *knob("external_ids", "missing", reason="our ids are not listed", generations=MANY),
    *knob("status_form", "upper", reason="another spelling in the list", generations=MANY),
]
RESULTS = [
    *knob("videos_late_s", 10, 60, reason="no videos at first"),
    *knob("videos_late_s", 150, reason="no videos for long", at_first=Status.SUCCEEDED),
    *knob("deduction", "missing", "late", "changed", reason="what it cost"),
    *knob("deduction_s", 0, 600, reason="when what it cost is known"),
    *knob("result_share", 0.2, reason="a film shorter than its reference"),
    *knob("number_form", "number", reason="numbers are numbers"),
    *knob("duration_form", "empty", "missing", "wrong", reason="how long it plays"),
    *knob(
        "url_lifetime_s", 0, reason="addresses are dead at once", at_first=Status.SUCCEEDED, cured=True
    ),
    *knob("balance_deduction", "shown", reason="what a cash account paid"),
    *knob("balance_lag_s", 12 * 3600, reason="the balance lags"),
    *knob("cleared", "no_url", "unknown", reason="what becomes of a cleared task, once it is saved"),
]  # fmt: skip
WHILE = {"from_s": 5, "until_s": 45}
FAULTS = [
    Row(reason="5xx for a while", faults=fault("*", WHILE, status=503)),
    Row(reason="a proxy's page after acting", faults=fault("create", {}, status=502, acted=True)),
    Row(reason="an error inside of a 200", faults=fault("*", WHILE, error_in_200=5000)),
    Row(reason="too fast for a while", faults=fault("create", WHILE, refuse=1302)),
    Row(reason="no slot for a while", faults=fault("create", WHILE, refuse=1303)),
    Row(reason="answered after we gave up", faults=fault("create", {"first": 2}, delay_s=60)),
    Row(reason="half an answer", faults=fault("create", {"every": 2}, truncate=0.5)),
    Row(reason="half an answer, then cut", faults=fault("query", {"every": 3}, cut=0.5)),
    Row(reason="garbage", faults=fault("*", {"every": 4}, garbage=True)),
    Row(reason="drops by chance", faults=fault("*", {"probability": 0.3}, drop="after")),
    Row(reason="slow answers", faults=fault("create", {}, drip=20)),
    Row(
        reason="queries fail once it has ended",
        faults=fault("query", {"state": "succeed", "first": 4}, status=500),
    ),
    Row(
        reason="queries fail until it exists",
        faults=fault("query", {"state": "none", "first": 3}, refuse=5002),
    ),
    *(
        Row(reason="a result", faults=fault("result", {"first": 3}, **effect))
        for effect in (
            {"cut": 0.5}, {"wrong_length": 9}, {"status": 403}, {"status": 500}, {"stall": 0.5}, {"wrong_bytes": True},
            {"drip": 200}, {"truncate": 0.5}, {"redirect": True}, {"redirect": "http://127.0.0.1:9/x.mp4"},
        )
    ),
    Row(
        reason="cut, and ranges are ignored",
        faults=(*fault("result", {"calls": [1, 2]}, cut=0.5), *fault("result", {}, ignore_range=True)),
    ),
]  # fmt: skip
ROWS = [*CREATES, *QUERIES, *LISTS, *RESULTS, *FAULTS]


@dataclass
class Account:
    """One folder and one account, and what was seen of both."""

    folder: Path
    row: Row
    requests: Counter[str] = field(default_factory=Counter)
    ledger: Mapping[str, Any] = field(default_factory=dict)

    async def run(self, repository: Repository, *, cured: bool) -> Ended:
        """Apply once; the provider is as the row has it, or cured of that."""
        wire = Wire(seed=self.row.reason)
        chosen: dict[str, Any] = {"concurrency": MANY}
        if not cured:
            chosen |= {"faults": self.row.faults, **self.row.knobs}
        async with account(self.folder / "account", wire, **chosen) as provider:
            # Pages of three: nine tasks fill as many of them as thousands would.
            ended = await apply(self.folder / "project", wire, repository, page=3)
            assert wire.crashes == []
            self.requests += provider.requests
            self.ledger = provider.ledger.report()
        return ended

    def bytes_of(self, record: Record) -> bytes:
        """Return what is published beside the spec."""
        return (self.folder / "project" / record.spec).with_suffix(".mp4").read_bytes()


def titled(row: Row) -> str:
    """Return what a row is called."""
    rest = row.faults[1:] and dict(row.faults[1]["effect"])
    return " ".join(
        str(part) for part in (row.reason, dict(row.knobs), rest, row.generations) if part
    )


@pytest.mark.parametrize("row", ROWS, ids=titled)
def test_whatever_the_provider_does_each_wish_is_bought_once_and_saved(
    tmp_path: Path, row: Row
) -> None:
    """One task billed for each wish, its own bytes beside its spec, and nothing left to do."""
    seen = Account(tmp_path, row)
    repository = project(tmp_path / "project", row.generations)

    async def story() -> None:
        assert await seen.run(repository, cured=False) is Ended.SETTLED
        statuses = Counter(record.status for record in repository.records().values())
        assert row.at_first in statuses, (row.reason, statuses)
        runs = 1
        while not finished(repository, row):
            await asyncio.sleep(LATER_S)
            assert row.at_first is not Status.COMPLETE, (row.reason, statuses)
            assert runs < 3, row.reason
            assert await seen.run(repository, cured=row.cured) is Ended.SETTLED
            runs += 1

    try:
        run(story(), start=START)
        records = repository.records()
        for record in records.values():
            if record.status is Status.COMPLETE:
                assert record.task_id is not None
                assert record.task_id.encode() in seen.bytes_of(record), row.reason
    finally:
        repository.close()
    assert len(seen.ledger["tasks"]) == row.generations, row.reason
    counted = {name: one["billed"] for name, one in seen.ledger["bases"].items()}
    assert counted == {stored(name, row): 1 for name in records}, row.reason
    pages = seen.requests["list"]
    # With few, a page is only asked for while nothing is answered, and rarely: is it this task, or everybody?
    assert pages > 0 if row.generations == MANY else pages <= 3, pages


def finished(repository: Repository, row: Row) -> bool:
    """Tell whether every wish is complete, but for those that failed."""
    ends = Counter(record.status for record in repository.records().values())
    return ends == +Counter(
        {Status.COMPLETE: row.generations - row.failed, Status.FAILED: row.failed}
    )


def stored(name: str, row: Row) -> str:
    """Return what the provider makes of an id."""
    return name[: row.knobs.get("external_id_cut", len(name))]


DOUBTS = [
    (duplicate_ids, unknown_ids, lag, effect)
    for duplicate_ids in ("refuse", "first", "bill_again")
    for unknown_ids in ("404", "400", "empty", "null", "list")
    for lag, effect in ((0, {"drop": "before"}), (20, {"drop": "after"}), (5, {"delay_s": 45}))
]


@pytest.mark.parametrize(("duplicate_ids", "unknown_ids", "lag", "effect"), DOUBTS)
def test_a_lost_create_is_bought_once_in_every_combination(
    tmp_path: Path, duplicate_ids: str, unknown_ids: str, lag: float, effect: Rule
) -> None:
    """Used ids, unknown ids and the lag meet in the look after a lost answer; none of their ways together costs twice."""
    lost = {"endpoint": "create", "when": {"calls": [1]}, "effect": effect}
    knobs = {"duplicate_ids": duplicate_ids, "unknown_ids": unknown_ids, "query_lag_s": lag}
    seen = Account(tmp_path, Row(reason="a doubt", knobs=knobs, faults=(lost,)))
    repository = project(tmp_path / "project", 1)
    try:
        assert run(seen.run(repository, cured=False), start=START) is Ended.SETTLED
        (record,) = repository.records().values()
        assert record.status is Status.COMPLETE
        assert str(record.task_id).encode() in seen.bytes_of(record)
        assert seen.ledger["billed"] == {record.external_task_id: 1}
    finally:
        repository.close()


def test_every_unknown_is_met() -> None:
    """Each knob has a row, and each word of a knob that takes words; callbacks are hints, with tests of their own."""
    met: dict[str, set[object]] = {}
    for row in ROWS:
        for name, value in row.knobs.items():
            met.setdefault(name, set()).add(value)
    for unknown in fields(Unknowns):
        if unknown.name.startswith("callback"):
            continue
        assert unknown.default is not MISSING
        kind = KINDS[unknown.name]
        words = set(get_args(kind)) if get_origin(kind) is Literal else set()
        assert words - {unknown.default} <= met.get(unknown.name, set()), unknown.name
        assert unknown.name in met
