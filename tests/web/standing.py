"""How things stand, made up: a source of status documents, and a port that serves it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from reconciler.web.pages import StatusSource
from reconciler.web.routes import status_app
from reconciler.web.serving import serving

HEALTHY = {
    "ok": True,
    "trouble": "",
    "since": "2026-11-23T09:00:00+00:00",
    "last_look": "2026-11-23T14:03:11+00:00",
    "in_flight": 3,
    "paused": "",
    "provider": "answers",
}


def row(number: int, status: str, **fields: Any) -> dict[str, Any]:
    """Return a generation as the status document has it."""
    return {
        "external_task_id": f"mc1-{number:026d}",
        "spec": f"specs/scene-{number}.yaml",
        "label": "",
        "status": status,
        "task_id": str(867283741759000000 + number),
        "reason": "",
        "units": None,
        "outputs": [],
    } | fields


@dataclass
class Standing:
    """A source: rows, health, and how often it was asked for them."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    well: dict[str, Any] = field(default_factory=lambda: dict(HEALTHY))
    trouble: Exception | None = None
    reasons: tuple[str, ...] = ()
    asked: int = 0

    @property
    def source(self) -> StatusSource:
        return StatusSource(self.document, self.health, self.unready, self.awake)

    async def awake(self) -> None:
        """Nothing is at rest."""

    def document(self) -> dict[str, Any]:
        self.asked += 1
        if self.trouble:
            raise self.trouble
        return {
            "generations": self.rows,
            "summary": dict(Counter(row["status"] for row in self.rows)),
        }

    def unready(self) -> tuple[str, ...]:
        return self.reasons

    def health(self) -> dict[str, Any]:
        return self.well


@asynccontextmanager
async def visiting(
    source: Standing,
    hint: Callable[[str], None] | None = None,
    *,
    allowed_hosts: tuple[str, ...] = ("127.0.0.1",),
    page_token: str = "",
) -> AsyncIterator[httpx.AsyncClient]:
    """Serve on a real port, and give a client of it."""
    app = status_app(source.source, hint, allowed_hosts=allowed_hosts, page_token=page_token)
    async with (
        serving(app, "127.0.0.1", 0) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as client,
    ):
        yield client
