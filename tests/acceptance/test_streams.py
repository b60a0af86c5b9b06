"""What the program is started with: streams that are closed, full, left, or in an encoding that has few letters.

No output is worth the work that it tells of, and none of this is ever a traceback.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.money import assert_bought_once, assert_quiet
from tests.support.nursery import REPOSITORY
from tests.support.project import LONGEST, Done, Project, picture
from tests.support.simulator import Simulator

NAME = "tänzer 跳舞.yaml"
EVERY_LOOK = """
import sys
from reconciler.__main__ import main
for words in (
    ["status", "--json"], ["plan", "--json"], ["validate", "--json"], ["doctor", "--quick", "--json"],
    ["status"], ["plan"], ["show", sys.argv[2]], ["doctor", "--quick"], ["spend", "--csv", "-"], ["--help"],
):
    sys.argv[3:] = ["--root", sys.argv[1], *words]
    arguments, sys.argv = sys.argv, ["reconciler", *sys.argv[3:]]
    try:
        main()
    except SystemExit as end:
        sys.stdout.buffer.write(b"\\x00%d\\x00" % end.code)  # past what the stream escapes
        sys.stdout.flush()
    sys.argv = arguments
"""


def ended(
    project: Project, command: Sequence[str], env: dict[str, str] | None = None
) -> tuple[int, bytes, bytes]:
    """Run a command cold and return its code and what it printed, in bytes."""
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=project.environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=LONGEST,
        check=False,
    )
    assert b"Traceback" not in done.stdout + done.stderr, done
    assert b"mistake in reconciler" not in done.stdout + done.stderr, done
    return done.returncode, done.stdout, done.stderr


def in_shell(project: Project, redirection: str, *arguments: str) -> Done:
    """Run the program with its streams redirected as a shell does it."""
    line = f'exec "$@" {redirection}'
    code, out, err = ended(project, ["sh", "-c", line, "sh", *project.command(*arguments)])
    return Done(code, out.decode(), err.decode())


@contextmanager
def begun(
    project: Project,
    *arguments: str,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the program cold while the block runs."""
    process = subprocess.Popen(
        project.command(*arguments),
        cwd=REPOSITORY,
        env=project.environment(),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


@pytest.mark.parametrize(
    "env",
    [
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "cp1252:strict"},
        {"PYTHONIOENCODING": "utf-16"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=lambda env: " ".join(env.values()),
)
def test_a_name_is_shown_in_every_encoding(project: Project, env: dict[str, str]) -> None:
    """JSON is the same document everywhere; text has escapes where letters are missing; no look fails of it."""
    picture(project.specs / "mädchen.png")
    project.spec(NAME, image_url="mädchen.png")
    command = [sys.executable, "-c", EVERY_LOOK, str(project.root), f"specs/{NAME}"]
    code, out, err = ended(project, command, env)
    assert (code, err) == (0, b"")
    parts = out.split(b"\0")
    said, codes = parts[0::2], parts[1::2]
    assert codes == [b"0"] * 10, out
    documents = [json.loads(text) for text in said[:4]]
    assert documents[0] == project.status().document
    assert documents[1]["actions"][0]["spec"] == f"specs/{NAME}"
    assert documents[2]["errors"] == []
    assert b"nzer " in said[4]


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_costs_its_output(
    project: Project, sim: Simulator, redirection: str
) -> None:
    """Nobody listens, and everything is done: bought once, saved, and no file has got what was said."""
    project.spec()
    done = in_shell(project, redirection, "apply", "--yes", "--json")
    assert done.code == 0, done
    assert_bought_once(project, sim, project.status())
    assert_quiet(project, sim)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_leaves_stops_no_purchase(
    project: Project, sim: Simulator, stream: str
) -> None:
    """`apply 2>&1 | head -1`: what was begun is finished, and bought once."""
    project.spec(takes=2)
    stderr = subprocess.PIPE if stream == "stderr" else subprocess.DEVNULL
    with begun(project, "apply", "--yes", "--json", stderr=stderr) as process:
        left = process.stderr if stream == "stderr" else process.stdout
        assert left is not None
        assert stream == "stdout" or left.readline()
        left.close()
        assert process.wait(LONGEST) == 0
    assert_bought_once(project, sim, project.status())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_at_stdout_is_one_sentence(project: Project, sim: Simulator) -> None:
    """The exit code is 1, and one sentence says why; what was to be done is done."""
    project.spec()
    for arguments in (["apply", "--yes"], ["status", "--json"], ["--help"]):
        done = in_shell(project, "> /dev/full", *arguments)
        assert done.code == 1, done
        assert done.err.count("error:") == 1, done
        assert "stdout could not be written: No space left on device" in done.err, done
    assert_bought_once(project, sim, project.status())


def test_status_that_is_followed_ends_with_its_reader(project: Project) -> None:
    """`status --watch | head -1` leaves soon after, though nothing changes any more."""
    project.spec()
    with begun(project, "status", "--watch", "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["summary"] == {"pending": 1}
        process.stdout.close()
        assert process.wait(LONGEST) == 0
        assert process.stderr.read() == b""


def test_a_stream_that_somebody_made_impatient_gets_everything(project: Project) -> None:
    """A pipe that another program left in non-blocking mode: what does not fit in at once is not lost."""
    for name in "abcd":
        project.spec(f"{name}.yaml", takes=100, prompt=name)
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    with begun(project, "plan", "--json", stdout=theirs) as process:
        os.close(theirs)
        with open(ours, "rb") as reader:  # noqa: PTH123 - a descriptor
            assert len(json.load(reader)["actions"]) == 400
        assert process.wait(LONGEST) == 0
