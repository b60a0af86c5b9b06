"""Which specs get into each other's way, by the rules of the core, kept up to date spec by spec."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping

from reconciler.core.documents import Problem
from reconciler.core.generations import Generation, collisions, fed_by, has_own_id, written
from reconciler.workspace.index.names import Groups


class Collisions:
    """What every spec that is valid by itself declares, and the problems between specs."""

    def __init__(self) -> None:
        self._declared: dict[str, tuple[Generation, ...]] = {}
        self._writers = Groups()  # path that is written -> specs
        self._readers = Groups()  # path that is read, and could be a result -> specs
        self.places = Groups()  # id -> specs that want it
        self._own_ids = Groups()  # id -> those of them that gave it themselves
        self._problems: dict[str, tuple[Problem, ...]] = {}

    def declared(self, spec: str) -> tuple[Generation, ...]:
        """Return what a spec declares, in the order written, colliding or not."""
        return self._declared.get(spec, ())

    def problems(self, spec: str) -> tuple[Problem, ...]:
        """Return a spec's collisions with others, by place."""
        return self._problems.get(spec, ())

    def writers(self, path: str) -> Collection[str]:
        """Return the specs that write a file: a result, or a receipt."""
        return self._writers[path.casefold()]

    def replace(self, changes: Mapping[str, tuple[Generation, ...]]) -> set[str]:
        """Replace what these specs declare, and return all specs whose problems changed."""
        judged = self._concerned(changes)
        for spec, generations in changes.items():
            self._index(spec, Groups.discard)
            self._declared.pop(spec, None)
            if generations:
                self._declared[spec] = generations
                self._index(spec, Groups.add)
        judged |= self._concerned(changes)
        found: defaultdict[str, tuple[Problem, ...]] = defaultdict(tuple)
        for problem in collisions(wish for spec in sorted(judged) for wish in self.declared(spec)):
            found[problem.place.file] += (problem,)
        changed = {spec for spec in judged if found.get(spec, ()) != self.problems(spec)}
        for spec in changed:
            self._problems.pop(spec, None)
        self._problems |= found
        return changed

    def _index(self, spec: str, change: Callable[[Groups, str, str], None]) -> None:
        for generation in self.declared(spec):
            change(self.places, generation.external_task_id, spec)
            if has_own_id(generation):
                change(self._own_ids, generation.external_task_id, spec)
            for path in written(generation):
                change(self._writers, path, spec)
            for path in fed_by(generation):
                change(self._readers, path, spec)

    def _concerned(self, specs: Iterable[str]) -> set[str]:
        """Return these specs and, transitively, those that share a path or an id with one or read its results."""
        found, waiting = set(specs), list(specs)
        while waiting:
            for generation in self.declared(waiting.pop()):
                base_id = generation.external_task_id
                near = list(self.places[base_id]) if self._own_ids[base_id] else []
                for path in written(generation):
                    near += (*self._writers[path], *self._readers[path])
                new = set(near) - found
                found |= new
                waiting += new
        return found
