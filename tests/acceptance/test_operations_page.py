"""The pages on backups, moves, keys and versions, walked through line by line: what they promise is what is billed."""

from __future__ import annotations

import re
import shlex
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.killpoints import WORLD
from tests.support.money import assert_quiet
from tests.support.nursery import REPOSITORY
from tests.support.project import POSTERS, Done, Project, Running, wait_until
from tests.support.simulator import SPEED, Simulator, simulator

PAGE = (REPOSITORY / "docs" / "operations.md").read_text()
STOPS = ("stop", "disable --now")
STARTS = ("start", "enable --now")


def lines(section: str) -> list[str]:
    """Return the commands of a section of the page, in order."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    found = "".join(re.findall(r"^```sh\n(.+?)^```", text, re.DOTALL | re.MULTILINE)).splitlines()
    assert found, section
    return found


@dataclass
class Host:
    """A machine with a daemon: does what a line of the page says, in folders of the test."""

    place: Path
    project: Project
    done: dict[str, Done] = field(default_factory=dict)
    _service: ExitStack = field(default_factory=ExitStack)
    running: Running | None = None

    def walk(self, section: str, **instead: Callable[[], None]) -> None:
        """Follow a section; `instead` says what stands for a program that a test cannot run."""
        for line in lines(section):
            self.follow(line, instead)

    def follow(self, line: str, instead: dict[str, Callable[[], None]]) -> None:
        """Do one line; it must succeed."""
        program, *rest = shlex.split(line.replace("/srv/", f"{self.place}/"))
        name = Path(program).name
        if name in instead:
            instead[name]()
        elif name == "reconciler":
            self.done[rest[0]] = done = self.project.run(*rest)
            assert done.code == 0, (line, done)
        elif name == "systemctl":
            self.service(" ".join(rest[:-1]))
        else:
            command = line.replace("ssh new-host tar -C /srv", f"tar -C {self.place}/new")
            command = command.replace("/srv/", f"{self.place}/").replace("/srv ", f"{self.place} ")
            subprocess.run(["sh", "-ec", command], cwd=self.project.root, check=True)

    def service(self, verb: str) -> None:
        """Do what systemd would."""
        if verb in STARTS:
            self.running = self._service.enter_context(self.project.watching())
        elif verb in STOPS:
            if self.running:
                self.running.interrupt(signal.SIGTERM)
                assert self.running.ended(within=30).code == 0
            self.running = None
            self._service.close()
        elif verb == "restart":
            self.service("stop")
            self.service("start")
        else:
            raise AssertionError(verb)

    def wait_for_videos(self, *names: str) -> None:
        """Wait until these are bought, and their receipts written."""
        wanted = [self.project.specs / f"{name}.receipt.json" for name in names]
        wait_until(lambda: all(path.exists() for path in wanted), f"receipts of {names}")

    def query(self, *statements: str) -> None:
        """Change the database, as another version of the program would have."""
        database = sqlite3.connect(self.project.state / "reconciler.db")
        for statement in statements:
            database.execute(statement)
        database.commit()
        database.close()


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """The least forgiving provider: it bills whatever is sent twice."""
    with simulator(**WORLD) as running:
        yield running


@contextmanager
def host(place: Path, sim: Simulator) -> Iterator[Host]:
    """A machine with a folder that settles quickly, and a place for backups."""
    (place / "backups").mkdir()
    quick = {"RECONCILER_SETTLE_SECONDS": "0.1", **POSTERS}
    made = Host(place, Project(place / "videos", {**sim.env(), **quick}))
    try:
        yield made
    finally:
        made.service("stop")


def assert_once(sim: Simulator, count: int) -> None:
    """So many generations were billed, each once."""
    assert sorted(sim.billed().values()) == [1] * count


def test_an_older_state_is_restored_and_nothing_is_paid_again(
    tmp_path: Path, sim: Simulator
) -> None:
    """Back up while it runs, buy more, lose even their receipts, restore: what came since is found again."""
    with host(tmp_path, sim) as machine:
        project = machine.project
        project.spec("a.yaml", prompt="before")
        machine.service("start")
        machine.wait_for_videos("a")
        machine.walk("Back up")
        project.spec("b.yaml", prompt="since")
        machine.wait_for_videos("b")
        sim.set_speed(0)
        project.spec("c.yaml", prompt="in flight")
        wait_until(lambda: len(sim.billed()) == 3, "the third task")
        machine.service("stop")
        for end in (".receipt.json", ".mp4", ".poster.webp"):
            (project.specs / f"b{end}").unlink()
        sim.advance(60)
        machine.walk("Restore")
        sim.set_speed(SPEED)
        machine.wait_for_videos("a", "b", "c")
        machine.service("stop")
        assert_once(sim, 3)
        assert_quiet(project, sim)
        assert (tmp_path / "backups" / "replaced" / "reconciler.db").exists()


def test_a_folder_that_moves_to_another_host_buys_nothing_again(
    tmp_path: Path, sim: Simulator
) -> None:
    """The daemon on the new host has everything, and goes on with what was in flight."""
    with host(tmp_path, sim) as old:
        old.project.spec("a.yaml", prompt="bought")
        old.service("start")
        old.wait_for_videos("a")
        sim.set_speed(0)
        old.project.spec("b.yaml", prompt="in flight")
        wait_until(lambda: len(sim.billed()) == 2, "the second task")
        (tmp_path / "new" / "backups").mkdir(parents=True)
        leaving, arriving = (lines("Move to another host")[:2], lines("Move to another host")[2:])
        for line in leaving:
            old.follow(line, {})
        new = Host(tmp_path / "new", Project(tmp_path / "new" / "videos", old.project.env))
        try:
            for line in arriving:
                new.follow(line, {})
            sim.set_speed(SPEED)
            new.wait_for_videos("a", "b")
        finally:
            new.service("stop")
        assert_once(sim, 2)
        assert_quiet(new.project, sim)


def test_a_key_is_rotated_with_tasks_in_flight(tmp_path: Path, sim: Simulator) -> None:
    """What was begun with the old key is finished with the new one, and what comes then is bought with it."""
    with host(tmp_path, sim) as machine:
        project = machine.project
        for name in ("KLING_ACCESS_KEY", "KLING_SECRET_KEY"):
            del project.env[name]
        secrets = project.write(".env", f"KLING_API_KEY={sim.config.api_key}\n")
        secrets.chmod(0o600)

        def edited() -> None:
            pair = (sim.config.access_key, sim.config.secret_key)
            secrets.write_text("KLING_ACCESS_KEY={}\nKLING_SECRET_KEY={}\n".format(*pair))

        machine.service("start")
        sim.set_speed(0)
        project.spec("a.yaml", prompt="with the old key")
        wait_until(lambda: len(sim.billed()) == 1, "its task")
        machine.walk("Rotate keys", vi=edited)
        sim.set_speed(SPEED)
        project.spec("b.yaml", prompt="with the new one")
        machine.wait_for_videos("a", "b")
        assert_once(sim, 2)


def test_versions_go_up_and_down_again(tmp_path: Path, sim: Simulator) -> None:
    """An older database is brought up to date, a newer one is refused and gives way to the backup; all is billed once."""
    with host(tmp_path, sim) as machine:
        project = machine.project
        project.spec("a.yaml", prompt="by the old version")
        assert project.apply().code == 0
        machine.query(  # as revision 0005 had it
            "DROP INDEX ix_task_spec",
            "DROP INDEX ix_task_calendar_at",
            "ALTER TABLE task DROP COLUMN calendar_at",
            "ALTER TABLE forgotten DROP COLUMN calendar_at",
            "ALTER TABLE task DROP COLUMN claimed",
            "DROP TABLE given_order",
            "UPDATE alembic_version SET version_num = '0005'",
        )
        installed: list[str] = []
        machine.walk("Upgrade", pip=lambda: installed.append("new"))
        assert "submit" not in machine.done["plan"].out.replace("0 submit", "")
        project.spec("b.yaml", prompt="by the new version")
        machine.wait_for_videos("a", "b")
        machine.service("stop")
        machine.query("UPDATE alembic_version SET version_num = '9999'")

        def older() -> None:
            installed.append("old")
            if installed.count("old") == 2:
                refused = project.run("plan")
                assert refused.code == 1
                assert "made by a newer version" in refused.err
                named = "/srv/backups/state-2026-11-27.db"
                for line in lines("Restore")[1:-2]:
                    if "objects" not in line:
                        machine.follow(line.replace(named, "/srv/backups/before-upgrade.db"), {})
                machine.follow(
                    "reconciler refresh", {}
                )  # the same program stands for the older one

        machine.walk("Go back", pip=older)
        project.spec("c.yaml", prompt="by the old version again")
        machine.wait_for_videos("a", "b", "c")
        assert_once(sim, 3)
