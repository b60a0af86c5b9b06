"""What only a mistake of ours ends with is told as that, whatever it meets: the API, the database, the disk, inotify."""

from __future__ import annotations

import asyncio
import errno
import io
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from reconciler import settings
from reconciler.core.errors import mistake
from reconciler.core.progress import Ended
from reconciler.kling.auth import Credentials
from reconciler.kling.client import KlingClient
from reconciler.kling.errors import OutcomeUnknown
from reconciler.store.database import translated
from reconciler.workspace.media.images import check_pixels, open_image
from reconciler.workspace.watch.watcher import Watcher
from tests.engine.world import World
from tests.support.simulator import Simulator
from tests.workspace.builders import MEDIA

OURS = "this is a mistake in reconciler itself"


class Broken(httpx.AsyncHTTPTransport):
    """A connection over which some requests of ours cannot even be made."""

    def __init__(self, is_broken: Callable[[httpx.Request], bool]) -> None:
        super().__init__()
        self._is_broken = is_broken

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._is_broken(request):
            raise TypeError("an argument that is not taken")
        return await super().handle_async_request(request)


def test_a_create_that_we_break_holds_one_generation_and_is_sent_once_it_is_mended(
    project: World, sim: Simulator
) -> None:
    """The provider is not said to have lost an answer; the intent stands, so it is looked for before it is sent again."""
    project.write("ours.yaml", prompt="ours")
    project.write("good.yaml", prompt="good")
    project.transport = Broken(lambda request: b'"ours"' in request.content)
    assert project.apply() is Ended.SETTLED
    assert list(sim.billed().values()) == [1]
    assert [OURS in reason for reason in project.told.holds.values()] == [True]
    project.transport = None
    assert project.apply() is Ended.SETTLED
    assert sorted(sim.billed().values()) == [1, 1]


def test_a_question_that_we_break_buys_nothing_and_is_not_the_providers_silence(
    project: World, sim: Simulator
) -> None:
    """Without an answer to the look nothing is created, and nobody waits for a provider that is there."""
    project.write("ours.yaml")
    project.transport = Broken(lambda request: request.method == "GET")
    assert project.apply() is Ended.SETTLED
    assert not sim.billed()
    assert [OURS in reason for reason in project.told.holds.values()] == [True]


def test_a_create_that_we_break_may_have_been_sent() -> None:
    """Money first: whatever broke, the task is taken to exist until the provider knows none."""

    async def create() -> None:
        keys = Credentials(access_key="a", secret_key="b" * 40)
        client = KlingClient(
            base_url="http://127.0.0.1:9",
            credentials=keys,
            timeout=1.0,
            transport=Broken(lambda _: True),
        )
        try:
            await client.create({})
        finally:
            await client.aclose()

    with pytest.raises(OutcomeUnknown, match=OURS):
        asyncio.run(create())


@pytest.mark.parametrize("statement", ["SELECT :one", "SELECT 1; SELECT 2"])
def test_a_statement_of_ours_that_no_database_could_carry_out_is_no_damage(statement: str) -> None:
    """What the driver says of our call passes the door as it is; the file is not blamed."""
    with create_engine("sqlite://").connect() as connection:
        given = {"one": object()} if ":" in statement else {}
        with pytest.raises(DBAPIError) as caught, translated("state.db"):
            connection.execute(text(statement), given)
    assert isinstance(caught.value.orig, sqlite3.ProgrammingError | sqlite3.InterfaceError)


def test_a_setting_that_we_cannot_read_is_not_called_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that breaks is no value that is wrong."""

    def broken(*_: object) -> None:
        raise TypeError("a signature that has changed")

    monkeypatch.setattr("reconciler.settings.sources.parse_stream", broken)
    with pytest.raises(TypeError, match="a signature that has changed"):
        settings.load(tmp_path)


def test_a_watcher_that_we_break_is_not_a_system_without_inotify(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It polls, and says why."""
    monkeypatch.setitem(sys.modules, "watchdog.observers.inotify_c", None)
    (tmp_path / "specs").mkdir()
    said: list[str] = []
    watcher = Watcher(tmp_path, "specs", ignored=[], wake=lambda: None, trouble=said.append)
    watcher.revive()
    watcher.stop()
    assert [OURS in sentence for sentence in said] == [True]


class Failing(io.RawIOBase):
    """A file on a disk that fails behind its first bytes."""

    def __init__(self, content: bytes, good: int) -> None:
        self._file, self._good = io.BytesIO(content), good

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, at: int, whence: int = 0) -> int:
        return self._file.seek(at, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._file.tell() + len(buffer) > self._good:
            raise OSError(errno.EIO, "Input/output error")
        return self._file.readinto(buffer)


def test_a_disk_that_fails_is_no_damaged_image() -> None:
    """What the system says while an image is read is the system's, and the image is looked at again."""
    content = (MEDIA / "astronaut.png").read_bytes()
    with pytest.raises(OSError, match="Input/output"):
        open_image(io.BufferedReader(Failing(content, 10), 8))
    with pytest.raises(OSError, match="Input/output"):
        check_pixels(io.BufferedReader(Failing(content, 300_000), 8))


def test_a_mistake_names_the_line_of_ours_that_led_to_it() -> None:
    """A line deep in a library says little; without a line of ours, the innermost one is named."""
    with pytest.raises(AttributeError) as caught:
        open_image(None)  # type: ignore[arg-type]
    assert f"{OURS}: AttributeError at flaws.py:" in mistake(caught.value)
    assert mistake(NameError()) == f"{OURS}: NameError; please report it"
