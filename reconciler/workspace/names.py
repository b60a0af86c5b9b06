"""Names by folder and names by key, so that what a change concerns is found without looking at the rest. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterator


class Names:
    """A set of names of files that knows which of them lie at or below a name."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._inside: dict[str, set[str]] = {}  # folder -> the names and folders right in it

    def add(self, name: str) -> None:
        """Take a name in."""
        self._names.add(name)
        while name:
            folder = name.rpartition("/")[0]
            siblings = self._inside.get(folder)
            if siblings is not None:
                siblings.add(name)
                return
            self._inside[folder] = {name}
            name = folder

    def discard(self, name: str) -> None:
        """Forget a name, and the folders that hold nothing any more."""
        self._names.discard(name)
        while name and name not in self._names and name not in self._inside:
            folder = name.rpartition("/")[0]
            siblings = self._inside.get(folder, set())
            siblings.discard(name)
            if siblings:
                return
            self._inside.pop(folder, None)
            name = folder

    def below(self, name: str) -> Iterator[str]:
        """Yield the names at or below a name; the empty name is the root."""
        waiting = [name]
        while waiting:
            here = waiting.pop()
            if here in self._names:
                yield here
            waiting += self._inside.get(here, ())


class Groups:
    """Names by key. Nearly every key has one name, and some have very many: both cost little."""

    def __init__(self) -> None:
        self._groups: dict[str, str | set[str]] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._groups

    def __getitem__(self, key: str) -> Collection[str]:
        """Return the names of a key; none for one that is not known."""
        found = self._groups.get(key, ())
        return (found,) if isinstance(found, str) else found

    def add(self, key: str, name: str) -> None:
        """Put a name under a key."""
        found = self._groups.setdefault(key, name)
        if isinstance(found, set):
            found.add(name)
        elif found != name:
            self._groups[key] = {found, name}

    def discard(self, key: str, name: str) -> None:
        """Take a name away from a key."""
        found = self._groups.get(key)
        if isinstance(found, set):
            found.discard(name)
            if not found:
                del self._groups[key]
        elif found == name:
            del self._groups[key]
