"""What goes into the store comes out of it, every field, and only what was asked for."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.core.errors import StateError
from reconciler.core.states import Record, Result, Role, Status
from reconciler.store.database import open_for_reading
from reconciler.store.repository import Repository
from reconciler.store.state import State
from reconciler.store.tables import TASK
from reconciler.store.values import Change, HistoryEntry, Publication
from tests.support.database import open_repository

from .builders import fresh, record, records, texts

_SHARED = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
_VIDEO = Result(Role.VIDEO, "a" * 64, 10, 5.041)
_COPY = Result(Role.WATERMARK, "b" * 64, 11)


def test_every_field_of_a_record_has_a_column() -> None:
    """A field that is added to the core's Record cannot be forgotten here."""
    names = {field.name for field in fields(Record)} - {"results", "previews"}
    assert names == set(TASK.c.keys()) - {"run_id"}


@_SHARED
@given(wanted=records, entry=st.builds(HistoryEntry, st.just(""), st.integers(0, 2**62), texts))
def test_record_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, wanted: Record, entry: HistoryEntry
) -> None:
    """Every field of every record survives, through a second opening of the file."""
    path = tmp_path_factory.mktemp("round") / "reconciler.db"
    history = (HistoryEntry(wanted.external_task_id, entry.at, entry.kind, "d", "r"),)
    with closing(open_repository(path)) as repository:
        repository.save([Change(wanted, None, history)])
    with closing(State.open(path)) as repository:
        assert repository.records() == {wanted.base_id: wanted}
        assert repository.record(wanted.base_id) == wanted
        assert repository.find(wanted.external_task_id) == wanted
        assert repository.history(wanted.base_id) == history


@_SHARED
@given(first=records, second=records)
def test_save_replaces_every_field(
    tmp_path_factory: pytest.TempPathFactory, first: Record, second: Record
) -> None:
    """A change leaves nothing of the record before it, its results included."""
    second = second.evolve(external_task_id=first.external_task_id)
    path = tmp_path_factory.mktemp("replace") / "reconciler.db"
    with closing(open_repository(path)) as repository:
        repository.save([Change(first, None)])
        repository.save([Change(second, first.status)])
        assert repository.records() == {second.base_id: second}


def test_latest_attempt_stands_for_the_generation(repository: Repository) -> None:
    """`records` and `record` show the highest attempt, whatever the order of recording."""
    old = record(status=Status.FAILED, results=(_COPY,))
    new = record(attempt=2, results=(_VIDEO,))
    repository.save([fresh(new), fresh(old)])
    assert repository.records() == {"mc1-a": new}
    assert repository.record("mc1-a") == new
    assert repository.attempts("mc1-a") == (old, new)
    assert repository.record("mc1-unknown") is None


@pytest.mark.parametrize(
    "status", [Status.SUBMITTING, Status.PROCESSING, Status.SUCCEEDED, Status.COMPLETE]
)
def test_an_attempt_that_is_alive_stands_before_a_later_one_that_has_ended(
    repository: Repository, status: Status
) -> None:
    """What goes on, or was bought, is the generation's, though a later number failed; read one by one or all at once."""
    alive = record(status=status)
    repository.save([fresh(alive), fresh(record(attempt=2, status=Status.FAILED))])
    assert repository.records() == {"mc1-a": alive}
    assert repository.record("mc1-a") == repository.find("mc1-a") == alive


def test_some_records_are_what_all_of_them_say(repository: Repository) -> None:
    """By base id, those that have an attempt that is not complete, or those that a spec asked for: the same values."""
    one = record("mc1-a", status=Status.COMPLETE, spec="specs/a.yaml", results=(_VIDEO,))
    tried = record("mc1-b", status=Status.FAILED, spec="specs/a.yaml")
    again = record("mc1-b", attempt=2, status=Status.COMPLETE, spec="specs/b.yaml")
    waits = record("mc1-c", status=Status.PROCESSING, spec="specs/c.yaml", task_id="8001")
    repository.save([fresh(each) for each in (one, tried, again, waits)])
    known = repository.records()
    assert repository.records_of(["mc1-b", "mc1-a", "mc1-unknown"]) == {
        "mc1-a": known["mc1-a"],
        "mc1-b": known["mc1-b"],
    }
    assert repository.records_of([]) == {}
    assert repository.unfinished() == {"mc1-b": again, "mc1-c": waits}
    assert repository.asked_by("specs/a.yaml") == {"mc1-a", "mc1-b"}
    assert repository.asked_by("specs/none.yaml") == set()


def test_how_generations_stand_is_said_by_the_attempts_that_stand_for_them(
    repository: Repository,
) -> None:
    """Complete ones by their ids, but for what only a receipt tells; of all others the specs that asked for them."""
    attempts = [
        record("mc1-a", status=Status.COMPLETE, spec="specs/a.yaml"),
        record("mc1-a", attempt=2, status=Status.FAILED, spec="specs/a2.yaml"),
        record("mc1-b", status=Status.FAILED, spec="specs/b.yaml"),
        record("mc1-b", attempt=2, status=Status.COMPLETE, spec="specs/b2.yaml"),
        record("mc1-c", status=Status.COMPLETE, spec="specs/c.yaml"),
        record("mc1-c", attempt=2, status=Status.SUBMITTED, spec="specs/c2.yaml", task_id="8002"),
        record("mc1-d", status=Status.COMPLETE, spec="specs/d.yaml", claimed=True),
        record("mc1-e", status=Status.EXPIRED, spec="specs/e.yaml"),
    ]
    repository.save([fresh(each) for each in attempts])
    known = repository.standings()
    assert known.complete == {"mc1-a", "mc1-b-r2"}
    assert known.others == {"specs/c2.yaml", "specs/d.yaml", "specs/e.yaml"}


def test_a_task_belongs_to_one_attempt(repository: Repository) -> None:
    """An answer that was mixed up gives no task to a second generation: the database refuses it."""
    repository.save([fresh(record(task_id="8001", status=Status.PROCESSING))])
    with pytest.raises(StateError, match="an attempt other than"):
        repository.save([fresh(record("mc1-b", task_id="8001", status=Status.PROCESSING))])
    assert set(repository.records()) == {"mc1-a"}


def test_an_attempt_that_never_began_gives_way(repository: Repository) -> None:
    """The earlier attempt is there after all: it is taken and the one that waited is gone, in one transaction."""
    failed, waiting = record(status=Status.FAILED), record(attempt=2, status=Status.PENDING)
    repository.save([fresh(failed), fresh(waiting)])
    back = failed.evolve(status=Status.PROCESSING, task_id="8001")
    repository.save([Change(back, Status.FAILED, withdraws=(waiting,))])
    assert repository.attempts("mc1-a") == (back,)


def test_find_takes_any_id(repository: Repository) -> None:
    """A base id finds the latest attempt; an attempt's id or the provider's id finds that attempt."""
    old = record(status=Status.FAILED, task_id="8001")
    new = record(attempt=2, task_id="8002")
    repository.save([fresh(old), fresh(new)])
    assert repository.find("mc1-a") == new
    assert repository.find("mc1-a-r2") == new
    assert repository.find("8001") == old
    assert repository.find("") is None


def test_history_is_in_the_order_of_recording(repository: Repository) -> None:
    """The lines of all attempts come oldest first, even when the clock was set back in between."""
    repository.save([fresh(record(status=Status.FAILED)), fresh(record(attempt=2))])
    late = HistoryEntry("mc1-a-r2", 1, "seen", "in the list", "req-1")
    repository.note([late, HistoryEntry("mc1-b", 2, "seen")])
    kinds = [(entry.external_task_id, entry.kind) for entry in repository.history("mc1-a")]
    assert kinds == [("mc1-a", "recorded"), ("mc1-a-r2", "recorded"), ("mc1-a-r2", "seen")]
    assert repository.history("mc1-a")[-1] == late


def test_text_for_people_never_stops_a_paid_result(repository: Repository) -> None:
    """Half a character in the provider's words is replaced, not a reason to lose the change."""
    odd = record(status=Status.FAILED, reason="bad \ud800 video")
    repository.save([Change(odd, None, (HistoryEntry("mc1-a", 1, "failed", "\udfff"),))])
    assert repository.records()["mc1-a"].reason == "bad ? video"


def test_value_that_no_database_holds_is_said(repository: Repository) -> None:
    """A number beyond 64 bits is a sentence, and nothing of the change is kept."""
    with pytest.raises(StateError, match="cannot hold a value"):
        repository.save([fresh(record()), fresh(record("mc1-b", created_at=2**70))])
    assert repository.records() == {}


def test_known_results_cover_every_attempt(repository: Repository) -> None:
    """The digest of every result leads to an attempt that produced it, the current one or not."""
    old = record(status=Status.COMPLETE, results=(_VIDEO,))
    new = record(attempt=2, status=Status.COMPLETE, results=(_VIDEO, _COPY))
    repository.save([fresh(old), fresh(new)])
    assert repository.known_results() == {"a" * 64: "mc1-a", "b" * 64: "mc1-a-r2"}


def test_publications_are_replaced_by_path(repository: Repository) -> None:
    """Publishing again replaces what was remembered of a path; unpublishing forgets it."""
    first = Publication("specs/a.mp4", "mc1-a", Role.VIDEO, "a" * 64, 10, 1, 2**64 - 1)
    second = Publication("specs/a.mp4", "mc1-b", Role.WATERMARK, "b" * 64, 11, 2**62, 5)
    repository.publish([first])
    assert repository.publications() == {"specs/a.mp4": first}
    repository.publish([first, second])
    assert repository.publications() == {"specs/a.mp4": second}
    assert repository.publications(["specs/a.mp4", "specs/b.mp4"]) == {"specs/a.mp4": second}
    assert repository.publications(["specs/b.mp4"]) == {}
    repository.unpublish(iter(["specs/a.mp4", "specs/never.mp4"]))
    assert repository.publications() == {}


def test_holds_are_replaced_as_a_whole(repository: Repository, database: Path) -> None:
    """The holds are what was last said, and saying the same again writes nothing."""
    repository.replace_holds({"mc1-a": "a cap", "mc1-b": "taken"}, now=1)
    repository.replace_holds({"mc1-b": "no units", "mc1-c": "a cap"}, now=2)
    assert repository.holds() == {"mc1-b": "no units", "mc1-c": "a cap"}
    wal = database.with_name("reconciler.db-wal")
    before = wal.stat()
    repository.replace_holds({"mc1-b": "no units", "mc1-c": "a cap"}, now=3)
    assert wal.stat() == before


def test_a_hold_that_stays_keeps_since_when_it_is_held(
    repository: Repository, database: Path
) -> None:
    """Another reason, or other generations that are held or freed, change nothing about its beginning."""
    repository.replace_holds({"mc1-a": "a cap"}, now=1)
    repository.replace_holds({"mc1-a": "no units", "mc1-b": "taken \ud800"}, now=2)
    assert repository.holds() == {"mc1-a": "no units", "mc1-b": "taken ?"}
    with closing(sqlite3.connect(database)) as connection:
        found = connection.execute("SELECT since FROM hold ORDER BY base_id").fetchall()
    assert found == [(1,), (2,)]
    repository.replace_holds({"mc1-b": "taken ?"}, now=3)
    assert repository.holds() == {"mc1-b": "taken ?"}


def test_hold_that_is_said_again_writes_nothing(repository: Repository, database: Path) -> None:
    """Saying the same reason may be done at every turn, also one that no database can hold as it is."""
    repository.replace_holds({"mc1-a": "half \ud800"}, now=1)
    wal = database.with_name("reconciler.db-wal")
    before = wal.stat()
    repository.replace_holds({"mc1-a": "half \ud800"}, now=2)
    assert wal.stat() == before


def test_memory_keeps_the_last_value(repository: Repository) -> None:
    """What is remembered under a key replaces what was."""
    assert repository.recall("limit") is None
    repository.remember("limit", "3")
    repository.remember("limit", "4")
    assert repository.recall("limit") == "4"


def test_missing_database_reads_as_empty_and_is_not_created(database: Path) -> None:
    """A reader of a folder without state sees nothing, and leaves nothing."""
    with closing(State.open(database)) as reader:
        assert (reader.records(), reader.attempts("x"), reader.history("x")) == ({}, (), ())
        assert (reader.find("x"), reader.recall("x"), reader.holds()) == (None, None, {})
        assert (reader.publications(), reader.known_results()) == ({}, {})
    assert not database.parent.exists()


def test_reader_refuses_every_change(repository: Repository, database: Path) -> None:
    """What was opened for reading has no verb that writes and no right to, and sees what the writer commits."""
    opened = open_for_reading(database)
    assert opened is not None
    with (
        closing(opened),
        pytest.raises(StateError, match="cannot be written"),
        opened.read() as connection,
    ):
        connection.execute("DELETE FROM task")
    with closing(State.open(database)) as reader:
        assert not isinstance(reader, Repository)
        repository.save([fresh(record())])
        assert reader.records() == {"mc1-a": record()}


def test_path_with_signs_of_a_url_is_only_a_path(tmp_path: Path) -> None:
    """A folder called `50% off?#1` is no trouble, as a path or in a URL."""
    path = tmp_path / "50% off?#1" / "reconciler.db"
    with closing(open_repository(path)) as repository:
        repository.remember("a", "b")
    assert path.is_file()
    plain = tmp_path / "plain.db"
    Repository.open(f"sqlite:///{plain}").close()
    assert plain.is_file()


@pytest.mark.parametrize("url", ["postgresql://u:secret@h/d", "sqlite://", "nonsense://x", "://"])
def test_other_databases_are_refused(url: str) -> None:
    """A database on which the caps could be raced is refused, and the address is not repeated."""
    with pytest.raises(StateError) as caught:
        Repository.open(url)
    assert "secret" not in caught.value.message + caught.value.hint
