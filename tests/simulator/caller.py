"""Somebody who calls the simulated API, with tokens of a library that the simulator does not use."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import jwt

from tests.support.simulator import Simulator

TASKS = "/v1/videos/motion-control"


def token(simulator: Simulator, **claims: Any) -> str:
    """Return a token as the provider documents it; `claims` replace its own, None takes one away."""
    now = int(time.time())
    payload = {"iss": simulator.config.access_key, "exp": now + 1800, "nbf": now - 5} | claims
    kept = {name: value for name, value in payload.items() if value is not None}
    return jwt.encode(kept, simulator.config.secret_key, algorithm="HS256")


def order(name: str = "", **fields: Any) -> dict[str, Any]:
    """Return a create's body that is accepted; `fields` replace its own, None takes one away."""
    body = {
        "image_url": "https://example.com/girl.png",
        "video_url": "https://example.com/dance.mp4",
        "character_orientation": "image",
        "mode": "std",
        "external_task_id": name,
    } | fields
    return {key: value for key, value in body.items() if value is not None}


class Caller:
    """An HTTP client with a valid token."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def create(self, body: dict[str, Any]) -> httpx.Response:
        return self.http.post(TASKS, json=body)

    def query(self, name: str) -> httpx.Response:
        return self.http.get(f"{TASKS}/{name}")

    def until_over(self, name: str) -> dict[str, Any]:
        """Ask until the task has ended, and return its `data`."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            data: dict[str, Any] = self.query(name).json()["data"]
            if data["task_status"] in {"succeed", "failed"}:
                return data
            time.sleep(0.01)
        raise AssertionError(f"{name} did not end in 20 s")

    def film_url(self, name: str) -> str:
        """Wait for the task and return where its film is."""
        return str(self.until_over(name)["task_result"]["videos"][0]["url"])


@contextmanager
def calling(simulator: Simulator, *, timeout: httpx.Timeout | float = 10.0) -> Iterator[Caller]:
    """Return a caller of a running simulator; `timeout` is in seconds."""
    headers = {"authorization": f"Bearer {token(simulator)}"}
    with httpx.Client(
        base_url=simulator.base_url, headers=headers, timeout=timeout, trust_env=False, verify=False
    ) as http:
        yield Caller(http)
