"""The simulator's own media store, so that a demo needs no hosting: found on loopback only, spoken to without a key."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import httpx

from reconciler.core.errors import WorkspaceError
from reconciler.core.hosts import is_loopback
from reconciler.kling.errors import TryLater
from reconciler.kling.reach import ACCEPTED, read_bounded, user_agent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from reconciler.kling.client import KlingClient

CHUNK: Final = 512 * 1024  # bytes
SILENCE: Final = 30.0  # s
LONGEST: Final = 300.0  # s: 100 MB on loopback take one


@dataclass(frozen=True, slots=True)
class SimulatorMedia:
    """Files that the simulator serves back by URL, named by their digest."""

    store: str  # the URL that a file's name is appended to

    async def publish(self, sha256: str, path: Path, suffix: str) -> str:
        """Upload a file under its digest and suffix; returns its URL. Repeating it changes nothing.

        Raises TryLater when the simulator does not take it, OSError when the file cannot be read.
        """
        size = (await asyncio.to_thread(path.stat)).st_size
        target = self.store + quote(sha256 + suffix, safe="")
        length = {"Content-Length": str(size)}
        async with _session() as http:
            response = await http.send(
                http.build_request("PUT", target, content=_read(path), headers=length), stream=True
            )
            answer = await _answer(response)
        url = answer.get("url")
        if not isinstance(url, str) or not url:
            raise TryLater(f"The simulator did not take the file: HTTP {response.status_code}.")
        return url


async def simulator_media(client: KlingClient) -> SimulatorMedia | None:
    """Return the media store of the simulator that the client speaks to, None when it is none.

    Raises TryLater when nobody answers there.
    """
    base = httpx.URL(client.base_url)
    if not is_loopback(base.host):
        return None
    async with _session() as http:
        response = await http.send(
            http.build_request("GET", f"{client.base_url}/simulator"), stream=True
        )
        answer = await _answer(response)
    media = answer.get("media")
    if answer.get("simulator") is not True or not isinstance(media, str):
        return None
    store = base.join(media)
    return SimulatorMedia(str(store)) if is_loopback(store.host) else None


class LoopbackMedia:
    """The simulator's media store, looked for when the first local file needs it."""

    def __init__(self, client: KlingClient) -> None:
        self._client = client
        self._found: SimulatorMedia | None = None

    async def publish(self, sha256: str, path: Path, suffix: str) -> str:
        """Upload a file and return its URL.

        Raises TryLater when nobody answers, WorkspaceError when it is no simulator that answers.
        """
        self._found = self._found or await simulator_media(self._client)
        if self._found is None:
            raise WorkspaceError(
                f"`{path.name}` is a local file, and {self._client.base_url} hosts none"
            )
        return await self._found.publish(sha256, path, suffix)


@asynccontextmanager
async def _session() -> AsyncIterator[httpx.AsyncClient]:
    """Give a client without a key or a proxy; raises TryLater for whatever the network does."""
    headers = {"User-Agent": user_agent(), "Accept-Encoding": ACCEPTED}
    try:
        async with (
            asyncio.timeout(LONGEST),
            httpx.AsyncClient(headers=headers, timeout=SILENCE, trust_env=False) as http,
        ):
            yield http
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as failure:
        raise TryLater(
            f"The simulator does not answer: {str(failure) or type(failure).__name__}"
        ) from failure


async def _answer(response: httpx.Response) -> dict[str, object]:
    """Return the JSON object of a success, an empty one for anything else."""
    try:
        answer = json.loads(await read_bounded(response)) if response.is_success else None
    except (ValueError, RecursionError):
        answer = None
    finally:
        await response.aclose()
    return answer if isinstance(answer, dict) else {}


async def _read(path: Path) -> AsyncIterator[bytes]:
    file = await asyncio.to_thread(path.open, "rb")
    try:
        while chunk := await asyncio.to_thread(file.read, CHUNK):
            yield chunk
    finally:
        file.close()
