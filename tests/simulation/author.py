"""Somebody who works in the folder of a history: writes, renames, reverts and loses files, as an editor or git does."""

from __future__ import annotations

import io
import itertools
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from tests.simulation.history import Act

_BASE = """\
image_url: {image}
video_url: {video}
prompt: {prompt}
character_orientation: image
mode: std
"""
_MORE = {
    "takes": "takes: 2\n",
    "matrix": "matrix:\n  mode: [std, pro]\n",
    "retries": "retries: 2\n",
    "unlucky": "retries: 1\n",
    "watermark": "watermark_info: {enabled: true}\n",
    "prepared": "prepare: true\n",
}
FILM = Path(__file__).parent.parent / "media" / "bigbuckbunny.mp4"
_SUSPENDED = "suspend: true\n"
RETRIES = 2
"""The most attempts beside the first that any spec here allows."""


@dataclass
class Author:
    """Changes files below `specs/`, with times of the wall clock of the history."""

    root: Path
    wall_ns: Callable[[], int]
    mark: Callable[[Iterable[str]], None]
    """Is told which names were touched."""
    past: dict[str, list[str]] = field(default_factory=dict)
    """Spec -> the texts that it had."""
    spoiled: set[Path] = field(default_factory=set)
    """Outputs that somebody edited, or put something else in the place of."""
    _ticks: Iterator[int] = field(default_factory=itertools.count)

    def do(self, act: Act) -> None:
        """Do one act; where there is nothing that it could be done to, nothing happens."""
        getattr(self, act.what)(act)

    def specs(self) -> list[str]:
        """Return the names of all specs."""
        found = (self.root / "specs").rglob("*.yaml")
        names = (str(path.relative_to(self.root)) for path in found)
        return sorted(name for name in names if not name.endswith("_defaults.yaml"))

    def receipts(self) -> list[Path]:
        """Return all receipts."""
        return sorted((self.root / "specs").rglob("*.receipt.json"))

    def films(self) -> list[Path]:
        """Return all outputs, and the posters beside them."""
        folder = self.root / "specs"
        return sorted([*folder.rglob("*.mp4"), *folder.rglob("*.webp")])

    def add(self, act: Act) -> None:
        """Write a new spec."""
        kind, _, number = str(act.value).partition(":")
        folder = ("", "deep/", f"deep/{act.which % 5}/")[act.which % 3]
        image, video = "https://example.com/girl.png", "https://example.com/dance.mp4"
        if kind in {"local", "prepared"}:
            image = "girl.png"
            if not (self.root / f"specs/{folder}girl.png").exists():
                self._write(f"specs/{folder}girl.png", picture(0.5))
        if kind == "hosted":
            video = "dance-of-ours.mp4"
            if not (self.root / f"specs/{folder}{video}").exists():
                self._write(f"specs/{folder}{video}", FILM.read_bytes())
        prompt = f"wish {number}" + (" [[fail: bad luck]]" if kind == "unlucky" else "")
        text = _BASE.format(image=image, video=video, prompt=prompt) + _MORE.get(kind, "")
        if kind == "custom":
            text += f"external_task_id: own-{number}\n"
        self._write(f"specs/{folder}wish{number}.yaml", text.encode())

    def edit(self, act: Act) -> None:
        """Ask for something else."""
        if name := self._some(act):
            old = (self.root / name).read_text()
            prompt = f"prompt: a change {act.value}"
            lines = [prompt if line.startswith("prompt:") else line for line in old.splitlines()]
            self._write(name, ("\n".join(lines) + "\n").encode())

    def revert(self, act: Act) -> None:
        """Ask for what was asked for before."""
        if (name := self._some(act)) and (texts := self.past.get(name)):
            self._write(name, texts[act.which % len(texts)].encode())

    def rename(self, act: Act) -> None:
        """Call a spec something else; what was made for it stays where it is."""
        if name := self._some(act):
            path = self.root / name
            target = path.with_name(f"moved{next(self._ticks)}-{path.name[-20:]}")
            path.rename(target)
            self.mark([name, str(target.relative_to(self.root))])

    def remove(self, act: Act) -> None:
        """Remove a spec, unless it is the last."""
        if len(self.specs()) > 1 and (name := self._some(act)):
            (self.root / name).unlink()
            self.mark([name])

    def defaults(self, act: Act) -> None:
        """Write defaults for all specs; now and then they change what is asked for."""
        text = (
            "keep_original_sound: 'no'\n" if float(act.value) < 0.3 else "model_name: kling-v2-6\n"
        )
        self._write("specs/_defaults.yaml", text.encode())

    def picture(self, act: Act) -> None:
        """Draw the image anew."""
        for path in sorted((self.root / "specs").rglob("girl.png")):
            self._write(str(path.relative_to(self.root)), picture(float(act.value)))

    def lose_output(self, act: Act) -> None:
        """Lose one video."""
        if films := self.films():
            self._lose([films[act.which % len(films)]])

    def lose_outputs(self, act: Act) -> None:
        """Lose all videos."""
        self._lose(self.films())

    def lose_receipts(self, act: Act) -> None:
        """Lose all receipts."""
        self._lose(self.receipts())

    def lose_state(self, act: Act) -> None:
        """Lose the state folder."""
        shutil.rmtree(self.root / "state", ignore_errors=True)

    def lose_state_and_outputs(self, act: Act) -> None:
        """Clone anew, where only specs and receipts are committed."""
        self.lose_state(act)
        self.lose_outputs(act)

    def lose_objects(self, act: Act) -> None:
        """Lose what was saved, but not what is known of it."""
        shutil.rmtree(self.root / "state" / "objects", ignore_errors=True)

    def lose_everything(self, act: Act) -> None:
        """Clone anew, where only specs are committed."""
        self.lose_state_and_outputs(act)
        self.lose_receipts(act)

    def suspend(self, act: Act) -> None:
        """Suspend a spec, or have one go on that is suspended."""
        if name := self._some(act):
            self._suspend(name, _SUSPENDED not in (self.root / name).read_text())

    def spoil(self, act: Act) -> None:
        """Edit a video or a poster, or put a folder in its place."""
        if films := self.films():
            film = films[act.which % len(films)]
            if film.is_dir():
                return
            if act.which % 5 == 0:
                film.unlink()
                film.mkdir()
            else:
                film.write_bytes(film.read_bytes() + b"edited by hand")
            self.spoiled.add(film)
            self.mark([str(film.relative_to(self.root))])

    def mend(self) -> None:
        """Move away what was put in the place of outputs, and have every spec go on."""
        for film in self.spoiled:
            film.rmdir() if film.is_dir() else film.unlink(missing_ok=True)
        self.mark(str(film.relative_to(self.root)) for film in self.spoiled)
        for name in self.specs():
            if _SUSPENDED in (self.root / name).read_text():
                self._suspend(name, False)

    def hide(self, spec: str) -> None:
        """Move the videos and posters of a spec out of the folder."""
        stem = (self.root / spec).with_suffix("")
        self._lose([path for path in self.films() if path.name.startswith(f"{stem.name}.")])

    def pull(self, name: str, data: bytes | None) -> None:
        """Have a file as git brings it; None removes it."""
        if data is not None:
            self._write(name, data)
        elif (self.root / name).exists():
            (self.root / name).unlink()
            self.mark([name])

    def _lose(self, paths: list[Path]) -> None:
        for path in paths:
            path.rmdir() if path.is_dir() else path.unlink()
        self.mark(str(path.relative_to(self.root)) for path in paths)

    def _suspend(self, name: str, is_suspended: bool) -> None:
        text = (self.root / name).read_text().replace(_SUSPENDED, "")
        self._write(name, (text + _SUSPENDED * is_suspended).encode())

    def _some(self, act: Act) -> str:
        specs = self.specs()
        return specs[act.which % len(specs)] if specs else ""

    def _write(self, name: str, data: bytes) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.suffix == ".yaml":
            self.past.setdefault(name, []).append(path.read_text())
        path.write_bytes(data)
        now = self.wall_ns() + next(self._ticks)  # two changes never look like one
        os.utime(path, ns=(now, now))
        self.mark([name])


def picture(colour: float) -> bytes:
    """Return a small image that the API would take."""
    file = io.BytesIO()
    Image.new("RGB", (320, 320), (int(colour * 255), 90, 90)).save(file, "PNG")
    return file.getvalue()
