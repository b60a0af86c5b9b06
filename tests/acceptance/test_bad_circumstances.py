"""Missing keys, dead hosts, unwritable disks, damaged files: one clear sentence, nothing bought twice."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.money import assert_bought_once, assert_quiet
from tests.support.project import Done, Project, picture, wait_until
from tests.support.simulator import Simulator, simulator

LONGEST_SENTENCE = 700


def assert_sentence(done: Done, *words: str, code: int = 1) -> None:
    """The exit code, no traceback and no bug report, and a short explanation that holds these words."""
    assert done.code == code, done
    assert "Traceback" not in done.out + done.err, done
    assert "mistake in reconciler" not in done.err, done
    for word in words:
        assert word in done.err, f"no {word!r} in: {done}"
    if code == 1:
        said = done.err[done.err.index("error:") :]
        assert len(said) < LONGEST_SENTENCE, done
        assert said.count("error:") == 1, done


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """Mount a small memory disk over a folder; skips where that is not permitted."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system is not permitted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount_read_only(folder: Path) -> None:
    """Make a mounted folder read-only."""
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)


@pytest.mark.parametrize(
    ("missing", "word"),
    [
        (["KLING_ACCESS_KEY", "KLING_SECRET_KEY"], "KLING_ACCESS_KEY"),
        (["KLING_SECRET_KEY"], "KLING_SECRET_KEY"),
        (["KLING_ACCESS_KEY"], "KLING_ACCESS_KEY"),
    ],
)
def test_a_missing_key_is_named(
    project: Project, sim: Simulator, missing: list[str], word: str
) -> None:
    """Without a key, or with half of a pair: exit 1 and the setting's name; with it, all goes on."""
    project.spec()
    assert_sentence(project.apply(env=dict.fromkeys(missing)), word)
    assert_bought_once(project, sim, project.apply())


def test_a_wrong_key_blocks_and_says_so(project: Project, sim: Simulator) -> None:
    """A key that the provider refuses: `blocked`, exit 3, nothing sent; corrected, it is bought once."""
    project.spec()
    done = project.apply(env={"KLING_SECRET_KEY": "not-the-secret-of-this-account-at-all"})
    assert_sentence(done, "1000", "heck the", "key", code=3)
    assert set(done.statuses.values()) == {"blocked"}
    assert_bought_once(project, sim, project.apply())


def test_an_unreachable_host_is_said_and_nothing_is_lost(tmp_path: Path, sim: Simulator) -> None:
    """Nobody listens: exit 1 within the patience of a first answer, and the host's setting is named.

    A simulator that does not run and a provider that does not answer are waited for at the same time.
    """
    waiting = []
    with contextlib.ExitStack() as stack:
        for name, host in (("simulator", "http://127.0.0.1:9"), ("provider", "https://0.0.0.0:9")):
            project = Project(tmp_path / name / "project", sim.env())
            project.spec(prompt=name)
            command = project.running("apply", "--yes", "--json", env={"KLING_BASE_URL": host})
            waiting.append((project, stack.enter_context(command)))
        for _, running in waiting:
            assert_sentence(running.ended(), "KLING_BASE_URL")
    for project, _ in waiting:
        assert_bought_once(project, sim, project.apply())


def test_a_key_is_not_sent_over_plain_http(project: Project) -> None:
    """A base URL that would send the key unprotected is refused."""
    project.spec()
    done = project.apply(env={"KLING_BASE_URL": "http://example.com"})
    assert_sentence(done, "https")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("RECONCILER_POLL_INTERVAL", "soon", ["RECONCILER_POLL_INTERVAL"]),
        ("RECONCILER_ABSENCE_GRACE", "-1", ["RECONCILER_ABSENCE_GRACE"]),
        ("RECONCILER_PRICES", "{", ["RECONCILER_PRICES"]),
        ("RECONCILER_DATABASE_URL", "postgresql://x/y", ["RECONCILER_DATABASE_URL"]),
        ("KLING_BASE_URL", "no url", ["KLING_BASE_URL"]),
    ],
)
def test_a_wrong_setting_is_named(
    project: Project, name: str, value: str, words: list[str]
) -> None:
    """A setting that makes no sense: exit 1, and its name."""
    project.spec()
    assert_sentence(project.apply(env={name: value}), *words)


def test_a_folder_without_specs_says_where_to_look(tmp_path: Path, sim: Simulator) -> None:
    """A root that holds no specs folder, or does not exist: exit 1."""
    project = Project(tmp_path / "project", sim.env())
    project.specs.rmdir()
    assert_sentence(project.apply(), "specs")
    project.root.rmdir()
    assert_sentence(project.apply(), "specs")


def a_file_instead(project: Project) -> None:
    shutil.rmtree(project.state, ignore_errors=True)
    project.state.write_text("I am a file")


def a_dead_link(project: Project) -> None:
    shutil.rmtree(project.state, ignore_errors=True)
    project.state.symlink_to(project.root / "nowhere" / "at" / "all")


def a_folder_as_lock(project: Project) -> None:
    project.state.mkdir(exist_ok=True)
    (project.state / "lock").unlink(missing_ok=True)
    (project.state / "lock").mkdir()


def a_folder_as_database(project: Project) -> None:
    project.state.mkdir(exist_ok=True)
    for path in project.state.glob("reconciler.db*"):
        path.unlink()
    (project.state / "reconciler.db").mkdir()


@pytest.mark.parametrize(
    "damage",
    [a_file_instead, a_dead_link, a_folder_as_lock, a_folder_as_database],
    ids=lambda damage: damage.__name__,
)
def test_a_state_folder_that_cannot_be_used_is_said(
    project: Project, sim: Simulator, damage: Callable[[Project], None]
) -> None:
    """Something stands in the way of the state: exit 1, it is named, nothing is sent; out of the way, all goes on."""
    project.spec()
    damage(project)
    assert_sentence(project.apply(), "state")
    assert sim.requests()["create_attempts"] == 0
    if project.state.is_symlink() or project.state.is_file():
        project.state.unlink()
    else:
        shutil.rmtree(project.state)
    assert_bought_once(project, sim, project.apply())


def test_a_read_only_state_is_said(project: Project, sim: Simulator) -> None:
    """The state folder is read-only: exit 1 and a sentence; nothing is sent."""
    project.spec()
    with mounted(project.state):
        assert_bought_once(project, sim, project.apply())
        remount_read_only(project.state)
        project.spec("wave.yaml", prompt="a wave")
        assert_sentence(project.apply(), "state", "ead-only")
        assert len(sim.billed()) == 1
        assert project.run("status").code == 0


def test_into_a_read_only_specs_folder_nothing_is_bought(project: Project, sim: Simulator) -> None:
    """It is read-only before anything is sent: a sentence, exit 3; writable again, the wish is bought."""
    with mounted(project.specs):
        project.spec()
        remount_read_only(project.specs)
        assert_sentence(project.apply(), "read-only", code=3)
        assert sim.billed() == {}
        subprocess.run(["mount", "-o", "remount,rw", str(project.specs)], check=True)
        assert_bought_once(project, sim, project.apply())


def test_a_specs_folder_that_becomes_read_only_keeps_what_was_bought(
    project: Project, sim: Simulator
) -> None:
    """It becomes read-only while the task runs: saved, held with a sentence, exit 3; writable again, it is published."""
    with mounted(project.specs):
        project.spec()
        sim.set_speed(0)
        with project.running("apply", "--yes", "--json") as running:
            wait_until(sim.billed, "the create")
            remount_read_only(project.specs)
            sim.set_speed(100)
            assert_sentence(running.ended(within=30), "read-only", code=3)
        subprocess.run(["mount", "-o", "remount,rw", str(project.specs)], check=True)
        assert_bought_once(project, sim, project.apply())
        assert sim.requests()["result"] == 1


# Past how many bytes writing fails, and how many creates and downloads have then happened. The bytes are those of
# today's database: a row that no longer fails where it says is moved, not dropped.
LIMITS = [(0, 0, 0), (50_000, 0, 0), (200_000, 1, 0), (360_000, 1, 1)]


@pytest.mark.parametrize(("limit", "created", "fetched"), LIMITS)
def test_a_file_that_cannot_grow_loses_nothing(
    project: Project, sim: Simulator, limit: int, created: int, fetched: int
) -> None:
    """Writing past so many bytes fails before the create, after it, or after the download: a sentence; without the limit, billed once."""
    project.spec()
    done = project.run("apply", "--yes", "--json", prepare=lambda: limit_files(limit))
    assert_sentence(done, "state")
    assert_got_as_far_as(sim, created, fetched)
    assert_bought_once(project, sim, project.apply())
    assert_quiet(project, sim)


def assert_got_as_far_as(sim: Simulator, created: int, fetched: int) -> None:
    """The failure came where the row says, or it would show nothing about money that was spent."""
    asked = sim.requests()
    assert (asked["create"], asked["result"]) == (created, fetched)


def limit_files(size: int) -> None:
    """Let writes past this size fail with EFBIG, in the child."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(20_000))


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:10_000])


def scribbled(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = bytes(byte ^ 0x5A for byte in data[4096:])
    path.write_bytes(data)


def text(path: Path) -> None:
    path.write_text("<<<<<<< HEAD\n")


@pytest.mark.parametrize("damage", [garbage, cut_off, scribbled, text], ids=lambda d: d.__name__)
def test_a_corrupt_database_is_said_and_can_be_moved_away(
    project: Project, sim: Simulator, damage: Callable[[Path], None]
) -> None:
    """A damaged database: exit 1 and what to do; done so, nothing is bought again, receipts or not."""
    project.spec()
    assert_bought_once(project, sim, project.apply())
    damage(project.state / "reconciler.db")
    project.spec("wave.yaml", prompt="a wave")
    done = project.apply()
    assert_sentence(done, "reconciler.db", "ove it away")
    assert_sentence(project.run("status"), "reconciler.db")
    assert len(sim.billed()) == 1
    for path in project.state.glob("reconciler.db*"):
        path.unlink()
    project.lose("receipts")
    assert_bought_once(project, sim, project.apply())
    assert_quiet(project, sim)


def test_an_empty_database_file_is_a_fresh_start(project: Project, sim: Simulator) -> None:
    """A database of no bytes is as good as none: the receipts say what was bought."""
    project.spec()
    assert_bought_once(project, sim, project.apply())
    for path in project.state.glob("reconciler.db*"):
        path.unlink()
    (project.state / "reconciler.db").touch()
    assert_bought_once(project, sim, project.apply())


def test_a_damaged_cache_is_as_good_as_none(project: Project, sim: Simulator) -> None:
    """The cache of digests holds nothing that matters: garbage in it changes nothing."""
    project.spec()
    assert_bought_once(project, sim, project.apply())
    for path in project.state.glob("cache.db*"):
        path.unlink()
    garbage(project.state / "cache.db")
    assert_quiet(project, sim)


def a_folder(path: Path) -> None:
    path.mkdir()


def a_broken_link(path: Path) -> None:
    path.symlink_to("nowhere.yaml")


def a_loop(path: Path) -> None:
    path.symlink_to(path.name)


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def not_yaml(path: Path) -> None:
    path.write_text("prompt: [unclosed\n")


def merge_markers(path: Path) -> None:
    path.write_text("<<<<<<< HEAD\nprompt: a\n=======\nprompt: b\n>>>>>>> theirs\n")


def binary(path: Path) -> None:
    path.write_bytes(bytes(range(256)))


def nothing(path: Path) -> None:
    path.touch()


def misspelt(path: Path) -> None:
    path.write_text("promt: a dance\nvideo_url: https://example.com/d.mp4\n")


@pytest.mark.parametrize(
    "mistake",
    [a_folder, a_broken_link, a_loop, a_pipe, not_yaml, merge_markers, binary, nothing, misspelt],
    ids=lambda mistake: mistake.__name__,
)
def test_a_bad_spec_never_stops_the_others(
    project: Project, sim: Simulator, mistake: Callable[[Path], None]
) -> None:
    """One spec is wrong: it is `invalid` with its name and a sentence (exit 3), the other is bought once."""
    project.spec("good.yaml")
    mistake(project.specs / "bad.yaml")
    done = project.apply()
    assert_sentence(done, "specs/bad.yaml", code=3)
    statuses = [(row["spec"], row["status"]) for row in done.document["generations"]]
    assert sorted(statuses) == [("specs/bad.yaml", "invalid"), ("specs/good.yaml", "complete")]
    assert set(sim.billed().values()) == {1}
    check = project.run("validate")
    assert (check.code, "specs/bad.yaml" in check.err) == (1, True), check


@pytest.mark.parametrize("lost", [False, True], ids=["with state", "without state"])
def test_a_receipt_with_merge_markers_is_not_taken_for_none(
    project: Project, sim: Simulator, lost: bool
) -> None:
    """A receipt that git could not merge: nothing is bought on its account, and it is left as it is."""
    project.spec()
    assert_bought_once(project, sim, project.apply())
    receipt = project.specs / "dance.receipt.json"
    good = receipt.read_text()
    merged = f"<<<<<<< HEAD\n{good}=======\n{good}>>>>>>> theirs\n"
    receipt.write_text(merged)
    project.spec(takes=2)
    if lost:
        project.lose("state")
    done = project.apply()
    assert_sentence(done, "dance.receipt.json", code=3)
    assert receipt.read_text() == merged
    assert set(sim.billed().values()) == {1}
    receipt.write_text(good)
    assert_bought_once(project, sim, project.apply())


def test_an_image_that_vanishes_is_said(project: Project, sim: Simulator) -> None:
    """The file that a spec names is missing: invalid, and a sentence names spec, line and file."""
    picture(project.specs / "girl.png")
    project.spec(image_url="gril.png")
    done = project.apply()
    assert_sentence(done, "specs/dance.yaml:1", "gril.png", code=3)
    assert "girl.png" in done.err
    assert sim.requests()["create_attempts"] == 0


def test_an_output_path_that_is_taken_is_said_before_anything_is_bought(
    project: Project, sim: Simulator
) -> None:
    """A file that is not ours stands where the output belongs: blocked, exit 3, nothing bought."""
    project.spec()
    (project.specs / "dance.mp4").write_bytes(b"holiday film")
    done = project.apply()
    assert_sentence(done, "specs/dance.mp4", code=3)
    assert set(done.statuses.values()) == {"blocked"}
    assert sim.requests()["create_attempts"] == 0
    assert (project.specs / "dance.mp4").read_bytes() == b"holiday film"


@pytest.mark.parametrize(
    "arguments", [["apply", "--no-such"], ["no-such"], ["apply", "--timeout", "x"]]
)
def test_wrong_usage_exits_with_64(project: Project, arguments: list[str]) -> None:
    """A wrong option, command or value: exit 64 and a hint."""
    done = project.run(*arguments)
    assert_sentence(done, "help", code=64)


def test_a_cap_blocks_and_says_which(project: Project, sim: Simulator) -> None:
    """A cap per day: what fits is bought, the rest is blocked with the cap's name, exit 3."""
    project.spec(takes=2)
    done = project.apply(env={"RECONCILER_MAX_UNITS_PER_DAY": "5"})
    assert_sentence(done, "cap", code=3)
    assert sorted(done.statuses.values()) == ["blocked", "complete"]
    assert len(sim.billed()) == 1


def test_json_stays_json_when_nothing_works(project: Project) -> None:
    """With `--json`, what stopped the command is a document with message and hint, alone on stdout."""
    project.spec()
    done = project.apply(env={"KLING_ACCESS_KEY": None, "KLING_SECRET_KEY": None})
    error = done.document["error"]
    assert set(error) == {"message", "hint"}
    assert re.search(r"\w", error["hint"])


def test_ids_that_a_firewall_does_not_let_be_asked_about_are_held_and_the_others_bought(
    tmp_path: Path,
) -> None:
    """Six specs, two whose query is answered by a firewall's page: four videos, two sentences, exit 3; when the
    firewall is gone, the next run buys the two, once."""
    with simulator() as sim:
        project = Project(tmp_path / "p", sim.env())
        for number in range(6):
            project.spec(f"{number}.yaml", external_task_id=f"clip-{number}")
        page = {"status": 502, "body": "<html>blocked</html>"}
        deaf = ("clip-0", "clip-1")
        sim.faults(
            [
                {"endpoint": "query", "match": {"external_task_id": name}, "effect": page}
                for name in deaf
            ]
        )
        done = project.apply(env={"RECONCILER_MAX_CONCURRENCY": "1"})
        assert done.code == 3, done
        assert sim.billed() == {f"clip-{number}": 1 for number in range(2, 6)}
        rows = {row["external_task_id"]: row for row in done.document["generations"]}
        for name in deaf:
            assert rows[name]["status"] == "blocked"
            assert "cannot be asked about" in rows[name]["reason"]
        assert "Check the network" not in done.err
        sim.faults([])
        assert_bought_once(project, sim, project.apply())
