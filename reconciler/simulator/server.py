"""A simulator from start to stop: its two ports around one account, for a command that blocks and for tests."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from reconciler.simulator.app import api_app
from reconciler.simulator.callbacks import calling_back
from reconciler.simulator.config import SimulatorConfig
from reconciler.simulator.connection import Port
from reconciler.simulator.provider import Provider
from reconciler.simulator.results import results_app

__all__ = ["RunningSimulator", "SimulatorConfig", "run", "start_in_thread"]

Announce = Callable[["RunningSimulator"], None]


@dataclass(frozen=True)
class RunningSimulator:
    """A simulator that answers."""

    base_url: str
    """Where the API is."""
    results_url: str
    """The origin of results and hosted media."""
    stop: Callable[[], object]
    """Ends it, from any thread; after `start_in_thread` it returns when everything is closed."""


def run(config: SimulatorConfig, *, on_ready: Announce) -> None:
    """Serve until SIGINT or SIGTERM; `on_ready` is called once, when both ports answer.

    Must be called from the main thread. Raises ValueError for a host that is not loopback and OSError for a port
    that is taken.
    """
    asyncio.run(_serve(config, on_ready, signals=(signal.SIGINT, signal.SIGTERM)))


def start_in_thread(config: SimulatorConfig) -> RunningSimulator:
    """Serve from a thread of this process and return when both ports answer; raises what `run` raises."""
    started: Future[RunningSimulator] = Future()

    def serve() -> None:
        try:
            asyncio.run(_serve(config, started.set_result, signals=()))
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=serve, name="simulator", daemon=True)
    thread.start()
    running = started.result()

    def stop() -> None:
        if thread.is_alive():
            running.stop()
            thread.join()

    return RunningSimulator(running.base_url, running.results_url, stop)


async def _serve(
    config: SimulatorConfig, on_ready: Announce, signals: tuple[signal.Signals, ...]
) -> None:
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    async with (
        Port(config.host, config.port) as api,
        Port(config.host, config.results_port) as results,
    ):
        provider = Provider(config, results.url)
        try:
            await api.open(api_app(provider))
            await results.open(results_app(provider))
            async with calling_back(provider):
                for number in signals:
                    loop.add_signal_handler(number, over.set)
                stop = partial(loop.call_soon_threadsafe, over.set)
                on_ready(RunningSimulator(api.url, results.url, stop))
                await over.wait()
        finally:
            # The ports go first: nobody may ask an account that is closed.
            await asyncio.gather(api.close(), results.close())
            provider.close()
