"""A generation that is forgotten leaves its history and what it cost; old history goes, a little at a time."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.errors import CapReached, StateError
from reconciler.core.states import LIVE, Record, Result, Role, Status
from reconciler.store.repository import Repository
from reconciler.store.values import Caps, Change, Forgotten, HistoryEntry, Publication
from tests.support.database import open_repository

from .builders import DAY, NO_CAPS, STORED, fresh, record

_VIDEO = Result(Role.VIDEO, "a" * 64, 10, 5.041)

NOW = int(time.time() * 1000)


def _output(owner: str) -> Publication:
    return Publication(f"specs/{owner}.mp4", owner, Role.VIDEO, "a" * 64, 10, 1, 1)


def _fill(repository: Repository) -> tuple[Record, Record]:
    """Two attempts at one generation, with all that hangs on them, and a neighbour."""
    first = record(status=Status.FAILED)
    second = record(attempt=2, status=Status.COMPLETE, task_id="8002", results=(_VIDEO,))
    neighbour = record("mc1-a-red", status=Status.COMPLETE, results=(_VIDEO,))
    repository.save([fresh(first), fresh(second), fresh(neighbour)])
    repository.publish([_output("mc1-a-r2"), _output("mc1-a-red")])
    repository.replace_holds({"mc1-a": "a cap", "mc1-a-red": "taken"}, now=1)
    return first, second


def test_forgotten_generation_is_gone_and_its_neighbour_is_not(repository: Repository) -> None:
    """All attempts, results, outputs and holds of one generation go, and are returned; no other's."""
    wanted = _fill(repository)
    assert repository.forget("mc1-a", now=NOW) == wanted
    assert repository.attempts("mc1-a") == ()
    assert repository.find("8002") is None
    assert list(repository.records()) == ["mc1-a-red"]
    assert repository.known_results() == {"a" * 64: "mc1-a-red"}
    assert list(repository.publications()) == ["specs/mc1-a-red.mp4"]
    assert repository.holds() == {"mc1-a-red": "taken"}
    assert repository.integrity_check() == ()


def test_history_outlives_what_it_tells_of(repository: Repository) -> None:
    """The lines of every attempt stay, the last one says what was forgotten, and a new purchase goes on."""
    _fill(repository)
    repository.forget("mc1-a", now=NOW)
    told = [(line.external_task_id, line.kind) for line in repository.history("mc1-a")]
    assert told == [("mc1-a", "recorded"), ("mc1-a-r2", "recorded"), ("mc1-a", "forgotten")]
    last = repository.history("mc1-a")[-1]
    assert last.detail == "2 attempts; the last, mc1-a-r2, task 8002, was complete"
    assert last.at == NOW
    repository.save([fresh(record())])
    assert repository.records()["mc1-a"] == record()
    assert len(repository.history("mc1-a")) == 4
    assert [line.kind for line in repository.history("mc1-a-red")] == ["recorded"]


def test_forgetting_what_was_never_bought_says_nothing(repository: Repository) -> None:
    """Without an attempt there is only a hold to drop, and no history to go on."""
    repository.replace_holds({"mc1-a": "a cap"}, now=1)
    assert repository.forget("mc1-a", now=NOW) == ()
    assert repository.holds() == {}
    assert repository.history("mc1-a") == ()


def test_forgetting_twice_is_possible(repository: Repository) -> None:
    """A generation that was bought again is forgotten again."""
    for _ in range(2):
        repository.save([fresh(record())])
        assert repository.forget("mc1-a", now=NOW) == (record(),)
    kinds = [line.kind for line in repository.history("mc1-a")]
    assert kinds == ["recorded", "forgotten"] * 2


def _intend(repository: Repository, new: Record, caps: Caps) -> None:
    repository.record_intent(fresh(new), caps=caps, run_id="run")


@pytest.mark.parametrize("caps", [Caps(per_day=Decimal(5)), Caps(per_run=Decimal(5))])
def test_forgetting_frees_no_cap(repository: Repository, caps: Caps) -> None:
    """What was bought today was spent today, forgotten or not."""
    for name in ("mc1-a", "mc1-b"):
        _intend(repository, record(name), caps)
    repository.forget("mc1-a", now=NOW)
    with pytest.raises(CapReached, match="5 are used"):
        _intend(repository, record("mc1-c"), caps)
    assert list(repository.records()) == ["mc1-b"]


@pytest.mark.parametrize("status", [Status.REJECTED, Status.FAILED])
def test_what_cost_nothing_goes_on_costing_nothing(repository: Repository, status: Status) -> None:
    """A refused or failed attempt counts for no cap after it is forgotten, as before."""
    _intend(repository, record(), NO_CAPS)
    repository.save([Change(record(status=status), Status.SUBMITTING)])
    repository.forget("mc1-a", now=NOW)
    _intend(repository, record("mc1-b"), Caps(per_day=Decimal("2.5")))
    assert list(repository.records()) == ["mc1-b"]


def test_forgotten_attempt_that_is_found_again_counts_once(repository: Repository) -> None:
    """Its own row says what it cost, whether the provider gave it back or it is about to be sent again."""
    caps = Caps(per_day=Decimal(5), per_run=Decimal(5))
    _intend(repository, record(), caps)
    repository.forget("mc1-a", now=NOW)
    _intend(repository, record(), Caps(per_day=Decimal("2.5"), per_run=Decimal("2.5")))
    repository.forget("mc1-a", now=NOW)
    repository.save([fresh(record(status=Status.PROCESSING))])
    _intend(repository, record("mc1-b"), caps)
    with pytest.raises(CapReached):
        _intend(repository, record("mc1-c"), caps)


def test_history_is_trimmed_from_its_old_end(repository: Repository) -> None:
    """At most so many lines go at a time, the oldest first, none from after the given time."""
    repository.note([HistoryEntry("mc1-a", at, f"at {at}") for at in (5, 1, 3, 4, 2)])
    assert repository.trim_history(5, most=2) == 2
    assert [line.at for line in repository.history("mc1-a")] == [5, 3, 4]
    assert repository.trim_history(5, most=100) == 2
    assert repository.trim_history(5, most=100) == 0
    assert [line.at for line in repository.history("mc1-a")] == [5]


def test_live_generation_keeps_the_lines_of_its_base_id(repository: Repository) -> None:
    """Also when the first attempt, which has that very id, is not recorded, as after a loss of the state."""
    repository.save([Change(record(attempt=2), None)])
    repository.note([HistoryEntry("mc1-a", 1, "seen"), HistoryEntry("mc1-b", 1, "seen")])
    assert repository.trim_history(2, most=10) == 1
    assert len(repository.history("mc1-a")) == 1


def test_young_history_cannot_be_trimmed(repository: Repository) -> None:
    """Asking for lines of the last 30 days is refused as a whole, in a sentence."""
    now = time.time_ns() // 1_000_000
    repository.note([HistoryEntry("mc1-a", 1, "old"), HistoryEntry("mc1-a", now, "young")])
    with pytest.raises(StateError, match="append-only for 30 days"):
        repository.trim_history(now + 1, most=10)
    assert len(repository.history("mc1-a")) == 2


@settings(max_examples=20, deadline=None)
@given(
    attempts=st.lists(st.sampled_from(STORED), max_size=4),
    ages=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), max_size=12),
    before=st.integers(0, 10),
    most=st.integers(0, 12),
)
def test_trimming_does_what_a_list_would(
    tmp_path_factory: pytest.TempPathFactory,
    attempts: list[Status],
    ages: list[tuple[int, int]],
    before: int,
    most: int,
) -> None:
    """Of a live generation no line of any attempt goes; of the others the oldest old ones do."""
    ended = [Status.FAILED if each in LIVE else each for each in attempts[:-1]] + attempts[-1:]
    is_live = bool(ended) and ended[-1] in LIVE
    lines = [
        HistoryEntry("mc1-z" if number == 0 else record(attempt=number).external_task_id, at, "x")
        for number, at in ages
    ]
    numbered = [replace(line, kind=str(place)) for place, line in enumerate(lines)]
    known = {"mc1-a", *(record(attempt=n + 1).external_task_id for n in range(len(ended)))}
    old = [
        line
        for line in numbered
        if line.at < before and not (is_live and line.external_task_id in known)
    ]
    gone = sorted(old, key=lambda line: line.at)[:most]
    path = tmp_path_factory.mktemp("trim") / "reconciler.db"
    with closing(open_repository(path)) as repository:
        repository.save(
            [Change(record(attempt=n + 1, status=s), None) for n, s in enumerate(ended)]
        )
        repository.note(numbered)
        assert repository.trim_history(before, most=most) == len(gone)
        left = {
            line.kind
            for owner in ("mc1-z", *(record(attempt=n).external_task_id for n in range(1, 4)))
            for line in repository.history(owner)
        }
    assert left == {line.kind for line in numbered} - {line.kind for line in gone}


def test_ledger_has_every_attempt_and_what_was_forgotten(repository: Repository) -> None:
    """Earlier attempts too, without results; of what was forgotten, what it counted for, though it was found again."""
    first, second = _fill(repository)
    bare = {first, second.evolve(results=()), record("mc1-a-red", status=Status.COMPLETE)}
    assert set(repository.ledger().attempts) == bare
    repository.forget("mc1-a", now=NOW)
    repository.save([fresh(record())])
    ledger = repository.ledger()
    assert {each.external_task_id for each in ledger.attempts} == {"mc1-a", "mc1-a-red"}
    assert set(ledger.forgotten) == {
        Forgotten("mc1-a", "mc1-a", Decimal(0), DAY + 1, None),
        Forgotten("mc1-a-r2", "mc1-a", Decimal("2.5"), DAY + 1, None),
    }
