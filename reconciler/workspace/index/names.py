"""Sets of names: those below a folder, and those that belong to a key."""

from __future__ import annotations

from collections.abc import Collection, Iterator


class Names:
    """A set of file names that finds those at or below a name."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._inside: dict[str, set[str]] = {}  # folder -> the names and folders right in it

    def add(self, name: str) -> None:
        """Add a name."""
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
        """Remove a name, and the folders that are empty without it."""
        self._names.discard(name)
        while name and name not in self._names and name not in self._inside:
            folder = name.rpartition("/")[0]
            siblings = self._inside.get(folder, set())
            siblings.discard(name)
            if siblings:
                return
            self._inside.pop(folder, None)
            name = folder

    def inside(self, folder: str) -> Collection[str]:
        """Return the names and folders right in a folder."""
        return self._inside.get(folder, ())

    def below(self, name: str) -> Iterator[str]:
        """Yield the names at or below a name; the empty name is the root."""
        waiting = [name]
        while waiting:
            here = waiting.pop()
            if here in self._names:
                yield here
            waiting += self._inside.get(here, ())


class Groups:
    """Sets of names by key; the only name of a key is stored without a set, to save memory."""

    def __init__(self) -> None:
        self._groups: dict[str, str | set[str]] = {}

    def __getitem__(self, key: str) -> Collection[str]:
        found = self._groups.get(key, ())
        return (found,) if isinstance(found, str) else found

    def add(self, key: str, name: str) -> None:
        """Add a name to a key."""
        found = self._groups.setdefault(key, name)
        if isinstance(found, set):
            found.add(name)
        elif found != name:
            self._groups[key] = {found, name}

    def discard(self, key: str, name: str) -> None:
        """Remove a name from a key."""
        found = self._groups.get(key)
        if isinstance(found, set):
            found.discard(name)
        if not found or found == name:
            self._groups.pop(key, None)
