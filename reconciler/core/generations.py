"""The generations that specs declare, complete and immutable, and their conflicts with each other."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from reconciler.core.documents import Place, Problem
from reconciler.core.identity import compute_external_task_id
from reconciler.core.kinds import Kind, default_prices, kind_behind
from reconciler.core.media_rules import Source, length_of
from reconciler.core.naming import output_path, receipt_path
from reconciler.core.states import PREVIEWS, Role, asked_roles

_WRITTEN_SUFFIXES = (".mp4", ".webp")  # of every output and preview


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One wanted result: what is to be bought, and where it is published."""

    external_task_id: str  # the base id
    canonical: str  # canonical JSON of kind, request and take
    spec: str  # path of the spec, relative to the root
    label: str
    inputs: Mapping[str, Source] = field(hash=False)  # by the names that its kind gives them
    callback_url: str = ""
    retries: int = 0
    estimated_units: Decimal = Decimal(0)
    line: int = 1  # of the spec, where it begins
    suspended: bool = False  # by `suspend: true`: not to be bought now

    @property
    def kind(self) -> Kind:
        """Its kind."""
        return kind_behind(self.canonical)

    @property
    def request(self) -> dict[str, Any]:
        """The canonical request."""
        request: dict[str, Any] = json.loads(self.canonical)["request"]
        return request

    def output(self, role: Role = Role.VIDEO) -> str:
        """Return the path of the published result, relative to the root."""
        return output_path(self.spec, self.label, role)

    @property
    def files(self) -> list[str]:
        """The local files of its inputs, relative to the root."""
        return [one.path for one in self.inputs.values() if one.path]

    @property
    def seconds(self) -> Decimal | None:
        """The length of its film (s); None where there is none, or it is not known."""
        return length_of(self.inputs)

    @property
    def outputs(self) -> tuple[tuple[Role, str], ...]:
        """The (role, path) of every result."""
        return tuple((role, self.output(role)) for role in asked_roles(self.canonical))

    @property
    def previews(self) -> tuple[tuple[Role, str], ...]:
        """The (role, path) of every preview that may be published beside the results."""
        return tuple((role, self.output(role)) for role in PREVIEWS)


def collisions(generations: Iterable[Generation]) -> list[Problem]:
    """Return a problem for every spec that would write another's files, take its id, or read its own results."""
    everything = list(generations)
    return sorted({*clashes(everything), *circles(everything)})


def clashes(generations: Iterable[Generation]) -> Iterator[Problem]:
    """Yield a problem for every spec that would write another's files (without regard to case), or take its id."""
    writers: dict[str, Generation] = {}
    contents: dict[str, Generation] = {}
    for generation in generations:
        for path in (receipt_path(generation.spec), *(path for _, path in generation.outputs)):
            other = writers.setdefault(path.casefold(), generation)
            if other.spec != generation.spec:
                yield from _both(other, generation, f"would also write `{path}`")
        twin = contents.setdefault(generation.external_task_id, generation)
        if twin.canonical != generation.canonical:
            sentence = f"uses `external_task_id: {generation.external_task_id}` for something else"
            yield from _both(twin, generation, sentence, "external_task_id")


def circles(generations: Iterable[Generation]) -> Iterator[Problem]:
    """Yield a problem for every spec whose result leads back to its own input: it would be bought again without end."""
    everything = list(generations)
    readers = defaultdict[str, list[Generation]](list)
    for generation in everything:
        for path in fed_by(generation):
            readers[path].append(generation)
    feeds = defaultdict[str, set[str]](set)  # spec -> the specs that read what it writes
    fed: dict[str, Generation] = {}
    for generation in everything if readers else ():
        for reader in (one for path in written(generation) for one in readers.get(path, ())):
            feeds[generation.spec].add(reader.spec)
            fed[reader.spec] = reader
    for spec in sorted(_leading_back(feeds)):
        sentence = "its result would overwrite its own input, and be bought again and again: rename the input"
        yield Problem(Place(spec, fed[spec].line), "", sentence)


def _leading_back(feeds: Mapping[str, set[str]]) -> set[str]:
    """Return the specs that lead back to themselves, in linear time (Kosaraju's algorithm)."""
    fed_from = defaultdict[str, set[str]](set)
    for spec, readers in feeds.items():
        for reader in readers:
            fed_from[reader].add(spec)
    seen = set[str]()
    in_order = [spec for start in feeds for spec in _reached(feeds, start, seen)]
    seen = set()
    groups = [_reached(fed_from, start, seen) for start in reversed(in_order)]
    return {one for group in groups for one in group if len(group) > 1 or one in feeds.get(one, ())}


def _reached(links: Mapping[str, set[str]], start: str, seen: set[str]) -> list[str]:
    """Return what can be reached from `start` and is not `seen`, each after all that it leads to; adds it to `seen`."""
    found: list[str] = []
    under_way = [] if start in seen else [(start, iter(links.get(start, ())))]
    seen.add(start)
    while under_way:
        spec, ways = under_way[-1]
        new = next((one for one in ways if one not in seen), None)
        if new is None:
            found.append(spec)
            under_way.pop()
        else:
            seen.add(new)
            under_way.append((new, iter(links.get(new, ()))))
    return found


def written(generation: Generation) -> Iterator[str]:
    """Yield the paths that a generation writes, its receipt's too, in lower case."""
    yield receipt_path(generation.spec).casefold()
    yield from (path.casefold() for _, path in (*generation.outputs, *generation.previews))


def fed_by(generation: Generation) -> list[str]:
    """Return the paths of local inputs, and of their links' targets, that could be a result; in lower case."""
    inputs = generation.inputs.values()
    paths = (path.casefold() for one in inputs for path in (one.path, one.target))
    return [path for path in paths if path.endswith(_WRITTEN_SUFFIXES)]


def newer_models(generations: Iterable[Generation], priced: Iterable[str]) -> list[str]:
    """Return the models in use that have a price in the settings and that this program does not know."""
    names = set(priced) - default_prices().keys()
    newer = {name: f'"model_name":{json.dumps(name, ensure_ascii=False)}' for name in names}
    texts = [wish.canonical for wish in generations] if newer else []
    return sorted(name for name, said in newer.items() if any(said in text for text in texts))


def has_own_id(generation: Generation) -> bool:
    """Whether the spec set the id itself."""
    return generation.external_task_id != compute_external_task_id(generation.canonical)


def _both(one: Generation, other: Generation, what: str, key: str = "") -> list[Problem]:
    advice = "rename or change one of the two"
    return [
        Problem(Place(here.spec, here.line), key, f"`{there.spec}` {what}; {advice}")
        for here, there in ((one, other), (other, one))
    ]
