"""Which tasks a caller gets to see: late, not for a while, or no more. Everything accepted is in the table all the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from reconciler.simulator.config import SimulatorConfig
from reconciler.simulator.tasks import Selection, Task, TaskTable
from reconciler.simulator.views import Views


class Lookup:
    """Finds tasks for queries and for the list; used from one thread at a time."""

    def __init__(
        self, config: SimulatorConfig, tasks: TaskTable, views: Views, real: Callable[[], float]
    ) -> None:
        """`real` returns the real time in seconds."""
        self._config = config
        self._tasks = tasks
        self._views = views
        self._real = real
        self._asked: Counter[str] = Counter()

    def task(self, name: str) -> Task | None:
        """Return the task that the caller can see under a task id or an external id."""
        task = self._tasks.by_task_id(name) or self._indexed(name)
        if task is None or self._hidden(task) or self._views.forgotten(task):
            return None
        return task

    def shown(self, task: Task) -> dict[str, object]:
        """Return a task's fields for one more query about it."""
        self._asked[task.task_id] += 1
        every = self._config.stale_every
        stale = every > 0 and self._asked[task.task_id] % every == 0
        return self._views.before(task) if stale else self._views.full(task)

    def page(self, page: int, size: int) -> list[dict[str, object]]:
        """Return the fields of the tasks on a page of the list: pages count from 1, `size` is in tasks."""
        moved = self._config.list_shift * (page - 1)
        tasks = self._tasks.page(size, max(0, (page - 1) * size - moved), self._selection())
        stale_ms = round(self._config.list_stale_s * 1000)
        return [self._views.full(task, ago_ms=stale_ms) for task in tasks]

    def _selection(self) -> Selection:
        config, now = self._config, self._now()
        hidden_until = now - _ms(config.hidden_from_s)
        return Selection(
            ended_after=self._views.cleared_until() if config.cleared == "unknown" else -1,
            created_until=now - _ms(config.list_lag_s) if config.list_lag_s else float("inf"),
            hidden=(hidden_until - _ms(config.hidden_s), hidden_until),
            order=config.list_order,
        )

    def _indexed(self, external_task_id: str) -> Task | None:
        task = self._tasks.by_external_id(external_task_id)
        if task is None:
            return None
        return task if self._now() >= task.created_real + _ms(self._config.query_lag_s) else None

    def _hidden(self, task: Task) -> bool:
        since = self._now() - task.created_real - _ms(self._config.hidden_from_s)
        return 0 <= since < _ms(self._config.hidden_s)

    def _now(self) -> float:
        return self._real() * 1000


def _ms(seconds: float) -> float:
    return seconds * 1000
