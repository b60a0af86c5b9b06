"""The histories catch what they are for: the product is broken on purpose, and some history says so.

Each break is made from outside, by a seam of the test; nothing in the product knows how to be broken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import reconciler.engine.loop.turn
import tests.simulation.process
from reconciler.core.diff import Assessment
from reconciler.core.progress import Looked
from reconciler.core.schedule import Rules
from reconciler.core.states import Record, Status
from reconciler.core.transitions import Step, intend
from reconciler.core.transitions import step as decide
from reconciler.engine.buy.create import Purchases, Wanted
from reconciler.engine.deliver.publish import Publisher, Receipts
from reconciler.store.repository import Repository
from reconciler.store.values import Change, Spent
from reconciler.workspace.media.result_media import ResultFacts
from tests.simulation.crash import Death
from tests.simulation.history import draw_history
from tests.simulation.past import play

MOST = 25
"""Histories that may pass before one has to notice."""

WORST: Mapping[str, Any] = {
    "duplicate_ids": "bill_again",
    "query_lag_s": 20.0,
    "concurrency": 5,
    "task_s": 20.0,
}

TROUBLE: tuple[Mapping[str, Any], ...] = (
    {"endpoint": "create", "when": {"every": 2}, "effect": {"drop": "after"}},
    {"endpoint": "result", "when": {"calls": [1]}, "effect": {"wrong_bytes": True}},
)

Break = Callable[[pytest.MonkeyPatch], None]


class Blind(Purchases):
    """Creates without looking."""

    async def look(self, record: Record, wanted: Wanted) -> Looked:
        wish = wanted()
        if wish is None or record.status not in {Status.PENDING, Status.SUBMITTING}:
            return await super().look(record, wanted)
        return await self._create(record, intend(record, self._ports.now()), wish, wanted)


def no_look(patch: pytest.MonkeyPatch) -> None:
    """Rule 3: a create without a look."""
    patch.setattr(reconciler.engine.loop.turn, "Purchases", Blind)


def no_grace(patch: pytest.MonkeyPatch) -> None:
    """Rule 4: absence is believed at the third look, however soon that is."""
    patch.setattr(tests.simulation.process, "Rules", lambda: Rules(absence_grace=0))


def no_intent(patch: pytest.MonkeyPatch) -> None:
    """Rule 2: the intent is not on disk when the create leaves."""
    save = Repository.save

    def forget(self: Repository, change: Change, **_: object) -> Spent:
        return Spent(None, None)

    def save_all(self: Repository, changes: Sequence[Change]) -> None:
        there = {change: self.find(change.record.external_task_id) for change in changes}
        save(
            self,
            [
                one._replace(expected=found.status if found else None)
                for one, found in there.items()
            ],
        )

    patch.setattr(Repository, "record_intent", forget)
    patch.setattr(Repository, "save", save_all)


def doubt_is_failure(patch: pytest.MonkeyPatch) -> None:
    """Rule 4: what had no answer is sent again at once."""

    def step(record: Record, event: Any, **options: Any) -> Step:
        decision = decide(record, event, **options)
        if type(event).__name__ == "Ambiguous":
            return Step(decision.record.evolve(status=Status.PENDING, gave_up_at=None))
        return decision

    patch.setattr("reconciler.engine.records.step", step)


def any_bytes(patch: pytest.MonkeyPatch) -> None:
    """Rule 7: what arrives is kept unverified."""
    seen = ResultFacts(seconds=5.0, width=720, height=720, decodes=True)
    patch.setattr("reconciler.engine.deliver.download.examine_result", lambda _: seen)
    patch.setattr("reconciler.engine.deliver.download.Saver._check_etag", lambda *_: None)


def no_receipts(patch: pytest.MonkeyPatch) -> None:
    """No receipt is written."""
    patch.setattr(Receipts, "write", lambda *_, **__: False)


def restless(patch: pytest.MonkeyPatch) -> None:
    """Outputs are written again by every run."""

    def never(self: Publisher, item: Assessment) -> bool:
        for path, _ in item.published:
            (self._ports.root / path).unlink(missing_ok=True)
        return False

    patch.setattr(Publisher, "is_noted", never)


BREAKS: dict[str, tuple[Break, str]] = {
    "no look": (no_look, "without a readable look"),
    "no grace": (no_grace, "billed 2 times"),
    "no intent": (no_intent, "after a create in doubt"),
    "doubt is failure": (doubt_is_failure, "after a create in doubt"),
    "any bytes": (any_bytes, "not byte for byte"),
    "no receipts": (no_receipts, "does not list"),
    "restless": (restless, "a further run changed"),
}


def worst(seed: int, folder: Path) -> tuple[str, ...]:
    """Return what is wrong with the history of a seed, where the provider forgives least and each life dies at a create."""
    history = draw_history(seed)
    deadly = (
        replace(one, death=Death("step", 1 + (seed + number) % 12, 1), before=(), meanwhile=())
        for number, one in enumerate(history.chapters)
    )
    provider = {**history.provider, **WORST}
    worse = replace(history, provider=provider, faults=TROUBLE, chapters=tuple(deadly))
    return play(worse, folder).wrong


@pytest.mark.parametrize("name", BREAKS)
def test_a_product_that_is_broken_on_purpose_is_found_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """One of a few histories says just what is wrong, and nothing of the real product."""
    sabotage, sentence = BREAKS[name]
    with monkeypatch.context() as patch:
        sabotage(patch)
        wrong = ((seed, worst(seed, tmp_path / f"{seed}")) for seed in range(MOST))
        found = (seed for seed, sentences in wrong if any(sentence in one for one in sentences))
        seed = next(found, None)
    assert seed is not None
    assert worst(seed, tmp_path / "real") == ()
