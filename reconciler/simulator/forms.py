"""The forms in which one and the same answer may come: pure functions from the documented fields to unusual ones."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.simulator.unknowns import Unknowns

Fields = dict[str, object]


def formed(task: Fields, unknowns: Unknowns) -> Fields:
    """Return a task's fields as the provider writes them; without any knob turned they stay as they are."""
    task = {**task, "task_status": _word(str(task["task_status"]), unknowns)}
    if unknowns.external_ids == "missing":
        del task["task_info"]
    if unknowns.number_form == "number" and "final_unit_deduction" in task:
        task["final_unit_deduction"] = float(str(task["final_unit_deduction"]))
    if isinstance(result := task.get("task_result"), Mapping):
        task["task_result"] = {
            **result,
            "videos": [_video(video, unknowns) for video in result["videos"]],
        }
    if unknowns.id_form == "number":
        task["task_id"] = int(str(task["task_id"]))
    if unknowns.id_form == "renamed":
        task["id"] = task.pop("task_id")
    return task


def framed(task: Fields, unknowns: Unknowns) -> object:
    """Return `data` of an answer about one task."""
    return [task] if unknowns.data_form == "list" else task


def _word(status: str, unknowns: Unknowns) -> str:
    if unknowns.status_form == "succeeded":
        return {"succeed": "succeeded"}.get(status, status)
    forms = {"capital": status.capitalize(), "upper": status.upper()}
    return forms.get(unknowns.status_form, status)


def _video(video: Mapping[str, object], unknowns: Unknowns) -> Fields:
    fields = dict(video)
    if unknowns.number_form == "number":
        fields["duration"] = float(str(video["duration"]))
    if unknowns.duration_form in {"empty", "wrong"}:
        fields["duration"] = {"empty": "", "wrong": "about five"}[unknowns.duration_form]
    if unknowns.duration_form == "missing":
        del fields["duration"]
    return fields
