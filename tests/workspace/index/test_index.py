"""The index: after any edit it says what a fresh load says, and it reads only what the edit concerns."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.core.errors import WorkspaceError
from reconciler.core.motion_control import UNITS_PER_SECOND
from reconciler.workspace.files.outputs import signature
from reconciler.workspace.index.spec_index import SpecIndex
from tests.workspace.builders import SPEC, Project, make_image

URLS = SPEC.replace("../assets", "https://e.com")


def indexed(project: Project, specs_dir: str = "specs", *, cached: bool = False) -> SpecIndex:
    cache = project.cache if cached else None
    return SpecIndex(project.root, specs_dir, prices=UNITS_PER_SECOND, cache=cache)


class Opened:
    """The names of the files, relative to the root, that were opened while it listened."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.root: Path | None = None

    def hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.root is None or event not in {"open", "os.scandir", "os.listdir"}:
            return
        path = arguments[0]
        if isinstance(path, (str, bytes, os.PathLike)):
            name = os.path.relpath(os.fsdecode(path), self.root)
            if not name.startswith(".."):
                self.names.append(name)

    @contextmanager
    def below(self, root: Path) -> Iterator[list[str]]:
        self.names, self.root = [], root
        try:
            yield self.names
        finally:
            self.root = None


OPENED = Opened()
sys.addaudithook(OPENED.hear)  # for good: a hook cannot be taken back


@pytest.mark.parametrize("cached", [False, True])
def test_an_index_begins_as_a_load_ends(project: Project, cached: bool) -> None:
    """The daemon's first picture of a folder is the one that `plan` has."""
    project.write("specs/_defaults.yaml", "character_orientation: image\nmode: pro\n")
    project.write("specs/x/a.yaml", SPEC.replace("../", "../../"))
    project.write("specs/x/b.yaml", "mode: [")
    project.write("specs/x/c.yml", URLS)
    project.write("specs/x/c.json", "{}")
    project.write("specs/y/_defaults.yaml", "promt: x\n")
    project.write("specs/z/_defaults.yml", "")
    project.write("specs/x/a.receipt.json", "{}")
    expected = project.load(cached=cached)
    index = indexed(project, cached=cached)
    assert index.desired() == expected
    assert expected.defaults == {"specs/_defaults.yaml", "specs/y/_defaults.yaml"}
    assert not index.snapshot().strays()


def test_one_save_reads_one_spec_whatever_stands_beside_it(project: Project) -> None:
    """Its defaults and media are known; no other file is opened and no folder listed."""
    project.write("specs/_defaults.yaml", "mode: std\n")
    for number in range(50):
        project.write(f"specs/x/{number}.yaml", SPEC.replace("../", "../../"))
    index = indexed(project)
    project.write("specs/x/7.yaml", SPEC.replace("../", "../../") + "prompt: slowly\n")
    with OPENED.below(project.root) as opened:
        changed = index.refresh(["specs/x/7.yaml"])
    assert opened == ["specs/x/7.yaml"]
    assert changed.specs == {"specs/x/7.yaml"}
    assert index.desired() == project.load()


@pytest.mark.parametrize(
    ("change", "named", "opened", "reason"),
    [
        (lambda project: project.write("specs/notes.txt", "x"), "specs/notes.txt", set(), "no spec"),
        (lambda project: project.write("specs/a.mp4", b"x"), "specs/a.mp4", set(), "an output"),
        (lambda project: project.write("specs/a.receipt.json", "{}"), "specs/a.receipt.json", set(), "a receipt"),
        (lambda project: project.write("specs/.b.yaml.swp", "x"), "specs/.b.yaml.swp", set(), "an editor's file"),
        (lambda project: project.write("elsewhere/b.yaml", "x"), "elsewhere/b.yaml", set(), "outside"),
        (lambda project: project.remove("specs/a.yaml"), "specs/a.yaml", set(), "a spec that went"),
        (lambda project: make_image(project.root / "assets/girl.png", (512, 512)), "assets/girl.png", {"assets/girl.png", "specs/a.yaml"}, "an image's user"),
        (lambda project: project.write("specs/x/_defaults.yaml", "mode: std\n"), "specs/x/_defaults.yaml", {"specs/x/_defaults.yaml", "specs/x/b.yaml"}, "below a defaults file"),
    ],
)  # fmt: skip
def test_what_is_opened_is_what_the_name_concerns(
    project: Project,
    change: Callable[[Project], object],
    named: str,
    opened: set[str],
    reason: str,
) -> None:
    """A save costs as many reads as it concerns files, and the answer equals a fresh load."""
    project.write("specs/a.yaml")
    project.write("specs/x/b.yaml", URLS)
    project.write("specs/y/c.yaml", URLS)
    index = indexed(project)
    change(project)
    with OPENED.below(project.root) as found:
        index.refresh([named])
    assert set(found) == opened, reason
    assert index.desired() == project.load(), reason


def test_an_output_that_is_touched_concerns_its_spec(project: Project) -> None:
    """A result or receipt that somebody deletes or edits wakes the spec that it belongs to."""
    project.write("specs/a.yaml", f"{URLS}matrix: {{mode: [std, pro]}}\n")
    project.write("specs/b.yaml", URLS)
    index = indexed(project)
    for name in ("specs/a.std.mp4", "specs/a.receipt.json"):
        assert index.concerned([name]) == {"specs/a.yaml"}
        assert index.refresh([name]).specs == {"specs/a.yaml"}, name
    assert index.concerned(["specs/a.mp4", "nothing"]) == set()
    project.write("specs/a.yaml", URLS)
    index.refresh(["specs/a.yaml"])
    assert index.concerned(["specs/a.std.mp4"]) == set()
    assert index.concerned(["specs/a.mp4"]) == {"specs/a.yaml"}
    assert index.concerned(["specs"]) == {"specs/a.yaml", "specs/b.yaml"}


def test_receipts_that_come_change_and_go_are_told(project: Project) -> None:
    """A receipt that git brings, edits or removes is noticed, and an unchanged one is not."""
    project.write("specs/a.yaml")
    index = indexed(project)
    name = "specs/a.receipt.json"
    for text in ("{}", "{ }"):
        project.write(name, text)
        assert index.refresh([name]).receipts == {name}
        assert index.receipts == {name: signature(project.root / name)}
    assert not index.refresh(["specs"]).receipts, "as it was"
    project.remove(name)
    assert index.refresh([name]).receipts == {name}
    assert not index.receipts


def test_concerned_names_all_that_depend_on_a_file_before_anything_is_read(
    project: Project,
) -> None:
    """Who has to wait for a file to settle is known without opening it."""
    project.write("specs/x/a.yaml", SPEC.replace("../", "../../"))
    project.write("specs/x/b.yaml", URLS.replace("https://e.com/girl.png", "gril.png"))
    project.write("specs/y/c.yaml", URLS)
    index = indexed(project)
    expected = {
        "specs/x/a.yaml": {"specs/x/a.yaml"},
        "specs/x/_defaults.yaml": {"specs/x/a.yaml", "specs/x/b.yaml"},
        "specs/x": {"specs/x/a.yaml", "specs/x/b.yaml"},
        "assets/girl.png": {"specs/x/a.yaml"},
        "assets": {"specs/x/a.yaml"},
        "specs/x/gril.png": {"specs/x/b.yaml"},
        "specs/new.yaml": set(),
    }
    with OPENED.below(project.root) as opened:
        assert {name: index.concerned([name]) for name in expected} == expected
    assert not opened


def test_when_a_collision_ends_the_survivor_is_told(project: Project) -> None:
    """A spec that was held back by another becomes valid when the other goes."""
    project.write("specs/a.yaml", URLS)
    index = indexed(project)
    project.write("specs/A.yml", URLS)
    assert index.refresh(["specs/A.yml"]).specs == {"specs/a.yaml", "specs/A.yml"}
    assert index.problems("specs/a.yaml")
    assert not index.generations("specs/a.yaml")
    project.remove("specs/A.yml")
    assert index.refresh(["specs/A.yml"]).specs == {"specs/a.yaml", "specs/A.yml"}
    assert len(index.generations("specs/a.yaml")) == 1


def test_a_circle_through_three_specs_is_seen_and_its_end_too(project: Project) -> None:
    """Specs that feed on each other are all refused, and all freed with the first that stops."""

    def feeding_on(video: str) -> str:
        return URLS.replace("https://e.com/dance.mp4", video)

    for name in ("a", "b", "c"):
        project.copy(project.root / "assets/dance.mp4", f"specs/{name}.mp4")
    project.write("specs/a.yaml", feeding_on("b.mp4"))
    project.write("specs/b.yaml", feeding_on("c.mp4"))
    project.write("specs/c.yaml", URLS)
    index = indexed(project)
    assert len(index.desired().generations) == 3
    three = {"specs/a.yaml", "specs/b.yaml", "specs/c.yaml"}
    project.write("specs/c.yaml", feeding_on("a.mp4"))
    assert index.refresh(["specs/c.yaml"]).specs == three
    assert index.desired() == project.load()
    assert index.desired().invalid.keys() == three
    project.remove("specs/b.yaml")
    assert index.refresh(["specs/b.yaml"]).specs == three
    assert len(index.desired().generations) == 2
    project.write("specs/b.yaml", feeding_on("c.mp4"))
    assert index.refresh(["specs/b.yaml"]).specs == three
    assert index.desired() == project.load()


def test_a_collision_outlives_the_change_of_a_third(project: Project) -> None:
    """An edit that does not end a collision does not hide it either."""
    project.write("specs/a.yml", URLS)
    project.write("specs/a.yaml", f"{URLS}matrix: {{mode: [std, pro]}}\n")  # the same receipt
    project.write("specs/a.std.yaml", URLS)  # the same output as one of those
    index = indexed(project)
    project.write("specs/a.std.yaml", URLS + "prompt: slowly\n")
    index.refresh(["specs/a.std.yaml"])
    assert index.desired() == project.load()
    assert len(index.problems("specs/a.yaml")) == 2


def test_an_id_that_two_specs_gave_is_theirs_as_long_as_they_want_the_same(
    project: Project,
) -> None:
    """An id of one's own buys nothing while two specs mean different things by it."""
    both = {"specs/a.yaml", "specs/b.yaml"}
    for name in both:
        project.write(name, f"{URLS}external_task_id: own\n")
    index = indexed(project)
    assert len(index.wishes("own")) == 2
    project.write("specs/b.yaml", f"{URLS}external_task_id: own\nprompt: slowly\n")
    assert index.refresh(["specs/b.yaml"]).specs == both
    assert index.wishes("own") == ()
    project.write("specs/b.yaml", f"{URLS}prompt: slowly\n")
    assert index.refresh(["specs/b.yaml"]).specs == both
    assert len(index.wishes("own")) == 1


def test_broken_and_misnamed_defaults_hold_up_what_lies_below_until_they_are_mended(
    project: Project,
) -> None:
    """A mistake in a folder's defaults stops that folder only, and mending it is enough."""
    below = {"specs/x/a.yaml", "specs/x/y/b.yaml"}
    for name in (*below, "specs/c.yaml"):
        project.write(name, URLS)
    index = indexed(project)
    for name, text in (
        ("_defaults.yaml", "promt: x\n"),
        ("_defaults.yml", ""),
        ("_defaults.ymal", ""),
    ):
        project.write(f"specs/x/{name}", text)
        assert index.refresh([f"specs/x/{name}"]).specs == below
        assert index.desired() == project.load()
        assert [wish.spec for wish in index.desired().generations] == ["specs/c.yaml"]
        project.remove(f"specs/x/{name}")
        assert index.refresh([f"specs/x/{name}"]).specs == below
        assert len(index.desired().generations) == 3


def test_what_lies_behind_a_linked_folder_is_no_spec_even_when_it_is_named(
    project: Project,
) -> None:
    """An event's path through a link makes no spec of what a plan would not see."""
    project.write("elsewhere/b.yaml", URLS)
    project.write("specs/x/b.yaml", URLS)
    (project.root / "specs/linked").symlink_to("../elsewhere")
    index = indexed(project)
    assert not index.refresh(["specs/linked/b.yaml"]).specs
    shutil.rmtree(project.root / "specs/x")
    (project.root / "specs/x").symlink_to("../elsewhere")
    assert index.refresh(["specs/x/b.yaml"]).specs == {"specs/x/b.yaml"}
    assert index.desired() == project.load()
    assert not index.specs


def test_every_place_that_wants_a_generation_is_found_by_its_id(project: Project) -> None:
    """One purchase is delivered to every spec that asks for it."""
    for name in ("b", "a", "x/c"):
        project.write(f"specs/{name}.yaml", URLS)
    project.write("specs/d.yaml", f"{URLS}takes: 2\n")
    index = indexed(project)
    (wish,) = index.generations("specs/a.yaml")
    found = index.wishes(wish.external_task_id)
    assert [one.output() for one in found] == [
        "specs/a.mp4", "specs/b.mp4", "specs/d.1.mp4", "specs/x/c.mp4",
    ]  # fmt: skip
    assert index.wishes("mc1-nobody") == ()


@pytest.mark.parametrize("missing", ["specs", "listing"])
def test_a_folder_that_cannot_be_looked_at_leaves_the_index_as_it_was(
    project: Project, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """An unmounted disk must not look as if every spec had been removed."""
    project.write("specs/a.yaml", URLS)
    project.write("specs/x/b.yaml", URLS)
    index = indexed(project)
    before = index.desired()
    scandir = os.scandir
    if missing == "specs":
        (project.root / "specs").rename(project.root / "away")
    else:

        def refuse(path: Path) -> object:
            if path.name == "x":
                raise PermissionError(13, "Permission denied")
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refuse)  # root is refused nothing
    names = ["specs/a.yaml", "specs/x/b.yaml"] if missing == "specs" else ["specs/x"]
    for action in (
        lambda: index.refresh(names),
        lambda: index.refresh(["specs"]),
        index.snapshot().strays,
    ):
        with pytest.raises(WorkspaceError):
            action()
        assert index.desired() == before
    monkeypatch.undo()
    if missing == "specs":
        (project.root / "away").rename(project.root / "specs")
    assert not index.refresh(["specs/a.yaml", "specs"]).receipts
    assert index.desired() == before


def edit(name: str, text: str) -> Callable[[Project], object]:
    return lambda project: project.write(name, text)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (edit("specs/x/a.yaml", URLS), "the spec"),
        (lambda project: project.remove("specs/x/a.yaml"), "no spec"),
        (lambda project: (project.root / "specs/x").rename(project.root / "y"), "no folder"),
        (edit("specs/_defaults.yaml", "mode: std"), "its defaults"),
        (edit("specs/x/_defaults.yaml", ""), "new defaults"),
        (lambda project: make_image(project.root / "assets/girl.png", (512, 512)), "its image"),
        (lambda project: project.remove("assets"), "no image"),
    ],
)
def test_before_money_is_spent_a_change_that_nobody_told_of_is_noticed(
    project: Project, change: Callable[[Project], object], reason: str
) -> None:
    """The last look before a purchase sees any change of spec, defaults or media, without reading."""
    project.write("specs/_defaults.yaml", "prompt: x\n")
    project.write("specs/x/a.yaml", SPEC.replace("../", "../../"))
    project.write("specs/x/b.yaml", "mode: [")
    index = indexed(project)
    assert index.is_as_read("specs/x/a.yaml")
    assert not index.is_as_read("specs/nothing.yaml")
    change(project)
    with OPENED.below(project.root) as opened:
        assert not index.is_as_read("specs/x/a.yaml"), reason
    assert not opened
    index.refresh(index.snapshot().strays())
    assert index.is_as_read("specs/x/a.yaml") is ("specs/x/a.yaml" in index.specs), reason


def test_inputs_and_the_folders_to_watch(project: Project) -> None:
    """All files that a spec depends on are known, and so are the folders where media can change."""
    project.write("specs/_defaults.yaml", "prompt: x\n")
    project.write("specs/x/_defaults.yaml", "mode: std\n")
    project.write("specs/y/_defaults.yaml", "mode: std\n")
    project.write("specs/x/a.yaml", SPEC.replace("../", "../../"))
    project.write("specs/x/b.yaml", URLS.replace("https://e.com/girl.png", "../../lost/girl.png"))
    index = indexed(project)
    chain = {"specs/_defaults.yaml", "specs/x/_defaults.yaml"}
    media = {"assets/girl.png", "assets/dance.mp4"}
    assert index.inputs("specs/x/a.yaml") == {"specs/x/a.yaml", *chain, *media}
    assert index.inputs("specs/x/b.yaml") == {"specs/x/b.yaml", *chain}, "a missing image is none"
    assert index.media_folders() == {"assets", "lost"}
    project.remove("specs/x/b.yaml")
    index.refresh(["specs/x/b.yaml"])
    assert index.media_folders() == {"assets"}


def test_what_a_link_leads_to_is_an_input_too(project: Project) -> None:
    """A change behind a link counts as a change of the spec, and leaving the project is noticed."""
    project.write("shared/in.yaml", SPEC)
    (project.root / "specs/in.yaml").symlink_to("../shared/in.yaml")
    (project.root / "assets").rename(project.root / "real")
    (project.root / "assets").symlink_to("real")
    index = indexed(project)
    assert index.media_folders() == {"assets", "real"}
    before = index.generations("specs/in.yaml")
    make_image(project.root / "real/girl.png", (512, 512))
    assert index.concerned(["real/girl.png"]) == {"specs/in.yaml"}
    assert index.refresh(["real/girl.png"]).specs == {"specs/in.yaml"}
    assert index.generations("specs/in.yaml") != before
    project.write("shared/in.yaml", URLS)
    assert index.refresh(["shared"]).specs == {"specs/in.yaml"}
    assert index.desired() == project.load()
    assert not index.snapshot().strays()
    (project.root / "shared/in.yaml").replace(project.root / "specs/in.yaml")
    assert index.snapshot().strays() == {"specs/in.yaml"}, "the same file, but no link any more"
    index.refresh(["specs"])
    assert not index.snapshot().strays()
    (project.root / "specs/in.yaml").replace(project.root / "shared/in.yaml")
    (project.root / "specs/in.yaml").symlink_to("../shared/in.yaml")
    index.refresh(["specs"])
    (project.root / "shared").rename(project.root.parent / "outside")
    (project.root / "shared").symlink_to("../outside")
    assert index.snapshot().strays() == {"specs/in.yaml"}, (
        "the same file, but no longer in the project"
    )
    assert not index.is_as_read("specs/in.yaml")
    index.refresh(["specs"])
    assert index.desired() == project.load()
    assert "leads out of the project" in str(index.problems("specs/in.yaml")[0])


def test_a_missing_image_is_not_looked_for_again_when_an_output_appears(project: Project) -> None:
    """Only a file that could be the missing one reads its spec again."""
    project.write("specs/a.yaml", URLS.replace("https://e.com/girl.png", "gril.png"))
    index = indexed(project)
    project.write("specs/b.mp4", b"x")
    with OPENED.below(project.root) as opened:
        index.refresh(["specs/b.mp4"])
    assert not opened
    project.copy(project.root / "assets/girl.png", "specs/girl.png")
    index.refresh(["specs/girl.png"])
    assert "did you mean `girl.png`?" in str(index.problems("specs/a.yaml")[0])
    project.copy(project.root / "assets/girl.png", "specs/gril.png")
    index.refresh(["specs/gril.png"])
    assert index.generations("specs/a.yaml")


def test_a_file_that_was_read_within_a_tick_of_its_change_is_read_once_more(
    project: Project,
) -> None:
    """Two edits in one tick of the clock cannot leave the first one in force."""
    path = project.root / "specs/a.yaml"
    path.write_text(URLS)
    status = path.stat()
    index = indexed(project)
    path.write_text(URLS.replace("mode: pro", "mode: std"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert index.snapshot().strays() == {"specs/a.yaml"}
    index.refresh(["specs"])
    assert index.desired() == project.load()
    project.settle("specs/a.yaml")
    index.refresh(index.snapshot().strays())
    assert not index.snapshot().strays()


def test_an_image_that_is_named_is_read_again_though_it_looks_the_same(project: Project) -> None:
    """An event about an image is believed, even where size and time say that nothing changed."""
    project.write("specs/a.yaml")
    image = project.root / "assets/girl.png"
    make_image(image, (320, 320))
    now = image.stat().st_mtime_ns
    index = indexed(project)
    for name, side in (("assets/girl.png", 330), ("assets", 340), ("assets/girl.png", 350)):
        make_image(image, (side, side))
        image.write_bytes(image.read_bytes().ljust(1000, b"\0"))
        os.utime(image, ns=(now, now))
        assert index.snapshot().strays() == {"assets/girl.png"}, "read within a tick of its change"
        assert index.refresh([name]).specs == {"specs/a.yaml"}
        assert index.desired() == project.load()


def test_whoever_finds_an_image_changed_tells_all_that_use_it(project: Project) -> None:
    """No spec goes on with an image's old bytes because another one noticed the change."""
    project.write("specs/a.yaml")
    project.write("specs/b.yaml", SPEC + "prompt: slowly\n")
    index = indexed(project)
    make_image(project.root / "assets/girl.png", (512, 512))
    project.settle("assets/girl.png")
    project.settle("specs/a.yaml")
    both = {"specs/a.yaml", "specs/b.yaml"}
    assert index.refresh(["specs/a.yaml"]).specs == both
    assert index.desired() == project.load()
    assert not index.snapshot().strays()
    make_image(project.root / "assets/girl.png", (520, 520))
    project.settle("assets/girl.png")
    assert index.refresh(["assets"]).specs == both
    assert not index.refresh(["assets"]).specs, "as it was"


def test_a_stray_hunt_in_another_thread_disturbs_nobody(project: Project) -> None:
    """The resync's search runs beside edits without an error and without a wrong answer."""
    for number in range(200):
        project.write(f"specs/{number % 7}/{number}.yaml", URLS)
    index = indexed(project)
    failures: list[Exception] = []
    ended = threading.Event()

    def hunt() -> None:
        while not ended.is_set():
            try:
                index.snapshot().strays()
            except Exception as error:  # noqa: BLE001 - whatever it is, the test wants to see it
                failures.append(error)
                return

    thread = threading.Thread(target=hunt)
    thread.start()
    for number in range(200):
        name = f"specs/{number % 7}/{number}.yaml"
        project.remove(name)
        project.write(f"specs/new/{number}.yaml", URLS)
        index.refresh([name, f"specs/new/{number}.yaml"])
    ended.set()
    thread.join(10)
    assert not failures
    assert index.desired() == project.load()


def test_the_root_itself_may_hold_the_specs(project: Project) -> None:
    """With specs at the root, all of it works, and the settings file is no spec."""
    shutil.rmtree(project.root / "specs")
    project.write("reconciler.toml", "[settings]\n")
    project.write("a.yaml", SPEC.replace("../", ""))
    index = indexed(project, ".")
    project.write("x/b.yaml", SPEC)
    index.refresh(["x", "reconciler.toml"])
    assert set(index.specs) == {"a.yaml", "x/b.yaml"}
    assert index.media_folders() == set()
    project.write("a.yaml", "mode: [")
    assert index.refresh([""]).specs >= {"a.yaml"}
    assert index.problems("a.yaml")


def test_what_is_read_again_piece_by_piece_is_told_again(project: Project) -> None:
    """Many specs are touched: those that are left for later count as unread, so reading them the same is a change."""
    specs = [project.write(f"specs/{number:03}.yaml", URLS) for number in range(300)]
    index = SpecIndex(project.root, "specs", prices=UNITS_PER_SECOND, deferred=True)
    while index.has_more:
        index.read_on()
    told = index.refresh([f"specs/{path.name}" for path in specs])
    left = {*index.unread}
    assert left
    assert left <= told.specs
    again: set[str] = set()
    while index.has_more:
        again |= index.read_on().specs
    assert left <= again
