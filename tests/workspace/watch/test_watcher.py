"""What changes becomes a dirty name and one wake-up: on a real file system, with real limits."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.core.naming import join
from reconciler.workspace.watch import watcher
from reconciler.workspace.watch.watcher import Watcher, remote_file_system
from tests.support.project import wait_until

Do = Callable[[Path], object]


class Watched:
    """A root folder under a watcher, and all that the watcher said."""

    def __init__(self, root: Path, folder: str = "specs") -> None:
        self.root, self.folder = root, folder
        self.wakes = self.flags = 0
        self.troubles: list[str] = []
        self.seen: set[str] = set()
        self.hold = (
            threading.Event()
        )  # as long as it is clear, the thread that wakes us stands still
        self.hold.set()
        self.watcher = Watcher(
            root, folder, ignored=["state"], wake=self._wake, trouble=self.troubles.append
        )

    def _wake(self) -> None:
        self.wakes += 1
        self.hold.wait(20)

    def look(self) -> set[str]:
        """Everything that was dirty until now."""
        self.seen |= self.watcher.take()
        return self.seen

    def wait_for(self, *names: str) -> None:
        wait_until(lambda: set(names) <= self.look(), f"{names} among {self.seen}")

    def quiet(self) -> set[str]:
        """Everything dirty that became so before this call: events come in order, and the last is a flag."""
        self.flags += 1
        flag = join(self.folder, f"flag-{self.flags}.yaml")
        (self.root / flag).symlink_to("nowhere")  # one event, and not three
        self.wait_for(flag)
        found, self.seen = self.seen - {flag}, set()
        return found


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    root = tmp_path / "project"
    for folder in ("specs/deep/er", "state", "assets", ".git"):
        (root / folder).mkdir(parents=True)
    (root / "specs/a.yaml").write_text("a")
    (root / "specs/deep/b.yaml").write_text("b")
    watched = Watched(root)
    watched.watcher.revive()
    yield watched
    watched.hold.set()
    watched.watcher.stop()


def write(name: str, text: str = "new") -> Do:
    return lambda root: (root / name).write_text(text)


def rename(old: str, new: str) -> Do:
    return lambda root: (root / old).rename(root / new)


def replace_as_editors_do(root: Path) -> None:
    (root / "specs/.a.yaml.swp").write_text("new")
    (root / "specs/.a.yaml.swp").rename(root / "specs/a.yaml")


def copy_in(root: Path) -> None:
    (root / "elsewhere/sub").mkdir(parents=True)
    (root / "elsewhere/sub/c.yaml").write_text("c")
    (root / "elsewhere").rename(root / "specs/new")


@pytest.mark.parametrize(
    ("act", "dirty", "reason"),
    [
        (write("specs/a.yaml"), {"specs/a.yaml"}, "written in place"),
        (replace_as_editors_do, {"specs/a.yaml"}, "replaced: the hidden temporary file is nobody's business"),
        (write("specs/deep/er/c.yaml"), {"specs/deep/er/c.yaml"}, "made, deep down"),
        (lambda root: (root / "specs/a.yaml").unlink(), {"specs/a.yaml"}, "removed"),
        (lambda root: (root / "specs/a.yaml").chmod(0o600), {"specs/a.yaml"}, "it may be readable now"),
        (lambda root: os.utime(root / "specs/a.yaml", (1, 1)), {"specs/a.yaml"}, "touched"),
        (lambda root: (root / "specs/l.yaml").symlink_to("a.yaml"), {"specs/l.yaml"}, "a link"),
        (rename("specs/a.yaml", "specs/deep/a.yaml"), {"specs/a.yaml", "specs/deep/a.yaml"}, "a move has two names"),
        (rename("specs/a.yaml", "a.yaml"), {"specs/a.yaml"}, "moved out"),
        (rename("specs/deep", "specs/flat"), {"specs/deep", "specs/flat"}, "a folder has its own two names"),
        (rename("specs/deep", "gone"), {"specs/deep"}, "a folder moved out"),
        (copy_in, {"specs/new"}, "a folder moved in"),
        (lambda root: (root / "specs/new").mkdir(), {"specs/new"}, "a new folder"),
        (write("specs/跳 舞\n.yaml"), {"specs/跳 舞\n.yaml"}, "whatever the name"),
        (lambda root: (root / os.fsdecode(b"specs/\xe9.yaml")).touch(), {os.fsdecode(b"specs/\xe9.yaml")}, "even no UTF-8"),
        (lambda root: (root / "specs/a.yaml").read_text(), set(), "reading is no change"),
        (lambda root: list((root / "specs").rglob("*")), set(), "nor is listing"),
        (write("assets/girl.png"), set(), "not a folder that anybody asked for"),
        (write("state/x"), set(), "nor the state"),
    ],
)  # fmt: skip
def test_what_changes_becomes_dirty_by_name_and_what_does_not_stays_clean(
    watched: Watched, act: Do, dirty: set[str], reason: str
) -> None:
    """Every way in which files change is noticed by name; reading and other folders cause no work."""
    act(watched.root)
    assert watched.quiet() == dirty, reason
    assert watched.watcher.is_notified
    assert not watched.troubles


def test_a_tree_that_is_removed_is_dirty_down_from_its_top(watched: Watched) -> None:
    """Removing a folder is noticed as a change of all that was in it."""
    shutil.rmtree(watched.root / "specs/deep")
    assert "specs/deep" in watched.quiet()


def make_again(root: Path) -> None:
    shutil.rmtree(root / "specs/deep")
    (root / "specs/deep/y").mkdir(parents=True)
    (root / "specs/deep").rename(root / "specs/x")


@pytest.mark.parametrize(
    "make",
    [
        lambda root: (root / "specs/x/y").mkdir(parents=True),
        lambda root: (
            (root / "specs/deep").rename(root / "specs/x"),
            (root / "specs/x/y").mkdir(),
        ),
        lambda root: ((root / "x/y").mkdir(parents=True), (root / "x").rename(root / "specs/x")),
        make_again,
        lambda root: (
            (root / "specs/x").mkdir(),
            (root / "specs/z/y").mkdir(parents=True),
            rename("specs/z", "specs/x")(root),  # over an empty folder
        ),
    ],
    ids=["made", "renamed", "moved in", "removed and made again", "moved over another"],
)
def test_a_folder_that_appears_is_watched_with_all_below_it(watched: Watched, make: Do) -> None:
    """Under the name that it has now."""
    make(watched.root)
    watched.quiet()
    (watched.root / "specs/x/y/c.yaml").write_text("c")
    assert watched.quiet() == {"specs/x/y/c.yaml"}


def test_nothing_is_lost_while_a_deep_tree_is_being_made(watched: Watched) -> None:
    """Each file is dirty by its name, or lies in a folder that is."""
    files = [f"specs/{n}/{n}/{n}/{n}.yaml" for n in range(100)]
    for name in files:
        (watched.root / name).parent.mkdir(parents=True)
        (watched.root / name).write_text("x")
    dirty = watched.quiet()
    for name in files:
        above = {str(parent) for parent in Path(name).parents}
        assert ({name} | above) & dirty
    for name in files:
        (watched.root / name).write_text("again")
    assert watched.quiet() == set(files)


def test_a_folder_behind_a_link_is_not_watched(watched: Watched, tmp_path: Path) -> None:
    """Links neither lead the watch out of the project nor round in circles."""
    (tmp_path / "outside").mkdir()
    (watched.root / "specs/link").symlink_to(tmp_path / "outside")
    (watched.root / "specs/self").symlink_to(".")
    assert watched.quiet() == {"specs/link", "specs/self"}
    (tmp_path / "outside/x.yaml").write_text("x")
    (watched.root / "specs/a.yaml").write_text("x")
    assert watched.quiet() == {"specs/a.yaml"}


def test_where_the_root_holds_the_specs_hidden_folders_and_the_state_are_left_out(
    tmp_path: Path,
) -> None:
    """With specs at the root, the daemon is not woken by git's and its own files unless asked to."""
    for folder in ("state/objects", ".git/refs", "deep"):
        (tmp_path / folder).mkdir(parents=True)
    watched = Watched(tmp_path, "")
    watched.watcher.revive()
    try:
        for name in ("state/x", "state/objects/x", ".git/HEAD", ".git/refs/x", "a.yaml", "deep/b.yaml"):  # fmt: skip
            (tmp_path / name).write_text("x")
        (tmp_path / "state/more").mkdir()
        assert watched.quiet() == {"a.yaml", "deep/b.yaml"}
        watched.watcher.watch_also(["deep", "", str(tmp_path / ".git")])
        (tmp_path / "deep/b.yaml").write_text("y")
        (tmp_path / ".git/HEAD").write_text("y")
        assert watched.quiet() == {"deep/b.yaml", f"{tmp_path}/.git/HEAD"}
    finally:
        watched.watcher.stop()


def test_single_folders_are_watched_too_but_not_what_lies_below_them(watched: Watched) -> None:
    """As often as one asks: once."""
    (watched.root / "assets/below").mkdir()
    (watched.root / "link").symlink_to("assets")
    for _ in range(2):
        watched.watcher.watch_also(["assets", "specs/deep", "link"])
    for name in ("assets/girl.png", "assets/below/girl.png", "specs/deep/b.yaml"):
        (watched.root / name).write_text("x")
    assert watched.quiet() == {"assets/girl.png", "link/girl.png", "specs/deep/b.yaml"}


@pytest.mark.parametrize("name", ["media", "media/far/away", "assets/new"])
def test_a_folder_that_is_missing_is_watched_once_it_appears(watched: Watched, name: str) -> None:
    """And is dirty then: what it holds came before the watch did."""
    watched.watcher.watch_also([name])
    assert watched.watcher.is_notified
    watched.quiet()
    (watched.root / name).mkdir(parents=True)
    watched.wait_for(name)
    watched.quiet()
    (watched.root / name / "girl.png").write_text("x")
    assert f"{name}/girl.png" in watched.quiet()


def test_a_folder_that_was_replaced_is_watched_again_at_its_name(watched: Watched) -> None:
    """After a folder is swapped, changes in the new one count, and those in the old one do not."""
    watched.watcher.watch_also(["assets"])
    (watched.root / "assets").rename(watched.root / "old")
    (watched.root / "assets").mkdir()
    watched.wait_for("assets")
    watched.quiet()
    (watched.root / "old/x").write_text("x")
    (watched.root / "assets/y").write_text("y")
    assert watched.quiet() == {"assets/y"}


@pytest.mark.parametrize("way", ["removed", "renamed"])
def test_a_specs_folder_that_goes_and_comes_back_is_watched_again(
    watched: Watched, way: str
) -> None:
    """In between the caller is told not to rely on events."""
    specs = watched.root / "specs"
    shutil.rmtree(specs) if way == "removed" else specs.rename(watched.root / "aside")
    watched.wait_for("specs")
    wait_until(lambda: not watched.watcher.is_notified, "the loss")
    watched.watcher.revive()
    assert not watched.watcher.is_notified
    watched.seen.clear()
    (specs / "deep").mkdir(parents=True)
    watched.wait_for("specs")
    wait_until(lambda: watched.watcher.is_notified, "the recovery")
    watched.quiet()
    (specs / "deep/c.yaml").write_text("c")
    if way == "renamed":
        (watched.root / "aside/a.yaml").write_text("not ours any more")
    assert watched.quiet() == {"specs/deep/c.yaml"}
    assert not watched.troubles


def test_a_whole_project_that_was_replaced_is_found_again_at_the_next_resync(
    watched: Watched, tmp_path: Path
) -> None:
    """No event tells that a folder above was renamed."""
    watched.root.rename(tmp_path / "old")
    (watched.root / "specs/new").mkdir(parents=True)
    watched.watcher.revive()
    watched.wait_for("specs")
    watched.quiet()
    (tmp_path / "old/specs/a.yaml").write_text("x")
    (watched.root / "specs/new/a.yaml").write_text("x")
    assert watched.quiet() == {"specs/new/a.yaml"}


def test_a_project_without_a_specs_folder_waits_for_one(tmp_path: Path) -> None:
    """The daemon can start before the first spec exists and notices the folder that appears."""
    watched = Watched(tmp_path, "some/specs")
    watched.watcher.revive()
    try:
        assert not watched.watcher.is_notified
        (tmp_path / "some/specs").mkdir(parents=True)
        watched.wait_for("some/specs")
        assert watched.watcher.is_notified
    finally:
        watched.watcher.stop()


def test_a_burst_is_one_wake_up_and_each_name_once(watched: Watched) -> None:
    """Fifteen thousand events, and nobody takes in between; what the kernel drops is all dirty."""
    names = {f"specs/deep/{n}.yaml" for n in range(3_000)}
    for name in [*names, *names]:
        descriptor = os.open(watched.root / name, os.O_CREAT | os.O_WRONLY)
        os.write(descriptor, b"x")
        os.close(descriptor)
    (watched.root / "specs/last.yaml").symlink_to("nowhere")
    dirty = watched.watcher._dirty
    wait_until(lambda: {"specs/last.yaml", "specs"} & dirty, "the last event")
    assert watched.wakes == 1
    assert dirty == {*names, "specs/last.yaml"} or "specs" in dirty
    assert watched.watcher.take() == dirty
    assert watched.watcher.take() == set()


def test_each_take_is_followed_by_one_wake_up(watched: Watched) -> None:
    """A burst of changes wakes the daemon once, and loses no name."""
    for expected in (1, 2, 3):
        names = {f"specs/{expected}-{n}.yaml" for n in range(20)}
        for name in names:
            (watched.root / name).symlink_to("nowhere")  # one event, and not three
        wait_until(lambda: names <= watched.watcher._dirty, "the last event")  # noqa: B023
        assert watched.wakes == expected
        assert watched.watcher.take() == names


def test_when_the_kernel_drops_events_everything_is_dirty_and_watched(watched: Watched) -> None:
    """Its queue holds 16,384; what came after is lost, folders included."""
    watched.watcher.watch_also(["assets"])
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    watched.hold.clear()
    (watched.root / "specs/a.yaml").write_text("the reader of events stands still from here on")
    wait_until(lambda: watched.wakes, "the wake-up")
    for n in range(most // 4 + 2):  # create, write, close and remove
        (watched.root / f"specs/{n}").write_text("x")
        (watched.root / f"specs/{n}").unlink()
    (watched.root / "specs/deep").rename(watched.root / "specs/flat")
    (watched.root / "specs/unseen").mkdir()
    watched.hold.set()
    watched.wait_for("specs", "assets")
    watched.quiet()
    assert watched.watcher.is_notified
    (watched.root / "specs/unseen/c.yaml").write_text("c")
    (watched.root / "specs/flat/b.yaml").write_text("b")
    assert watched.quiet() == {"specs/unseen/c.yaml", "specs/flat/b.yaml"}


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_after_stop_nobody_is_called_and_no_thread_or_file_is_left(tmp_path: Path) -> None:
    """A stopped watcher leaves nothing running and cannot be revived by accident."""
    (tmp_path / "specs").mkdir()
    threads, files = threading.active_count(), open_files()
    watched = Watched(tmp_path)
    watched.watcher.revive()
    watched.watcher.stop()
    (tmp_path / "specs/a.yaml").write_text("x")
    watched.watcher.revive()
    watched.watcher.stop()
    assert threading.active_count() == threads
    assert open_files() == files
    assert (watched.wakes, watched.watcher.is_notified) == (0, False)


EXHAUSTED = """
import json, resource, sys, time
from pathlib import Path
from reconciler.workspace.watch.watcher import Watcher
root, limit = Path(sys.argv[1]), sys.argv[2]
if limit == "files":
    import watchdog.observers.inotify_c
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) - 1, 64))
troubles, healed = [], {f"specs/{n}/healed.yaml" for n in range(10)}
watcher = Watcher(root, "specs", ignored=[], wake=lambda: None, trouble=troubles.append)
for _ in range(3):
    watcher.revive()
    watcher.watch_also(["assets"])
before = watcher.is_notified
dirty = set()
if limit == "watches":
    (root / "specs/a.yaml").touch()
    deadline = time.monotonic() + 10
    while "specs/a.yaml" not in dirty and time.monotonic() < deadline:
        dirty |= watcher.take()
if limit == "files":
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
else:
    Path("/proc/sys/user/max_inotify_watches").write_text("100")
watcher.revive()
after = watcher.is_notified
for n in range(10):
    (root / f"specs/{n}/healed.yaml").touch()
deadline = time.monotonic() + 10
while len(dirty & healed) < 10 and time.monotonic() < deadline:
    dirty |= watcher.take()
print(json.dumps([troubles, before, "specs/a.yaml" in dirty, after, healed <= dirty]))
watcher.stop()
"""


def exhausted(root: Path, limit: str, *wrapper: str) -> list[object]:
    """What a watcher says in a process of its own, under a limit that is lifted in the end."""
    command = [*wrapper, sys.executable, "-c", EXHAUSTED, str(root), limit]
    folder = Path(__file__).parents[3]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, cwd=folder, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    result: list[object] = json.loads(done.stdout)
    return result


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    for n in range(10):
        (tmp_path / f"specs/{n}").mkdir(parents=True)
    (tmp_path / "assets").mkdir()
    return tmp_path


def test_exhausted_watches_are_said_once_with_the_fix_and_events_go_on(wide: Path) -> None:
    """Sub-folders without a watch must not pass for quiet ones. A raised limit heals it."""
    wrapper = ("unshare", "--user", "--map-root-user", "sh", "-c", 'echo 4 > /proc/sys/user/max_inotify_watches && exec "$@"', "sh")  # fmt: skip
    probe = subprocess.run([*wrapper, "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("this machine lets nobody lower a limit for one process")
    troubles, *found = exhausted(wide, "watches", *wrapper)
    assert isinstance(troubles, list)
    (trouble,) = troubles
    assert "fs.inotify.max_user_watches" in trouble
    assert found == [False, True, True, True]  # relied on, seen, relied on after, all seen after


def test_exhausted_instances_are_said_once_with_the_fix(wide: Path) -> None:
    """A kernel without watches left is reported once with the setting to raise, and overcome later."""
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 64
    troubles, *found = exhausted(wide, "files")
    assert isinstance(troubles, list)
    (trouble,) = troubles
    assert "fs.inotify.max_user_instances" in trouble
    assert found == [False, False, True, True]


MOUNTS = """\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 27 0:40 / /data rw shared:1 master:2 - nfs4 server:/x rw
41 40 0:41 / /data/local rw - xfs /dev/vdb rw
42 27 0:42 / /with\\040space rw - fuse.sshfs me@there rw
43 27 0:43 / /twice rw - cifs //there rw
44 43 0:44 / /twice rw - tmpfs tmpfs rw
45 27 0:45 / /fuse rw - fuseblk /dev/vdc rw
46 27 0:46 / /windows rw - 9p C: rw
nonsense
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/me", ""),
        ("/data", "nfs4"),
        ("/data/specs", "nfs4"),
        ("/database", ""),
        ("/data/local/specs", ""),
        ("/with space/specs", "fuse.sshfs"),
        ("/twice/specs", ""),
        ("/fuse/specs", ""),
        ("/windows/specs", "9p"),
    ],
)
def test_a_network_file_system_is_known_by_the_mount_that_holds_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, kind: str
) -> None:
    """File systems without events are recognised by the innermost mount, for any spelling of a path."""
    (tmp_path / "mountinfo").write_text(MOUNTS)
    monkeypatch.setattr(watcher, "MOUNTS", tmp_path / "mountinfo")
    assert remote_file_system(Path(path)) == kind


def test_without_a_table_of_mounts_nothing_is_remote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system that does not list its mounts is taken for a local one."""
    monkeypatch.setattr(watcher, "MOUNTS", tmp_path / "nowhere")
    assert remote_file_system(tmp_path) == ""


def test_on_a_network_file_system_events_come_but_are_not_relied_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said once. The table of mounts is made up; the rest is as it would be."""
    (tmp_path / "specs").mkdir()
    (tmp_path / "mountinfo").write_text(f"1 0 0:1 / {tmp_path} rw - nfs server:/x rw\n")
    monkeypatch.setattr(watcher, "MOUNTS", tmp_path / "mountinfo")
    watched = Watched(tmp_path)
    watched.watcher.revive()
    try:
        watched.watcher.revive()
        assert not watched.watcher.is_notified
        (trouble,) = watched.troubles
        assert "network file system (nfs)" in trouble
        (tmp_path / "specs/a.yaml").write_text("x")
        watched.wait_for("specs/a.yaml")
    finally:
        watched.watcher.stop()
