"""Which specs get into each other's way, kept right spec by spec. The rules are the core's; no file is touched here.

Only what shares a path or an id with a changed spec, or is fed by it, is looked at again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from reconciler.core.documents import Problem
from reconciler.core.generations import (
    Generation,
    circles,
    clashes,
    fed_by,
    has_own_id,
    written,
)
from reconciler.workspace.known_tree import Groups


class Collisions:
    """What every spec that is right by itself declares, and how these get into each other's way."""

    def __init__(self) -> None:
        self._declared: dict[str, tuple[Generation, ...]] = {}
        self._writers = Groups()  # path that is written -> specs
        self._readers = Groups()  # path that is read, and could be a result -> specs
        self._places = Groups()  # id -> specs that want it
        self._own_ids = Groups()  # id -> those of them that gave it themselves
        self._clashes: dict[str, tuple[Problem, ...]] = {}
        self._circles: dict[str, tuple[Problem, ...]] = {}

    def declared(self, spec: str) -> tuple[Generation, ...]:
        """Return what a spec declares, in the order written, whether or not others are in its way."""
        return self._declared.get(spec, ())

    def problems(self, spec: str) -> tuple[Problem, ...]:
        """Return what is in a spec's way, by place."""
        if spec not in self._clashes:
            return self._circles.get(spec, ())
        return tuple(sorted({*self._clashes[spec], *self._circles.get(spec, ())}))

    def places(self, base_id: str) -> Collection[str]:
        """Return the specs that declare a generation."""
        return self._places[base_id]

    def writers(self, path: str) -> Collection[str]:
        """Return the specs that write a file: a result, or a receipt."""
        return self._writers[path.casefold()]

    def replace(self, changes: Mapping[str, tuple[Generation, ...]]) -> set[str]:
        """Take what these specs declare from now on, and return those whose problems are not what they were."""
        rivals, fed = self._rivals(changes), self._fed(changes)
        for spec, generations in changes.items():
            self._index(spec, Groups.discard)
            if generations:
                self._declared[spec] = generations
                self._index(spec, Groups.add)
            else:
                self._declared.pop(spec, None)
        rivals |= self._rivals(changes)
        fed |= self._fed(changes)
        # To judge a spec, all that share something with it have to be there.
        clashing = clashes(self._of(rivals | self._rivals(rivals)))
        return _keep(self._clashes, rivals, clashing) | _keep(
            self._circles, fed, circles(self._of(fed))
        )

    def _index(self, spec: str, change: Callable[[Groups, str, str], None]) -> None:
        for generation in self.declared(spec):
            change(self._places, generation.external_task_id, spec)
            if has_own_id(generation):
                change(self._own_ids, generation.external_task_id, spec)
            for path in written(generation):
                change(self._writers, path, spec)
            for path in fed_by(generation):
                change(self._readers, path, spec)

    def _rivals(self, specs: Iterable[str]) -> set[str]:
        """Return these specs and those that write, or are called, what one of them writes or is called."""
        found = set(specs)
        for spec in specs:
            for generation in self.declared(spec):
                for path in written(generation):
                    found.update(self._writers[path])
                if generation.external_task_id in self._own_ids:
                    found.update(self._places[generation.external_task_id])
        return found

    def _fed(self, specs: Iterable[str]) -> set[str]:
        """Return these specs and those that their results lead to, however far."""
        found, waiting = set(specs), list(specs)
        while waiting:
            paths = (path for wish in self.declared(waiting.pop()) for path in written(wish))
            new = {reader for path in paths for reader in self._readers[path]} - found
            found |= new
            waiting += new
        return found

    def _of(self, specs: Collection[str]) -> Iterator[Generation]:
        return (generation for spec in sorted(specs) for generation in self.declared(spec))


def _keep(
    table: dict[str, tuple[Problem, ...]], judged: Collection[str], problems: Iterable[Problem]
) -> set[str]:
    """Put the problems of the specs that were judged into a table, and return those where they differ."""
    found: defaultdict[str, set[Problem]] = defaultdict(set)
    for problem in problems:
        found[problem.place.file].add(problem)
    changed = set()
    for spec in judged:
        now = tuple(sorted(found.get(spec, ())))
        if now != table.get(spec, ()):
            changed.add(spec)
        if now:
            table[spec] = now
        else:
            table.pop(spec, None)
    return changed
