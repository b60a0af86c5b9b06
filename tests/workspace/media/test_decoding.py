"""What a file can do to whoever decodes it: nothing beyond its own verdict. Real processes, real files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from reconciler.workspace.files.plain import open_plain
from reconciler.workspace.media import decoding
from reconciler.workspace.media.decoding import MEBIBYTE, Bounds, Decoder
from reconciler.workspace.media.flaws import Beyond, Unfinished
from reconciler.workspace.programs import environment
from tests.support.decoders import start_cold
from tests.workspace.builders import make_clip, make_image

GOOD = Bounds(seconds=30, patience=60, memory=1024 * MEBIBYTE)


@pytest.fixture(autouse=True)
def _cold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here, processes start as those of users do."""
    start_cold(monkeypatch)


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    """A decoder that ends with its test."""
    one = Decoder(GOOD)
    yield one
    one.close()


def judged(decoder: Decoder, path: Path) -> list[object]:
    with open_plain(path) as file:
        return list(decoder.ask("judge", ["image"], file.fileno()).facts)


def pid_of(decoder: Decoder) -> int:
    assert decoder._running is not None
    return decoder._running[0].pid


def crashing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Have the process of this test do something else where it looks into a file that begins with `bad`."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "sitecustomize.py").write_text(
        "import sys\n"
        "if 'reconciler.workspace.media.decoding' in sys.orig_argv:\n"
        "    import os, signal, time\n"
        "    import reconciler.workspace.media.images as images\n"
        "    real = images.image_format\n"
        "    def format(file):\n"
        "        file.seek(0)\n"
        "        if file.read(3) == b'bad':\n"
        f"            {what}\n"
        "        return real(file)\n"
        "    images.image_format = format\n"
    )
    ours = str(Path(decoding.__file__).parents[3])
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'code'}{os.pathsep}{ours}")


def test_a_process_loads_the_libraries_of_its_question_and_no_other(
    decoder: Decoder, tmp_path: Path
) -> None:
    """It is started for every result: of a picture it needs Pillow, and what decodes films or declares specs is left."""
    judged(decoder, make_image(tmp_path / "good.png", (320, 320)))
    loaded = Path(f"/proc/{pid_of(decoder)}/maps").read_text()
    assert "/PIL/" in loaded
    assert not [name for name in ("/av/", "/pydantic_core/") if name in loaded]


@pytest.mark.parametrize(
    ("what", "words", "is_final"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "makes its decoder crash (SIGSEGV)", True),
        ("os._exit(7)", "makes its decoder crash (exit code 7)", True),
        ("os.kill(os.getpid(), signal.SIGKILL)", "took too long, or was killed", False),
        ("bytearray(2_000_000_000)", "needs more memory to decode", True),
        ("while True: pass", "takes too long to decode", True),
        ("time.sleep(60)", "took too long, or was killed", False),
        ("os.write(0, b'x' * 100)", "took too long, or was killed", False),
    ],
    ids=["segfault", "exit", "killed", "memory", "processor", "sleep", "nonsense"],
)
def test_what_a_file_does_to_its_decoder_is_a_verdict_on_that_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, words: str, is_final: bool
) -> None:
    """However it ends, one plain sentence comes of it, in time; the file before and the file after are judged as ever."""
    crashing(tmp_path, monkeypatch, what)
    make_image(tmp_path / "good.png", (400, 300))
    (tmp_path / "bad.png").write_bytes(b"bad")
    patience = 4 if "sleep" in what else 60
    one = Decoder(Bounds(seconds=1, patience=patience, memory=1024 * MEBIBYTE))
    try:
        first = judged(one, tmp_path / "good.png")
        with pytest.raises(Beyond) as told:
            judged(one, tmp_path / "bad.png")
        assert words in str(told.value)
        assert isinstance(told.value, Unfinished) is not is_final
        assert judged(one, tmp_path / "good.png") == first
        assert first[:2] == [400, 300]
    finally:
        one.close()


def test_nobody_is_blamed_for_what_an_earlier_file_left(tmp_path: Path, decoder: Decoder) -> None:
    """A process that dies between two files, or of what the first one did to it, costs the second one nothing."""
    path = make_image(tmp_path / "a.png", (400, 300))
    first = judged(decoder, path)
    pid = pid_of(decoder)
    os.kill(pid, signal.SIGSEGV)
    assert judged(decoder, path) == first
    assert pid_of(decoder) != pid


def test_one_process_answers_for_many_files(tmp_path: Path, decoder: Decoder) -> None:
    """To start one costs more than to look at a photo."""
    path = make_image(tmp_path / "a.png", (400, 300))
    pids = set()
    for _ in range(20):
        judged(decoder, path)
        pids.add(pid_of(decoder))
    assert len(pids) == 1


def test_the_largest_pictures_that_are_taken_need_no_more_than_there_is(tmp_path: Path) -> None:
    """100 megapixels, with 16 bits of four colours: the bounds are those of hostile files, not of good ones."""
    # A palette keeps the making of it short; what the check takes is measured with other kinds, too.
    Image.new("RGBA", (10_000, 9_999)).save(tmp_path / "a.png", compress_level=1)
    assert judged(decoding.MEDIA, tmp_path / "a.png")[:2] == [10_000, 9_999]


def test_a_process_is_after_hundreds_of_films_as_it_was_before(
    tmp_path: Path, decoder: Decoder
) -> None:
    """What a library keeps of each film, threads among it, would fill the bound: the next good one would be damaged."""
    clip = make_clip(tmp_path / "a.mp4", seconds=0.2)
    with open_plain(clip) as file:
        for _ in range(150):
            assert decoder.ask("preview", ["poster"], file.fileno()).data
        pid = pid_of(decoder)
        if Path("/proc/self/task").exists():
            assert len(list(Path(f"/proc/{pid}/task").iterdir())) < 20
        assert decoder.ask("preview", ["poster"], file.fileno()).data
    assert pid_of(decoder) == pid


def test_a_process_knows_no_key_and_writes_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoder: Decoder
) -> None:
    """Its environment is an allow-list, whatever ours is called; no core is left of it, and no byte on a disk."""
    monkeypatch.setenv("KLING_SECRET_KEY", "k3y")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "k3y")
    judged(decoder, make_image(tmp_path / "a.png", (400, 300)))
    assert "k3y" not in " ".join(environment(os.environ).values())
    if Path("/proc/self/environ").exists():
        folder = Path(f"/proc/{pid_of(decoder)}")
        assert b"k3y" not in (folder / "environ").read_bytes()
        limits = (folder / "limits").read_text()
        assert "Max file size             0" in limits
        assert "Max core file size        0" in limits


def test_a_stop_waits_for_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever leaves closes the decoder: the thread that waits for an answer gets one at once."""
    crashing(tmp_path, monkeypatch, "time.sleep(60)")
    (tmp_path / "bad.png").write_bytes(b"bad")
    one, said = Decoder(GOOD), []

    def ask() -> None:
        try:
            judged(one, tmp_path / "bad.png")
        except Unfinished as flaw:
            said.append(str(flaw))

    thread = threading.Thread(target=ask)
    thread.start()
    while one._running is None:
        time.sleep(0.01)
    one.close()
    thread.join(5)
    assert said == ["was not decoded to the end: the program leaves"]


def test_a_process_ends_with_whoever_started_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However that one dies, and in the middle of a file too: no orphan goes on."""
    crashing(tmp_path, monkeypatch, "time.sleep(60)")
    (tmp_path / "bad.png").write_bytes(b"bad")
    program = (
        "import os, threading, time\n"
        "from reconciler.workspace.media.decoding import MEDIA\n"
        f"file = open({str(tmp_path / 'bad.png')!r}, 'rb')\n"
        "threading.Thread(target=MEDIA.ask, args=('judge', ['image_url'], file.fileno())).start()\n"
        "while MEDIA._running is None: time.sleep(0.01)\n"
        "print(MEDIA._running[0].pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    until = time.monotonic() + 10
    while time.monotonic() < until and is_alive(pid):
        time.sleep(0.02)
    assert not is_alive(pid)


def is_alive(pid: int) -> bool:
    with suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z"
    return False


def test_no_module_of_the_folder_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoder: Decoder
) -> None:
    """A project is other people's files too: a `json.py` or a folder `reconciler` in it is not code of ours."""
    path = make_image(tmp_path / "a.png", (400, 300))
    for name in ("json.py", "reconciler/__init__.py"):
        foreign = tmp_path / "project" / name
        foreign.parent.mkdir(parents=True, exist_ok=True)
        foreign.write_text("raise SystemExit('foreign code ran')\n")
    monkeypatch.chdir(tmp_path / "project")
    assert judged(decoder, path)[:2] == [400, 300]
