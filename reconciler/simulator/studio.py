"""Where films are made in the background and kept, one per task and kind; the only threads of the simulator.

Stamped films need none: the first of a kind is made on the spot, and the others are copies with a box of their own.
"""

from __future__ import annotations

import struct
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

import av

from reconciler.simulator.media import MediaStore
from reconciler.simulator.render import Film, render, seconds_of
from reconciler.simulator.tasks import Task


class Studio:
    """Makes each task's film once, and knows which are ready."""

    def __init__(
        self,
        folder: Path,
        media: MediaStore,
        detail: Literal["full", "draft", "stamp"],
        workers: int,
    ) -> None:
        """`media` holds the references; `workers` films are made at the same time."""
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._media = media
        self._detail = detail
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="simulator-studio")
        self._jobs: dict[str, Future[None]] = {}
        self._blanks: dict[Film, bytes] = {}

    def close(self) -> None:
        """Finish the film being made and forget the others; they are made when somebody asks again."""
        self._pool.shutdown(cancel_futures=True)

    def finish(self) -> None:
        """Wait until all films are made or given up that were begun; blocks, in any thread."""
        for job in list(self._jobs.values()):
            with suppress(CancelledError):  # `wait` would never hear of it
                job.exception()

    def ready(self, task: Task) -> bool:
        """Tell whether the task's films can be had; begins to make them if nobody has. Raises what broke them."""
        job = self._jobs.get(task.task_id)
        if job is None:
            job = self._jobs[task.task_id] = self._begin(task)
        if not job.done():
            return False
        job.result()
        return True

    def path(self, task: Task, *, watermark: bool) -> Path:
        """Return where a film is, or will be."""
        return self._folder / f"{task.task_id}{'.watermark' if watermark else ''}.mp4"

    def duration(self, task: Task) -> str:
        """Return how long the film plays, as the API writes it: seconds such as `5` or `5.041` (documented)."""
        seconds = seconds_of(self._kind(task, watermark=False))
        return f"{float(seconds):.3f}".rstrip("0").rstrip(".")

    def _begin(self, task: Task) -> Future[None]:
        missing = not self.path(task, watermark=False).exists()
        if missing and self._detail != "stamp":
            return self._pool.submit(self._make, task)
        if missing:
            self._make(task)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def _make(self, task: Task) -> None:
        # The plain film comes last: where it is, all of them are.
        for watermark in (True, False) if task.watermark else (False,):
            path = self.path(task, watermark=watermark)
            draft = path.with_suffix(".part")
            kind = self._kind(task, watermark=watermark)
            if kind.detail == "stamp":
                draft.write_bytes(self._blank(kind) + _box(task.task_id))
            else:
                _render(self._film(kind, task), draft)
            draft.replace(path)

    def _blank(self, kind: Film) -> bytes:
        """Return the film that all of its kind are copies of."""
        if kind not in self._blanks:
            path = self._folder / "blank.part"
            render(kind, path)
            self._blanks[kind] = path.read_bytes()
            path.unlink()
        return self._blanks[kind]

    def _reference(self, name: str) -> str:
        path = self._media.path(name)
        return "" if path is None else str(path)

    def _film(self, kind: Film, task: Task) -> Film:
        return replace(
            kind,
            name=task.task_id,
            image=self._reference(task.image),
            video=self._reference(task.video) if task.keep_sound else "",
        )

    def _kind(self, task: Task, *, watermark: bool) -> Film:
        """Return what the film has in common with others: all but its name, its references and its sound."""
        return Film(
            name="",
            image="",
            video="",
            mode=task.mode,
            detail=self._detail,
            duration_ms=task.duration_ms,
            rate=task.rate,
            watermark=watermark,
        )


def _render(film: Film, path: Path) -> None:
    try:
        render(film, path)
    except av.FFmpegError:
        # A sound that cannot be copied is left out.
        render(replace(film, video=""), path)


def _box(name: str) -> bytes:
    """Return an MP4 box that players skip, and that no other film has."""
    data = name.encode()
    return struct.pack(">I4s", 8 + len(data), b"free") + data
