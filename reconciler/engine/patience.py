"""How long a run goes on asking a provider that does not answer."""

from __future__ import annotations

from collections import Counter

from reconciler.core.errors import ReconcilerError
from reconciler.core.schedule import SECOND, backoff
from reconciler.engine.ports import Options, Ports

_HINT = (
    "Nothing is lost: what was sent is on record. "
    "Check the network and KLING_BASE_URL, and run again."
)
_NOTICED = 15 * SECOND  # of silence, before a run that endures says so


class Unreachable(ReconcilerError):
    """The provider gave no readable answer."""


class Patience:
    """Silence is counted for the whole run, failures in a row by generation."""

    def __init__(self, ports: Ports, options: Options) -> None:
        self._ports = ports
        self._options = options
        self._answered_at = ports.now()
        self._answered = False
        self._silences = 0  # questions in a row that were not answered, whoever asked
        self._silent_since = 0
        self._failures: Counter[str] = Counter()
        self.silence = ""  # what was said of a silence that lasts

    def heard(self, key: str | None = None) -> None:
        """Something was answered readably; with a key, that generation's failures are over too."""
        if self.silence:
            seconds = (self._ports.now() - self._silent_since) // SECOND
            self._ports.report.say(f"the provider answers again, after {seconds} s")
        self._answered, self._answered_at = True, self._ports.now()
        self._silences, self.silence = 0, ""
        if key is not None:
            del self._failures[key]

    def unanswered(self, error: ReconcilerError) -> None:
        """Count a silence.

        Raises:
            Unreachable: it has lasted too long, and was met more than once; not in a run that endures.
        """
        self._silences += 1
        if self._silences == 1:
            self._silent_since = self._ports.now()
        if self._options.enduring:
            self._notice(error)
        elif self._silences > 1 and self._left() <= 0:
            seconds = self._length // SECOND
            message = f"the provider gave no readable answer for {seconds} s: {error.message}"
            raise Unreachable(message, hint=_HINT) from error

    def _notice(self, error: ReconcilerError) -> None:
        """Say once that the provider does not answer; a short hiccup is not worth a line."""
        lasted = self._ports.now() - self._silent_since
        if not self.silence and self._silences > 1 and lasted >= _NOTICED:
            self.silence = f"the provider gives no readable answer; asking on: {error.message}"
            self._ports.report.say(self.silence)

    def is_over(self, limit: int) -> bool:
        """Whether the last readable answer is longer ago than this (ms)."""
        return self._ports.now() - self._answered_at >= limit

    def failed(self, key: str) -> int:
        """Count a failure of this generation; return how many there were in a row."""
        self._failures[key] += 1
        return self._failures[key]

    def pause(self, key: str, *, most: int = 60 * SECOND) -> int:
        """Return when to ask again (ms): later with every failure, but not past the end of our patience."""
        wait = backoff(self._failures[key], key, most=most)
        if not self._options.enduring:
            wait = min(wait, max(self._left(), SECOND))
        return self._ports.now() + wait

    @property
    def _length(self) -> int:
        return self._options.patience if self._answered else self._options.first_patience

    def _left(self) -> int:
        return self._answered_at + self._length - self._ports.now()
