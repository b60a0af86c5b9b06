"""The simulator's media store, found and used."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from reconciler.kling.auth import Credentials
from reconciler.kling.client import KlingClient
from reconciler.kling.errors import TryLater
from reconciler.kling.simulator_media import SimulatorMedia
from tests.kling.server import always, http, in_turn, serving

PAIR = Credentials(access_key="a", secret_key="a-secret-that-nobody-may-ever-see")
HERE = http(200, json.dumps({"simulator": True, "media": "/simulator/media/", "more": 1}).encode())


def test_a_file_is_published_under_its_digest(tmp_path: Path) -> None:
    """The simulator is found and takes the file whole; no request carries the key."""
    video = tmp_path / "dance.MP4"
    video.write_bytes(b"v" * 1_500_000)

    async def run() -> None:
        async with serving(
            in_turn(HERE, b"", http(200, b'{"url":"http://127.0.0.1:1/v.mp4"}'))
        ) as server:
            client = KlingClient(base_url=server.url, credentials=PAIR)
            media = SimulatorMedia(client)
            assert await media.find()
            await client.aclose()
            server.answer = always(http(201, b'{"url":"http://127.0.0.1:1/v.mp4"}'))
            assert await media.publish("ab" * 32, video, ".mp4") == "http://127.0.0.1:1/v.mp4"
            put = server.asked[1]
            assert (put.method, put.target) == ("PUT", "/simulator/media/" + "ab" * 32 + ".mp4")
            assert put.body == video.read_bytes()
            assert all("authorization" not in asked.headers for asked in server.asked)

    asyncio.run(run())


NO_SIMULATORS = [
    (http(404), "not found"),
    (http(200, b"<html>"), "a page"),
    (http(200, b'{"simulator": 1, "media": "/m/"}'), "does not say so"),
    (http(200, b'{"simulator": true}'), "has no store"),
    (http(200, b'{"simulator": true, "media": "https://example.com/"}'), "its store is elsewhere"),
]


@pytest.mark.parametrize(("answer", "reason"), NO_SIMULATORS)
def test_what_is_no_simulator_gets_no_files(answer: bytes, reason: str) -> None:
    """Only a server on loopback that says it is the simulator is given files."""

    async def run() -> None:
        async with serving(always(answer)) as server:
            client = KlingClient(base_url=server.url, credentials=PAIR)
            assert not await SimulatorMedia(client).find(), reason
            await client.aclose()

    asyncio.run(run())


def test_the_real_api_is_never_asked() -> None:
    """A host that is not loopback is no simulator, without a request."""
    client = KlingClient(base_url="https://api.invalid", credentials=PAIR)
    assert not asyncio.run(SimulatorMedia(client).find())


@pytest.mark.parametrize("answer", [http(500), http(200, b"{}"), http(200, b"[" * 10), b""])
def test_a_store_that_does_not_take_a_file_is_tried_later(answer: bytes, tmp_path: Path) -> None:
    """A failed upload is a kind of TryLater; a file that is missing is ours to explain."""
    video = tmp_path / "v.mp4"
    video.write_bytes(b"v")

    async def run() -> None:
        async with serving(in_turn(HERE, answer)) as server:
            client = KlingClient(base_url=server.url, credentials=PAIR)
            media = SimulatorMedia(client)
            with pytest.raises(TryLater):
                await media.publish("ab", video, ".mp4")
            with pytest.raises(FileNotFoundError):
                await media.publish("ab", tmp_path / "none.mp4", ".mp4")
        with pytest.raises(TryLater):
            await SimulatorMedia(client).find()
        await client.aclose()

    asyncio.run(run())
