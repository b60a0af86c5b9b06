"""The provider's account in virtual time, on a wire, and the product's own clients for it.

To be built inside of `loop.run`; everything here reads the loop's clock and no other::

    async def story() -> None:
        wire = Wire(seed="1")
        async with account(folder, wire, concurrency=5) as provider:
            client, downloader = client_of(wire), downloader_of(wire)
            ...

    run(story(), start=START)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from reconciler.kling.auth import Credentials
from reconciler.kling.client import KlingClient
from reconciler.kling.downloads import Downloader
from reconciler.simulator.app import api_app
from reconciler.simulator.callbacks import calling_back
from reconciler.simulator.config import ACCESS_KEY, SECRET_KEY, SimulatorConfig
from reconciler.simulator.provider import Provider
from reconciler.simulator.results import results_app
from tests.simulation.loop import running
from tests.simulation.wire import Wire

START: Final = 1_800_000_000.0
"""When virtual time begins, seconds since the epoch: a morning in January 2027."""
API: Final = "http://127.0.0.1:8790"
RESULTS: Final = "http://127.0.0.1:8791"


@asynccontextmanager
async def account(folder: Path, wire: Wire, **config: Any) -> AsyncIterator[Provider]:
    """Let the provider answer on the wire while the block lasts; the same folder again is the same account.

    `config` holds fields of `SimulatorConfig`. The provider's time is the loop's; its films cost nothing.
    """
    chosen: dict[str, Any] = {"seed": "account", "render": "stamp", **config}
    provider = Provider(SimulatorConfig(folder=folder, **chosen), RESULTS, real=running().wall)
    wire.serve(API, api_app(provider))
    wire.serve(RESULTS, results_app(provider))
    try:
        async with calling_back(provider, wire):
            yield provider
    finally:
        wire.leave(API)
        wire.leave(RESULTS)
        provider.close()


def client_of(
    wire: httpx.AsyncBaseTransport,
    *,
    timeout: float = 30.0,
    now: Callable[[], float] | None = None,
) -> KlingClient:
    """Return the product's client; `timeout` bounds a request, s; `now` is the wall clock that it reads, s."""
    return KlingClient(
        base_url=API,
        credentials=Credentials(access_key=ACCESS_KEY, secret_key=SECRET_KEY),
        timeout=timeout,
        now=now or running().wall,
        transport=wire,
    )


def downloader_of(wire: httpx.AsyncBaseTransport, *, timeout: float = 30.0) -> Downloader:
    """Return the product's downloader; `timeout` bounds a silence, s."""
    return Downloader(timeout=timeout, transport=wire)
