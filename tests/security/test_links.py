"""Links that somebody planted under the names that the program writes: what they lead to keeps its bytes."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sqlite3
import stat
import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.cli.log import open_report
from reconciler.cli.main import run
from reconciler.core.errors import SettingsError, WorkspaceError
from reconciler.core.motion_control import UNITS_PER_SECOND
from reconciler.settings import load
from reconciler.workspace.files.outputs import OutputTaken
from reconciler.workspace.files.plain import temporary_beside
from reconciler.workspace.files.root import Root as InRoot
from reconciler.workspace.read.loader import load as read_folder
from reconciler.workspace.receipts.receipt_files import ReceiptError, read_receipt, write_receipt
from reconciler.workspace.tree.walk import specs_folder
from tests.support.project import POSTERS, Project, picture, spec_text, wait_until
from tests.support.simulator import Simulator

PRECIOUS = b"somebody else's, and the only copy\n"
Link = Callable[[Path, Path], None]


def symbolic(target: Path, place: Path) -> None:
    place.symlink_to(target)


def hard(target: Path, place: Path) -> None:
    os.link(target, place)


LINKS = pytest.mark.parametrize("link", [symbolic, hard])


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file outside of the project."""
    path = tmp_path / "victim"
    path.write_bytes(PRECIOUS)
    return path


def partial_of(base_id: str) -> str:
    return hashlib.sha256(f"{base_id}.video".encode()).hexdigest()[:32]


def planned_id(project: Project) -> str:
    found: str = project.run("plan", "--json").document["actions"][0]["external_task_id"]
    return found


PLACES = [
    "state/lock",
    "state/reconciler.db",
    "state/reconciler.db-journal",
    "state/reconciler.db-wal",
    "state/cache.db",
    "state/cache.db-journal",
    "state/objects/partial/{partial}.part",
    "state/objects/partial/{partial}.etag",
    "state/objects/partial/{partial}.new",
    "specs/dance.mp4",
    "specs/dance.receipt.json",
    "specs/{temporary}",
    "specs/{temporary_receipt}",
]


@LINKS
@pytest.mark.parametrize(
    ("place", "empty"),
    [(place, False) for place in PLACES]
    + [
        (place, True)
        for place in PLACES
        if place.startswith(("state/lock", "state/reconciler", "state/cache"))
    ],
)
def test_no_link_is_written_through(
    project: Project, sim: Simulator, victim: Path, place: str, link: Link, empty: bool
) -> None:
    """A whole run over a planted link: the file that it leads to stays as it was, and nothing is bought twice."""
    project.spec()
    names = {
        "partial": partial_of(planned_id(project)),
        "temporary": temporary_beside(project.specs / "dance.mp4").name,
        "temporary_receipt": temporary_beside(project.specs / "dance.receipt.json").name,
    }
    if empty:
        victim.write_bytes(b"")
    path = project.root / place.format(**names)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    link(victim, path)
    before = victim.stat()
    done = project.apply("--timeout", "3")
    assert done.code in {0, 1, 3, 4}, done
    assert "Traceback" not in done.err
    assert "mistake in reconciler" not in done.err
    assert victim.read_bytes() == (b"" if empty else PRECIOUS)
    assert victim.stat().st_mtime_ns == before.st_mtime_ns
    assert stat.S_IMODE(victim.stat().st_mode) == stat.S_IMODE(before.st_mode)
    assert set(sim.billed().values()) <= {1}


def test_no_folder_that_a_link_stands_for_is_written_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The operator names a file in the project, and a commit holds its folder as a link: nothing appears elsewhere."""
    root, outside = tmp_path / "project", tmp_path / "outside"
    outside.mkdir()
    (root / "specs").mkdir(parents=True)
    (root / "logs").symlink_to(outside)
    monkeypatch.setenv("RECONCILER_LOG_FILE", "logs/watch.log")
    with pytest.raises(SettingsError, match="out of the project"), open_report(load(root), root):
        pass
    assert run(["--root", str(root), "backup", str(root / "logs" / "copy.db")]) == 1
    assert "out of the project" in capsys.readouterr().err
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("name", ["ledger.jsonl", "media/x", "clock.part", ""])
def test_no_simulator_writes_through_a_link(
    tmp_path: Path, victim: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Its folder has a usual name, which a commit can plant: it does not start, and says why."""
    folder = tmp_path / ".simulator"
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).symlink_to(victim)
    assert run(["simulate", "--port", "0", "--dir", str(folder)]) == 1
    assert str(folder / name) in capsys.readouterr().err
    assert victim.read_bytes() == PRECIOUS


def test_init_reads_no_device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A `.gitignore` that never ends is one that says nothing."""
    (tmp_path / ".gitignore").symlink_to("/dev/zero")
    assert run(["init", str(tmp_path)]) == 0
    assert "add to it: state/ .env" in capsys.readouterr().out


@LINKS
@pytest.mark.parametrize("name", ["watch.log", "watch.log.1"])
def test_no_log_is_written_through_a_link(
    project: Project, victim: Path, link: Link, name: str
) -> None:
    """The log of `watch` goes into a file of its own, or the start is refused with a sentence."""
    project.spec()
    link(victim, project.root / name)
    env: dict[str, str | None] = {
        "RECONCILER_LOG_FILE": "watch.log",
        "RECONCILER_LOG_MAX_BYTES": "10000",
    }
    with project.running("watch", "--no-http", env=env) as running:
        video = project.specs / "dance.mp4"
        wait_until(
            lambda: video.exists() or running.process.poll() is not None, "a result or the end"
        )
        running.process.terminate()
        done = running.ended()
    assert "Traceback" not in done.err
    assert victim.read_bytes() == PRECIOUS
    if name == "watch.log":
        assert done.code == 1, done
        assert "RECONCILER_LOG_FILE" in done.err


def test_no_folder_is_entered_through_a_link(
    project: Project, sim: Simulator, tmp_path: Path
) -> None:
    """A folder of the state that is a link to a folder outside: nothing is written there."""
    project.spec()
    outside = tmp_path / "outside"
    outside.mkdir()
    path = project.state / "objects/partial"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(outside)
    done = project.apply("--timeout", "5")
    assert "Traceback" not in done.err
    assert "mistake in reconciler" not in done.err
    assert list(outside.iterdir()) == []
    assert set(sim.billed().values()) <= {1}


def usual_umask() -> None:
    os.umask(0o022)


def test_nobody_else_can_write_what_is_made(project: Project, sim: Simulator) -> None:
    """No file and no folder that a run makes can be written by group or others under the usual umask."""
    project.spec()
    done = project.run("apply", "--yes", "--json", prepare=usual_umask)
    assert done.code == 0, done
    for path in (project.state, *project.state.rglob("*"), *project.specs.iterdir()):
        assert not path.stat().st_mode & 0o022, path


def names_another(database: Path, victim: Path) -> None:
    """Write a rollback journal that SQLite ends with, and then removes the file that it names."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS entry (key TEXT, stamp TEXT, packed BLOB)")
    raw, magic = database.read_bytes(), bytes.fromhex("d9d505f920a163d7")
    size = int.from_bytes(raw[16:18])
    head = magic + struct.pack(">IIIII", 0, 1, len(raw) // size, 512, size)
    name = os.fsencode(victim)
    end = (
        struct.pack(">I", 0x40000000 // size + 1) + name + struct.pack(">II", len(name), sum(name))
    )
    database.with_name(f"{database.name}-journal").write_bytes(head.ljust(512, b"\0") + end + magic)


def test_no_link_shows_what_no_commit_can_hold(
    project: Project, sim: Simulator, tmp_path: Path
) -> None:
    """A receipt, spec or ignore file that leads to a key, here or elsewhere: no sentence quotes it."""
    project.spec()
    secret = "Q3kfJ8sW2mZx7LpR4vTnB6yHc9dAeG1u"
    (tmp_path / "secret").write_text(f"{secret}\n")
    (project.root / "token").write_text(f"[{secret}\n")
    (project.root / ".netrc").write_text(f"{secret}\n")
    (project.specs / "dance.receipt.json").symlink_to(tmp_path / "secret")
    (project.specs / "a.json").symlink_to("../token")
    (project.specs / "b.json").symlink_to("../.netrc")
    (project.root / ".reconcilerignore").symlink_to("token")
    said = [project.run(*words) for words in (("validate",), ("plan",), ("status",), ("spend",))]
    told = " ".join(done.out + done.err for done in said)
    assert secret not in told
    assert "leads out of the project" in told
    assert "what is hidden is not read by links" in told


WISH = spec_text(image_url="../assets/x.png")


@pytest.mark.parametrize(
    ("name", "target", "words"),
    [
        ("specs/a.yaml", "../.git/a.yaml", "`.git`"),
        ("specs/_defaults.yaml", "../.env", "`.env`"),
        ("specs/_defaults.yaml", "../shared/step.yaml", "`.env`"),
        ("specs/a.yaml", "../state/inbox/a.yaml", "the state folder"),
        (".reconcilerignore", ".git/description", "`.git`"),
        ("assets/x.png", "../.git/x.png", "`.git`"),
        ("assets/x.png", "../state/objects/x", "the state folder"),
        ("assets", ".git", "`.git`"),
        ("assets", "state", "the state folder"),
        ("specs/a.yaml", "../shared/a.yaml", ""),
        ("specs/a.yaml", "../..data/a.yaml", ""),
        ("assets/x.png", "../shared/x.png", ""),
        ("assets", "shared", ""),
    ],
)
def test_no_link_leads_to_what_no_commit_can_hold(
    tmp_path: Path, name: str, target: str, words: str
) -> None:
    """Keys, git's folder and the state are not read by a link; among ordinary files links are as good as files."""
    root = tmp_path / "project"
    for folder in (".git", "shared", "state/objects", "state/inbox", "..data", "specs"):
        (root / folder).mkdir(parents=True)
        (root / folder / "a.yaml").write_text(WISH)
        picture(root / folder / "x.png")
    (root / ".git/description").write_text("*.tmp\n")
    (root / ".env").write_text("takes: 2\n")
    (root / "shared/step.yaml").symlink_to("../.env")
    (root / "state/cache.db").touch()
    if name != "assets":
        picture(root / "assets/x.png")
    place = root / name
    place.unlink(missing_ok=True)
    place.symlink_to(target)
    found = read_folder(root, "specs", prices=UNITS_PER_SECOND)
    told = [str(problem) for problem in found.problems]
    assert len(told) == bool(words), told
    assert all(words in one for one in told), told


@pytest.mark.parametrize("target", ["../outside", ".git/hooks"])
def test_no_receipt_is_read_or_written_in_a_folder_that_a_link_stands_for(
    tmp_path: Path, target: str
) -> None:
    """A commit may put a link where a spec's folder was, while what the spec asked for is still being made."""
    root, outside = tmp_path / "project", tmp_path / "project" / target
    outside.mkdir(parents=True)
    (root / "specs").mkdir()
    (root / "specs/sub").symlink_to(outside.resolve())
    for name in ("specs/sub/a.receipt.json", "specs/sub/b.receipt.json"):
        with pytest.raises(OutputTaken, match="nothing is written there"):
            write_receipt(InRoot(root), name, b"{}")
        with pytest.raises(ReceiptError, match="leads"):
            read_receipt(InRoot(root), name)
    assert list(outside.iterdir()) == []
    with pytest.raises(WorkspaceError, match=r"outside|by a link"):
        specs_folder(root, "specs/sub")


@pytest.mark.parametrize("name", ["cache.db", "reconciler.db"])
def test_no_journal_removes_a_file_elsewhere(
    project: Project, sim: Simulator, victim: Path, name: str
) -> None:
    """A journal beside a database may name any file, and SQLite removes that: no command lets it, with git or without."""
    project.spec()
    project.state.mkdir(mode=0o700)
    names_another(project.state / name, victim)
    for command in (("validate",), ("status",), ("doctor",), ("apply", "--yes")):
        done = project.run(*command)
        assert "Traceback" not in done.err
        assert victim.read_bytes() == PRECIOUS, command
    assert sim.requests()["create_attempts"] == (name == "cache.db")


def test_a_journal_that_comes_while_it_runs_removes_nothing(
    project: Project, sim: Simulator, victim: Path
) -> None:
    """A pull may bring it under the daemon: it goes on, and the file stays."""
    project.spec()
    project.apply()
    with project.watching() as running:
        for name in ("cache.db", "reconciler.db"):
            copy, place = project.root / name, project.state / name
            if place.exists():
                shutil.copy(place, copy)
            names_another(copy, victim)
            if not place.exists():
                shutil.move(copy, place)
            shutil.move(f"{copy}-journal", f"{place}-journal")
        project.spec("next.yaml", prompt="next")
        wait_until(lambda: "specs/next.receipt.json" in project.receipts(), "the next video")
        running.interrupt(signal.SIGTERM)
        running.ended(30)
    project.run("status")
    assert victim.read_bytes() == PRECIOUS


@pytest.mark.parametrize("way", ["a file", "a folder"])
def test_a_result_is_not_its_own_input_by_a_link(
    project: Project, sim: Simulator, way: str
) -> None:
    """Each purchase would change the input, and be followed by another, up to the cap of every day."""
    project.env |= POSTERS
    project.spec()
    assert project.apply().code == 0
    if way == "a file":
        (project.specs / "ref.webp").symlink_to("dance.poster.webp")
    else:
        (project.specs / "here").symlink_to(".")
    image = "ref.webp" if way == "a file" else "here/dance.poster.webp"
    project.spec(image_url=image, prepare=True)
    done = project.run("validate")
    assert (done.code, "would overwrite its own input" in done.out + done.err) == (1, True)
    project.run("apply", "--yes")
    assert sim.requests()["create_attempts"] == 1


def test_a_link_that_leads_nowhere_is_its_own_trouble(project: Project, sim: Simulator) -> None:
    """To a name longer than any can be: it is named, and the other specs are bought."""
    project.spec()
    for name in ("long.yaml", "long.receipt.json"):
        (project.specs / name).symlink_to("a" * 300)
    assert "specs/long.yaml" in project.run("validate").err
    assert project.apply().code == 3
    assert list(sim.billed().values()) == [1]
