"""The provider's verbs over tasks, ledger, films and clock: authenticate, create, query, list. Knows no HTTP."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from types import MappingProxyType

from reconciler.simulator.account import Account
from reconciler.simulator.agenda import Agenda
from reconciler.simulator.checks import Order, check_order
from reconciler.simulator.clock import VirtualClock
from reconciler.simulator.config import SimulatorConfig
from reconciler.simulator.errors import ApiError
from reconciler.simulator.faults import Call, Effect, FaultPlan
from reconciler.simulator.forms import framed
from reconciler.simulator.ledger import Ledger
from reconciler.simulator.lookup import Lookup
from reconciler.simulator.media import MediaStore
from reconciler.simulator.plans import parse_plan
from reconciler.simulator.signing import Signer
from reconciler.simulator.studio import Studio
from reconciler.simulator.tasks import Task, TaskTable, Times
from reconciler.simulator.tokens import Keys, authenticate
from reconciler.simulator.views import Views

UNKNOWN: Mapping[str, object] = MappingProxyType({"empty": {}, "null": None, "list": []})
"""`data` of a successful answer about an id that nobody used, by `SimulatorConfig.unknown_ids`."""


class Provider:
    """One account at the simulated provider. Every verb is called from one thread at a time and never waits."""

    def __init__(
        self, config: SimulatorConfig, results_url: str, real: Callable[[], float] = time.time
    ) -> None:
        """Open the account kept in `config.folder`; `results_url` is the origin of results and media.

        `real` returns the real time in seconds since the epoch; no other clock is read.
        """
        config.folder.mkdir(parents=True, exist_ok=True)
        self.config = config
        self.results_url = results_url
        self.requests: Counter[str] = Counter()
        self._real = real
        self.plan = parse_plan(list(config.faults))
        seed = _kept_seed(config)
        self._opened = f"{seed}/{real()}"
        self._answers = 0
        self.clock = VirtualClock(config.folder / "clock.json", speed=config.speed, real=real)
        self.ledger = Ledger(config.folder / "ledger.jsonl", self.clock.now)
        self.media = MediaStore(config.folder / "media", results_url)
        self.signer = Signer(seed.encode(), results_url)
        self.studio = Studio(
            config.folder / "films", self.media, config.render, config.render_workers
        )
        self._tasks = TaskTable(config.folder / "tasks.db", seed)
        self.account = Account(config, self.clock, self.ledger, real)
        self._views = Views(config, self.clock, self.studio, self.signer)
        self._lookup = Lookup(config, self._tasks, self._views, real)
        self._keys = Keys(config.access_key, config.secret_key, config.api_key)
        self.agenda = Agenda(config, seed)
        now = self.clock.now()
        for task in self._tasks.watched(now):
            self.agenda.expect(task, self._views.changes(task), after=now)

    def close(self) -> None:
        """Put everything on disk and let go of it."""
        self.clock.save()
        self.studio.close()
        self._tasks.close()

    @property
    def plan(self) -> FaultPlan:
        """The faults that are to come."""
        return self._plan

    @plan.setter
    def plan(self, plan: FaultPlan) -> None:
        """Put another plan in place; its time begins now."""
        self._plan, self._planned = plan, self._real()

    def fault_on(self, endpoint: str, external_task_id: str, state: str) -> Effect | None:
        """Return what goes wrong with one more call, and count it."""
        call = Call(endpoint, external_task_id, state, self._real() - self._planned)
        effect, self._plan = self._plan.on(call)
        return effect

    def real_now(self) -> float:
        """Return the time of the provider's own clock, seconds; tokens and the `Date` header go by it."""
        return self._real() + self.config.clock_skew_s

    def new_request_id(self) -> str:
        """Return the id of one more answer; an account with the same seed that opened at the same time gives the same."""
        self._answers += 1
        digest = hashlib.sha256(f"{self._opened}/{self._answers}".encode()).digest()
        return str(uuid.UUID(bytes=digest[:16], version=4))

    def authenticate(self, authorization: str | None) -> None:
        """Raise `ApiError` 1000 to 1004 unless the header opens the account."""
        authenticate(authorization, self._keys, self.real_now())

    def create(self, body: Mapping[str, object], *, failure: str = "") -> object:
        """Create a task, bill it, and return `data` of the answer.

        `failure` lets the task end as failed. Raises `ApiError`; the order of the checks is parameters, used
        external id, concurrency, balance, and nothing is created or billed when one of them refuses.
        """
        order = self._stored(check_order(body, self.config, self.media))
        self._check_policy(order.prompt)
        known = self._tasks.by_external_id(order.external_task_id)
        if known is not None and self._is_free_again(known):
            known = None
        if known is not None and self.config.duplicate_ids == "refuse":
            sentence = f"External_task_id {order.external_task_id} already exists"
            raise ApiError(self.config.duplicate_code, sentence)
        if known is None or self.config.duplicate_ids == "bill_again":
            begun = self._accept(order, self._affordable(order), failure)
            return framed(self._views.summary(begun, begun.created_at), self.config)
        return framed(self._views.summary(known), self.config)

    def query(self, name: str) -> object:
        """Return `data` for a task id or an external id; what an unknown one gets is the config's to say."""
        task = self._lookup.task(name)
        if task is not None:
            return framed(self._lookup.shown(task), self.config)
        if self.config.unknown_ids == "404":
            raise ApiError(1203, f"task {name} not found")
        if self.config.unknown_ids == "400":
            raise ApiError(1201, f"Task not found by id/external id: {name}")
        return UNKNOWN[self.config.unknown_ids]

    def list_page(self, page: int, size: int) -> list[dict[str, object]]:
        """Return `data` for a page of the list: pages count from 1, `size` is in tasks."""
        return self._lookup.page(page, size)

    def state_of(self, name: str) -> str:
        """Return the documented status of the task with a task id or an external id; `none` for no task."""
        task = self._tasks.by_task_id(name) or self._tasks.by_external_id(name)
        return "none" if task is None or self._views.forgotten(task) else self._views.status(task)

    def task_of_result(self, task_id: str) -> Task | None:
        """Return the task whose film can be had now, or None."""
        task = self._tasks.by_task_id(task_id)
        return task if task is not None and self._views.downloadable(task) else None

    def told(self, task: Task, moment: int) -> dict[str, object] | None:
        """Return what a callback says of the status at a moment, virtual ms; None for an end that waits for its film."""
        if moment >= task.ended_at and not self._views.over(task):
            return None
        return self._views.told(task, moment)

    def external_id_of(self, task_id: str) -> str:
        """Return what the caller calls a task; empty for nothing."""
        task = self._tasks.by_task_id(task_id)
        return "" if task is None else task.external_task_id

    def _affordable(self, order: Order) -> Decimal:
        """Return the units of an order; raises `ApiError` when no slot is free or the pack does not cover it."""
        shared = self.config.slots == "by_account"
        under_way = self._tasks.under_way(self.clock.now(), "" if shared else order.model_name)
        if under_way >= self.config.concurrency:
            raise ApiError(1303)
        units = self._price(order)
        if units > self.account.remaining():
            raise ApiError(1102)
        return units

    def _accept(self, order: Order, units: Decimal, failure: str) -> Task:
        queue_ms, task_ms = round(self.config.queue_s * 1000), round(self.config.task_s * 1000)
        times = Times(self.clock.now(), int(self._real() * 1000), queue_ms, task_ms)
        failure = failure or self._marked_failure(order.prompt)
        order = replace(order, duration_ms=self._made_ms(order))
        task = self._tasks.draw(order, units, failure, times)
        refunded_at = task.ended_at if task.failure and self.config.failed_tasks == "free" else None
        # The ledger goes first: a kill in between leaves a bill without a task, never a task without a bill.
        self.ledger.bill(
            times.now,
            task.external_task_id,
            task.task_id,
            units,
            refunded_at,
            taken_at=task.ended_at,
        )
        self._tasks.keep(task)
        self.requests["create"] += 1
        self.agenda.expect(task, self._views.changes(task), after=times.now - 1)
        if not task.failure:
            self.studio.ready(task)
        return task

    def _is_free_again(self, task: Task) -> bool:
        """Tell whether the external id of a task counts as used no more."""
        match self.config.used_ids:
            case "until_failed":
                return bool(task.failure) and self._views.over(task)
            case "until_cleared":
                return task.ended_at <= self._views.cleared_until()
            case _:
                return False

    def _stored(self, order: Order) -> Order:
        """Return an order as the provider remembers it."""
        cut = self.config.external_id_cut or None
        return replace(order, external_task_id=order.external_task_id[:cut])

    def _price(self, order: Order) -> Decimal:
        """Return the units of an order: the price of a second times the seconds, to the nearest whole one (documented)."""
        price = self.config.prices[order.model_name, order.mode]
        by_result = self.config.billed_by == "result"
        length_ms = self._made_ms(order) if by_result else order.duration_ms
        return (price * ((length_ms + 500) // 1000)).normalize()

    def _check_policy(self, prompt: str) -> None:
        if f"[[{self.config.policy_marker}]]" in prompt:
            raise ApiError(1301, "prompt: content policy violated")

    def _marked_failure(self, prompt: str) -> str:
        marked = re.search(rf"\[\[{re.escape(self.config.fail_marker)}:\s*(.+?)\s*\]\]", prompt)
        return marked[1] if marked else ""

    def _made_ms(self, order: Order) -> int:
        """Return how long the film will be: the reference's length, or less by a knob or a mark in the prompt."""
        shared = round(order.duration_ms * self.config.result_share)
        marker = re.escape(self.config.short_marker)
        marked = re.search(rf"\[\[{marker}:\s*([0-9.]{{1,6}})\]\]", order.prompt)
        return min(round(float(marked[1]) * 1000), shared) if marked else shared


def _kept_seed(config: SimulatorConfig) -> str:
    path = config.folder / "seed"
    if not path.exists():
        path.write_text(config.seed or secrets.token_hex(16))
    return path.read_text()
