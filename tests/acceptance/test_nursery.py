"""Warm processes are processes of the program like any other, and what needs a cold start gets one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from reconciler.workspace.media import decoding
from reconciler.workspace.media.decoding import Decoder
from tests.support.decoders import start_cold
from tests.support.killpoints import KILLED, run_killed, wish
from tests.support.nursery import Child, start
from tests.support.project import Project
from tests.support.simulator import Simulator


def test_a_warm_process_says_and_leaves_as_a_cold_one_does(project: Project) -> None:
    """Documents, sentences and exit codes are the same, with a right spec and with a wrong one."""
    project.spec()
    project.write("specs/wrong.yaml", "prompt: [\n")
    for arguments in (["plan", "--json"], ["validate"], ["show", "nothing"], ["nonsense"]):
        cold = subprocess.run(
            [*project.command(*arguments)],
            env=project.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        warm = project.run(*arguments)
        assert (warm.code, warm.out, warm.err) == (cold.returncode, cold.stdout, cold.stderr)


def test_each_warm_process_has_its_own_settings_and_memory(
    project: Project, sim: Simulator, tmp_path: Path
) -> None:
    """Two projects in turn, two environments: neither sees anything of the other's."""
    other = Project(tmp_path / "other", {**sim.env(), "RECONCILER_SPECS_DIR": "wishes"})
    project.spec("one.yaml", prompt="one")
    other.write("wishes/two.yaml", project.spec("two.yaml", prompt="two").read_text())
    specs = [
        sorted(action["spec"] for action in folder.run("plan", "--json").document["actions"])
        for folder in (project, other, project)
    ]
    assert specs == [["specs/one.yaml", "specs/two.yaml"], ["wishes/two.yaml"], specs[0]]


def test_a_killed_warm_process_is_dead_and_says_so(project: Project) -> None:
    """SIGKILL from inside and from outside both end it at once, with the signal as its exit code."""
    wish(project, "killed")
    assert run_killed(project, "at=30").code == KILLED
    with project.watching() as running:
        assert isinstance(running.process, Child)
        running.process.kill()
        assert running.ended(within=5).code == KILLED


@pytest.mark.parametrize(
    ("command", "env"),
    [
        (["-m", "reconciler", "schema"], {"PYTHONUTF8": "1"}),
        (["-c", "print(1)"], {}),
        (["-X", "dev", "-m", "reconciler", "schema"], {}),
    ],
    ids=["a variable of the interpreter", "another program", "an option of the interpreter"],
)
def test_what_the_interpreter_reads_at_its_start_needs_a_cold_one(
    project: Project, command: list[str], env: dict[str, str]
) -> None:
    """Options and variables of the interpreter take effect: such a command is not forked."""
    with (project.root.parent / "said").open("w") as said:
        process = start(
            [sys.executable, *command], env=project.environment(env), stdout=said, stderr=said
        )
        assert isinstance(process, subprocess.Popen)
        assert process.wait(30) == 0


def seen(one: Decoder, picture: Path) -> tuple[object, ...]:
    """Return what a process that decodes answers of a picture, and how the system bounds it."""
    with picture.open("rb") as file:
        facts = one.ask("judge", ["image"], file.fileno()).facts
    assert one._running is not None
    folder = Path(f"/proc/{one._running[0].pid}")
    bounds = [
        line
        for line in (folder / "limits").read_text().splitlines()
        if line.startswith(("Max address", "Max file size", "Max core"))
    ]
    niceness = os.getpriority(os.PRIO_PROCESS, one._running[0].pid)
    places = [(folder / name).readlink() for name in ("cwd", "fd/1", "fd/2")]
    return facts, bounds, niceness, places


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_decoding_process_is_bounded_and_dies_as_a_cold_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same answer under the same bounds in the same place, for media and for previews; a kill is told as one."""
    Image.new("RGB", (400, 300)).save(tmp_path / "a.png")
    for bounds in (decoding.MEDIA._bounds, decoding.PREVIEWS._bounds):
        warm, cold = Decoder(bounds), Decoder(bounds)
        try:
            before = seen(warm, tmp_path / "a.png")
            assert warm._running is not None
            process = warm._running[0]
            assert isinstance(process, Child)
            with monkeypatch.context() as patch:
                start_cold(patch)
                assert seen(cold, tmp_path / "a.png") == before
            os.kill(process.pid, signal.SIGSEGV)
            assert process.wait(10) == -signal.SIGSEGV
            assert seen(warm, tmp_path / "a.png") == before
        finally:
            warm.close()
            cold.close()
