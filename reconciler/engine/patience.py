"""How long a run goes on asking: the whole provider, where nobody is answered, and one generation, where others are."""

from __future__ import annotations

from reconciler.core.contact import Contact, Limits, Move, Trouble, next_move
from reconciler.core.errors import ReconcilerError, told
from reconciler.core.kinds import DEFAULT
from reconciler.core.schedule import SECOND, backoff
from reconciler.core.states import LIVE, Record
from reconciler.engine.ports import Options, Ports
from reconciler.kling import errors

_HINT = (
    "Nothing is lost: what was sent is on record. "
    "Check the network and KLING_BASE_URL, and run again."
)
_NOBODYS = (
    "mc1-is-anybody-there"  # an id that no task has: the answer is *unknown*, where there is one
)
_LIVE = (
    2  # times as long as before a create: what is in flight may be paid for, and is asked for on
)


class Unreachable(ReconcilerError):
    """The provider gave no readable answer."""


class Patience:
    """Keeps `core.contact`'s values up to date, and asks about nothing where they want to know who is silent."""

    def __init__(self, ports: Ports, options: Options) -> None:
        self._ports = ports
        self._options = options
        self._contact = Contact(heard_at=ports.now())
        self._troubles: dict[str, Trouble] = {}
        self.silence = ""  # what was said of a silence that lasts

    def heard(self, key: str | None = None) -> None:
        """Something was answered readably; with a key, that generation's failures are over too."""
        if self.silence:
            seconds = (self._ports.now() - self._contact.silent_since) // SECOND
            self._ports.report.say(f"the provider answers again, after {seconds} s")
        self._contact, self.silence = self._contact.heard(self._ports.now()), ""
        if key is not None:
            self._troubles.pop(key, None)

    async def cannot_ask(self, key: str, record: Record, error: errors.ProviderError) -> bool:
        """Count a request for a generation that came to nothing; return whether it is to be held by itself.

        Raises:
            Unreachable: nobody was answered for too long, and neither is this; not in a run that endures.
        """
        if isinstance(error, errors.Unproven):  # it was answered, and asking again answers the same
            self.heard()
            return True
        self.failed(key)
        if _is_readable(error):
            self.heard()
        else:
            self._contact = self._contact.unheard(self._ports.now())
        limits = self._limits(record, patient=isinstance(error, errors.SlowDown))
        if self._move(key, limits) is Move.ASK_ANYTHING:
            await self._ask_anything()
        move = self._move(key, limits)
        if move is Move.GIVE_UP and not self._options.enduring:
            seconds = (limits.later if self._contact.answered else limits.first) // SECOND
            message = f"the provider gave no readable answer for {seconds} s: {error.message}"
            raise Unreachable(message, hint=_HINT) from error
        if (
            self._options.enduring
            and not self.silence
            and self._contact.is_noticed(self._ports.now())
        ):
            self.silence = f"the provider gives no readable answer; still asking: {error.message}"
            self._ports.report.say(self.silence)
        return move is Move.HOLD

    def failed(self, key: str) -> int:
        """Count a failure of this generation; return how many there were in a row."""
        trouble = self._troubles.get(key, Trouble()).failed(self._ports.now())
        self._troubles[key] = trouble
        return trouble.failures

    def lasts(self, key: str, record: Record) -> bool:
        """Whether nothing was seen of this generation for so long that nobody should wait for it."""
        return self._troubles.get(key, Trouble()).lasts(self._limits(record, patient=True))

    def is_over(self, limit: int) -> bool:
        """Whether the last readable answer is longer ago than this (ms)."""
        return self._ports.now() - self._contact.heard_at >= limit

    def pause(self, key: str, record: Record, *, most: int = 60 * SECOND) -> int:
        """Return when to ask again (ms): later with every failure, but not past the end of our patience."""
        now, limits = self._ports.now(), self._limits(record)
        trouble = self._troubles.get(key, Trouble()).failed(now)
        wait = backoff(max(trouble.failures - 1, 1), key, most=most)
        if not self._options.enduring:
            wait = min(wait, max(self._contact.ends_at(limits) - now, SECOND))
            if (left := trouble.since + limits.one - now) > 0:
                wait = min(wait, left)
        return now + wait

    def _limits(self, record: Record, *, patient: bool = False) -> Limits:
        first, later = self._options.first_patience, self._options.patience
        one = min(later, _LIVE * first) if record.status in LIVE else first
        return Limits(first, later, later if patient else one)

    def _move(self, key: str, limits: Limits) -> Move:
        return next_move(self._troubles[key], self._contact, limits, self._ports.now())

    async def _ask_anything(self) -> None:
        """Find out whether anybody is answered: by a question about no task, else by a page of the list."""
        client, questions = self._ports.client, (_NOBODYS, "")
        endpoint = DEFAULT.ENDPOINT
        for name in questions:
            self._contact = self._contact.asked(self._ports.now())
            try:
                if name:
                    await client.query(name, endpoint=endpoint)
                else:
                    await client.page(1, 1, endpoint=endpoint)
            except errors.ProviderError as error:
                if not _is_readable(error):
                    self._contact = self._contact.asked(self._ports.now())
                    continue
            self.heard()
            return


def _is_readable(error: errors.ProviderError) -> bool:
    """Whether the provider itself answered, if only to refuse; that it broke down, or is closed to us, is no answer."""
    return error.code is not None and not isinstance(
        error, errors.TryLater | errors.OutcomeUnknown | errors.AccountTrouble
    )


def not_asked(error: ReconcilerError) -> str:
    """Return why a generation is held that cannot be asked about."""
    if isinstance(error, errors.Unproven):
        return told(error)
    return f"it cannot be asked about, although the provider answers other questions: {told(error)}"
