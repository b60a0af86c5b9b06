"""The background task that makes the calls of the agenda. Loopback addresses alone are ever contacted."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx

from reconciler.simulator.agenda import Call
from reconciler.simulator.provider import Provider
from reconciler.simulator.signing import webhook_headers

CONTENT = {"content-type": "application/json; charset=utf-8"}
"""Observed."""
FILM_S = 0.05
"""Real seconds after which it is looked again whether a film is ready."""
SHORTEST_S = 0.001
"""Real seconds that are waited at least: clocks count in whole ms."""


@asynccontextmanager
async def calling_back(
    provider: Provider, transport: httpx.AsyncBaseTransport | None = None
) -> AsyncIterator[None]:
    """Make the provider's calls while the block lasts; what is under way at its end is cut.

    `transport` replaces the network. What breaks the task that calls is raised at the end of the block.
    """
    # Without authorities, which take long to load: nobody has a certificate for a loopback address.
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    patience = provider.config.callback_timeout_s
    async with httpx.AsyncClient(
        transport=transport, trust_env=False, verify=trust, timeout=patience
    ) as http:
        caller = _Caller(provider, http)
        task = asyncio.create_task(caller.run(), name="callbacks")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            await caller.hang_up()
    if not task.cancelled():
        task.result()


class _Caller:
    """Makes each call when it is due; a slow answer to one delays no other."""

    def __init__(self, provider: Provider, http: httpx.AsyncClient) -> None:
        self._provider = provider
        self._http = http
        self._under_way: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        provider.clock.on_move(self._changed.set)
        provider.agenda.on_growth(self._changed.set)

    async def run(self) -> None:
        """Call, for ever."""
        while True:
            self._changed.clear()
            for call in self._provider.agenda.take(self._provider.clock.now()):
                task = asyncio.create_task(self._make(call), name=f"callback {call.task.task_id}")
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
            await self._rest()

    async def hang_up(self) -> None:
        """Cut the calls that are under way."""
        calls = list(self._under_way)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    async def _rest(self) -> None:
        """Wait until the next call is due, or until that may have changed."""
        due = self._provider.agenda.next_due()
        seconds = None if due is None else self._provider.clock.real_seconds_until(due)
        try:
            async with asyncio.timeout(None if seconds is None else max(seconds, SHORTEST_S)):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _make(self, call: Call) -> None:
        counts = self._provider.requests
        if not _is_near(call.task.callback_url):
            counts["callback_foreign"] += 1
            return
        try:
            body = json.dumps(await self._body(call), ensure_ascii=False).encode()
            headers = CONTENT | self._signed(call, body)
            answer = await self._http.post(call.task.callback_url, content=body, headers=headers)
        except Exception:  # noqa: BLE001 - a film that cannot be made included: queries say so
            counts["callback_unanswered"] += 1
        else:
            counts["callback" if answer.is_success else "callback_unanswered"] += 1

    def _signed(self, call: Call, body: bytes) -> dict[str, str]:
        """Return the headers that prove who calls; none without a secret. A repeat has the same id."""
        secret = self._provider.config.callback_secret
        if not secret:
            return {}
        digest = hashlib.sha256(f"{call.task.task_id}/{call.moment}".encode()).digest()
        name = str(int.from_bytes(digest[:8]) % 10**10)
        return webhook_headers(secret, name, int(self._provider.real_now()), body)

    async def _body(self, call: Call) -> dict[str, object]:
        """Return what the call says, once there is a film to tell of."""
        body = self._provider.told(call.task, call.moment)
        while body is None:
            await asyncio.sleep(FILM_S)
            body = self._provider.told(call.task, call.moment)
        return body


def _is_near(url: str) -> bool:
    """Tell whether a URL leads to this machine by its very spelling; no name is looked up but `localhost`."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
