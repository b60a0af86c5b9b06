"""Which files of wishes are not committed, where only committed ones may be bought. Reads only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from reconciler.core.errors import WorkspaceError, told
from reconciler.core.generations import Generation
from reconciler.core.schedule import MOST_RETRY, backoff
from reconciler.engine.observe.survey import waiting_for_commit
from reconciler.engine.ports import Options, Ports
from reconciler.workspace.git import Checkout


class Commits:
    """Git's answers about specs; without a checkout nothing waits for a commit."""

    def __init__(
        self,
        ports: Ports,
        options: Options,
        checkout: Checkout | None,
        inputs: Callable[[str], frozenset[str]],
    ) -> None:
        self._first_retry = options.first_retry
        self._ports = ports
        self._checkout = checkout
        self._inputs = inputs  # what a spec was read from: itself, its defaults, its media
        self._lacking: dict[str, str] = {}  # spec -> its first file that is not committed
        self._seen = self._signature()
        self._failures = 0  # questions in a row that git did not answer
        self._again_at = 0
        self.trouble = ""  # why the last question was not answered
        self.owed: frozenset[str] = frozenset()  # specs about which git could not be asked

    async def look(self, specs: Iterable[str]) -> None:
        """Ask git about the files of these specs; where it cannot answer, none is bought until it does."""
        asked = {spec: self._inputs(spec) for spec in specs}
        if self._checkout is None or not asked:
            return
        names = frozenset[str]().union(*asked.values())
        try:
            found = await asyncio.to_thread(self._checkout.uncommitted, names)
        except WorkspaceError as error:
            self.owed |= asked.keys()
            self._failures += 1
            wait = backoff(self._failures, "git", first=self._first_retry, most=MOST_RETRY)
            self._again_at = self._ports.now() + wait
            if (trouble := told(error)) != self.trouble:
                self.trouble = trouble
                waits = "Git is asked again from time to time; until then nothing is bought"
                self._ports.report.say(f"{trouble.rstrip('.')}. {waits}")
        else:
            self._note(asked, found)

    def _note(self, asked: Mapping[str, frozenset[str]], found: frozenset[str]) -> None:
        self.owed -= asked.keys()
        for spec, inputs in asked.items():
            if lacking := min(inputs & found, default=""):
                self._lacking[spec] = lacking
            else:
                self._lacking.pop(spec, None)
        self._failures = 0
        if self.trouble and not self.owed:
            self.trouble = ""
            self._ports.report.say("git can tell again what is committed")

    def obstacle(self, wish: Generation) -> str:
        """Return why a wish does not count as committed, or an empty string."""
        if wish.spec in self.owed:
            return f"it is not known whether this is committed: {self.trouble}"
        return waiting_for_commit(self._lacking.get(wish.spec, ""))

    def is_due(self, now: int) -> bool:
        """Whether HEAD or the index may have changed since the last call, or git did not answer a while ago."""
        before, self._seen = self._seen, self._signature()
        return before != self._seen or (bool(self.owed) and now >= self._again_at)

    def leave(self) -> None:
        """Stop waiting for git."""
        if self._checkout is not None:
            self._checkout.abandon()

    def _signature(self) -> tuple[int, ...]:
        found = []
        for place in self._checkout.signs() if self._checkout else ():
            try:
                found.append(place.stat().st_mtime_ns)
            except OSError:
                found.append(0)  # a checkout under repair: it is looked at again when it is back
        return tuple(found)
