"""Hazards: what a history can be about beside the everyday. Each has its own probability, so that one draws few of them.

A hazard is drawn from the seed and its own name and changes a history that is drawn already: without hazards a seed
means what it means without this module. Where the provider has to be of some kind for the promise to hold, the
hazard says so: docs/operations.md, what cannot be promised.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal

from tests.simulation.history import LOSES_STATE, Act, Chapter, History, Work
from tests.simulation.middlebox import NO_ANSWERS, Endpoint, Interference

Draw = random.Random
DAY_S = 86400.0
HOUR_S = 3600.0
_CHANGES = ("edit", "revert", "remove", "defaults", "picture")
"""After these nobody asks for a generation: then it cannot be tried again, and nobody asks for its task once more."""
_PLAIN = ("plain", "plain", "takes", "retries", "custom")


@dataclass(frozen=True, slots=True)
class Hazard:
    """How often histories are about it, and what it makes of one."""

    probability: float
    change: Callable[[Draw, History], History]


@dataclass(frozen=True, slots=True)
class Choice:
    """Which hazards are drawn."""

    only: tuple[str, ...] = ()
    """One of these in each history, and no other."""
    without: frozenset[str] = frozenset()


def with_hazards(history: History, chosen: Choice) -> History:
    """Return the history with the hazards that its seed draws."""
    if chosen.only:
        names = [chosen.only[history.seed % len(chosen.only)]]
    else:
        lots = {name: Draw(f"{history.seed} {name}?").random() for name in HAZARDS}
        names = [name for name, lot in lots.items() if lot < HAZARDS[name].probability]
    for name in names:
        if name not in chosen.without:
            changed = HAZARDS[name].change(Draw(f"{history.seed} {name}"), history)
            history = replace(changed, hazards=(*history.hazards, name))
    return history


def _retries(draw: Draw, history: History) -> History:
    """Creates that are refused for their content, tasks that fail, `retry`, and then losses and `forget`."""
    rules = [
        {"endpoint": "create", "when": _some(draw), "effect": {"refuse": draw.choice((1300, 1301))}}
    ]
    if draw.random() < 0.5:
        rules.append({"endpoint": "create", "when": _some(draw), "effect": {"fail": "bad luck"}})
    chapters = []
    for chapter in history.chapters[:3]:
        chapters.append(chapter)
        losses = ("lose_state", "lose_everything", "lose_everything", "forget", "nap")
        before = (_act(draw, "retry"), _act(draw, "retry"))
        seconds = draw.choice((1.0, 15.0, 400.0))
        chapters.append(
            Chapter(before, _work(draw), seconds, None, "cut off", (_later(draw, "retry"),))
        )
        chapters.append(
            Chapter((_act(draw, draw.choice(losses)),), _work(draw), 60.0, None, "asked", ())
        )
    return replace(history, faults=(*rules, *history.faults), chapters=tuple(chapters))


def _clones(draw: Draw, history: History) -> History:
    """Two machines with a state each, in turns or at the same time; receipts are committed, or not."""
    chapters = []
    for number, chapter in enumerate((*history.chapters, *history.chapters)[:5]):
        before, meanwhile = list(chapter.before), list(chapter.meanwhile)
        before[:0] = [_act(draw, "sync")] * (draw.random() < 0.8)
        before += [_act(draw, "retry")] * (draw.random() < 0.5)
        if draw.random() < 0.4:
            meanwhile.insert(0, (draw.choice((0.0, 0.3, 5.0)), Act("beside", _work(draw))))
        meanwhile += [_later(draw, "sync")] * (draw.random() < 0.4)
        chapters.append(
            replace(chapter, before=tuple(before), meanwhile=tuple(meanwhile), machine=number % 2)
        )
    rules: list[Mapping[str, Any]] = []
    if draw.random() < 0.6:  # they may come to number the attempts in two ways
        effect = draw.choice(({"refuse": 1301}, {"refuse": 1301}, {"fail": "bad luck"}))
        rules.append(
            {"endpoint": "create", "when": {"first": draw.randint(1, 2)}, "effect": effect}
        )
        seconds = draw.choice((15.0, 400.0))
        again = Chapter((_act(draw, "retry"),), _work(draw), seconds, None, "cut off", ())
        chapters[:0] = [Chapter((), "apply", 200.0, None, "asked", ()), again]
        chapters.insert(2, Chapter((), _work(draw), 60.0, None, "asked", (), machine=1))
    return replace(
        _unforgetful(draw, history),
        faults=(*rules, *history.faults),
        chapters=tuple(chapters),
        machines=2,
        carries_receipts=draw.random() < 0.6,
    )


def _orders(draw: Draw, history: History) -> History:
    """Orders whose authors are gone, in the inbox for days before somebody could carry them out."""
    rule = {
        "endpoint": "create",
        "when": _some(draw),
        "effect": draw.choice(({"fail": "bad luck"}, {"refuse": 1301})),
    }
    leave = Act("leave", draw.choice(("retry", "retry", "forget")), draw.randrange(100))
    days = Act("nap", draw.uniform(1, 3) * DAY_S)
    if draw.random() < 0.5:
        left = Chapter((), "apply", 400.0, None, "asked", ((draw.uniform(1, 90), leave),))
        later = Chapter((days,), "watch", 400.0, None, "asked", ())
    else:
        left = Chapter((), "apply", 900.0, None, "asked", ())
        later = Chapter((leave, days), "watch", 400.0, None, "asked", ())
    calm = [
        _without(chapter, "lose_state", "lose_state_and_outputs") for chapter in history.chapters
    ]
    return replace(history, faults=(rule, *history.faults), chapters=(*calm[:2], left, later))


def _clean(draw: Draw, history: History) -> History:
    """`git clean -fdx`, or `rm -rf state`, under a process, and then a second process beside it."""
    acts = [
        (draw.uniform(0.1, 30), _clean_act(draw)),
        *(_later(draw, what) for what in draw.choice((("add",), ("add", "edit"), ("edit", "add")))),
    ]
    watched = Chapter((), "watch", 300.0, None, draw.choice(("asked", "cut off")), tuple(acts))
    return replace(history, chapters=(*history.chapters[:2], watched))


def _clean_act(draw: Draw) -> Act:
    return Act("clean", _work(draw), draw.randrange(2), draw.choice((0.5, 5.0, 30.0)))


def _replays(draw: Draw, history: History) -> History:
    """An answer to an earlier request for another generation comes in the place of a create's or a query's."""
    endpoints: tuple[Endpoint, ...] = draw.choice((("create",), ("query",), ("create", "query")))
    rules = [
        Interference(
            "replay",
            endpoint,
            draw.choice(("before", "after")),
            draw.choice((0.2, 0.6)),
            draw.randint(1, 3),
        )
        for endpoint in endpoints
    ]
    return replace(_crowded(draw, history, 3), interferences=(*history.interferences, *rules))


def _silence(draw: Draw, history: History) -> History:
    """Ids that cannot be asked about, for a while or for ever; what is not theirs goes on."""
    endless = draw.random() < 0.6
    rule = Interference(
        "silence",
        "query",
        draw.choice(list(NO_ANSWERS)),
        draw.choice((0.2, 0.4)),
        until_s=float("inf") if endless else draw.choice((60.0, 900.0, 7200.0)),
    )
    return replace(_crowded(draw, history, 5), interferences=(*history.interferences, rule))


def _calendar(draw: Draw, history: History) -> History:
    """A cap per day, and the wall clock set by hours and days, both ways, while there is more to buy than it allows."""
    chapters = []
    for _ in range(draw.randint(2, 4)):
        meanwhile = [(draw.uniform(5, 150), _step(draw)), _later(draw, "add"), _later(draw, "add")]
        before = (_step(draw),) if draw.random() < 0.3 else ()
        seconds = draw.choice((90.0, 400.0))
        chapters.append(Chapter(before, _work(draw), seconds, None, "asked", tuple(meanwhile)))
        if draw.random() < 0.3:
            chapters.append(Chapter((_act(draw, "nap"),), "watch", 16 * HOUR_S, None, "asked", ()))
    quick = {**history.provider, "task_s": 20.0, "concurrency": draw.randint(2, 5)}
    crowd = _crowded(draw, replace(history, provider=quick), 8)
    cap = Decimal(
        draw.choice(("10", "12"))
    )  # two purchases by their estimates, four by what they cost
    return replace(crowd, chapters=tuple(chapters), faults=history.faults[:1], cap=cap)


def _step(draw: Draw) -> Act:
    size = draw.choice((9 * HOUR_S, 20 * HOUR_S, DAY_S, DAY_S, 3 * DAY_S)) * draw.uniform(0.9, 1.1)
    return Act("jump", size * draw.choice((-1, 1)))


def _lag(draw: Draw, history: History) -> History:
    """New tasks are hidden for longer than the grace, by a provider that refuses a used id; first answers are lost."""
    provider: dict[str, Any] = {
        "duplicate_ids": "refuse",
        "duplicate_code": draw.choice((1201, 1201, 1200)),
        "query_lag_s": draw.choice((90.0, 300.0, 1800.0)),
    }
    rule = {"endpoint": "create", "when": _some(draw), "effect": {"drop": "after"}}
    acts = (Act("nap", 400.0), _act(draw, "retry"))
    retried = [Chapter(acts, _work(draw), 400.0, None, "asked", (_later(draw, "retry"),))]
    kept = tuple(_without(chapter, *_CHANGES) for chapter in history.chapters[:2])
    return replace(
        history,
        provider={**history.provider, **provider},
        faults=(rule, *history.faults),
        chapters=(*kept, *retried),
    )


def _stray(draw: Draw, history: History) -> History:
    """A task is once said to have failed that has not; later everything that ended badly is tried again."""
    rule = Interference("failed", "any", share=draw.choice((0.1, 0.4)), most=draw.randint(1, 2))
    kept = tuple(_without(chapter, *_CHANGES) for chapter in history.chapters[:3])
    retried = Chapter(
        (_act(draw, "retry"),), _work(draw), 300.0, None, "asked", (_later(draw, "retry"),)
    )
    return replace(
        history,
        chapters=(*kept, retried),
        interferences=(*history.interferences, rule),
        is_retried=True,
    )


def _numbers(draw: Draw, history: History) -> History:
    """Times that are no ms, deductions that cannot be; tasks that are not there for a while; states that are lost."""
    rule = Interference("numbers", "any", share=draw.choice((0.5, 1.0)))
    changed = _unforgetful(draw, history) if draw.random() < 0.5 else history
    if changed is not history:
        hidden = {"hidden_from_s": 40.0, "hidden_s": 100.0, "task_s": 120.0}
        changed = replace(changed, provider={**changed.provider, **hidden})
    chapters = []
    for chapter in history.chapters:
        kept = _without(chapter, "jump")
        lost = [_act(draw, draw.choice(sorted(LOSES_STATE)))] * (draw.random() < 0.4)
        chapters.append(replace(kept, before=(*kept.before, *lost)))
    return replace(changed, chapters=tuple(chapters), interferences=(*history.interferences, rule))


def _commands(draw: Draw, history: History) -> History:
    """Every command that somebody gives beside a running `watch`, while tasks fail and are refused."""
    effect = draw.choice(({"fail": "bad luck"}, {"refuse": 1301}, {"drop": "after"}))
    rule = {"endpoint": "create", "when": _some(draw), "effect": effect}
    orders = ("retry", "import", "forget", "prune", "refresh", "remove", "edit", "rename")
    chapters = []
    for chapter in history.chapters[:3]:
        given = tuple(_later(draw, draw.choice(orders)) for _ in range(draw.randint(2, 6)))
        chapters.append(replace(chapter, work="watch", meanwhile=(*given, *chapter.meanwhile[:2])))
    return replace(history, faults=(rule, *history.faults), chapters=tuple(chapters))


def _caps(draw: Draw, history: History) -> History:
    """A cap per day that is met again and again: by takes, retries, edits and reverts, in runs that end and begin."""
    chapters = []
    for chapter in (*history.chapters, *history.chapters)[:4]:
        more = tuple(_later(draw, draw.choice(("add", "edit", "revert"))) for _ in range(3))
        kept = _without(chapter, "jump", "nap", *LOSES_STATE)
        chapters.append(replace(kept, meanwhile=(*kept.meanwhile, *more)))
    crowd = _crowded(draw, history, 6)
    return replace(crowd, chapters=tuple(chapters), cap=Decimal(draw.choice(("5", "10", "12"))))


def _suspend(draw: Draw, history: History) -> History:
    """Specs are suspended and go on, before, between and after everything that can happen to a create."""
    return _with_acts(draw, history, ("suspend",), 5)


def _callbacks(draw: Draw, history: History) -> History:
    """Hints about tasks, true and forged, often and at any moment; nothing is known by them."""
    return _with_acts(draw, history, ("hint",), 12)


def _spoiled(draw: Draw, history: History) -> History:
    """Outputs are edited, replaced, and locked away, and folders of specs with them."""
    return _with_acts(draw, history, ("spoil", "spoil", "lock", "lose_output"), 5)


def _media(draw: Draw, history: History) -> History:
    """Films that have to be hosted and pictures that have to be prepared, which change and break meanwhile."""
    kinds = ("hosted", "prepared")
    more = tuple(
        Act("add", f"{draw.choice(kinds)}:{4000 + number}", draw.randrange(100))
        for number in range(draw.randint(1, 3))
    )
    return _with_acts(
        draw, replace(history, specs=(*history.specs[:3], *more)), ("picture", "edit", "revert"), 2
    )


def _with_acts(draw: Draw, history: History, acts: tuple[str, ...], most: int) -> History:
    """Have such acts happen while processes are at work, up to so many in each chapter."""
    chapters = []
    for chapter in history.chapters:
        more = tuple(_later(draw, draw.choice(acts)) for _ in range(draw.randint(1, most)))
        together = sorted((*chapter.meanwhile, *more), key=lambda _: draw.random())
        chapters.append(replace(chapter, meanwhile=tuple(together)))
    return replace(history, chapters=tuple(chapters))


HAZARDS: Mapping[str, Hazard] = {
    "retries": Hazard(0.05, _retries),
    "clones": Hazard(0.05, _clones),
    "orders": Hazard(0.04, _orders),
    "clean": Hazard(0.04, _clean),
    "replays": Hazard(0.04, _replays),
    "silence": Hazard(0.04, _silence),
    "calendar": Hazard(0.04, _calendar),
    "commands": Hazard(0.04, _commands),
    "caps": Hazard(0.04, _caps),
    "suspend": Hazard(0.04, _suspend),
    "callbacks": Hazard(0.04, _callbacks),
    "spoiled": Hazard(0.04, _spoiled),
    "media": Hazard(0.04, _media),
    # Last: in what comes of them no wish is changed any more.
    "lag": Hazard(0.04, _lag),
    "stray": Hazard(0.04, _stray),
    "numbers": Hazard(0.04, _numbers),
}
EVERY = Choice()
NONE = Choice(without=frozenset(HAZARDS))


def _unforgetful(draw: Draw, history: History) -> History:
    """Have a provider that bills no id twice."""
    kind: Literal["refuse", "first"] = draw.choice(("refuse", "first"))
    return replace(history, provider={**history.provider, "duplicate_ids": kind})


def _crowded(draw: Draw, history: History, least: int) -> History:
    """Have so many specs at least."""
    missing = range(least - len(history.specs))
    more = [_add(draw, 2000 + number) for number in missing]
    return replace(history, specs=(*history.specs, *more))


def _without(chapter: Chapter, *acts: str) -> Chapter:
    return replace(
        chapter,
        before=tuple(act for act in chapter.before if act.what not in acts),
        meanwhile=tuple(one for one in chapter.meanwhile if one[1].what not in acts),
    )


def _some(draw: Draw) -> Mapping[str, Any]:
    """Return which of the first calls are meant."""
    return draw.choice(({"first": 1}, {"first": 2}, {"calls": [1, 3]}, {"every": 2}))


def _work(draw: Draw) -> Work:
    return draw.choice(("apply", "watch"))


def _act(draw: Draw, what: str) -> Act:
    if what == "nap":
        return Act("nap", draw.uniform(10, 900))
    if what in {"edit", "picture"}:
        return Act(what, draw.random(), draw.randrange(100))
    if what == "lock":  # a file, or the folder that it is in
        return Act(
            "lock", draw.choice((0, 1)), draw.randrange(100), draw.choice((3.0, 60.0, 400.0))
        )
    return Act(what, which=draw.randrange(100))


def _later(draw: Draw, what: str) -> tuple[float, Act]:
    act = _add(draw, draw.randrange(3000, 9000)) if what == "add" else _act(draw, what)
    return draw.choice((1.0, 20.0, 120.0)) * draw.uniform(0.1, 1), act


def _add(draw: Draw, number: int) -> Act:
    return Act("add", f"{draw.choice(_PLAIN)}:{number}", draw.randrange(100))
