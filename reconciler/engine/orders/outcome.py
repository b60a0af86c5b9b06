"""What an order is checked against, and its outcome."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from reconciler.core.generations import Generation
from reconciler.core.printable import labelled
from reconciler.engine.observe.survey import Survey
from reconciler.engine.ports import Options, Ports
from reconciler.engine.records import Records


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an order, in sentences for people."""

    said: tuple[str, ...] = ()
    touched: frozenset[str] = frozenset()  # base ids to be looked at again
    ok: bool = True  # False: something that was asked for could not be done

    @classmethod
    def of(cls, parts: Iterable[Outcome]) -> Outcome:
        """Return several outcomes as one."""
        found = list(parts)
        return cls(
            tuple(sentence for part in found for sentence in part.said),
            frozenset().union(*(part.touched for part in found)),
            all(part.ok for part in found),
        )

    @classmethod
    def done(cls, sentence: str, *touched: str) -> Self:
        """It was done."""
        return cls((sentence,), frozenset(touched))

    @classmethod
    def left(cls, sentence: str) -> Self:
        """There was nothing to do, and that is fine."""
        return cls((sentence,))

    @classmethod
    def refused(cls, sentence: str) -> Self:
        """It could not be done, or must not be; nothing was changed."""
        return cls((sentence,), ok=False)

    def document(self) -> dict[str, object]:
        """Return the outcome as it travels to the command."""
        return {"said": list(self.said), "touched": sorted(self.touched), "ok": self.ok}

    @classmethod
    def read(cls, document: Mapping[str, object]) -> Self:
        """Return the outcome in a document; one without `ok` is not ok."""
        said, touched = document.get("said"), document.get("touched")
        return cls(
            tuple(map(str, said)) if isinstance(said, list) else (),
            frozenset(map(str, touched)) if isinstance(touched, list) else frozenset(),
            document.get("ok") is True,
        )


@dataclass(frozen=True, slots=True)
class OrderContext:
    """What an order is checked against: the records, and a survey made after it was given."""

    ports: Ports
    options: Options
    records: Records
    survey: Survey

    def wish(self, base_id: str) -> Generation | None:
        """Return what a valid spec says of this generation; None where none wants it."""
        wishes = (w for w in self.survey.valid_wishes() if w.external_task_id == base_id)
        return next(wishes, None)

    def called(self, base_id: str) -> str:
        """Return how people call a generation: its spec, its label and its id."""
        place = self.wish(base_id) or self.records.get(base_id)
        if place is None or not place.spec:
            return base_id
        return f"{labelled(place.spec, place.label)} ({base_id})"
