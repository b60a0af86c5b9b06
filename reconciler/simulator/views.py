"""Tasks as the API shows them at this moment: their status, and the fields of an answer (all documented)."""

from __future__ import annotations

from decimal import Decimal

from reconciler.simulator.clock import VirtualClock
from reconciler.simulator.config import SimulatorConfig
from reconciler.simulator.forms import formed
from reconciler.simulator.signing import Signer
from reconciler.simulator.studio import Studio
from reconciler.simulator.tasks import Task

UNIT_PRICE = Decimal("0.14")
"""USD for a unit, about (observed)."""


class Views:
    """Reads a task at the present virtual time."""

    def __init__(
        self, config: SimulatorConfig, clock: VirtualClock, studio: Studio, signer: Signer
    ) -> None:
        self._config = config
        self._clock = clock
        self._studio = studio
        self._signer = signer

    def cleared_until(self) -> int:
        """Return the virtual time, ms, before whose end results have been cleared."""
        return self._clock.now() - round(self._config.cleared_after_s * 1000)

    def forgotten(self, task: Task) -> bool:
        """Tell whether the provider knows the task no more."""
        return self._config.cleared == "unknown" and task.ended_at <= self.cleared_until()

    def changes(self, task: Task) -> list[int]:
        """Return when the task's status changes, virtual ms, the creation first and the end last."""
        moments = [task.created_at]
        if task.started_at < task.ended_at:
            moments.append(task.started_at)
            if self._config.alien_status:
                third = (task.ended_at - task.started_at) // 3
                moments += [task.started_at + third, task.started_at + 2 * third]
        return [*moments, task.ended_at]

    def downloadable(self, task: Task) -> bool:
        """Tell whether the task has a film that was made and not cleared."""
        return not task.failure and self.over(task) and task.ended_at > self.cleared_until()

    def status(self, task: Task) -> str:
        """Return the documented status, whatever word is shown for it."""
        if self.over(task):
            return _end(task)[0]
        return "submitted" if self._clock.now() < task.started_at else "processing"

    def summary(self, task: Task, moment: int | None = None) -> dict[str, object]:
        """Return the fields that the answer to a create shows: as of now, or of a moment before the end (virtual ms)."""
        status = self._status(task) if moment is None else self._status_at(task, moment)
        return formed(_summary(task, *status), self._config)

    def full(self, task: Task, *, ago_ms: int = 0) -> dict[str, object]:
        """Return the fields that the answer to a query shows, or showed so many virtual ms ago."""
        moment = self._clock.now() - ago_ms
        status = self._status(task) if moment >= task.ended_at else self._status_at(task, moment)
        return formed(self._full(task, *status), self._config)

    def before(self, task: Task) -> dict[str, object]:
        """Return what a query showed before the task's status last changed."""
        now = self._clock.now()
        past = [moment for moment in self.changes(task) if moment <= now]
        if not self.over(task):
            past = [moment for moment in past if moment < task.ended_at]
        status = self._status_at(task, past[-2] if len(past) > 1 else past[0])
        return formed(self._full(task, *status), self._config)

    def told(self, task: Task, moment: int) -> dict[str, object]:
        """Return the fields that a callback shows of the status at a moment, virtual ms (documented)."""
        ended = moment >= task.ended_at
        view = self._full(task, *(_end(task) if ended else self._status_at(task, moment)))
        del view["watermark_info"]
        view = {"task_result": {"videos": []}, "final_unit_deduction": "0"} | view
        result = view["task_result"]
        assert isinstance(result, dict)
        view["task_result"] = {"images": [], **result, "audios": []}  # observed
        return formed(view, self._config)

    def over(self, task: Task) -> bool:
        """Tell whether the task has ended: a film that is not ready yet holds it in `processing`."""
        due = self._clock.now() >= task.ended_at
        return due and (bool(task.failure) or self._studio.ready(task))

    def _full(self, task: Task, status: str, since: int) -> dict[str, object]:
        view = _summary(task, status, since)
        view["task_status_msg"] = task.failure if status == "failed" else ""
        view["watermark_info"] = {"enabled": task.watermark}
        since_end = self._clock.now() - task.ended_at
        if status == "succeed":
            there = since_end >= self._config.videos_late_s * 1000
            view["task_result"] = {"videos": [self._video(task)] if there else []}
        if status in {"succeed", "failed"}:
            view |= self._deduction(task, early=since_end < self._config.deduction_s * 1000)
        return view

    def _deduction(self, task: Task, *, early: bool) -> dict[str, object]:
        """Return what was deducted, as far as it is shown; `early`: not long enough after the end."""
        how, free = self._config.deduction, self._config.failed_tasks == "free"
        if how == "missing" or (how == "late" and early):
            return {}
        units = Decimal(0) if task.failure and free else task.units
        shown = units + 1 if how == "changed" and early else units
        deduction: dict[str, object] = {"final_unit_deduction": format(shown, "f")}
        if self._config.balance_deduction == "shown":
            price = format((shown * UNIT_PRICE).normalize(), "f")
            deduction["final_balance_deduction"] = {"quota": price, "list_price": price}
        return deduction

    def _status(self, task: Task) -> tuple[str, int]:
        """Return the status, and since when, virtual ms."""
        return _end(task) if self.over(task) else self._status_at(task, self._clock.now())

    def _status_at(self, task: Task, now: int) -> tuple[str, int]:
        """Return the status of a task that has not ended."""
        if now < task.started_at:
            return "submitted", task.created_at
        third = (task.ended_at - task.started_at) // 3
        if self._config.alien_status and 0 <= now - task.started_at - third < third:
            return self._config.alien_status, task.started_at + third
        return "processing", task.started_at

    def _video(self, task: Task) -> dict[str, object]:
        video: dict[str, object] = {"id": video_id(task), "url": self._url(task, "")}
        if task.watermark:
            video["watermark_url"] = self._url(task, ".watermark")
        return video | {"duration": self._studio.duration(task)}

    def _url(self, task: Task, suffix: str) -> str:
        cleared_at = task.ended_at + round(self._config.cleared_after_s * 1000)
        if cleared_at <= self._clock.now() and self._config.cleared != "dead_url":
            return ""
        expires = self._clock.now() + round(self._config.url_lifetime_s * 1000)
        expires = min(expires, cleared_at)
        return self._signer.url(f"/results/{task.task_id}{suffix}.mp4", expires)


def video_id(task: Task) -> str:
    """Return what the video of a task is called: as long as the task's own id, and a little above it (observed)."""
    return str(int(task.task_id) + 1 + int(task.task_id[-4:]) % 97)


def _end(task: Task) -> tuple[str, int]:
    return ("failed" if task.failure else "succeed"), task.ended_at


def _summary(task: Task, status: str, since: int) -> dict[str, object]:
    return {
        "task_id": task.task_id,
        "task_status": status,
        "task_info": {"external_task_id": task.external_task_id} if task.external_task_id else {},
        "created_at": task.created_at,
        "updated_at": since,
    }
