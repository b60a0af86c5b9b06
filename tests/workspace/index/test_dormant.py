"""Dormant folders are as if they had been read: what changes wakes them, and all that is awake says what a load says."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Container
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.motion_control import UNITS_PER_SECOND
from reconciler.store.file_cache import FileCache
from reconciler.workspace.index.dormant import DormantFolders
from reconciler.workspace.index.spec_index import SpecIndex
from tests.workspace.index.test_index_agrees import (
    LINKING,
    PLAIN,
    Edit,
    Folder,
    by_spec,
    differing,
    media,
)

EXAMPLES = 25


class Everything:
    """Every attempt is complete."""

    def __contains__(self, name: object) -> bool:
        return True


class Resumed(Folder):
    """A folder that is edited, and an index that begins again from the folders that were dormant."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.cache = FileCache(root.parent / "cache.db")

    def note(self) -> None:
        """Note every folder that could be dormant, as if all that it asks for were complete."""
        self.wait_for_a_tick()
        index = SpecIndex(
            self.root, "specs", prices=UNITS_PER_SECOND, cache=self.cache, quiet_ns=0,
            dormant=DormantFolders(self.root, cache=self.cache),
        )  # fmt: skip
        for folder in index.folders():
            wishes = [w for spec in index.specs_in(folder) for w in index.generations(spec)]
            attempts = {wish.external_task_id: wish.external_task_id for wish in wishes}
            if seen := index.fingerprint(folder):
                index.note_dormant(seen, attempts)
        index.dormant.save()
        self.noted = self.load()

    def wait_for_a_tick(self) -> None:
        """Return once a file that changes now has another time than all that changed so far."""
        probe = self.root.parent / "probe"
        probe.touch()
        before = probe.stat().st_ctime_ns
        while probe.stat().st_ctime_ns == before:
            time.sleep(0.001)
            probe.touch()

    def begin(self, complete: Container[str] = Everything(), others: tuple[str, ...] = ()) -> None:
        dormant = DormantFolders.found(
            self.root, "specs", cache=self.cache, terms="", complete=complete, others=others
        )
        self.index = SpecIndex(
            self.root, "specs", prices=UNITS_PER_SECOND, cache=self.cache, dormant=dormant
        )
        self.told, self.touched = self.load(), set()
        self.check()

    def follow(self, *, by_name: bool) -> None:
        names = self.touched if by_name and not self.is_linked else self.index.snapshot().strays()
        before, known, self.touched = {*self.index.dormant}, {*self.index.specs}, set()
        changed = self.index.refresh(names)
        now = self.load()
        gone_unread = set(self.told.specs) - known - set(now.specs)
        assert differing(self.told, now) - gone_unread <= changed.specs
        woken = before - {*self.index.dormant}
        assert {spec for spec in now.specs if folder_of(spec) in woken} <= changed.specs
        assert {name for name in now.receipts if folder_of(name) in woken} <= changed.receipts
        self.told = now
        self.check()

    def check(self) -> None:
        now, noted, dormant = self.load(), by_spec(self.noted), {*self.index.dormant}
        views = by_spec(now)
        asleep = {spec for spec in now.specs if folder_of(spec) in dormant} - {*self.index.specs}
        assert len(asleep) == self.index.dormant.specs
        for spec in asleep:
            assert spec not in now.invalid
            assert views[spec] == noted[spec]
        assert set(self.index.specs) == set(now.specs) - asleep
        for spec in self.index.specs:
            assert self.index.generations(spec) == views[spec]
            assert self.index.problems(spec) == now.invalid.get(spec, ())
            assert self.index.held_back(spec) == now.held_back.get(spec, "")
            for wish in views[spec]:
                same = (other for other in now.generations if is_same(other, wish))
                assert self.index.wishes(wish.external_task_id) == tuple(same)
        standing = {name for name in now.receipts if folder_of(name) not in dormant}
        assert set(self.index.receipts) == standing


def is_same(one: object, other: object) -> bool:
    return getattr(one, "external_task_id", "") == getattr(other, "external_task_id", None)


def folder_of(name: str) -> str:
    return name.rpartition("/")[0]


def settled(root: Path) -> Resumed:
    """Return a folder with a spec in each of three folders, all noted: one uses a film of another, one an image elsewhere."""
    folder = Resumed(root / "project")
    film: dict[str, object] = {
        "video_url": "../a.mp4",
        "image_url": "https://e.com/i.png",
        "prompt": "film",
    }
    folder.write_a_spec("specs/x/a.yaml", film)
    folder.write_a_spec("specs/z/a.yaml", {"image_url": "ASSETS/girl.png", "prompt": "z"})
    folder.put("specs/z/film.mp4", media()[".mp4"][0])
    folder.write_a_spec("specs/x/y/b.yaml", {"image_url": "https://e.com/y.png"})
    folder.note()
    return folder


BATCH = st.tuples(st.lists(st.one_of(PLAIN, PLAIN, PLAIN, LINKING), max_size=3), st.booleans())


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(
    first=st.lists(PLAIN, max_size=4),
    absent=st.lists(st.one_of(PLAIN, LINKING), max_size=2),
    batches=st.lists(BATCH, max_size=6),
)
def test_whatever_is_edited_what_is_dormant_is_as_it_was_and_all_else_is_known(
    first: list[Edit], absent: list[Edit], batches: list[tuple[list[Edit], bool]]
) -> None:
    """While nobody looked, or one batch after the other: a load finds nothing that the index and its dormant folders do not say."""
    with tempfile.TemporaryDirectory() as place:
        folder = settled(Path(place))
        for change, arguments in first:
            change(folder, *arguments)
        folder.note()
        for change, arguments in absent:
            change(folder, *arguments)
        folder.begin()
        for batch, by_name in batches:
            for change, arguments in batch:
                change(folder, *arguments)
            folder.follow(by_name=by_name)


def test_a_start_reads_nothing_of_what_is_dormant(tmp_path: Path) -> None:
    """Every folder is dormant; one edit wakes one of them."""
    folder = settled(tmp_path)
    folder.begin()
    assert {*folder.index.dormant} == {"specs", "specs/x", "specs/x/y", "specs/z"}
    assert not folder.index.specs
    folder.write_a_spec("specs/z/a.yaml", {"image_url": "ASSETS/girl.png", "prompt": "another"})
    folder.follow(by_name=True)
    assert set(folder.index.specs) == {"specs/z/a.yaml"}


def test_what_the_state_does_not_call_complete_is_awake(tmp_path: Path) -> None:
    """An attempt that is gone from the state, or a spec that asked for something unfinished: its folder is read."""
    folder = settled(tmp_path)
    wishes = by_spec(folder.load())
    del wishes["specs/a.yaml"]
    known = {wish.external_task_id for some in wishes.values() for wish in some}
    folder.begin(complete=known, others=("specs/z/gone.yaml",))
    assert {*folder.index.dormant} == {"specs/x", "specs/x/y"}


def test_who_wants_the_same_is_woken(tmp_path: Path) -> None:
    """A spec that asks for a generation of a dormant folder, or reads a film there, is never known without it."""
    folder = settled(tmp_path)
    folder.begin()
    folder.write_a_spec("specs/new/a.yaml", {"image_url": "https://e.com/y.png"})
    folder.follow(by_name=True)
    assert set(folder.index.specs) == {"specs/new/a.yaml", "specs/x/y/b.yaml"}
    film: dict[str, object] = {"video_url": "../z/film.mp4", "image_url": "https://e.com/i.png"}
    folder.write_a_spec("specs/new/b.yaml", film)
    folder.follow(by_name=True)
    assert "specs/z/a.yaml" in folder.index.specs


def test_a_folder_that_came_and_went_is_forgotten(tmp_path: Path) -> None:
    """What is kept of folders does not grow for ever."""
    folder = settled(tmp_path)
    folder.remove("specs/z")
    folder.begin()
    assert not folder.cache.load(["/dormant/specs/z"])
    assert folder.cache.load(["/dormant/specs/x"])


def test_what_is_damaged_is_awake(tmp_path: Path) -> None:
    """What is kept, with a byte changed or of other terms, leaves everything awake."""
    folder = settled(tmp_path)
    key = "/dormant/specs/x"
    stamp, packed = folder.cache.load([key])[key]
    folder.cache.save({key: (stamp, packed.replace(b"specs/", b"Specs/"))}, ())
    folder.begin()
    assert "specs/x" not in folder.index.dormant
    found = DormantFolders.found(
        folder.root, "specs", cache=folder.cache, terms="other", complete=Everything(), others=()
    )
    assert not found
