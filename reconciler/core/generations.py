"""The generations that specs declare, complete and immutable, and how they get into each other's way."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from reconciler.core.documents import Place, Problem
from reconciler.core.motion_control import Source
from reconciler.core.naming import output_path, receipt_path
from reconciler.core.states import Role

# In canonical JSON no value can imitate this: quotes inside a text are escaped.
_WATERMARKED = '"watermark_info":{"enabled":true}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One wanted result: what is to be bought, and where it goes. Immutable and complete."""

    external_task_id: str  # the base id
    canonical: str  # canonical JSON of kind, request and take
    spec: str  # path of the spec, relative to the root
    label: str
    image: Source
    video: Source
    callback_url: str = ""
    retries: int = 0
    estimated_units: Decimal = Decimal(0)
    line: int = 1  # of the spec, where it begins

    @property
    def request(self) -> dict[str, Any]:
        """The canonical request."""
        request: dict[str, Any] = json.loads(self.canonical)["request"]
        return request

    def output(self, role: Role = Role.VIDEO) -> str:
        """Return the path of the published result, relative to the root."""
        return output_path(self.spec, self.label, role)

    @property
    def watermarked(self) -> bool:
        """Whether a watermarked copy is wanted too."""
        return _WATERMARKED in self.canonical

    @property
    def outputs(self) -> tuple[tuple[Role, str], ...]:
        """The (role, path) of every file that this generation publishes."""
        roles = (Role.VIDEO, Role.WATERMARK) if self.watermarked else (Role.VIDEO,)
        return tuple((role, self.output(role)) for role in roles)


def collisions(generations: Iterable[Generation]) -> list[Problem]:
    """Return a problem for every spec that would write what another writes, take its id, or feed on itself.

    File names that differ only in case count as the same: they are, on many file systems.
    """
    problems: list[Problem] = []
    writers: dict[str, Generation] = {}
    contents: dict[str, Generation] = {}
    inputs: dict[str, list[Generation]] = {}
    for generation in generations:
        for path in (receipt_path(generation.spec), *(path for _, path in generation.outputs)):
            other = writers.setdefault(path.casefold(), generation)
            if other.spec != generation.spec:
                problems += _both(other, generation, f"would write `{path}` too")
        twin = contents.setdefault(generation.external_task_id, generation)
        if twin.canonical != generation.canonical:
            sentence = f"uses `external_task_id: {generation.external_task_id}` for something else"
            problems += _both(twin, generation, sentence, "external_task_id")
        for source in (generation.image, generation.video):
            if source.path:
                inputs.setdefault(source.path.casefold(), []).append(generation)
    return sorted({*problems, *_circles(writers, inputs)})


def _circles(
    writers: Mapping[str, Generation], inputs: Mapping[str, Sequence[Generation]]
) -> Iterator[Problem]:
    """Yield a problem for every spec whose result leads, through other specs, back to its own input.

    Each new result would change the input and be bought again, for ever.
    """
    feeds: dict[str, set[str]] = {}  # spec -> the specs that read what it writes
    readers: dict[str, Generation] = {}
    for path in writers.keys() & inputs.keys():
        for reader in inputs[path]:
            feeds.setdefault(writers[path].spec, set()).add(reader.spec)
            readers[reader.spec] = reader
    for spec, reader in readers.items():
        reached, waiting = set[str](), [spec]
        while waiting:
            new = feeds.get(waiting.pop(), set()) - reached
            reached |= new
            waiting += new
        if spec in reached:
            sentence = "its result would overwrite its own input, and be bought again for ever: rename the input"
            yield Problem(Place(spec, reader.line), "", sentence)


def _both(one: Generation, other: Generation, what: str, key: str = "") -> list[Problem]:
    return [
        Problem(
            Place(here.spec, here.line),
            key,
            f"`{there.spec}` {what}; rename or change one of the two",
        )
        for here, there in ((one, other), (other, one))
    ]
