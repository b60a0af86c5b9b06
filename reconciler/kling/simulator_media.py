"""The simulator's own media store, so that a demo needs no hosting: on loopback only, and without a key."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

import httpx

from reconciler.core.errors import WorkspaceError
from reconciler.core.hosts import is_loopback
from reconciler.kling.client import KlingClient
from reconciler.kling.errors import TryLater
from reconciler.kling.network import ACCEPTED, read_bounded, user_agent

SILENCE: Final = 30.0  # s
LONGEST: Final = 300.0  # s: 100 MB on loopback take one


class SimulatorMedia:
    """Files that the simulator serves back by URL, named by their digest; looked for when the first one needs it."""

    def __init__(self, client: KlingClient) -> None:
        self._client = client
        self._store = ""  # the URL that a file's name is appended to

    async def find(self) -> bool:
        """Whether the client speaks to the simulator. Raises TryLater when nothing answers there."""
        base = httpx.URL(self._client.base_url)
        if self._store or not is_loopback(base.host):
            return bool(self._store)
        _, answer = await _ask("GET", f"{self._client.base_url}/simulator")
        media = answer.get("media")
        if answer.get("simulator") is True and isinstance(media, str):
            store = base.join(media)
            self._store = str(store) if is_loopback(store.host) else ""
        return bool(self._store)

    async def publish(self, sha256: str, path: Path, suffix: str) -> str:
        """Upload a file under its digest and suffix; returns its URL. Repeating it changes nothing.

        Raises TryLater when the simulator does not take it, WorkspaceError when another server answers, and OSError.
        """
        if not await self.find():
            said = f"`{path.name}` is a local file, and {self._client.base_url} hosts none"
            raise WorkspaceError(said)
        data = await asyncio.to_thread(path.read_bytes)
        status, answer = await _ask("PUT", self._store + quote(sha256 + suffix, safe=""), data)
        url = answer.get("url")
        if not isinstance(url, str) or not url:
            raise TryLater(f"The simulator did not take the file: HTTP {status}.")
        return url


async def _ask(
    method: str, url: str, content: bytes | None = None
) -> tuple[int, dict[str, object]]:
    """Return status, and the JSON object of a success (else an empty one); raises TryLater for the network's errors."""
    headers = {"User-Agent": user_agent(), "Accept-Encoding": ACCEPTED}
    try:
        async with (
            asyncio.timeout(LONGEST),
            httpx.AsyncClient(headers=headers, timeout=SILENCE, trust_env=False) as http,
            http.stream(method, url, content=content) as response,
        ):
            body = await read_bounded(response) if response.is_success else b""
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as failure:
        why = str(failure) or type(failure).__name__
        raise TryLater(f"The simulator does not answer: {why}") from failure
    answer: object = None
    with suppress(ValueError, RecursionError):
        answer = json.loads(body)
    return response.status_code, answer if isinstance(answer, dict) else {}
