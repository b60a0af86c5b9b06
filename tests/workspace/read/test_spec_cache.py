"""The cache: a second load reads nothing, and nothing that changed is ever missed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from reconciler.workspace.read.formats import read_document
from reconciler.workspace.read.loader import Desired, load
from reconciler.workspace.read.local import Verdicts, read_source
from tests.workspace.builders import SPEC, Project, make_image, make_video


class Reads:
    """Which files were opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []

        def document(path: Path, name: str) -> object:
            self.names.append(name)
            return read_document(path, name)

        def source(root: Path, name: str, key: str, verdicts: Verdicts) -> object:
            self.names.append(name)
            return read_source(root, name, key, verdicts)

        monkeypatch.setattr("reconciler.workspace.read.loader.read_document", document)
        monkeypatch.setattr("reconciler.workspace.read.local.read_source", source)

    def of(self, action: Callable[[], Desired]) -> tuple[Desired, set[str]]:
        self.names.clear()
        return action(), set(self.names)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


@pytest.fixture
def filled(project: Project) -> Project:
    """A project with defaults and two specs, loaded once."""
    project.write("specs/_defaults.yaml", "character_orientation: image\nmode: pro\n")
    media = "image_url: ../../assets/girl.png\nvideo_url: ../../assets/dance.mp4\n"
    project.write("specs/x/a.yaml", media)
    project.write(
        "specs/x/b.yaml",
        f"{media}prompt: 跳舞\ntakes: 2\nretries: 1\ncallback_url: https://e.com/\n",
    )
    project.write(
        "specs/x/c.yaml", "image_url: https://e.com/i.png\nvideo_url: https://e.com/v.mp4\n"
    )
    assert len(project.load(cached=True).generations) == 4
    return project


def test_a_second_load_opens_nothing_and_gives_the_same(filled: Project, reads: Reads) -> None:
    """An idle plan reads no spec and writes no cache."""
    filled.cache.saved.clear()
    desired, opened = reads.of(lambda: filled.load(cached=True))
    assert desired == filled.load()
    assert not opened
    assert not filled.cache.saved


def rewrite(name: str, content: str) -> Callable[[Project], object]:
    return lambda project: project.write(name, content)


@pytest.mark.parametrize(
    ("change", "opened", "reason"),
    [
        (rewrite("specs/x/a.yaml", "mode: std\n"), {"specs/x/a.yaml", "specs/_defaults.yaml"}, "an edit, media remembered"),
        (lambda project: project.settle("specs/x/a.yaml"), {"specs/x/a.yaml", "specs/_defaults.yaml"}, "a touch is looked at"),
        (rewrite("specs/x/d.yaml", SPEC.replace("../", "../../")), {"specs/x/d.yaml", "specs/_defaults.yaml"}, "a new spec with known media"),
        (lambda project: make_image(project.root / "assets/girl.png", (600, 600)), {"assets/girl.png", "specs/x/a.yaml", "specs/x/b.yaml", "specs/_defaults.yaml"}, "an image's users"),
        (lambda project: make_video(project.root / "assets/dance.mp4"), {"assets/dance.mp4", "specs/x/a.yaml", "specs/x/b.yaml", "specs/_defaults.yaml"}, "a video's users"),
        (rewrite("specs/_defaults.yaml", "character_orientation: video\nmode: pro\n"), {"specs/x/a.yaml", "specs/x/b.yaml", "specs/x/c.yaml", "specs/_defaults.yaml"}, "all below a defaults file"),
        (rewrite("specs/x/_defaults.yaml", "mode: std\n"), {"specs/x/a.yaml", "specs/x/b.yaml", "specs/x/c.yaml", "specs/_defaults.yaml", "specs/x/_defaults.yaml"}, "all below a new one"),
        (lambda project: project.remove("specs/_defaults.yaml"), {"specs/x/a.yaml", "specs/x/b.yaml", "specs/x/c.yaml"}, "all below a removed one"),
        (lambda project: project.remove("specs/x/a.yaml"), set(), "a removed spec"),
    ],
)  # fmt: skip
def test_what_changed_is_read_again_and_nothing_else(
    filled: Project,
    reads: Reads,
    change: Callable[[Project], object],
    opened: set[str],
    reason: str,
) -> None:
    """After a change the cached load equals a fresh one and opens only what the change concerns."""
    change(filled)
    desired, found = reads.of(lambda: filled.load(cached=True))
    assert found == opened, reason
    assert desired == filled.load(), reason
    assert filled.load(cached=True) == desired, reason


def test_whether_a_spec_is_suspended_is_remembered_and_its_defaults_can_free_it(
    filled: Project, reads: Reads
) -> None:
    """A suspension comes out of the cache as it was written, and ends with its defaults file."""
    filled.write("specs/x/_defaults.yaml", "suspend: true\n")
    filled.write("specs/x/c.yaml", (filled.root / "specs/x/c.yaml").read_text() + "suspend: no\n")
    fresh = filled.load(cached=True)
    assert [(one.spec[-6], one.suspended) for one in fresh.generations] == [
        ("a", True), ("b", True), ("b", True), ("c", False),
    ]  # fmt: skip
    again, opened = reads.of(lambda: filled.load(cached=True))
    assert again == fresh
    assert not opened
    filled.remove("specs/x/_defaults.yaml")
    assert not any(one.suspended for one in filled.load(cached=True).generations)


def test_an_image_that_goes_away_or_out_of_the_project_is_noticed(
    filled: Project, tmp_path: Path
) -> None:
    """A remembered spec is not believed once its media are gone or lead out of the project."""
    (filled.root / "assets").rename(tmp_path / "assets")
    assert len(filled.load(cached=True).generations) == 1
    (filled.root / "assets").symlink_to(tmp_path / "assets")
    assert "leads out of the project" in str(filled.load(cached=True).problems[0])
    (filled.root / "assets").unlink()
    (tmp_path / "assets").rename(filled.root / "assets")
    assert len(filled.load(cached=True).generations) == 4


def test_a_changed_price_table_is_honoured_without_reading(filled: Project, reads: Reads) -> None:
    """New prices reach specs that were read under the old ones."""
    prices = {"kling-v2-6": {"pro": Decimal(100)}}
    desired, opened = reads.of(
        lambda: load(filled.root, "specs", prices=prices, cache=filled.cache)
    )
    assert desired.generations[0].estimated_units == Decimal(500)
    assert not opened
    assert desired == load(filled.root, "specs", prices=prices)


def test_a_file_that_changed_this_second_is_not_trusted_to_its_mtime(project: Project) -> None:
    """A second edit within the clock's tick is never missed for the sake of the cache."""
    path = project.write("specs/a.yaml")
    now = time.time_ns()
    os.utime(path, ns=(now, now))
    project.load(cached=True)
    assert not project.cache.specs()
    project.settle("specs/a.yaml")
    os.utime(project.root / "assets/girl.png", ns=(now, now))
    project.load(cached=True)
    assert not project.cache.specs()
    project.settle("assets/girl.png")
    project.load(cached=True)
    assert project.cache.specs() == ["specs/a.yaml"]


def test_an_invalid_spec_stays_invalid_and_a_removed_one_is_forgotten(filled: Project) -> None:
    """Problems are said on every load, and the cache keeps nothing of files that are gone."""
    filled.write("specs/x/a.yaml", "mode: [")
    for _ in range(2):
        assert list(filled.load(cached=True).invalid) == ["specs/x/a.yaml"]
    filled.remove("specs/x/a.yaml")
    filled.load(cached=True)
    assert "specs/x/a.yaml" not in filled.cache.rows


def test_a_broken_defaults_file_that_nothing_uses_is_said_every_time(filled: Project) -> None:
    """A mistake does not go silent because nothing below it is read again."""
    filled.write("specs/empty/_defaults.yaml", "promt: x\n")
    for _ in range(2):
        assert len(filled.load(cached=True).problems) == 1


def test_a_misnamed_defaults_file_stops_what_was_fine_before(filled: Project) -> None:
    """Specs in the cache are held back, too, while a defaults file has a wrong name."""
    filled.write("specs/x/_defaults.yml", "mode: std\n")
    for _ in range(2):
        assert not filled.load(cached=True).generations
    filled.remove("specs/x/_defaults.yml")
    assert len(filled.load(cached=True).generations) == 4


def test_two_cached_specs_still_collide(filled: Project) -> None:
    """Two specs with one output are refused, also where neither is read."""
    filled.write("specs/x/a.yml", SPEC.replace("../", "../../"))
    for _ in range(2):
        assert set(filled.load(cached=True).invalid) == {"specs/x/a.yaml", "specs/x/a.yml"}


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"null", b"[]", b"{}", b'{"media":[],"rows":[[1]]}', b'{"media":[[1]],"rows":[]}', b'{"media":[[[],[]]],"rows":[]}',
     b'{"media":1,"rows":1}', b"\xff", b'{"media":[],"rows":[["a","b","c",["","x"],["","y"],"",0,1,false,"m","n","o"]]}'],
)  # fmt: skip
def test_a_damaged_cache_costs_time_only(filled: Project, payload: bytes) -> None:
    """Rubbish in the cache is read over and changes no answer."""
    expected = filled.load()
    filled.cache.rows = {name: (key, payload) for name, (key, _) in filled.cache.rows.items()}
    assert filled.load(cached=True) == expected


def test_a_cached_row_whose_content_is_not_its_ids_is_read_again(filled: Project) -> None:
    """Nobody buys another prompt under a known id because a cache was edited."""
    expected = filled.load()
    filled.cache.rows = {
        name: (key, payload.replace("跳舞".encode(), "坐着".encode()))
        for name, (key, payload) in filled.cache.rows.items()
    }
    assert filled.load(cached=True) == expected
