"""Where there is no inotify, watchdog's own observer tells of changes: here the one that it has for this system."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.workspace.watch.watcher import Watcher
from tests.support.project import wait_until


class Observed:
    """A root folder under a watcher without inotify, and the names that it told."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.troubles: list[str] = []
        self.seen: set[str] = set()
        self.woken = threading.Event()
        self.watcher = Watcher(
            root,
            "specs",
            ignored=["state"],
            wake=self.woken.set,
            trouble=self.troubles.append,
            has_inotify=False,
        )

    def look(self) -> set[str]:
        self.seen |= self.watcher.take()
        return self.seen

    def wait_for(self, *names: str) -> None:
        wait_until(lambda: set(names) <= self.look(), f"{names} among {self.seen}")


@pytest.fixture
def observed(tmp_path: Path) -> Iterator[Observed]:
    root = tmp_path / "project"
    for folder in ("specs/deep/er", "specs/.hidden", "state", "assets", "elsewhere/new"):
        (root / folder).mkdir(parents=True)
    for name in ("specs/a.yaml", "specs/deep/b.yaml", "elsewhere/new/c.yaml"):
        (root / name).write_text("x")
    observed = Observed(root)
    observed.watcher.revive()
    yield observed
    observed.watcher.stop()


def replace_as_editors_do(root: Path) -> None:
    (root / "specs/.a.yaml.swp").write_text("new")
    (root / "specs/.a.yaml.swp").rename(root / "specs/a.yaml")


@pytest.mark.parametrize(
    ("act", "dirty", "reason"),
    [
        (lambda root: (root / "specs/a.yaml").write_text("y"), {"specs/a.yaml"}, "written in place"),
        (replace_as_editors_do, {"specs/a.yaml"}, "replaced: the temporary file is nobody's business"),
        (lambda root: (root / "specs/deep/er/c.yaml").write_text("y"), {"specs/deep/er/c.yaml"}, "made, deep down"),
        (lambda root: (root / "specs/a.yaml").unlink(), {"specs/a.yaml"}, "removed"),
        (lambda root: (root / "specs/a.yaml").chmod(0o600), {"specs/a.yaml"}, "it may be readable now"),
        (lambda root: (root / "specs/a.yaml").rename(root / "specs/b.yaml"), {"specs/a.yaml", "specs/b.yaml"}, "a move has two names"),
        (lambda root: (root / "specs/deep").rename(root / "gone"), {"specs/deep"}, "a folder moved out"),
        (lambda root: (root / "elsewhere/new").rename(root / "specs/new"), {"specs/new"}, "a folder moved in"),
        (lambda root: (root / "specs/new/y").mkdir(parents=True), {"specs/new"}, "a new folder"),
        (lambda root: (root / "specs/.hidden/x.yaml").write_text("y"), set(), "hidden"),
        (lambda root: (root / "specs/a.yaml").read_text(), set(), "reading is no change"),
        (lambda root: (root / "assets/girl.png").write_text("y"), set(), "not a folder that anybody asked for"),
    ],
)  # fmt: skip
def test_what_changes_becomes_dirty_and_what_does_not_stays_clean(
    observed: Observed, act: Callable[[Path], object], dirty: set[str], reason: str
) -> None:
    """Whatever else is told lies below a name that is dirty."""
    act(observed.root)
    observed.wait_for(*dirty)
    (observed.root / "specs/flag").symlink_to("nowhere")
    observed.wait_for("specs/flag")
    others = observed.look() - dirty - {"specs/flag"}
    assert all(any(one.startswith(f"{name}/") for name in dirty) for one in others), reason
    assert observed.woken.is_set()
    assert observed.watcher.is_notified
    assert not observed.troubles


def test_a_folder_of_media_is_watched_too_and_one_that_is_missing_once_it_was_asked_for_again(
    observed: Observed,
) -> None:
    """Its name is dirty then: what it holds came before the watch did."""
    observed.watcher.watch_also(["assets", "media"])
    (observed.root / "assets/girl.png").write_text("x")
    observed.wait_for("assets/girl.png")
    (observed.root / "media").mkdir()
    observed.wait_for("media")
    observed.seen.clear()
    observed.watcher.watch_also(["media"])
    observed.wait_for("media")
    (observed.root / "media/girl.png").write_text("x")
    observed.wait_for("media/girl.png")


def test_a_specs_folder_that_was_replaced_is_watched_again_at_the_next_resync(
    observed: Observed,
) -> None:
    """While it is away, nobody relies on events."""
    shutil.rmtree(observed.root / "specs")
    observed.wait_for("specs")
    observed.watcher.revive()
    assert not observed.watcher.is_notified
    (observed.root / "specs/deep").mkdir(parents=True)
    observed.seen.clear()
    observed.watcher.revive()
    observed.wait_for("specs")
    assert observed.watcher.is_notified
    (observed.root / "specs/deep/c.yaml").write_text("x")
    observed.wait_for("specs/deep/c.yaml")
    assert not observed.troubles


def test_after_stop_nobody_is_called_and_no_thread_is_left(tmp_path: Path) -> None:
    """Also when it is stopped twice."""
    (tmp_path / "specs").mkdir()
    threads = threading.active_count()
    observed = Observed(tmp_path)
    observed.watcher.revive()
    observed.watcher.watch_also(["media"])
    observed.watcher.stop()
    observed.watcher.stop()
    (tmp_path / "specs/a.yaml").write_text("x")
    wait_until(lambda: threading.active_count() <= threads, "the threads to end")
    assert not observed.woken.is_set()
    assert not observed.watcher.is_notified
