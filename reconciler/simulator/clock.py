"""Virtual time: how old the provider believes its tasks are. Tokens and HTTP dates do not use it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path


class VirtualClock:
    """Milliseconds since the epoch that pass `speed` times as fast as real ones and never go back.

    The anchor is kept in a file, so that time goes on across restarts, also while nobody runs.
    """

    def __init__(self, path: Path, *, speed: float, real: Callable[[], float]) -> None:
        """`real` returns the real time in seconds since the epoch; `speed` holds from now on."""
        self._path = path
        self._real = real
        self._moved: list[Callable[[], None]] = []
        self._last = 0
        try:
            saved = json.loads(path.read_text())
        except FileNotFoundError:
            started = int(real() * 1000)
            saved = {"virtual": started, "real": real(), "speed": speed, "genesis": started}
        self._virtual: int = saved["virtual"]
        self._anchor: float = saved["real"]
        self._genesis: int = saved["genesis"]
        self._speed: float = saved["speed"]
        self.set_speed(speed)

    @property
    def speed(self) -> float:
        """Virtual seconds per real second."""
        return self._speed

    @property
    def genesis(self) -> int:
        """The virtual time of the first start, ms."""
        return self._genesis

    def now(self) -> int:
        """Return the virtual time in ms."""
        elapsed = max(0.0, self._real() - self._anchor)
        self._last = max(self._last, self._virtual + int(elapsed * self._speed * 1000))
        return self._last

    def real_seconds_until(self, virtual: int) -> float | None:
        """Return how long it takes until a virtual time, ms; 0 for one that is over, None while time stands still."""
        missing = virtual - self.now()
        if missing <= 0:
            return 0.0
        return missing / 1000 / self._speed if self._speed else None

    def on_move(self, call: Callable[[], None]) -> None:
        """Have `call` called whenever time has jumped or goes on at another speed, from the thread that did it."""
        self._moved.append(call)

    def advance(self, seconds: float) -> None:
        """Jump ahead by virtual seconds; raises ValueError for a jump back."""
        if seconds < 0:
            raise ValueError("advance_s: time does not go back")
        self._settle(self.now() + int(seconds * 1000), self._speed)
        self._tell()

    def set_speed(self, speed: float) -> None:
        """Let time pass at another speed from now on; raises ValueError for a negative one."""
        if speed < 0:
            raise ValueError("speed: time does not go back")
        self._settle(self.now(), speed)
        self._tell()

    def save(self) -> None:
        """Put the present on disk, so that the next start cannot be earlier."""
        self._settle(self.now(), self._speed)

    def _tell(self) -> None:
        for call in self._moved:
            call()

    def _settle(self, virtual: int, speed: float) -> None:
        self._virtual, self._anchor, self._speed = virtual, self._real(), speed
        text = json.dumps(
            {"virtual": virtual, "real": self._anchor, "speed": speed, "genesis": self._genesis}
        )
        draft = self._path.with_suffix(".part")
        draft.write_text(text)
        draft.replace(self._path)
