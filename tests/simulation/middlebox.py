"""What stands between the product and the provider, and answers for it: a cache, a firewall, a replica that is wrong.

The provider's own faults are in its fault plan; here is what it would never say of itself. Everything is drawn from
a seed, and some of it is drawn for each id: an id that is concerned once is concerned always.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx

from reconciler.core.identity import split_attempt
from tests.simulation.loop import running
from tests.simulation.witness import Body, Kind, asked_for, with_body

Endpoint = Literal["create", "query", "any"]
What = Literal["replay", "failed", "numbers", "silence"]

PAGE = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center></body></html>"
NO_ANSWERS: Mapping[str, tuple[int, str]] = {
    "502": (502, PAGE.format("502 Bad Gateway")),
    "403": (403, PAGE.format("403 Forbidden")),
    "1200": (400, '{"code": 1200, "message": "invalid parameters", "request_id": "m"}'),
    "1201": (400, '{"code": 1201, "message": "pageSize invalid", "request_id": "m"}'),
}
"""What an id gets that cannot be asked about: nothing that says anything of the task."""
TIMES: tuple[Callable[[int], object], ...] = (
    lambda ms: ms // 1000,
    lambda ms: ms * 1000,
    lambda ms: 0,
    lambda ms: -ms,
    lambda ms: 253_402_300_800_000_000,
    lambda ms: str(ms // 1000),
)
"""What becomes of a time in ms that is not one."""
DEDUCTIONS = ("999999999999", 10**30, "-5", "0.000000000000000000001", "")


@dataclass(frozen=True, slots=True)
class Interference:
    """One way to interfere."""

    what: What
    endpoint: Endpoint = "any"
    how: str = ""
    """Of a replay: whether the request gets through (`after`) or not (`before`). Of a silence: one of `NO_ANSWERS`."""
    share: float = 1.0
    """Of the ids, or of the requests where it is not about ids."""
    most: int = 10**9
    """Times; of a stray `failed`, ids."""
    from_s: float = 0.0
    until_s: float = float("inf")

    @property
    def lasts(self) -> bool:
        """Whether it goes on once all trouble is over."""
        return self.what == "numbers" or (self.what == "silence" and self.until_s == float("inf"))


@dataclass
class Middlebox(httpx.AsyncBaseTransport):
    """Passes requests on, but for what it interferes with."""

    wire: httpx.AsyncBaseTransport
    seed: str
    rules: tuple[Interference, ...]
    say: Callable[[str], None]
    done: dict[Interference, int] = field(default_factory=dict)
    is_calm: bool = False
    _answers: list[tuple[Kind, str, int, bytes]] = field(default_factory=list)
    _told_failed: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._draw = random.Random(self.seed)

    def is_silent_about(self, base_id: str) -> bool:
        """Whether this generation can never be asked about by its id."""
        return any(
            rule.what == "silence" and rule.lasts and self._concerns(rule, base_id)
            for rule in self.rules
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request, or answer it."""
        kind, name = asked_for(request)
        if not self.rules or kind == "result":
            return await self.wire.handle_async_request(request)
        base, rules = split_attempt(name)[0], self._active(kind)
        for rule in rules:
            if rule.what == "silence" and not name.isdigit() and self._concerns(rule, base):
                status, page = NO_ANSWERS[rule.how]
                return self._instead(rule, name, status, page.encode())
        replay = next((rule for rule in rules if rule.what == "replay"), None)
        earlier = replay and self._replayed(replay, kind, base)
        if replay and earlier and replay.how == "before":
            return self._instead(replay, name, *earlier)
        response = await with_body(await self.wire.handle_async_request(request))
        if replay and earlier:
            return self._instead(replay, name, *earlier)
        assert isinstance(response.stream, Body)
        body = response.stream.body
        if kind in {"create", "query"} and b'"task_id"' in body:
            self._answers.append((kind, base, response.status_code, body))
        return self._changed(rules, response.status_code, body) or response

    def _active(self, kind: Kind) -> list[Interference]:
        now = running().time()
        return [
            rule
            for rule in self.rules
            if (rule.endpoint == kind or (rule.endpoint == "any" and kind != "create"))
            and (rule.lasts or (not self.is_calm and rule.from_s <= now < rule.until_s))
            and self.done.get(rule, 0) < rule.most
        ]

    def _concerns(self, rule: Interference, name: str) -> bool:
        return self._share(rule.what, name) < rule.share

    def _share(self, *words: str) -> float:
        digest = hashlib.sha256("/".join((self.seed, *words)).encode()).digest()
        return int.from_bytes(digest[:8]) / 2**64

    def _replayed(self, rule: Interference, kind: Kind, base: str) -> tuple[int, bytes] | None:
        """Return the latest answer to such a request for another generation, if it is the time for it."""
        others = [one for one in self._answers if one[0] == kind and one[1] != base and one[1]]
        if not others or self._draw.random() >= rule.share:
            return None
        return others[-1][2:]

    def _instead(self, rule: Interference, name: str, status: int, body: bytes) -> httpx.Response:
        self._count(rule, f"{rule.what} {rule.how} for {name}")
        return httpx.Response(status, content=body)

    def _count(self, rule: Interference, line: str) -> None:
        self.done[rule] = self.done.get(rule, 0) + 1
        if self.done[rule] <= 5 or rule.most < 10**9:
            self.say(f"between: {line}")

    def _changed(
        self, rules: list[Interference], status: int, body: bytes
    ) -> httpx.Response | None:
        """Return the answer with what is said of its tasks changed; None where nothing is."""
        try:
            answer = json.loads(body)
        except ValueError:
            return None
        data = answer.get("data") if isinstance(answer, dict) else None
        tasks = data if isinstance(data, list) else [data]
        changed = [
            self._tampered(rule, task)
            for task in tasks
            if isinstance(task, dict) and task.get("task_id")
            for rule in rules
        ]
        return httpx.Response(status, json=answer) if any(changed) else None

    def _tampered(self, rule: Interference, task: dict[str, Any]) -> bool:
        task_id = str(task["task_id"])
        if rule.what == "numbers" and self._share("numbers", task_id) < rule.share:
            change = TIMES[int(self._share("time", task_id) * len(TIMES))]
            for name in ("created_at", "updated_at"):
                task[name] = change(task[name])
            if "final_unit_deduction" in task and self._share("which", task_id) < 0.5:
                number = int(self._share("units", task_id) * len(DEDUCTIONS))
                task["final_unit_deduction"] = DEDUCTIONS[number]
            return True
        if rule.what == "failed" and self._is_to_fail(rule, task):
            task |= {"task_status": "failed", "task_status_msg": "a stray failure"}
            task.pop("task_result", None)
            self._told_failed.add(task_id)
            self._count(rule, f"{task['task_info'].get('external_task_id')} is said to have failed")
            return True
        return False

    def _is_to_fail(self, rule: Interference, task: dict[str, Any]) -> bool:
        told = str(task["task_id"]) in self._told_failed
        return not told and task["task_status"] != "failed" and self._draw.random() < rule.share
