"""A download goes on where it stopped, and never continues the bytes of something else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.errors import StateError
from reconciler.store import objects as objects_module
from reconciler.store.objects import Partial


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "partial" / "x.part"


def _begun(path: Path, validator: str = '"one"', content: bytes = b"half ") -> None:
    partial = Partial(path)
    partial.restart(validator)
    partial.write(content)
    partial.close()


def test_download_goes_on_after_a_restart(path: Path) -> None:
    """Another process finds how far it was and for which ETag, and appends."""
    _begun(path)
    again = Partial(path)
    assert (again.offset, again.validator) == (5, '"one"')
    again.write(b"a film")
    again.close()
    assert path.read_bytes() == b"half a film"
    assert again.offset == 11


def test_another_etag_begins_at_zero(path: Path) -> None:
    """A restart drops every byte of the old ETag."""
    _begun(path)
    again = Partial(path)
    again.restart('"two"')
    assert (again.offset, again.validator, path.read_bytes()) == (0, "", b"")
    again.write(b"new")
    again.close()
    assert (Partial(path).offset, Partial(path).validator) == (3, '"two"')


def test_bytes_of_an_unknown_etag_are_not_continued(path: Path) -> None:
    """Without a strong ETag the next process begins at zero, and the old bytes go."""
    _begun(path, validator="")
    again = Partial(path)
    assert (again.offset, again.validator) == (0, "")
    again.write(b"new")
    again.close()
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("note", [None, b"", b"\xff\xfe", b"one line", b'other boot\n"one"'])
def test_note_that_says_nothing_is_not_believed(path: Path, note: bytes | None) -> None:
    """Where the note is missing, torn or foreign the bytes do not count."""
    _begun(path)
    place = path.with_suffix(".etag")
    place.unlink() if note is None else place.write_bytes(note)
    assert (Partial(path).offset, Partial(path).validator) == (0, "")


def test_bytes_from_before_a_power_cut_do_not_count(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the machine was started again, bytes that were never synced may be missing: begin at zero."""
    _begun(path)
    boot = tmp_path / "boot_id"
    boot.write_text("another\n")
    monkeypatch.setattr(objects_module, "_BOOT_ID", boot)
    assert Partial(path).offset == 0


def test_kill_between_truncating_and_noting_is_harmless(path: Path) -> None:
    """The old note may outlive the old bytes, never the other way round: then nothing is there to continue."""
    _begun(path)
    os.truncate(path, 0)
    assert (Partial(path).offset, Partial(path).validator) == (0, "")


def test_link_is_neither_read_nor_written(path: Path, tmp_path: Path) -> None:
    """A link in the place of a download is refused, and its target keeps its bytes."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    _begun(path)
    path.unlink()
    path.symlink_to(outside)
    planted = Partial(path)
    assert planted.offset == 0
    with pytest.raises(StateError, match="cannot be saved"):
        planted.restart('"x"')
    assert outside.read_bytes() == b"precious"


def test_restart_that_failed_halfway_lends_its_bytes_to_no_etag(path: Path) -> None:
    """When the note could not be written, what is written afterwards is not of the old ETag."""
    _begun(path)
    obstacle = path.with_suffix(".new")
    obstacle.mkdir()
    again = Partial(path)
    with pytest.raises(StateError, match="cannot be saved"):
        again.restart('"two"')
    with pytest.raises(StateError):
        again.write(b"new")
    again.close()
    assert Partial(path).offset == 0


def test_two_writers_of_one_download_are_refused(path: Path) -> None:
    """The second one gets a sentence instead of mixing its bytes into the first one's."""
    first = Partial(path)
    first.restart('"one"')
    with pytest.raises(StateError, match="already being written"):
        Partial(path).write(b"x")
    first.close()


def test_discard_removes_everything(path: Path) -> None:
    """After discarding nothing is left, and discarding again is harmless."""
    _begun(path)
    partial = Partial(path)
    partial.discard()
    partial.discard()
    assert list(path.parent.iterdir()) == []
    assert (partial.offset, partial.validator) == (0, "")


_actions = st.lists(
    st.one_of(
        st.tuples(st.just("restart"), st.sampled_from([b"A", b"B", b""])),
        st.tuples(st.just("write"), st.integers(0, 5)),
        st.tuples(st.just("reopen"), st.none()),
    ),
    max_size=20,
)


@settings(max_examples=60, deadline=None)
@given(actions=_actions)
def test_bytes_always_belong_to_the_etag_that_is_reported(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, object]]
) -> None:
    """In any order of restarts, writes and new starts, what would be continued is of one known ETag."""
    path = tmp_path_factory.mktemp("partial") / "x.part"
    partial, writing = Partial(path), b"?"
    for action, value in actions:
        if action == "restart" and isinstance(value, bytes):
            partial.restart(value.decode())
            writing = value or b"?"
        elif action == "write" and isinstance(value, int):
            partial.write(writing * value)
        else:
            partial.close()
            partial = Partial(path)
            writing = partial.validator.encode() or b"?"
        if partial.validator:
            assert path.read_bytes() == partial.validator.encode() * partial.offset
    partial.close()
