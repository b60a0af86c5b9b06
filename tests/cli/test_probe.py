"""`validate --probe`: what is asked of the hosts of media, how little is read, and what is said."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.workspace.builders import MEDIA, make_image, make_video

from .shell import Shell

BUNNY = (MEDIA / "bigbuckbunny.mp4").read_bytes()
ASTRONAUT = (MEDIA / "astronaut.png").read_bytes()
PART = 512 * 1024
UNREAD = (
    "is no file that the provider can read: its host is not known here, is this machine or in a private network, "
    "or does not give the file; put it where everybody can read it"
)


class Host:
    """Serves files on loopback and remembers what was asked and how much was sent."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.ranges = True
        self.endless: set[str] = set()
        self.poured = 0  # bytes
        self.redirects: dict[str, str] = {}
        self.asked: list[tuple[str, str, str]] = []  # method, path, range
        self.headers: list[str] = []
        self.url = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range", "")
        path = request.path.partition("?")[0]
        self.asked.append((request.command, request.path, wanted))
        self.headers += [name.lower() for name in request.headers]
        if path in self.redirects:
            request.send_response(302)
            request.send_header("Location", self.redirects[path])
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        if path in self.endless:
            self._pour(request, self.files[path])
            return
        if path not in self.files:
            request.send_error(404)
            return
        self._send(request, self.files[path], wanted if self.ranges else "")

    def _pour(self, request: BaseHTTPRequestHandler, content: bytes) -> None:
        """Send a file that does not end, or nearly so, until nobody listens any more."""
        request.send_response(200)
        request.end_headers()
        request.wfile.write(content)
        for _ in range(1024):
            request.wfile.write(bytes(256 * 1024))
            self.poured += 256 * 1024

    def _send(self, request: BaseHTTPRequestHandler, content: bytes, wanted: str) -> None:
        if span := re.fullmatch(r"bytes=(\d+)-(\d+)", wanted):
            begin, end = int(span[1]), min(int(span[2]) + 1, len(content))
            if begin >= len(content):
                request.send_error(416)
                return
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(content)}")
            content = content[begin:end]
        else:
            request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.send_header("Content-Type", "text/html; charset=utf-8")
        request.send_header("Set-Cookie", "seen=1")
        request.end_headers()
        request.wfile.write(content)


@contextmanager
def hosting() -> Iterator[Host]:
    host = Host()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                host.answer(self)
            except ConnectionError:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    host.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield host
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A host of media, and settings that name a simulator: this machine may then be asked."""
    monkeypatch.setenv("KLING_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("RECONCILER_REQUEST_TIMEOUT", "5")
    with hosting() as running:
        running.files = {"/girl.png": ASTRONAUT, "/dance.mp4": BUNNY}
        yield running


def spec(shell: Shell, image: str, video: str, orientation: str = "image") -> None:
    shell.write(
        "dance.yaml",
        f"image_url: {image}\nvideo_url: {video}\ncharacter_orientation: {orientation}\nmode: std\n",
    )


def made(make: Callable[[Path], object], path: Path) -> bytes:
    make(path)
    return path.read_bytes()


def test_good_media_are_well_and_only_their_ends_are_read(shell: Shell, host: Host) -> None:
    """The film keeps its index at the end: three parts of it are read, one of the image; no key, no cookie."""
    host.files["/dance.mp4"] = BUNNY[:40] + _free(50 * PART) + BUNNY[40:]
    spec(shell, f"{host.url}/girl.png?sig=secret", f"{host.url}/dance.mp4", "video")
    shell.write("b.yaml", (shell.root / "specs/dance.yaml").read_text().replace("std", "pro"))
    assert shell.json("validate", "--probe") == (0, {"specs": 2, "generations": 2, "errors": []})
    places = (0, 40 + 50 * PART, 1_051_507 + 50 * PART)
    assert sorted(host.asked) == sorted([
        ("GET", "/girl.png?sig=secret", f"bytes=0-{PART - 1}"),
        *(("GET", "/dance.mp4", f"bytes={at}-{at + PART - 1}") for at in places),
    ])  # fmt: skip
    assert "authorization" not in host.headers
    assert "cookie" not in host.headers
    assert shell.json("validate")[0] == 0
    assert len(host.asked) == 4, "without --probe nobody is asked"


def _free(size: int) -> bytes:
    return size.to_bytes(4, "big") + b"free" + bytes(size - 8)


@pytest.mark.parametrize("ranges", [True, False])
def test_what_the_beginning_shows_is_said_at_its_place(
    shell: Shell, host: Host, tmp_path: Path, ranges: bool
) -> None:
    """Type, sides, codec and length are read from the beginning, with or without ranges."""
    host.ranges = ranges
    cases = [
        ("image_url", "/a.png", b"<html>", "holds no image that is known here (JPEG, PNG, HEIC, WebP, GIF or AVIF), whatever its name says (it is announced as `text/html`)"),
        ("image_url", "/a.png", b"", "leads to an empty file"),
        ("image_url", "/a.png", made(lambda path: make_image(path, (200, 400)), tmp_path / "a.png"), "breaks a limit: the image is 200 × 400 px: each side must be 300 to 65536 px"),
        ("video_url", "/a.mp4", made(lambda path: make_video(path, seconds=11), tmp_path / "a.mp4"), "breaks a limit: the video lasts 11 s: 3 to 10 s are allowed when `character_orientation` is `image`"),
        ("video_url", "/a.mp4", made(lambda path: make_video(path, codec="libx265"), tmp_path / "b.mp4"), "is H.265 (HEVC), which the API refuses: transcode it to H.264 (ffmpeg -i in.mov -c:v libx264 -pix_fmt yuv420p -c:a aac out.mp4)"),
        ("video_url", "/a.mp4", BUNNY[:600_000], "is broken off: it has 600,000 bytes and its `mdat` part goes on to byte 1,051,507; copy it again (it is announced as `text/html`)"),
    ]  # fmt: skip
    for key, path, content, sentence in cases:
        host.files[path] = content
        image, video = (path, "/dance.mp4") if key == "image_url" else ("/girl.png", path)
        spec(shell, f"{host.url}{image}?sig=secret", f"{host.url}{video}")
        code, document = shell.json("validate", "--probe")
        (error,) = document["errors"]
        assert (code, document["generations"]) == (1, 0)
        assert error == {
            "file": "specs/dance.yaml",
            "line": 1 if key == "image_url" else 2,
            "column": 12,
            "key": key,
            "message": f"`{host.url}{path}` {sentence}",
            "suggestion": None,
        }


def test_a_url_is_judged_for_each_orientation_that_uses_it_and_asked_once(
    shell: Shell, host: Host, tmp_path: Path
) -> None:
    """One host answers for all specs that name the same URL."""
    host.files["/long.mp4"] = made(lambda path: make_video(path, seconds=11), tmp_path / "a.mp4")
    for name, orientation in (("a", "image"), ("b", "video"), ("c", "image")):
        spec(shell, f"{host.url}/girl.png", f"{host.url}/long.mp4", orientation)
        (shell.root / "specs/dance.yaml").rename(shell.root / f"specs/{name}.yaml")
    _, document = shell.json("validate", "--probe")
    assert [error["file"] for error in document["errors"]] == ["specs/a.yaml", "specs/c.yaml"]
    assert len(host.asked) == 2
    _, document = shell.json("validate", "--probe", str(shell.root / "specs/b.yaml"))
    assert document["errors"] == []


def test_of_this_machine_nothing_is_told_but_what_its_files_are(shell: Shell, host: Host) -> None:
    """Not found, redirects without end, nobody there: one sentence, or a spec of a stranger would find our ports."""
    host.redirects = {"/round": "/round", "/on": "/girl.png", "/out": "ftp://example.com/x"}
    said = set()
    closed = "http://127.0.0.1:1"
    for url in (f"{host.url}/none", f"{host.url}/round", f"{host.url}/out", closed):
        spec(shell, url, f"{host.url}/dance.mp4")
        (error,) = shell.json("validate", "--probe")[1]["errors"]
        said.add(error["message"].removeprefix(f"`{url}` "))
    assert said == {UNREAD}
    spec(shell, f"{host.url}/on", f"{host.url}/dance.mp4")
    assert shell.json("validate", "--probe")[1]["errors"] == []


@pytest.mark.parametrize("setting", ["", "file:///srv/media"])
def test_what_the_real_provider_cannot_reach_is_not_asked(
    shell: Shell, host: Host, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    """A URL of this machine is a problem and nobody is asked, with a media store too; the operator may allow it."""
    monkeypatch.setenv("KLING_BASE_URL", "https://api-singapore.klingai.com")
    if setting:
        monkeypatch.setenv("RECONCILER_MEDIA_STORE", setting)
        monkeypatch.setenv("RECONCILER_MEDIA_PUBLIC_URL", "https://media.example.com")
    url = host.url.replace("127.0.0.1", "127.1")
    spec(shell, f"{url}/girl.png", f"{url}/dance.mp4")
    errors = shell.json("validate", "--probe")[1]["errors"]
    assert [error["key"] for error in errors] == ["image_url", "video_url"]
    assert all(error["message"].endswith(UNREAD) for error in errors)
    assert host.asked == []
    monkeypatch.setenv("RECONCILER_ALLOWED_NETWORKS", "fd00::/8, 127.0.0.0/8")
    assert shell.json("validate", "--probe")[1]["errors"] == []


def test_an_index_at_the_end_is_judged(shell: Shell, host: Host, tmp_path: Path) -> None:
    """The length of a film is known although its index comes last."""
    film = made(lambda path: make_video(path, seconds=11), tmp_path / "a.mp4")
    host.files["/dance.mp4"] = film[:40] + _free(50 * PART) + film[40:]
    spec(shell, f"{host.url}/girl.png", f"{host.url}/dance.mp4")
    (error,) = shell.json("validate", "--probe")[1]["errors"]
    assert "the video lasts 11 s" in error["message"]


def test_a_huge_film_is_measured_by_its_announcement(shell: Shell, host: Host) -> None:
    """A host that says a hundred gigabytes is believed, and no more than parts of it are read."""
    host.files["/dance.mp4"] = BUNNY[:40] + _free(202 * PART)
    spec(shell, f"{host.url}/girl.png", f"{host.url}/dance.mp4")
    (error,) = shell.json("validate", "--probe")[1]["errors"]
    assert "the video has 105,906,216 bytes: at most 100 MB" in error["message"]


def test_a_file_without_an_end_is_left_after_the_first_part(shell: Shell, host: Host) -> None:
    """A host that knows no ranges and never stops sending is listened to for half a megabyte."""
    host.endless = {"/girl.png"}
    spec(shell, f"{host.url}/girl.png", f"{host.url}/dance.mp4")
    assert shell.json("validate", "--probe")[1]["errors"] == []
    assert host.poured < 64 * PART, "what the sockets hold, and no more"
