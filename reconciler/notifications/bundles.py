"""What is told, before it is sent: kinds, and sentences gathered into one message for each kind. No I/O, no threads."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from reconciler.core.printable import printable

SHOWN = 10
"""Sentences that a message holds; the others are counted."""
_LONGEST = 500  # characters of a sentence


class Kind(StrEnum):
    """What people can ask to be told of; the words are those of `RECONCILER_NOTIFY_ON`."""

    COMPLETE = "complete"  # results are saved
    FAILED = "failed"  # generations need attention
    ACCOUNT = "account"  # trouble with the account, and its end
    CAP = "cap"  # a spending cap is near or reached


_TITLES = {
    Kind.COMPLETE: ("1 result saved", "{count:,} results saved"),
    Kind.FAILED: ("1 generation needs attention", "{count:,} generations need attention"),
    Kind.ACCOUNT: ("the account at the provider", "the account at the provider"),
    Kind.CAP: ("a spending cap", "spending caps"),
}


@dataclass(slots=True)
class Bundle:
    """The sentences of one kind that go out together: the first ones, and how many there were."""

    kind: Kind
    count: int = 0
    sentences: list[str] = field(default_factory=list)

    def add(self, sentence: str) -> None:
        """Take one more; memory stays bounded however many come."""
        self.count += 1
        if len(self.sentences) < SHOWN:
            self.sentences.append(_one_line(sentence))

    @property
    def title(self) -> str:
        """One line that says what this is about."""
        one, many = _TITLES[self.kind]
        return f"reconciler: {one if self.count == 1 else many.format(count=self.count)}"

    @property
    def body(self) -> str:
        """The sentences, a line each, and how many more there are."""
        more = self.count - len(self.sentences)
        return "\n".join([*self.sentences, f"and {more:,} more"] if more else self.sentences)


def _one_line(sentence: str) -> str:
    """Return a sentence without what could forge a second one; a provider's words can hold anything."""
    plain = printable(sentence[: _LONGEST + 1])
    return plain if len(plain) <= _LONGEST else f"{plain[:_LONGEST]}…"
