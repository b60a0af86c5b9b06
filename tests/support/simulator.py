"""A simulator for a test: real ports, its own folder, the smallest films that play, and time that passes quickly."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from reconciler.simulator.config import SimulatorConfig
from reconciler.simulator.server import RunningSimulator, start_in_thread

SPEED = 600.0
"""Virtual seconds per real second: a task of two minutes takes a fifth of a second."""


class Simulator:
    """A running simulator and what a test asks of it."""

    def __init__(
        self, running: RunningSimulator, config: SimulatorConfig, control: httpx.Client
    ) -> None:
        self.base_url = running.base_url
        self.results_url = running.results_url
        self.config = config
        self.control = control

    def env(self) -> dict[str, str]:
        """Return the environment that leads a client here."""
        return {
            "KLING_BASE_URL": self.base_url,
            "KLING_ACCESS_KEY": self.config.access_key,
            "KLING_SECRET_KEY": self.config.secret_key,
        }

    def billed(self) -> dict[str, int]:
        """Return how often each external id was billed."""
        counts: dict[str, int] = self.ledger()["billed"]
        return counts

    def ledger(self) -> dict[str, Any]:
        """Return the whole ledger."""
        return self._json("GET", "/simulator/ledger")

    def requests(self) -> dict[str, int]:
        """Return how many requests came, by endpoint."""
        return self._json("GET", "/simulator/requests")

    def faults(self, plan: Sequence[Mapping[str, Any]]) -> None:
        """Replace the fault plan."""
        self._json("POST", "/simulator/faults", json=list(plan))

    def fired(self) -> list[int]:
        """Return how often each rule of the plan fired."""
        counts: list[int] = self._json("GET", "/simulator/faults")["fired"]
        return counts

    def advance(self, seconds: float) -> int:
        """Jump ahead by virtual seconds; returns the virtual time, ms."""
        return int(
            self._json("POST", "/simulator/clock", json={"advance_s": seconds})["virtual_now"]
        )

    def set_speed(self, speed: float) -> None:
        """Let time pass at another speed; 0 stops it."""
        self._json("POST", "/simulator/clock", json={"speed": speed})

    def upload(self, path: Path) -> str:
        """Host a file and return its URL."""
        data = path.read_bytes()
        name = hashlib.sha256(data).hexdigest() + path.suffix
        return str(self._json("PUT", f"/simulator/media/{name}", content=data)["url"])

    def _json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        answer = self.control.request(method, path, **request)
        if answer.status_code != 200:
            raise AssertionError(f"{method} {path}: {answer.status_code} {answer.text}")
        document: dict[str, Any] = answer.json()
        return document


@contextmanager
def simulator(folder: Path | None = None, **config: Any) -> Iterator[Simulator]:
    """Run a simulator while the block lasts; without a folder it forgets everything afterwards.

    `config` holds fields of `SimulatorConfig`.
    """
    with tempfile.TemporaryDirectory(prefix="simulator-") as temporary:
        # A jump of the provider's clock is none of the client's: that a result is old shows only where it is forgotten.
        chosen: dict[str, Any] = {"render": "stamp", "speed": SPEED, "cleared": "unknown", **config}
        settings = SimulatorConfig(folder=folder or Path(temporary), **chosen)
        running = start_in_thread(settings)
        try:
            with httpx.Client(base_url=running.base_url, trust_env=False, verify=False) as control:
                yield Simulator(running, settings, control)
        finally:
            running.stop()
